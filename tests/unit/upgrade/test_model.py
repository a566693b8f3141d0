"""Random clusters, upgraded by runs that are killed, on hosts that fail: what has to hold at every moment."""

from __future__ import annotations

import collections
import dataclasses
import random

import pytest
from tests.unit.upgrade.model import Chaos, Cluster, finish, limits, scenario

from kubeproof.core.versions import Version
from kubeproof.preflight.findings import errors
from kubeproof.upgrade.evidence import complete
from kubeproof.upgrade.goal import BACK
from kubeproof.upgrade.plan import plan
from kubeproof.upgrade.world import ETCD

SEED = 20261127
RUNS = 2_000


def upgraded(chance: random.Random, outcomes: collections.Counter[str]) -> int:
    """One cluster: forward, with failures; sometimes back from wherever that has led; to the end. Returns its runs."""
    case = scenario(chance)
    cluster = Cluster(case.world, Chaos(chance, budget=chance.randrange(6)))
    goal = case.goal(**case.options)
    turned = chance.random() < 0.4
    for _ in range(chance.randrange(3)):
        cluster.run(case.goal(**case.options, **limits(chance, cluster.world)))
    if turned:
        back = case.back()
        promised = not errors(plan(cluster.world, back).findings)
        outcomes["back promised" if promised else "back refused"] += 1
        assert promised or not all(one.well for one in cluster.world.hosts)
        if promised and chance.random() < 0.6:
            finish(cluster, back)
            assert_at_rest(cluster, back.versions)
        elif promised:
            # Forward again from the middle of the way back.
            cluster.run(dataclasses.replace(back, until=chance.choice(BACK)))
    finish(cluster, goal)
    assert_at_rest(cluster, goal.versions)
    assert {one.name for one in cluster.world.hosts if one.cordoned} == case.operators
    again = plan(cluster.world, goal)
    assert (again.turns, again.exit_code) == ((), 0)
    outcomes.update(outcome.partition(":")[0] for outcome in cluster.ended)
    return len(cluster.ended)


def assert_at_rest(cluster: Cluster, versions: dict[str, Version]) -> None:
    """Nothing is left to be done, or half done."""
    world = cluster.world
    assert complete(world, versions)
    assert not world.unfinished
    assert world.etcd.downgrade is None
    assert world.etcd.version == min(running.version.series for _, _, running in world.running(ETCD))


def test_every_moment_is_within_the_policy_and_running_again_finishes(request: pytest.FixtureRequest) -> None:
    wanted = request.config.getoption("--model-runs", RUNS)
    outcomes: collections.Counter[str] = collections.Counter()
    runs = seed = 0
    while runs < wanted:
        seed += 1
        try:
            runs += upgraded(random.Random(SEED + seed), outcomes)  # noqa: S311
        except AssertionError as error:
            pytest.fail(f"seed {SEED + seed}: {error}")
    # It tries what it is about.
    share = {outcome: number / runs for outcome, number in outcomes.items()}
    assert min(share[each] for each in ("done", "killed", "failed", "refused", "waits", "back promised")) > 0.02
