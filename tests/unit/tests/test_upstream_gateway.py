"""What the conformance tests of the Gateway API print and what they would pull, as kubeproof reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.upstream import gateway, results
from tests.upstream.results import State

from kubeproof.components import pins
from kubeproof.core.errors import KubeproofError

# As Go's test framework prints it.
BEGUN = """=== RUN   TestConformance
    conformance.go:91: Running conformance tests with:
=== RUN   TestConformance/Good
=== RUN   TestConformance/Good/part_one
=== PAUSE TestConformance/Good/part_one
=== CONT  TestConformance/Good/part_one
=== RUN   TestConformance/Bad
    bad.go:6: before
=== RUN   TestConformance/Bad/inner
    bad.go:6:
        Error Trace: bad.go:6
        Error: not equal
=== RUN   TestConformance/Other
    conformance.go:57: Skipping Other: suite does not support Mesh
"""
ENDED = """--- FAIL: TestConformance (3.00s)
    --- PASS: TestConformance/Good (1.50s)
        --- PASS: TestConformance/Good/part_one (0.00s)
    --- FAIL: TestConformance/Bad (0.20s)
        --- FAIL: TestConformance/Bad/inner (0.10s)
    --- SKIP: TestConformance/Other (0.00s)
FAIL
"""


def test_tests_of_other_features_are_not_selected() -> None:
    tests, steps = gateway.outcomes(BEGUN + ENDED)
    assert [(each.name, each.state, each.seconds) for each in tests] == [
        ("Good", State.PASSED, 1.5),
        ("Bad", State.FAILED, 0.2),
    ]
    assert tests[1].message.splitlines()[0].split() == ["Error:", "not", "equal"]
    assert steps == ()


def test_a_run_that_broke_off_proves_nothing() -> None:
    tests, steps = gateway.outcomes(BEGUN + "panic: test timed out after 1h0m0s\n")
    assert [(each.name, each.state) for each in tests] == [("Good", State.NOT_RUN), ("Bad", State.NOT_RUN)]
    assert [each.name for each in steps] == ["TestConformance"]
    assert "timed out" in steps[0].message
    problems = results.weigh(tests, steps, [each.name for each in tests], ()).problems
    assert "not run: Good" in problems
    assert "failed: TestConformance" in problems


def test_a_set_up_that_failed() -> None:
    tests, steps = gateway.outcomes(
        "=== RUN   TestConformance\n    Error: no cluster\n--- FAIL: TestConformance (0.0s)\n"
    )
    assert (tests, [each.name for each in steps]) == ((), ["TestConformance"])


def test_each_image_has_one_of_ours() -> None:
    text = (
        "image: registry.k8s.io/gateway-api/echo-basic:v1.5.1\n  - image: 'registry.k8s.io/coredns/coredns:v1.12.2'\n"
    )
    wanted = gateway.wanted_images([text, text])
    assert gateway.stand_ins(wanted, "e:1", "c:1") == {
        "registry.k8s.io/gateway-api/echo-basic:v1.5.1": "e:1",
        "registry.k8s.io/coredns/coredns:v1.12.2": "c:1",
    }
    with pytest.raises(KubeproofError, match=r"would pull .*echo-advanced"):
        gateway.stand_ins(["registry.k8s.io/gateway-api/echo-advanced:v1.5.1"], "e:1", "c:1")


def service(**changes: Any) -> str:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}, {"port": 443}]}
    return json.dumps({"spec": spec, "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}} | changes)


def test_traefik_has_an_address() -> None:
    assert gateway.check_reached(service()) == "10.0.0.1"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"loadBalancer": {}}},
        {"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 443}]}},
        {"spec": {"type": "LoadBalancer", "ports": [{"port": 8080}, {"port": 443}]}},
    ],
)
def test_without_one_the_tests_do_not_begin(changes: dict[str, Any]) -> None:
    with pytest.raises(KubeproofError, match="an address of its own"):
        gateway.check_reached(service(**changes))


def test_the_version_is_that_of_the_definitions() -> None:
    components = pins.load().components
    versions = {components[name].version for name in ("gateway-api", "gateway-conformance", "gateway-echo")}
    assert len(versions) == 1


def test_the_command_selects_the_core(tmp_path: Path) -> None:
    line = gateway.command(tmp_path / "conformance", tmp_path / "report.yml")
    assert "-conformance-profiles=GATEWAY-HTTP" in line
    assert "-supported-features=Gateway,HTTPRoute,ReferenceGrant" in line


def test_nodes_get_and_lose_upstreams_names() -> None:
    names = {"theirs:1": "ours:1", "theirs:2": "cluster:1"}
    assert "tag --force ours:1 theirs:1" in gateway.load("/opt/bin", names)
    removed = gateway.unload("/opt/bin", names, "ours:1")
    # Its name by digest goes with it, which containerd's own program would leave.
    assert "/opt/bin/crictl rmi ours:1 " in removed
    assert "remove theirs:1 theirs:2 ours:1 " in removed
    assert "--regexp=theirs:1 --regexp=theirs:2 --regexp=ours:1 " in removed
    assert "cluster:1" not in removed
