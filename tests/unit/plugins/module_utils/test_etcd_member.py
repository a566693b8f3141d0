"""What a host tells of etcd: from its files, and from the member if one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import etcd_member

CONFIGURATION = """\
# https://etcd.io/docs/
name: cp1
data-dir: /data/etcd
listen-client-urls: https://127.0.0.1:2379,https://10.0.0.1:2379
initial-cluster: cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380
initial-cluster-token: kubeproof
"""
ANSWER = {
    "header": {"cluster_id": "255", "member_id": "16"},
    "members": [
        {"ID": "16", "name": "cp1", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://10.0.0.1:2379"]},
        {"ID": "17", "peerURLs": ["https://10.0.0.2:2380"]},
    ],
}


class Fake:
    """A host made of files below a directory, whose member answers, or does not."""

    def __init__(self, root: Path, answer: dict[str, Any] | None = None) -> None:
        self.root = root
        self.answer = answer
        self.status: dict[str, Any] | None = None
        self.asked: list[str] = []

    def file(self, path: str, content: str = "") -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    def report(self, wanted: str = "/data/etcd", *, installed: bool = True) -> dict[str, Any]:
        def ask(url: str, path: str) -> dict[str, Any] | None:
            self.asked.append(url + path)
            return self.status if path == "/v3/maintenance/status" else self.answer

        found: dict[str, Any] = etcd_member.report(wanted, installed, str(self.root), ask)
        return found


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_a_host_without_etcd(fake: Fake) -> None:
    nothing: dict[str, Any] = {"directory": "", "lived": "", "peers": {}, "says": None}
    assert fake.report() == {**nothing, "data": {"/data/etcd": {"there": False, "restore": ""}}}
    assert fake.asked == []


def test_another_s_configuration_says_nothing_of_ours(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    found = fake.report(installed=False)
    assert (found["directory"], found["peers"], fake.asked) == ("", {}, [])


def test_what_was_installed(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    found = fake.report()
    assert found["directory"] == "/data/etcd"
    assert found["peers"] == {"cp1": "https://10.0.0.1:2380", "cp2": "https://10.0.0.2:2380"}


def test_a_configuration_that_settings_were_merged_into(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", "data-dir: '/data/etcd/'\ninitial-cluster: cp1=https://10.0.0.1:2380\n")
    found = fake.report()
    assert (found["directory"], list(found["peers"])) == ("/data/etcd", ["cp1"])


def test_data_is_what_etcd_would_go_on_with(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    fake.file("/data/etcd/member/snap/db")
    assert not fake.report()["data"]["/data/etcd"]["there"]
    fake.file("/data/etcd/member/wal/0.tmp")
    assert not fake.report()["data"]["/data/etcd"]["there"]
    fake.file("/data/etcd/member/wal/0000000000000000-0000000000000000.wal")
    assert fake.report()["data"] == {"/data/etcd": {"there": True, "restore": ""}}
    fake.file("/data/etcd/member/kubeproof-restore", "20261121T200000Z\n")
    assert fake.report()["data"]["/data/etcd"]["restore"] == "20261121T200000Z"


def test_every_directory_that_matters_is_looked_at(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    fake.file("/var/lib/kubeproof/etcd-member", "/old/etcd\n")
    fake.file("/old/etcd/member/wal/0.wal")
    found = fake.report("/new/etcd/")
    assert {path: data["there"] for path, data in found["data"].items()} == {
        "/data/etcd": False,
        "/new/etcd": False,
        "/old/etcd": True,
    }
    assert found["lived"] == "/old/etcd"


def test_a_member_that_was_healthy_once_lived_where_its_configuration_says(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    assert fake.report()["lived"] == ""
    fake.file("/var/lib/kubeproof/units/etcd.service.json", "{}")
    assert fake.report()["lived"] == "/data/etcd"


def test_so_does_one_whose_mark_could_not_be_written_to_its_end(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    fake.file("/var/lib/kubeproof/etcd-member")
    assert fake.report()["lived"] == "/data/etcd"


def test_what_the_member_says(fake: Fake) -> None:
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    fake.answer = ANSWER
    first = {"id": "10", "name": "cp1", "peer_urls": ["https://10.0.0.1:2380"], "started": True}
    second = {"id": "11", "name": "", "peer_urls": ["https://10.0.0.2:2380"], "started": False}
    unknown: dict[str, Any] = {"alarms": [], "size": 0, "in_use": 0, "revision": 0, "applied": 0}
    assert fake.report()["says"] == {"cluster": "ff", "members": [first, second], **unknown}
    assert fake.asked == [
        "https://127.0.0.1:2379/v3/cluster/member/list",
        "https://127.0.0.1:2379/v3/maintenance/status",
    ]


@pytest.mark.parametrize(
    "alarm", ["memberID:16 alarm:NOSPACE ", "memberID:16  alarm:NOSPACE"], ids=["etcd 3.6 and older", "etcd 3.7"]
)
def test_alarms_and_sizes(fake: Fake, alarm: str) -> None:
    """As etcd's gateway has them: numbers as text, and nothing that is 0 or empty."""
    fake.file("/etc/etcd/etcd.yaml", CONFIGURATION)
    fake.answer = ANSWER
    fake.status = {
        "header": {"cluster_id": "255", "revision": "4711"},
        "raftAppliedIndex": "5000",
        "dbSize": "20971520",
        "dbSizeInUse": "16384",
        "errors": ["etcdserver: no leader", alarm],
    }
    said = fake.report()["says"]
    assert (said["alarms"], said["size"], said["in_use"]) == ([{"member": "10", "alarm": "NOSPACE"}], 20971520, 16384)
    assert (said["revision"], said["applied"]) == (4711, 5000)


def test_a_member_that_can_not_be_asked_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_member, "PKI", str(tmp_path))
    assert etcd_member.over_tls("https://127.0.0.1:1", "/v3/cluster/member/list") is None
