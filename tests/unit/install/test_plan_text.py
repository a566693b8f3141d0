"""A plan on a terminal, a narrow one and a wide one."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console
from tests.unit.install import plans

from kubeproof.install import plan_text
from kubeproof.install.gates import Gate
from kubeproof.install.steps import Report, Step, steps


def shown(made: Sequence[Step], width: int = 80, *, refused: bool = False, hosts: int = 0) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=width)
    for line in plan_text.conclusion(made, refused=refused, hosts=hosts, command="./kubeproof up"):
        console.print(line)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_steps_are_shown_by_phase_with_a_line_for_each_batch() -> None:
    assert shown(plans.made()) == [
        "Install etcd",
        "   1 /etc/etcd/etcd.yaml: content  cp1, cp2, cp3",
        "    why     settings, inventory or versions differ from those of the last run",
        "   2 etcd.service: restarted  one of cp1, cp3 first",
        "    why     changed since its start: /etc/etcd/etcd.yaml",
        "    before  on 2 others: :2379/health says true",
        "    after   :2379/health says true",
        "    then    the other one, with the same gate",
        "Restart the etcd leader",
        "   3 the run waits for another leader",
        "   4 etcd.service: restarted  cp2",
        "    why     changed since its start: /etc/etcd/etcd.yaml",
        "    before  on 2 others: :2379/health says true",
        "    after   :2379/health says true",
        "Install kubelets",
        "   5 kubelet: 2 changes  w1, w2, w3, w4, w5",
        "            /etc/k/a: content",
        "            /etc/k/b: created",
        "    why     settings, inventory or versions differ from those of the last run",
        "   6 kubelet.service: restarted  one of w1, w2, w3, w4, w5 first",
        "    why     changed since its start: /etc/etcd/etcd.yaml",
        "    after   :10248/healthz says ok; node Ready again, if it was before",
        "    then    the other 4, at most 2 at a time, with the same gate",
        "Wait for nodes and add-ons",
        "   7 the run waits for 8 nodes Ready",
        "7 steps on 8 hosts, 8 restarts. Nothing was changed; `./kubeproof up` does it.",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_line_fits_and_every_word_is_there(width: int) -> None:
    narrow, wide = shown(plans.made(100), width), shown(plans.made(100), 1000)
    assert max(map(len, narrow)) <= width
    # Paths that do not fit are folded.
    assert "".join("".join(narrow).split()) == "".join("".join(wide).split())


def test_of_many_hosts_some_are_named_and_all_are_counted() -> None:
    lines = shown(plans.made(100), 200)
    assert any("one of w1, w2, w3, w4, w5, w6, w7 and 93 more first" in line for line in lines)
    assert any("the other 99, at most 2 at a time" in line for line in lines)
    assert lines[-1].startswith("7 steps on 103 hosts, 103 restarts.")


def test_reasons_that_differ_are_those_of_their_hosts() -> None:
    found = plans.reports()
    found.append(plans.restart(found[4].place, "cp9", "etcd.service", plans.ETCD, 1, plans.SETTINGS))
    lines = shown(steps(found), 100)
    assert "    why     cp1, cp3: changed since its start: /etc/etcd/etcd.yaml" in lines
    assert "    why     cp9: settings, inventory or versions differ from those of the last run" in lines
    assert "    then    the other 2, one at a time, with the same gate" in lines


def test_a_restart_of_all_hosts_at_once_says_so() -> None:
    at = plans.place(1, "Install etcd", "etcd")
    found = [plans.restart(at, host, "etcd.service", Gate(), 0) for host in ("cp1", "cp2")]
    assert "   1 etcd.service: restarted  cp1, cp2, all at once" in shown(steps(found))
    assert "   1 /etc/x: mode  cp1, cp2" in shown(
        steps([Report(at, host, ("/etc/x: mode",), plans.SETTINGS) for host in ("cp1", "cp2")])
    )


def test_what_happens_to_one_unit_is_one_line() -> None:
    at, does = plans.place(1, "Install etcd", "etcd"), ("etcd.service: enabled", "etcd.service: started")
    lines = shown(steps([Report(at, "cp1", does, plans.SETTINGS)]))
    assert lines[1:3] == [
        "   1 etcd.service: enabled, started  cp1",
        "    why     settings, inventory or versions differ from those of the last run",
    ]


def test_of_many_changes_some_are_listed_and_all_are_counted() -> None:
    at, does = plans.place(1, "Distribute", "components"), tuple(f"/bin/{number}: missing" for number in range(20))
    lines = shown(steps([Report(at, "cp1", does, plans.SETTINGS)]))
    assert lines[1] == "   1 components: 20 changes  cp1"
    assert lines[13:15] == ["            /bin/11: missing", "            and 8 more"]


def test_nothing_to_do_is_said() -> None:
    assert shown([], hosts=3) == ["Nothing to change on 3 hosts."]
    assert shown([], hosts=1) == ["Nothing to change on 1 host."]


def test_what_would_be_refused_has_no_steps() -> None:
    assert shown(plans.made(), refused=True) == [
        "A run would be refused for this reason, or end here. Nothing was changed."
    ]
