"""Members as their JSON gateways tell of them; the answers are those of etcd 3.7.3."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeproof.install.etcd_defragment.errors import EtcdError, TooLong

MEBIBYTE = 1 << 20
QUOTA = 8192 * MEBIBYTE


@dataclass
class FakeMember:
    id: str
    name: str
    size: int = 1000 * MEBIBYTE
    in_use: int = 300 * MEBIBYTE
    away: bool = False
    learner: bool = False
    started: bool = True
    log: int = 952
    applied: int = 952
    # What is left of the database once it was defragmented.
    needed: int = 300 * MEBIBYTE

    @property
    def url(self) -> str:
        return f"https://{self.name}:2379"


@dataclass
class FakeEtcd:
    """Three members, of which the third one leads. ``me``: on whose host the program is."""

    me: str = "cp1"
    leader: str = "17610005522018733673"
    alarms: list[tuple[str, str]] = field(default_factory=list)
    quota: int = QUOTA
    holder: str = ""
    leases: set[str] = field(default_factory=set)
    granted: int = 0
    defragmented: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    # Called before each question, to have something happen meanwhile.
    meanwhile: Callable[[str], None] = lambda _: None
    slow: bool = False
    deaf: bool = False

    def __post_init__(self) -> None:
        self.members = {
            "cp2": FakeMember("38712720341031407", "cp2"),
            "cp1": FakeMember("7383792418829112008", "cp1"),
            "cp3": FakeMember("17610005522018733673", "cp3"),
        }

    @property
    def url(self) -> str:
        return "https://127.0.0.1:2379"

    def health(self, url: str) -> str:
        return "refused" if self._member(url).away else ""

    def ask(self, url: str, path: str, body: Mapping[str, Any] | None = None, seconds: float = 5.0) -> dict[str, Any]:
        assert seconds == (600 if path.endswith("/defragment") else 5.0)
        self.meanwhile(path)
        self.asked.append(path)
        member, given = self._member(url), dict(body or {})
        if member.away:
            raise EtcdError(f"{url}: refused")
        answers = {
            "/v3/maintenance/status": self._status,
            "/v3/cluster/member/list": self._list,
            "/v3/maintenance/alarm": self._disarm,
            "/v3/maintenance/defragment": self._defragment,
            "/v3/maintenance/transfer-leadership": self._transfer,
            "/v3/lease/grant": self._grant,
            "/v3/lease/revoke": self._revoke,
            "/v3/kv/txn": self._transaction,
        }
        answer: dict[str, Any] = answers[path](member, given)
        return {"header": {"member_id": member.id, "cluster_id": "11726722738389020898"}, **answer}

    def _member(self, url: str) -> FakeMember:
        name = self.me if url == self.url else url.removeprefix("https://").removesuffix(":2379")
        return self.members[name]

    def _status(self, member: FakeMember, _: dict[str, Any]) -> dict[str, Any]:
        errors = [f"memberID:{identity}  alarm:{kind}" for identity, kind in self.alarms]
        return {
            "version": "3.7.3",
            "dbSize": str(member.size),
            "leader": self.leader,
            "raftIndex": str(member.log),
            "raftTerm": "2",
            "raftAppliedIndex": str(member.applied),
            "dbSizeInUse": str(member.in_use),
            "storageVersion": "3.7.0",
            **({"dbSizeQuota": str(self.quota)} if self.quota else {}),
            "downgradeInfo": {},
            **({"errors": errors} if errors else {}),
        }

    def _list(self, _: FakeMember, __: dict[str, Any]) -> dict[str, Any]:
        listed = [
            {
                "ID": each.id,
                "peerURLs": [f"https://{each.name}:2380"],
                **({"name": each.name, "clientURLs": [each.url]} if each.started else {}),
                **({"isLearner": True} if each.learner else {}),
            }
            for each in self.members.values()
        ]
        return {"members": listed}

    def _disarm(self, _: FakeMember, body: dict[str, Any]) -> dict[str, Any]:
        assert body["action"] == "DEACTIVATE"
        self.alarms.remove((body["memberID"], body["alarm"]))
        return {}

    def _defragment(self, member: FakeMember, _: dict[str, Any]) -> dict[str, Any]:
        if self.slow:
            raise TooLong("no answer")
        self.defragmented.append(member.name)
        member.size = member.in_use = member.needed
        return {}

    def _transfer(self, member: FakeMember, body: dict[str, Any]) -> dict[str, Any]:
        assert member.id == self.leader
        if not self.deaf:
            self.leader = body["targetID"]
        return {}

    def _grant(self, _: FakeMember, body: dict[str, Any]) -> dict[str, Any]:
        if any(kind == "NOSPACE" for _, kind in self.alarms):
            raise EtcdError("answers 429: etcdserver: mvcc: database space exceeded")
        self.granted += 1
        lease = str(1353509942124998405 + self.granted)
        self.leases.add(lease)
        return {"ID": lease, "TTL": body["TTL"]}

    def _revoke(self, _: FakeMember, body: dict[str, Any]) -> dict[str, Any]:
        self.leases.remove(body["ID"])
        if self.holder == self.me:
            self.holder = ""
        return {}

    def _transaction(self, _: FakeMember, body: dict[str, Any]) -> dict[str, Any]:
        (put,) = body["success"]
        if self.holder:
            found = {"key": put["request_put"]["key"], "value": base64.b64encode(self.holder.encode()).decode()}
            return {"responses": [{"response_range": {"kvs": [found], "count": "1"}}]}
        assert put["request_put"]["lease"] in self.leases
        self.holder = base64.b64decode(put["request_put"]["value"]).decode()
        return {"succeeded": True, "responses": [{"response_put": {}}]}
