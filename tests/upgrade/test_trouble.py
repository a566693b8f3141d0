"""What an upgrade refuses, hosts that put themselves back, a target that does not start, and runs that are killed.

All on one cluster, in this order: what is refused or put back leaves it as it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from tests import observed
from tests.disaster.local_cluster import LocalCluster
from tests.killed_run import halted_in, kill_in
from tests.upgrade import older
from tests.upgrade.older import Tell

from kubeproof.components.lock import Lock
from kubeproof.core import waiting
from kubeproof.upgrade.plan import NOTHING, REFUSED
from kubeproof.upgrade.world import APISERVER, CONTAINERD, ETCD, KUBERNETES
from kubeproof.verify.faults.campaign import Campaign
from kubeproof.verify.observe.cluster import TEST_IMAGE

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_REFUSES = "/etc/systemd/system/kube-apiserver.service.d/refuses.conf"
# Which the older version serves, if it is asked to, and the pinned one lacks (APILifecycleRemoved of IPAddress).
_REMOVED_API = "networking.k8s.io/v1beta1"
_READY_SECONDS = 180.0
_CALM_SECONDS = 90.0
_HURRY_SECONDS = 15
# Members of etcd put themselves back one after the other.
_APART_SECONDS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of older versions."""
    served = {"apiserver_extra_args": {"runtime-config": f"{_REMOVED_API}=true"}}
    with older.older_cluster(tmp_path_factory.mktemp("trouble"), 244, served) as made:
        yield made


def ready(cluster: LocalCluster) -> None:
    """Wait until each API server is ready again, with etcd behind it."""
    for host in older.CONTROL_PLANE:
        found = waiting.until(partial(_serves, cluster, host), _READY_SECONDS, pause=2.0)
        assert found, f"the API server on {host} is not ready"


def _serves(cluster: LocalCluster, host: str) -> bool:
    # Anonymous questions for /readyz are allowed. While nothing listens, curl prints 000, and fails.
    asks = "curl --silent --insecure --max-time 5 --output /dev/null --write-out '%{http_code}'"
    return cluster.on(host, f"{asks} https://127.0.0.1:6443/readyz || true") == b"200"


# --- refusals ---


@contextmanager
def no_budget(cluster: LocalCluster) -> Iterator[None]:
    """A pod whose budget allows no disruption."""
    version = Lock(cluster.inventory.state).versions("current")[TEST_IMAGE]
    image = f"--image=localhost/kubeproof/{TEST_IMAGE}:{version}"
    cluster.kubectl("create", "deployment", "stuck", image, "--", "/agnhost", "pause")
    try:
        cluster.kubectl("create", "poddisruptionbudget", "stuck", "--selector=app=stuck", "--min-available=1")
        cluster.kubectl("rollout", "status", "deployment/stuck", "--timeout=100s")
        yield
    finally:
        cluster.kubectl("delete", "deployment,poddisruptionbudget", "stuck", "--ignore-not-found")


@contextmanager
def no_majority(cluster: LocalCluster) -> Iterator[None]:
    """Two of three members of etcd do not run."""
    try:
        for host in ("cp2", "cp3"):
            cluster.on(host, "systemctl stop etcd")
        yield
    finally:
        for host in ("cp2", "cp3"):
            cluster.on(host, "systemctl start --no-block etcd")
        ready(cluster)


@contextmanager
def nothing(_cluster: LocalCluster) -> Iterator[None]:
    """The cluster as it is."""
    yield


@dataclass(frozen=True)
class Refusal:
    """What is planned, and what its operator reads (a regular expression)."""

    name: str
    said: str
    settings: dict[str, Any] = field(default_factory=dict)
    state: Callable[[LocalCluster], Any] = nothing


