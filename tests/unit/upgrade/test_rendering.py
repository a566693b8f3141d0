"""Plans as operators and programs read them, and what is said of failures."""

from __future__ import annotations

import json

from tests.unit.upgrade.worlds import NEW, OLD, back, changed, goal, world

from kubeproof.upgrade.plan import plan
from kubeproof.upgrade.rendering import document, render
from kubeproof.upgrade.world import KUBE_PROXY, KUBELET, UPGRADE

WHOLE = """\
prod: Kubernetes 1.34.4, 1.36.3 -> 1.37.2, etcd 3.6.16 -> 3.7.3, containerd 2.3.7 -> 2.4.2, runc 1.4.3 ->
  1.5.2, CNI plugins 1.9.1 -> 1.10.0, CoreDNS 1.14.0 -> 1.15.0

host  etcd             API server  controllers  kubelet  kube-proxy  containerd  runc   CNI plugins
cp1   3.6.16 (leader)  1.36.3      1.36.3       1.36.3   1.36.3      2.3.7       1.4.3  1.9.1
cp2   3.6.16           1.36.3      1.36.3       1.36.3   1.36.3      2.3.7       1.4.3  1.9.1
cp3   3.6.16           1.36.3      1.36.3       1.36.3   1.36.3      2.3.7       1.4.3  1.9.1
w1    -                -           -            1.36.3   1.36.3      2.3.7       1.4.3  1.9.1
w2    -                -           -            1.34.4   1.34.4      2.3.7       1.4.3  1.9.1        (behind, allowed)

 1  stage all versions                    all hosts
 2  backup, verified
 3  rehearsal with 1.37.2 on that backup
 4  etcd 3.7.3                            cp2, cp3, cp1                   back: old binary until cp1, then a downgrade
 5  API servers 1.37.2 as 1.36            cp1, cp2, cp3                   back: any time until step 8
 6  controllers 1.37.2 as 1.36            cp1, cp2, cp3                   back: any time until step 8
 7  verification, quick
 8  API servers, controllers as 1.37      cp1, cp2, cp3                   back: if the old version reads all objects
 9  nodes                                 w1, w2, cp1, cp2, cp3, drained  back: any time
10  DNS 1.15.0                                                            back: any time
11  verification
"""


def test_the_whole_of_it() -> None:
    here = changed(world(), "w2", runs={KUBELET: "1.34.4", KUBE_PROXY: "1.34.4"})
    assert render(plan(here, goal())) == WHOLE


def test_what_is_in_the_way_is_one_list_with_remedies() -> None:
    text = render(plan(changed(world(operation="`cluster.yml` of ann"), "cp2", ready=False), goal()))
    assert "(not ready)" in text
    assert "In the way (2 errors):" in text
    assert "→ Repair it first (kubectl describe node cp2; journalctl on it), or replace it; then run this" in text


def test_nothing_to_do() -> None:
    text = render(plan(world(versions=NEW), goal()))
    assert text.startswith("prod: Kubernetes 1.37.2, etcd 3.7.3")
    assert text.endswith("\nNothing to do.\n")


def test_what_is_found_half_done() -> None:
    here = changed(world(versions={**OLD, "kubernetes": "1.37.2 as 1.36"}), "w1", cordoned=UPGRADE)
    text = render(plan(changed(here, "w2", cordoned="operator", reachable=False), back()))
    assert "1.37.2 as 1.36" in text
    assert "(cordoned by an upgrade" in text
    assert "(unreachable, cordoned" in text
    assert text.startswith("prod: back: Kubernetes")


def test_a_run_that_ends_before_all_is_done() -> None:
    text = render(plan(world(), goal(hosts=frozenset({"w1"}))))
    assert "Not all of it: etcd of cp2, cp3, which --hosts leaves out, come first." in text


def test_a_plan_as_data() -> None:
    found = json.loads(json.dumps(document(plan(world(), goal()))))
    assert found["exit_code"] == 2
    assert found["versions"]["etcd"] == {"now": ["3.6.16"], "then": "3.7.3"}
    assert found["hosts"]["cp1"]["runs"]["etcd"] == "3.6.16"
    assert [step["step"] for step in found["steps"]][3:5] == ["etcd", "api-servers"]
    assert found["steps"][3]["batches"] == [["cp2"], ["cp3"], ["cp1"]]
    assert found["steps"][8]["drained"] == ["w1", "w2", "cp1", "cp2", "cp3"]


def test_what_hosts_did_by_themselves_is_said() -> None:
    now = changed(world(), "w1", turned="nodes: put back by the host itself at 2026-11-28 05:20 UTC: nobody has")
    now = changed(changed(now, "cp1", keeps=True), "w1", keeps=True)
    text = render(plan(now, goal()))
    assert "\nw1: nodes: put back by the host itself at 2026-11-28 05:20 UTC: nobody has.\n" in text
    assert "Files of other versions are kept on cp1 and w1." in text
    told = document(plan(now, goal()))["hosts"]
    assert (told["w1"]["turned"][:5], told["cp1"]["keeps"], told["cp2"]["keeps"]) == ("nodes", True, False)


def test_nodes_that_an_upgrade_has_left_cordoned_and_how_to_go_on() -> None:
    now = changed(changed(world(), "w1", cordoned="upgrade"), "w2", cordoned="operator")
    text = render(plan(now, goal()))
    assert (
        "No pods are scheduled to w1: an upgrade has cordoned what it did not finish. The next run lifts that; to lift "
        "it without one: kubectl uncordon w1."
    ) in text
