"""Flags of the user's: joined as components take them, the same in both forms, and refused where they can't be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubeproof.core import paths
from kubeproof.install import static_pods
from kubeproof.preflight.model import Host
from kubeproof.preflight.settings import Variables, check_settings
from kubeproof.settings import authentication, flags, specs

SETTINGS = {name for name in specs.load().options if name.endswith("_extra_args")}
NASTY = [
    "a b",
    "100%",
    "%n",
    "$HOME",
    "$(HOME)",
    "${HOME}x",
    'say "x"',
    "back\\slash",
    "it's",
    "a;b",
    "ä",
    "",
    "#x",
    "$$",
]


def found(setting: str, given: Any) -> list[str]:
    entry = Variables(Host("h0", frozenset(["etcd"]), ""), {setting: "hosts.yml:3"}, {setting: given}, {})
    groups = {"etcd": ["h0"], "control_plane": ["h0"], "workers": ["h0"]}
    listed = check_settings([entry], groups, specs.load())
    return [each.problem.partition(": ")[2] for each in listed if each.id == "invalid-setting"]


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("v", 4, ["--v=4"]),
        ("profiling", True, ["--profiling=true"]),
        ("disable-admission-plugins", ["A", "B"], ["--disable-admission-plugins=A,B"]),
        ("feature-gates", {"B": True, "A": False}, ["--feature-gates=A=false,B=true"]),
        ("tls-sni-cert-key", ["a,b", "c,d"], ["--tls-sni-cert-key=a,b", "--tls-sni-cert-key=c,d"]),
        ("cors-allowed-origins", ["x{1,2}", 'y"'], ['--cors-allowed-origins="x{1,2}","y"""']),
        ("event-ttl", "", ["--event-ttl="]),
        ("goaway-chance", 0.5, ["--goaway-chance=0.5"]),
    ],
)
def test_values_as_flags_take_them(name: str, value: Any, flag: list[str]) -> None:
    assert flags.render({name: value}) == flag


@pytest.mark.parametrize("given", [["PodSecurity", "NodeRestriction"], "PodSecurity, NodeRestriction", "PodSecurity"])
def test_what_both_may_give_is_one_flag(given: Any) -> None:
    own = ["--enable-admission-plugins=NodeRestriction", "--x=1"]
    together = flags.together(own, {"enable-admission-plugins": given, "v": 2})
    assert together == ["--enable-admission-plugins=NodeRestriction,PodSecurity", "--x=1", "--v=2"]
    assert flags.together(["--x=1"], {"enable-admission-plugins": ["A"]}) == ["--x=1", "--enable-admission-plugins=A"]


def test_a_plain_command_is_left_plain() -> None:
    assert flags.unit_command(["/bin/x", "--a=b,c", "--d=/e"]) == "/bin/x \\\n  --a=b,c \\\n  --d=/e"


@pytest.mark.skipif(not shutil.which("systemd-run"), reason="there is no systemd here")
@pytest.mark.skipif(not Path("/run/systemd/system").exists(), reason="systemd does not run here")
def test_systemd_gives_a_program_the_words_as_they_are(tmp_path: Path) -> None:
    said = tmp_path / "said"
    words = ["/usr/bin/python3", "-c", f"import json,sys; json.dump(sys.argv[1:], open('{said}','w'))", *NASTY]
    unit = Path("/run/systemd/system/kubeproof-test-words.service")
    unit.write_text(f"[Service]\nType=oneshot\nExecStart={flags.unit_command(words)}\n")
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "start", unit.name], check=True)
    finally:
        unit.unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert json.loads(said.read_text()) == NASTY


