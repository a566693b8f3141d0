"""When a run would begin a second etcd beside one that is there, or an empty one in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.preflight.builders import GIBIBYTE, VALUES, etcd_data, host

from kubeproof.preflight import Variables
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.members import check_members

DIRECTORY = "/var/lib/etcd"
RESTORED = {DIRECTORY: etcd_data(True, "20261121T200000Z")}
NEW = {"etcd_data_directory": "/data/etcd"}
ALL = ("host1", "host2", "host3")


def url(number: int) -> str:
    return f"https://10.0.0.{number}:2380"


def listed(number: int, *, name: str | None = None, started: bool = True) -> dict[str, Any]:
    """A member as etcd lists it."""
    known = f"host{number}" if name is None else name
    return {"id": f"a{number}", "name": known, "peer_urls": [url(number)], "started": started}


def says(*members: dict[str, Any], cluster: str = "c1", **more: Any) -> dict[str, Any]:
    unknown = {"size": 0, "in_use": 0, "revision": 0, "applied": 0}
    return {"cluster": cluster, "members": list(members), "alarms": [], **unknown, **more}


def fresh(number: int, **values: Any) -> Variables:
    """A host on which etcd never was."""
    return Variables(host(number), {}, {**VALUES, **values}, {})


def member(
    number: int,
    peers: Sequence[int] = (1, 2, 3),
    *,
    data: dict[str, dict[str, Any]] | None = None,
    said: dict[str, Any] | None = None,
    values: dict[str, Any] | None = None,
    **etcd: Any,
) -> Variables:
    """A host with a member that was ready, among the ``peers`` that it was installed with."""
    found = {
        "directory": DIRECTORY,
        "lived": DIRECTORY,
        "data": {DIRECTORY: etcd_data(True)} if data is None else data,
        "peers": {f"host{peer}": url(peer) for peer in peers},
        "says": said,
        **etcd,
    }
    return Variables(host(number, etcd=found), {}, {**VALUES, **(values or {})}, {})


def findings(*hosts: Variables, everyone: Sequence[str] = ()) -> list[Finding]:
    return list(check_members(hosts, everyone or [entry.host.name for entry in hosts]))


def ids(*hosts: Variables, everyone: Sequence[str] = ()) -> list[tuple[str, str]]:
    return [(finding.id, finding.host) for finding in findings(*hosts, everyone=everyone)]


def only(*hosts: Variables, everyone: Sequence[str] = ()) -> Finding:
    (finding,) = findings(*hosts, everyone=everyone)
    return finding


class TestWhatMayGoOn:
    def test_a_first_install(self) -> None:
        assert ids(fresh(1), fresh(2), fresh(3)) == []
        assert ids(fresh(1)) == []

    def test_a_cluster_that_is_there(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        assert ids(member(1, said=said), member(2, said=said), member(3, said=said)) == []

    def test_one_that_is_down(self) -> None:
        assert ids(member(1), member(2), member(3)) == []

    def test_a_run_for_some_of_its_hosts(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        assert ids(member(2, said=said), everyone=ALL) == []

    def test_a_run_for_none_of_them(self) -> None:
        assert ids(Variables(host(7, groups=("workers",)), {}, VALUES, {}), everyone=ALL) == []

    def test_hosts_that_can_not_be_reached_are_told_of_elsewhere(self) -> None:
        away = Variables(host(1).__class__("host1", frozenset(["etcd"]), "", None, "away", True), {}, VALUES, {})
        assert ids(away, fresh(2), everyone=("host1", "host2")) == []


class TestAFirstInstallThatWasInterrupted:
    def test_before_anybody_was_ready(self) -> None:
        assert ids(member(1, lived=""), fresh(2), fresh(3)) == []

    def test_once_a_majority_was(self) -> None:
        said = says(listed(1), listed(2), listed(3, started=False))
        assert ids(member(1, said=said), member(2, said=said), fresh(3)) == []

    def test_and_whose_members_are_to_be_others_now(self) -> None:
        assert ids(member(1, (1,), lived=""), fresh(2), fresh(3)) == [
            ("etcd-stranger", "host2"),
            ("etcd-stranger", "host3"),
        ]

    def test_or_elsewhere(self) -> None:
        moved = fresh(2, etcd_peer_port=12380)
        assert ids(member(1, lived=""), moved, fresh(3)) == [("etcd-stranger", "host2"), ("etcd-stranger", "host3")]

    def test_nobody_can_tell_while_those_that_were_ready_do_not_answer(self) -> None:
        finding = only(member(1), member(2), fresh(3))
        assert (finding.id, finding.host) == ("etcd-beginner", "host3")
        assert "etcd on host1, host2 has data, but does not respond" in finding.problem
        assert "systemctl start etcd" in finding.remediation


class TestANewcomer:
    @pytest.mark.parametrize("said", [says(listed(1)), None])
    def test_one_member_becomes_three(self, said: dict[str, Any] | None) -> None:
        found = findings(member(1, (1,), said=said), fresh(2), fresh(3))
        assert [(finding.id, finding.host) for finding in found] == [
            ("etcd-stranger", "host2"),
            ("etcd-stranger", "host3"),
        ]
        assert found[0].problem.startswith("etcd would bootstrap a second, empty cluster besides that on host1;")
        assert "playbooks/restore.yml with all" in found[0].remediation

    def test_three_become_five(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        hosts = [*(member(number, said=said) for number in (1, 2, 3)), fresh(4), fresh(5)]
        assert ids(*hosts) == [("etcd-stranger", "host4"), ("etcd-stranger", "host5")]

    def test_one_that_was_installed_before_and_removed(self) -> None:
        finding = only(member(1, said=says(listed(1), listed(2))), member(2, said=None), member(3, lived=DIRECTORY))
        assert (finding.id, finding.host) == ("etcd-stranger", "host3")
        assert finding.problem == "it has data of an etcd member that is not in the cluster on host1, host2"

    def test_one_that_was_taken_out_to_be_replaced(self) -> None:
        finding = only(member(1, said=says(listed(1), listed(2))), member(2), fresh(3))
        assert finding.remediation == "playbooks/replace-member.yml -e member=host3 makes the host a member again."

    def test_one_that_was_added_and_not_started(self) -> None:
        said = says(listed(1), listed(2), listed(3, name="", started=False))
        finding = only(member(1, said=said), member(2, said=said), fresh(3))
        assert (finding.id, finding.host) == ("etcd-beginner", "host3")
        assert "on host1, host2 expects it to join" in finding.problem

    def test_a_run_that_leaves_out_those_that_may_have_data(self) -> None:
        finding = only(fresh(2), fresh(3), everyone=ALL)
        assert (finding.id, finding.host) == ("etcd-left-out", "settings")
        assert "on host2, host3, and the run does not check whether host1 has one" in finding.problem


class TestForks:
    """Members that wait for each other, started by fewer processes than that takes."""

    @staticmethod
    def found(*hosts: Variables, forks: int) -> list[str]:
        return [finding.id for finding in check_members(hosts, ALL, forks)]

    @pytest.mark.parametrize(("forks", "ids"), [(1, ["etcd-forks"]), (2, []), (20, []), (0, [])])
    def test_a_start_of_all_members_takes_a_quorum_side_by_side(self, forks: int, ids: list[str]) -> None:
        assert self.found(fresh(1), fresh(2), fresh(3), forks=forks) == ids

    def test_those_that_are_all_stopped_wait_for_each_other_too(self) -> None:
        assert self.found(member(1), member(2), member(3), forks=1) == ["etcd-forks"]

    def test_one_alone_waits_for_none_where_others_run(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        assert self.found(member(1, said=said), member(2, said=said), member(3), forks=1) == []

    def test_those_that_are_left_out_may_be_running(self) -> None:
        assert self.found(member(3), forks=1) == []

    def test_the_number_that_it_takes_is_said(self) -> None:
        (finding,) = check_members([fresh(1), fresh(2), fresh(3)], ALL, 1)
        assert "waits for 2 of 3, but Ansible works on only 1 host side by side" in finding.problem
        assert "--forks 2 or more" in finding.remediation


class TestLostData:
    def test_on_the_only_host(self) -> None:
        finding = only(member(1, (1,), data={DIRECTORY: etcd_data(False)}))
        assert (finding.id, finding.host, finding.subject) == ("etcd-data-lost", "host1", DIRECTORY)
        assert "Mount the disk" in finding.remediation
        assert "replace-member" not in finding.remediation

    def test_on_one_of_several(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        lost = member(3, data={DIRECTORY: etcd_data(False)})
        finding = only(member(1, said=said), member(2, said=said), lost)
        assert (finding.id, finding.host) == ("etcd-data-lost", "host3")
        assert "playbooks/replace-member.yml -e member=host3" in finding.remediation

    def test_with_the_whole_host(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        finding = only(member(1, said=said), member(2, said=said), fresh(3))
        assert (finding.id, finding.host) == ("etcd-beginner", "host3")
        assert "playbooks/replace-member.yml -e member=host3" in finding.remediation

    def test_with_two_of_three_hosts(self) -> None:
        assert ids(member(1, said=None), fresh(2), fresh(3)) == [
            ("etcd-beginner", "host2"),
            ("etcd-beginner", "host3"),
        ]


class TestARestoreThatWasInterrupted:
    @pytest.mark.parametrize("said", [says(listed(1, started=False), listed(2, started=False)), None])
    def test_before_it_reached_everybody(self, said: dict[str, Any] | None) -> None:
        finding = only(member(1, (1, 2), data=RESTORED, lived="", said=said), fresh(2))
        assert (finding.id, finding.host) == ("etcd-beginner", "host2")
        assert "of the restore 20261121T200000Z" in finding.problem

    def test_is_no_matter_once_it_has(self) -> None:
        said = says(listed(1), listed(2))
        hosts = [member(number, (1, 2), data=RESTORED, said=said) for number in (1, 2)]
        assert ids(*hosts) == []

    def test_a_host_that_is_lost_later_is_not_one_that_it_did_not_reach(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        finding = only(member(1, data=RESTORED, said=said), member(2, data=RESTORED, said=said), fresh(3))
        assert "lists it as a member that was started" in finding.problem


class TestAnotherDirectory:
    def test_without_data(self) -> None:
        data = {DIRECTORY: etcd_data(True), "/data/etcd": etcd_data(False)}
        finding = only(member(1, (1,), data=data, values=NEW))
        assert (finding.id, finding.host, finding.subject) == ("etcd-data-directory", "host1", "etcd_data_directory")
        assert finding.remediation.startswith("Set etcd_data_directory to /var/lib/etcd. To move the data,")

    def test_of_a_member_that_never_was_ready(self) -> None:
        data = {DIRECTORY: etcd_data(True), "/data/etcd": etcd_data(False)}
        assert ids(member(1, (1,), data=data, lived="", values=NEW)) == [("etcd-data-directory", "host1")]

    def test_to_which_the_data_was_moved(self) -> None:
        data = {DIRECTORY: etcd_data(False), "/data/etcd": etcd_data(True)}
        assert ids(member(1, (1,), data=data, values=NEW)) == []

    def test_while_both_have_some(self) -> None:
        data = {DIRECTORY: etcd_data(True), "/data/etcd": etcd_data(True)}
        finding = only(member(1, (1,), data=data, values=NEW))
        assert finding.id == "etcd-data-directory"
        assert "have etcd data" in finding.problem

    def test_while_the_installed_one_is_not_mounted(self) -> None:
        data = {DIRECTORY: etcd_data(False), "/data/etcd": etcd_data(False)}
        finding = only(member(1, (1,), data=data, values=NEW))
        assert (finding.id, finding.subject) == ("etcd-data-lost", DIRECTORY)

    def test_a_slash_at_its_end_is_none(self) -> None:
        assert ids(member(1, (1,), values={"etcd_data_directory": "/var/lib/etcd/"})) == []

    def test_of_a_first_install_that_came_to_nothing(self) -> None:
        data = {DIRECTORY: etcd_data(False), "/data/etcd": etcd_data(False)}
        assert ids(member(1, (1,), data=data, lived="", values=NEW)) == []

    def test_at_the_same_time_as_new_hosts(self) -> None:
        data = {DIRECTORY: etcd_data(True), "/data/etcd": etcd_data(False)}
        assert ids(member(1, (1,), data=data, values=NEW), fresh(2, **NEW)) == [("etcd-data-directory", "host1")]


class TestWhoIsAMember:
    def test_two_clusters(self) -> None:
        one, others = says(listed(1)), says(listed(1), listed(2), listed(3), cluster="c2")
        finding = only(member(1, said=one), member(2, said=others), member(3, said=others))
        assert (finding.id, finding.host) == ("etcd-clusters", "settings")
        assert finding.problem == "etcd runs as 2 clusters with different content, on host1 and host2, host3"

    def test_an_address_that_has_changed(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        moved = member(2, said=said, values={"etcd_peer_port": 12380})
        finding = only(member(1, said=said), moved, member(3, said=said))
        assert (finding.id, finding.host) == ("etcd-address", "host2")
        assert "expect it at https://10.0.0.2:2380, not at https://10.0.0.2:12380" in finding.problem

    def test_which_does_not_matter_to_one_that_is_alone(self) -> None:
        assert ids(member(1, (1,), said=says(listed(1)), values={"etcd_peer_port": 12380})) == []

    def test_one_that_the_inventory_does_not_have(self) -> None:
        said = says(listed(1), listed(2), listed(3))
        found = findings(member(1, said=said), everyone=("host1",))
        assert [(each.id, each.subject) for each in found] == [("etcd-outsider", "a2"), ("etcd-outsider", "a3")]
        assert "on host1: etcdctl --endpoints https://127.0.0.1:2379 " in found[0].remediation
        assert found[0].remediation.endswith("member remove a2")

    def test_one_that_was_added_by_hand_and_is_nobody_s(self) -> None:
        said = says(listed(1), listed(9, name="", started=False))
        assert ids(member(1, (1,), said=said)) == [("etcd-outsider", "settings")]
        assert ids(member(1, said=said), everyone=ALL) == []


CTL = (
    "etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/etcd/pki/ca.crt --cert /etc/etcd/pki/operator.crt "
    "--key /etc/etcd/pki/operator.key"
)


class TestAlarms:
    def said(self, alarm: str, raised_by: str = "a2") -> dict[str, Any]:
        return says(listed(1), listed(2), alarms=[{"member": raised_by, "alarm": alarm}])

    def test_no_space(self) -> None:
        said = self.said("NOSPACE")
        finding = only(member(1, (1, 2), said=said), member(2, (1, 2), said=said))
        assert (finding.id, finding.subject, finding.severity) == ("etcd-alarm", "NOSPACE", "warning")
        assert "the database of host2 has reached its quota (alarm NOSPACE), 8192 MiB" in finding.problem
        assert finding.remediation == (
            "Raise etcd_quota_backend_bytes, and run this again. Then, on each etcd host, the leader's last: "
            f"{CTL} --command-timeout 10m defrag; and at the end, on host1: {CTL} alarm disarm."
        )

    def test_a_quota_that_was_raised_is_not_to_be_raised_again(self) -> None:
        """The run applies it; the alarm stays until it is disarmed."""
        full = says(
            listed(1), listed(2), alarms=[{"member": "a2", "alarm": "NOSPACE"}], size=8 * GIBIBYTE, in_use=GIBIBYTE
        )
        raised = {"etcd_quota_backend_bytes": 16 * GIBIBYTE}
        finding = only(member(1, (1, 2), said=full, values=raised), member(2, (1, 2), said=full, values=raised))
        assert (finding.id, finding.severity) == ("etcd-alarm", "warning")
        assert finding.problem == (
            "etcd accepts no writes: the database of host2 had reached its quota (alarm NOSPACE), and has 8192 MiB of "
            "the 16384 MiB by etcd_quota_backend_bytes"
        )
        assert finding.remediation.startswith("This run applies etcd_quota_backend_bytes. Then, on each etcd host, ")
        assert finding.remediation.endswith(f"at the end, on host1: {CTL} alarm disarm.")
        # Of the member whose alarm it is, and not of another one.
        small = {**full, "size": GIBIBYTE}
        found = findings(member(1, (1, 2), said=small), member(2, (1, 2), said=full))
        assert [each.id for each in found] == ["etcd-alarm", "etcd-size"]
        assert found[0].remediation.startswith("Raise etcd_quota_backend_bytes")

    def test_corruption_takes_a_replacement(self) -> None:
        said = self.said("CORRUPT")
        finding = only(member(1, (1, 2), said=said), member(2, (1, 2), said=said))
        assert (finding.id, finding.subject, finding.severity) == ("etcd-alarm", "CORRUPT", "warning")
        assert "-e member=host2. Then, on host1: etcdctl" in finding.remediation
        assert "quota" not in finding.problem

    def test_of_a_member_that_is_gone(self) -> None:
        said = self.said("NOSPACE", "dead")
        assert "of dead has" in only(member(1, (1, 2), said=said), member(2, (1, 2), said=said)).problem


class TestLags:
    def found(self, *applied: int) -> list[Finding]:
        numbers = range(1, len(applied) + 1)
        everyone = [listed(number) for number in numbers]
        return findings(
            *(
                member(number, tuple(numbers), said=says(*everyone, applied=each))
                for number, each in zip(numbers, applied, strict=True)
            )
        )

    def test_more_than_a_leader_keeps(self) -> None:
        assert self.found(20_000, 15_000, 20_001 - 5_000) == []
        (finding,) = self.found(20_000, 14_999, 19_000)
        assert (finding.id, finding.host, finding.severity) == ("etcd-lag", "host2", "warning")
        assert "is 5001 entries behind that of host1, more than etcd keeps" in finding.problem

    def test_of_a_member_that_does_not_say_nothing_is_known(self) -> None:
        assert self.found(20_000, 0, 19_999) == []


class TestSizes:
    def found(self, size: float, quota: int = 8 * GIBIBYTE) -> list[Finding]:
        said = says(listed(1), size=int(size), in_use=GIBIBYTE)
        return findings(member(1, (1,), said=said, values={"etcd_quota_backend_bytes": quota}))

    def test_from_80_percent_on(self) -> None:
        assert self.found(0.799 * 8 * GIBIBYTE) == []
        (finding,) = self.found(7 * GIBIBYTE)
        assert (finding.id, finding.host, finding.severity) == ("etcd-size", "host1", "warning")
        assert "has 7168 MiB, 87 % of etcd_quota_backend_bytes (8192 MiB)" in finding.problem
        assert "not in use, 6144 MiB" in finding.remediation
        assert finding.remediation.endswith(f": {CTL} --command-timeout 10m defrag")

    def test_by_the_quota_that_the_run_sets(self) -> None:
        assert self.found(7 * GIBIBYTE, 16 * GIBIBYTE) == []

    @pytest.mark.parametrize(("quota", "number"), [(0, 1), (-1, 0)])
    def test_etcd_s_own_quota_and_none(self, quota: int, number: int) -> None:
        assert len(self.found(1.9 * GIBIBYTE, quota)) == number

    def test_unknown(self) -> None:
        assert self.found(0) == []