REFUSALS = [
    Refusal("nothing-to-go-back-to", "there is nothing to go back to", {"upgrade_direction": "back"}),
    Refusal("minor-version-that-is-none-of-ours", r"1\.39\.0 is not supported", {"upgrade_to": "1.39.0"}),
    Refusal(
        "downgrade", r"kubernetes would go from 1\.36\.3 to 1\.35\.4 on cp1, .*, a downgrade", {"upgrade_to": "1.35.4"}
    ),
    Refusal(
        "newer-kubelet",
        "nothing can be done in this run: .*, which --hosts leaves out, come first",
        {"upgrade_hosts": "w1"},
    ),
    Refusal(
        "unknown-gate",
        "does not have the feature gate SidecarContainers any more",
        {"apiserver_extra_args": {"feature-gates": "SidecarContainers=true"}},
    ),
    Refusal("stuck-budget", "default/stuck-.* can't leave", state=no_budget),
    Refusal("lost-majority", "etcd has lost its quorum: 0 of 3 voting members are healthy", state=no_majority),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_it_is_refused(cluster: LocalCluster, tell: Tell, refusal: Refusal) -> None:
    with refusal.state(cluster):
        plan = older.planned(cluster, **refusal.settings)
    tell(f"\n--- {refusal.name}\n{plan.text}")
    assert plan.exit_code == REFUSED
    # Findings are wrapped to the width of a terminal.
    assert re.search(refusal.said, " ".join(plan.text.split()))


def test_a_removed_api_that_is_in_use_is_refused(cluster: LocalCluster, tell: Tell) -> None:
    cluster.kubectl("get", "--raw", f"/apis/{_REMOVED_API}/ipaddresses")
    plan = older.planned(cluster)
    try:
        tell(f"\n--- removed-api\n{plan.text}")
        assert plan.exit_code == REFUSED
        assert f"ipaddresses of {_REMOVED_API} was asked for since API servers were started, by " in " ".join(
            plan.text.split()
        )
    finally:
        for host in older.CONTROL_PLANE:
            cluster.on(host, "systemctl restart kube-apiserver")
            ready(cluster)


def test_a_second_operator_is_refused(cluster: LocalCluster, tell: Tell) -> None:
    with halted_in(cluster.path, "upgrade", "Ask etcd and the API"):
        told = older.stopped(cluster)
    tell(f"\n--- two operators\n{told}")
    assert "another run is changing this cluster" in " ".join(told.split())


# --- a controller that is gone for good ---


@dataclass(frozen=True)
class Gone:
    """A turn in whose middle the controller is lost.

    ``scope``: of the upgrade (``upgrade_only``). ``task``, ``seconds``: in which, and how long after its beginning.
    ``hosts``: those whose turns have begun; if there are none, all of etcd's but the leader: once that one has changed,
    the cluster is of the new version, and it is not put back. ``program``, ``version``: what they run again.
    """

    name: str
    scope: str
    task: str
    seconds: float
    hosts: tuple[str, ...]
    program: str
    version: str


GONE = [
    Gone("etcd", "etcd", "etcd : Start etcd, or restart it", 1.0, (), ETCD, older.OLDER[ETCD]),
    Gone(
        "api-server", "kubernetes", "apiserver : Start the API server", 2.0, ("cp1",), APISERVER,
        older.OLDER[KUBERNETES],
    ),
    Gone(
        "node", "runtime", "Wait until the node is ready with its new version", 0.5, ("w1",), CONTAINERD,
        older.OLDER[CONTAINERD],
    ),
]  # fmt: skip


@pytest.mark.parametrize("gone", GONE, ids=lambda gone: gone.name)
def test_a_host_whose_controller_is_gone_puts_itself_back(cluster: LocalCluster, tell: Tell, gone: Gone) -> None:
    hosts = gone.hosts or older.planned(cluster, upgrade_only=[gone.scope]).followers

    def lost(campaign: Campaign) -> None:
        kill_in(
            cluster.path, "upgrade", gone.task, gone.seconds, upgrade_only=[gone.scope], upgrade_rehearsal=False,
            upgrade_verification="none",
        )  # fmt: skip
        begun = [host for host in hosts if older.turn(cluster, host).get("state") == "unconfirmed"]
        assert begun == list(hosts)
        for number, host in enumerate(hosts):
            older.hurry(cluster, host, _HURRY_SECONDS + _APART_SECONDS * number)
        for host in hosts:
            assert older.await_put_back(cluster, host)["by"] == "host"
        ready(cluster)
        for host in hosts:
            # A host has no right to lift its cordon: the plan says that, and its operator does it.
            cluster.kubectl("uncordon", host)
        campaign.await_whole("after hosts have put themselves back")

    seen = older.watched(cluster, tell, f"{gone.name}: controller gone, put back by hosts", lost)
    plan = older.planned(cluster, upgrade_only=[gone.scope])
    tell(plan.text)
    assert {plan.runs(host)[gone.program] for host in hosts} == {gone.version}
    assert "put back by the host itself" in " ".join(plan.text.split())
    assert observed.wrong(seen) == []


# --- a target that does not start ---


def test_a_target_that_does_not_start_on_the_second_api_server(cluster: LocalCluster, tell: Tell) -> None:
    series = older.pinned(KUBERNETES).rpartition(".")[0]
    check = f'! /usr/local/bin/kube-apiserver --version | grep -q "v{series}"'
    text = f"[Service]\nExecStartPre=+/bin/sh -c '{check}'\n"
    cluster.on("cp2", f"install -d $(dirname {_REFUSES}) && cat > {_REFUSES} <<'END'\n{text}END\n")
    told: list[str] = []

    def fails(campaign: Campaign) -> None:
        told.append(
            older.stopped(
                cluster, upgrade_only=["kubernetes"], upgrade_until="api-servers", upgrade_rehearsal=False,
                upgrade_verification="none",
            )
        )  # fmt: skip
        campaign.await_whole("after an upgrade that was stopped")

    try:
        seen = older.watched(cluster, tell, "an API server that does not start, put back", fails)
    finally:
        cluster.on("cp2", f"rm -r $(dirname {_REFUSES}); systemctl daemon-reload")
    tell(told[0])
    plan = older.planned(cluster)
    runs = {host: plan.runs(host)[APISERVER] for host in older.CONTROL_PLANE}
    old = older.OLDER[KUBERNETES]
    assert runs == {"cp1": f"{older.pinned(KUBERNETES)} as {old.rpartition('.')[0]}", "cp2": old, "cp3": old}
    assert re.search("failed on cp2, which was put back to", " ".join(told[0].split()))
    assert observed.wrong(seen) == []


# --- runs that are killed ---

# In whose middle an upgrade is killed, and how many seconds after their beginning; in the order of an upgrade. Tasks
# that include a role are shown without that of their own.
POINTS = [
    ("Send versions to the host", 3.0),
    ("Back up etcd", 0.5),
    ("Have the target read the backup", 3.0),
    ("etcd : Start etcd, or restart it", 1.0),
    ("etcd : Transfer etcd leadership", 0.5),
    ("apiserver : Start the API server", 2.0),
    ("scheduler : Start the scheduler", 1.0),
    ("Verify the control plane", 2.0),
    ("Drain the node", 2.0),
    ("kubelet : Start the kubelet", 1.0),
    ("Wait until the node is ready with its new version", 0.5),
    ("Let pods come back", 0.5),
    ("Remove former versions from the host", 0.0),
]


def test_an_upgrade_that_is_killed_again_and_again_is_finished_by_the_next(cluster: LocalCluster, tell: Tell) -> None:
    uids = cluster.uids()

    def killed(campaign: Campaign) -> None:
        for task, seconds in POINTS:
            begun = time.monotonic()
            kill_in(cluster.path, "upgrade", task, seconds, upgrade_verification="none")
            # What an operator would wait for. A member or node whose turn was not confirmed may not be well.
            missing = campaign.missing(_CALM_SECONDS)
            tell(f"killed in {task!r} after {time.monotonic() - begun:.0f} s; {missing or 'whole'}")
        older.upgraded(cluster, campaign)

    seen = older.watched(cluster, tell, f"upgrade, killed {len(POINTS)} times", killed)
    plan = older.planned(cluster)
    assert older.other_than(plan, older.moved(older.pinned)) == []
    assert plan.exit_code == NOTHING
    kept = cluster.uids()
    gone = [name for name, uid in uids.items() if kept.get(name) != uid and not _replaceable(name)]
    assert gone == []
    # What a run did at the moment in which it was killed may have cost a request; nothing may have been lost by it.
    tell(f"{len(observed.failed(seen))} requests failed")
    assert seen.violations == []
    assert seen.diverged == ""


def _replaceable(name: str) -> bool:
    """Whether an object may be another one after nodes were drained and API servers serve other versions."""
    return name.split()[1] in {"Pod", "EndpointSlice", "ControllerRevision", "APIService"}


def test_what_was_killed_and_finished_is_proven(cluster: LocalCluster) -> None:
    cluster.play("verify")