def systemd_words(line: str) -> list[str]:
    """Words of ``ExecStart=``, after systemd.service(5): quotes, C escapes, ``%`` and ``$``."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    characters = iter(line.replace("\\\n", " "))
    for character in characters:
        if character == quote and quote:
            quote = ""
        elif not quote and character in "\"'":
            quote, word = character, word or ""
        elif not quote and character in " \t":
            words += [word] if word is not None else []
            word = None
        else:
            following = next(characters) if character in "\\%$" else character
            assert character in (following, "\\"), f"{character}{following} means something to systemd"
            word = (word or "") + following
    assert not quote
    return words + ([word] if word is not None else [])


def test_units_and_pods_are_given_the_same_words() -> None:
    """What systemd and the kubelet (k8s.io/kubernetes third_party/forked/golang/expansion) make of both."""
    arguments = flags.together(["--own=1"], {f"flag-{number}": text for number, text in enumerate(NASTY)})
    assert systemd_words(flags.unit_command(["/bin/x", *arguments])) == ["/bin/x", *arguments]
    pod = flags.pod_words(arguments)
    assert [word.replace("$$", "$") for word in pod] == arguments
    assert all("$" not in word.replace("$$", "") for word in pod), "a reference to a variable"


def test_a_static_pod_has_them() -> None:
    program = static_pods.Program("kube-scheduler", "x", ["--a=$(B)"], [], "/livez", "1m")
    components = {
        "images": {"kube-scheduler": "i"},
        "image_archives": [{"reference": "i", "digest": "d"}],
    }
    made = static_pods.manifest("kube-scheduler.service", program, "https://127.0.0.1:1/livez", 60, components)
    assert made["spec"]["containers"][0]["command"] == ["/kube-scheduler", "--a=$$(B)"]


@pytest.mark.parametrize("setting", sorted(flags.COMPONENTS))
def test_whatever_a_role_gives_is_refused(setting: str) -> None:
    own = flags.own_flags(flags.COMPONENTS[setting].role)
    assert len(own) > 5
    for name, settings in own.items():
        problems = found(setting, {name: "x"})
        if name == "enable-admission-plugins":
            assert problems == []
            continue
        assert len(problems) == 1, name
        assert problems[0].startswith(f"{name} cannot be given: ")
        said_otherwise = any(re.fullmatch(each, name) for each in flags.COMPONENTS[setting].refused)
        assert said_otherwise or all(each in problems[0] for each in settings), "the setting to use instead"


def test_every_component_that_takes_further_flags_is_looked_at() -> None:
    assert set(flags.COMPONENTS) == SETTINGS
    for component in flags.COMPONENTS.values():
        units = (paths.PROJECT / "roles" / component.role / "templates/etc/systemd/system").glob("*.j2")
        assert all("| unit_command }}" in unit.read_text() for unit in units)


@pytest.mark.parametrize(
    ("setting", "given", "told"),
    [
        ("apiserver_extra_args", {"oidc-issuer-url": "https://x"}, "use apiserver_authentication"),
        ("apiserver_extra_args", {"anonymous-auth": False}, "for load balancers"),
        ("apiserver_extra_args", {"authorization-config": "/x"}, "authorization other than Node,RBAC is not supported"),
        ("apiserver_extra_args", {"authorization-webhook-config-file": "/x"}, "is not supported"),
        ("apiserver_extra_args", {"service-account-issuer": "https://x"}, "the first issuer signs"),
        ("apiserver_extra_args", {"encryption-provider-config": "/x"}, "kubeproof gives it itself"),
        ("apiserver_extra_args", {"audit-log-maxage": 30}, "use apiserver_audit_log_days"),
        ("apiserver_extra_args", {"secure-port": 1}, "use cluster_api_port"),
        ("controller_manager_extra_args", {"cluster-cidr": "10.0.0.0/8"}, "use cluster_pod_network"),
        ("controller_manager_extra_args", {"cluster-signing-kubelet-client-key-file": "/x"}, "excludes it"),
        ("scheduler_extra_args", {"kube-api-qps": 10}, "use scheduler_extra_config"),
        ("scheduler_extra_args", {"leader-elect-lease-duration": "5s"}, "use scheduler_lease_seconds"),
        ("apiserver_extra_args", {"enable_admission_plugins": "A"}, "write it enable-admission-plugins"),
        ("apiserver_extra_args", {"max-requests-inflight": 1, "max_requests_inflight": 2}, "are the same flag"),
        ("apiserver_extra_args", {"--v": 2}, "not a flag name"),
        ("apiserver_extra_args", {"v": None}, "has no value"),
        ("apiserver_extra_args", {"feature-gates": {"A": {"b": 1}}}, "something else than texts"),
        ("apiserver_extra_args", {"event-ttl": "1h\n2h"}, "line break"),
    ],
)
def test_refused_by_name_with_the_reason(setting: str, given: dict[str, Any], told: str) -> None:
    problems = found(setting, given)
    assert len(problems) == 1
    assert told in problems[0]


def test_schedulers_of_ones_own_are_looked_at_too() -> None:
    assert found("scheduler_more", {"batch": {"port": 10300, "args": {"secure-port": 1}}}) == [
        "batch: secure-port cannot be given: kubeproof gives it itself, and relies on it"
    ]
    assert found("scheduler_more", {"batch": {"port": 10300, "args": ["v=1"]}}) == [
        "batch: args is a dictionary of flags"
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"enable-admission-plugins": ["NodeRestriction", "PodSecurity"], "v": 2, "feature-gates": {"X": True}},
        {"max-requests-inflight": 800, "request-timeout": "2m", "disable-admission-plugins": "ServiceAccount"},
    ],
)
def test_others_are_the_users_business(given: dict[str, Any]) -> None:
    assert found("apiserver_extra_args", given) == []


def test_always_pulling_needs_a_registry() -> None:
    given = {"apiserver_extra_args": {"enable-admission-plugins": ["AlwaysPullImages"]}}
    for values, told in (
        ({}, "component_source to release or mirror"),
        ({"component_source": "go"}, "component_source to release or mirror"),
        ({"component_source": "release", "kube_proxy_form": "daemonset"}, "kube_proxy_form to service"),
        ({"component_source": "mirror"}, ""),
    ):
        problems = [problem for _, problem in flags.problems({**given, **values})]
        assert [told in problem for problem in problems] == ([True] if told else [])


JWT: dict[str, Any] = {
    "issuer": {"url": "https://idp.example", "audiences": ["kubernetes"]},
    "claimMappings": {"username": {"claim": "email", "prefix": "oidc:"}},
}


def test_tokens_of_others() -> None:
    assert list(authentication.problems({}, "https://own")) == []
    assert list(authentication.problems({"jwt": [JWT]}, "https://own")) == []
    assert found("apiserver_authentication", {"jwt": [JWT]}) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"anonymous": {"enabled": False}}, "it takes jwt; anonymous is set by kubeproof"),
        ({"jwt": JWT}, "jwt is a list"),
        ({"jwt": [{}]}, "issuer is missing"),
        ({"jwt": [{**JWT, "issuer": {"url": "http://x", "audiences": ["a"]}}]}, "plain https:// address"),
        ({"jwt": [{**JWT, "issuer": {"url": "https://x", "audiences": []}}]}, "at least one audience"),
        ({"jwt": [{**JWT, "issuer": {"url": "https://x", "audiences": ["a", "b"]}}]}, "MatchAny"),
        ({"jwt": [{**JWT, "claimMappings": {"username": {"claim": "sub"}}}]}, "prefix is missing"),
        ({"jwt": [{**JWT, "claimMappings": {"username": {"claim": "a", "expression": "b"}}}]}, "one of claim and"),
        ({"jwt": [{**JWT, "issuers": 1}]}, "issuers is none of"),
        ({"jwt": [JWT, JWT]}, "is listed already"),
        ({"jwt": [{**JWT, "issuer": {**JWT["issuer"], "url": "https://own"}}]}, "is listed already"),
    ],
)
def test_what_an_api_server_would_not_start_with(given: dict[str, Any], told: str) -> None:
    assert any(told in problem for problem in authentication.problems(given, "https://own"))
