"""A cluster of older versions, its upgrade under clients, and what there is to see of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests import disposable_cluster, observed
from tests.disaster.local_cluster import LocalCluster, describe, made_cluster

from kubeproof.components import pins
from kubeproof.core import paths, waiting
from kubeproof.install import playbook
from kubeproof.upgrade.plan import REFUSED
from kubeproof.upgrade.world import COMPONENTS, CONTAINERD, ETCD, KUBERNETES
from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.faults.campaign import Application, Campaign, Observed
from kubeproof.verify.observe.cluster import recorded_image

CONTROL_PLANE = {"cp1": 11, "cp2": 12, "cp3": 13}
WORKERS = {"w1": 21, "w2": 22}
HOSTS = (*CONTROL_PLANE, *WORKERS)
# As Molecule's scenario `upgrade` installs them.
OLDER: Mapping[str, str] = yaml.safe_load((paths.PROJECT / "molecule" / "upgrade" / "older.yml").read_text())[
    "component_versions"
]
# Of these a minor version changes.
_MOVED = (ETCD, KUBERNETES, CONTAINERD)
_APPLICATION = Application(replicas=2, farewell=5)
_TIMER = "kubeproof-put-back.timer"
_DROP_IN = f"/etc/systemd/system/{_TIMER}.d"
_PUT_BACK_SECONDS = 420.0

Tell = Callable[[str], None]


@contextmanager
def older_cluster(
    directory: Path, number: int, installation: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[LocalCluster]:
    """Three control-plane hosts with etcd and two workers. ``number``: of its segment, 10.213.NUMBER.0/24.

    Its inventory wants the pinned versions. ``installation``: settings that it was installed with, and has no more.
    """
    described = describe(f"kubeproof-upgrade-{number}", f"10.213.{number}.0/24", CONTROL_PLANE, WORKERS, **settings)
    with made_cluster(directory, described, **{"component_versions": OLDER, **(installation or {})}) as made:
        yield made


def pinned(component: str) -> str:
    """The version that an upgrade leads to."""
    return pins.load().components[component].version


@dataclass(frozen=True)
class Planned:
    """What a plan has said. ``text``: as its operator reads it."""

    exit_code: int
    text: str
    document: Mapping[str, Any]

    def runs(self, host: str) -> dict[str, str]:
        """Versions by program on a host."""
        return dict(self.document["hosts"][host]["runs"])

    @property
    def followers(self) -> tuple[str, ...]:
        """Hosts whose member of etcd does not lead."""
        return tuple(name for name in CONTROL_PLANE if not self.document["hosts"][name]["leader"])


def planned(cluster: LocalCluster, **settings: Any) -> Planned:
    """Plan an upgrade, by settings of the role; changes nothing."""
    state = cluster.inventory.state
    report = state / "reports" / "upgrade-plan.json"
    report.unlink(missing_ok=True)
    given = ["--check", "--extra-vars", json.dumps(settings)]
    ended = playbook.run("upgrade", cluster.path, state, given, quiet=True)
    if not report.is_file():
        return Planned(REFUSED, why(ended), {})
    document = json.loads(report.read_text(encoding="utf-8"))
    return Planned(int(document["exit_code"]), document["text"], document)


def why(ended: playbook.Run) -> str:
    """What the operator of a run that stopped reads. Fails if it got to its end, or said nothing."""
    told = [f"{each['host']}: {each['message']} {each['hint']}" for each in ended.profile.get("failures", ())]
    assert told, f"the run was to be stopped, and to say why: {ended.log}"
    return "\n".join(told)


def stopped(cluster: LocalCluster, **settings: Any) -> str:
    """Upgrade, which must not get to its end; returns what its operator reads."""
    ended = playbook.run("upgrade", cluster.path, cluster.inventory.state, ["--extra-vars", json.dumps(settings)])
    assert not ended.ok, f"playbooks/upgrade.yml got to its end: {ended.log}"
    return why(ended)


def watched(cluster: LocalCluster, tell: Tell, title: str, happen: Callable[[Campaign], None]) -> Observed:
    """Let something happen under writers, readers and clients of an application, and show what they saw."""
    with disposable_cluster.opened(cluster.inventory) as found, Workspace(found.api) as workspace:
        image = recorded_image(found.inventory, found.nodes)
        manifests = Manifests(workspace.namespace(), image, nodes=tuple(node.name for node in found.nodes))
        with closing(Campaign(found, workspace, manifests, tell, _APPLICATION)) as campaign:
            seen = campaign.observe(lambda: happen(campaign))
    tell(f"{title}: {seen.seconds:.0f} s")
    for line in observed.summary(seen):
        tell(line)
    return seen


def upgraded(cluster: LocalCluster, campaign: Campaign, direction: str = "forward") -> None:
    """Upgrade, or go back, without the verification at its end, until all is whole.

    By then there are new connections to API servers that were restarted.
    """
    cluster.play("upgrade", upgrade_direction=direction, upgrade_verification="none")
    campaign.await_whole("after an upgrade")


def other_than(plan: Planned, wanted: Mapping[str, str]) -> list[str]:
    """What does not run in the versions that are wanted by component; nothing, if all does."""
    return [
        f"{host}: {program} {version}"
        for host in HOSTS
        for program, version in plan.runs(host).items()
        if COMPONENTS[program] in wanted and version != wanted[COMPONENTS[program]]
    ]


def moved(versions: Callable[[str], str]) -> dict[str, str]:
    """Versions of what changes by a minor version, by component."""
    return {component: versions(component) for component in _MOVED}


# --- hosts that put themselves back ---


def turn(cluster: LocalCluster, host: str) -> dict[str, Any]:
    """The record of a host's last turn; empty if it was confirmed."""
    found: dict[str, Any] = json.loads(cluster.on(host, "kubeproof-turn show") or b"{}")
    return found


def hurry(cluster: LocalCluster, host: str, seconds: int) -> None:
    """Let the time in which a turn has to be confirmed be over soon, by the same timer.

    The turn's own time is in another drop-in, whose name is before this one's.
    """
    text = f"[Timer]\\nOnActiveSec=\\nOnActiveSec={seconds}\\n"
    cluster.on(
        host,
        f"install -d {_DROP_IN} && printf '{text}' > {_DROP_IN}/soon.conf && systemctl daemon-reload "
        f"&& systemctl restart {_TIMER}",
    )


def await_put_back(cluster: LocalCluster, host: str) -> dict[str, Any]:
    """Wait until a host whose controller is gone has put itself back; the record of its turn."""
    try:
        waiting.until(lambda: turn(cluster, host).get("state") == "put back", _PUT_BACK_SECONDS, pause=2.0)
    finally:
        cluster.on(host, f"rm -f {_DROP_IN}/soon.conf; systemctl daemon-reload")
    found = turn(cluster, host)
    told = cluster.on(host, "journalctl --no-pager --lines=20 --unit=kubeproof-put-back").decode()
    assert found.get("state") == "put back", f"{host} has not put itself back: {found}\n{told}"
    return found
