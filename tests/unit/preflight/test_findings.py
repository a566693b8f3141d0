"""Findings as data and as a list."""

from __future__ import annotations

from kubeproof.preflight.findings import Finding, as_data, count, errors, relevant, render

UNKNOWN = Finding("unknown-setting", "unknown setting `kubelet_prt`", "Did you mean `kubelet_port`?", "kubelet_prt")
PORT = Finding("port", "port 10250 is taken", "Stop it.", "10250", "w1")
V1 = [Finding("cgroup-v1", "old cgroups", "Boot anew.", host=name, severity="warning") for name in ("w1", "w2")]


def test_settings_come_first_then_hosts_with_their_errors() -> None:
    assert relevant([*V1, PORT, UNKNOWN, PORT], []) == [UNKNOWN, PORT, V1[0], V1[1]]


def test_ignored_by_id_or_by_subject() -> None:
    assert relevant([*V1, PORT, UNKNOWN], ["cgroup-v1", "port:10250", "unknown-setting:other"]) == [UNKNOWN]
    assert relevant([PORT], ["port:10251"]) == [PORT]


def test_count() -> None:
    assert count([]) == "nothing wrong"
    assert count([PORT]) == "1 error"
    assert count(V1) == "2 warnings"
    assert count([PORT, UNKNOWN, V1[0]]) == "2 errors, 1 warning"


def test_only_errors_stop_an_install() -> None:
    assert errors([*V1, PORT]) == [PORT]


def test_data() -> None:
    assert as_data([PORT]) == [
        {
            "id": "port",
            "subject": "10250",
            "host": "w1",
            "wrong": "port 10250 is taken",
            "mend": "Stop it.",
            "severity": "error",
        }
    ]


def test_the_list_says_once_what_holds_for_several_hosts() -> None:
    assert (
        render(relevant([UNKNOWN, PORT, *V1], []))
        == """\
settings
  error    unknown setting `kubelet_prt` [unknown-setting:kubelet_prt]
           → Did you mean `kubelet_port`?

w1
  error    port 10250 is taken [port:10250]
           → Stop it.

w1, w2
  warning  old cgroups [cgroup-v1]
           → Boot anew."""
    )


def test_long_lines_are_folded_between_words() -> None:
    words = Finding("disk", " ".join(["/var/lib/somewhere"] * 12), "Make room.", host="w1")
    lines = render([words]).splitlines()
    assert len(lines) == 5
    assert all(len(line) <= 110 for line in lines)
    assert lines[2].startswith("           /var/lib/somewhere")


def test_nothing_to_say() -> None:
    assert render([]) == ""
