"""What ``ansible-doc`` says of our plugins: that it says it, and that the code takes just that."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jinja2
import pytest
import yaml
from tests.unit.ansible_program import ansible, complaints

from kubeproof.components import fetch, pins, source
from kubeproof.core import paths
from kubeproof.install import leadership, request, rolling, static_pods
from kubeproof.pki import cas
from kubeproof.preflight import findings, model
from kubeproof.restore import replacing
from kubeproof.settings import host_report
from kubeproof.verify.engine.claims import Level

PLUGINS = paths.PROJECT / "plugins"


def names(kind: str) -> list[str]:
    return sorted(path.stem for path in (PLUGINS / kind).glob("*.py"))


MODULES, ACTIONS = names("modules"), names("action")
FILTERS: dict[str, Callable[..., Any]] = {
    name: function
    for file in names("filter")
    for name, function in importlib.import_module(f"plugins.filter.{file}").FilterModule().filters().items()
}
DOCUMENTED = {
    "module": MODULES,
    "filter": sorted(FILTERS),
    "lookup": names("lookup"),
    "callback": names("callback"),
}

Doc = dict[str, Any]


@functools.cache
def json_of(kind: str) -> subprocess.CompletedProcess[str]:
    return ansible("doc", "--json", "--type", kind, *DOCUMENTED[kind])


def shown(kind: str) -> Doc:
    """Documentation of a kind of plugins, as ansible-doc reads it."""
    done = json_of(kind)
    assert done.returncode == 0, done.stderr
    assert complaints(done) == []
    found: Doc = json.loads(done.stdout)
    return found


def documented(name: str) -> Doc:
    """Documentation of one module."""
    found: Doc = shown("module")[name]
    return found


class TestAnsibleDoc:
    def test_every_action_has_a_module_of_its_name(self) -> None:
        assert set(ACTIONS) - set(MODULES) == set()

    def test_every_filter_has_a_file_of_its_name_and_no_file_has_no_filter(self) -> None:
        assert sorted(path.stem for path in (PLUGINS / "filter").glob("*.yml")) == sorted(FILTERS)

    @pytest.mark.parametrize("kind", DOCUMENTED)
    def test_shows_each(self, kind: str) -> None:
        done = ansible("doc", "--type", kind, *DOCUMENTED[kind])
        assert done.returncode == 0, done.stderr
        assert complaints(done) == []
        assert sorted(re.findall(rf"^> {kind.upper()} (\w+) ", done.stdout, re.MULTILINE)) == DOCUMENTED[kind]

    def test_needs_no_configuration_to_find_modules(self) -> None:
        done = ansible("doc", "-M", "plugins/modules", "-t", "module", "install_component", "preflight")
        assert done.returncode == 0, done.stderr
        assert complaints(done) == []
        assert "certificates" in done.stdout

    @pytest.mark.parametrize("kind", DOCUMENTED)
    def test_describes_everything(self, kind: str) -> None:
        found = shown(kind)
        assert sorted(found) == DOCUMENTED[kind]
        assert [text for name, entry in found.items() for text in _undescribed(name, entry, kind)] == []


def _undescribed(name: str, entry: Doc, kind: str) -> Iterator[str]:
    doc = entry["doc"]
    yield from (f"{name}: {key}" for key in ("short_description", "description", "author") if not doc.get(key))
    if not entry["examples"]:
        yield f"{name}: no examples"
    if kind != "callback" and not entry["return"]:
        yield f"{name}: nothing on what it returns"
    for path, option in _flat(doc.get("options", {}), "suboptions"):
        yield from (f"{name}: {path}: {key}" for key in ("description", "type") if not option.get(key))
    for path, value in _flat(entry["return"] or {}, "contains"):
        wanted = ("description", "type", *(("returned",) if kind == "module" and "." not in path else ()))
        yield from (f"{name}: returns {path}: {key}" for key in wanted if not value.get(key))


def _flat(options: Mapping[str, Doc], below: str, prefix: str = "") -> Iterator[tuple[str, Doc]]:
    for name, option in options.items():
        yield prefix + name, option
        yield from _flat(option.get(below) or {}, below, f"{prefix}{name}.")


class Declared(Exception):
    """What a module has declared to AnsibleModule."""

    def __init__(self, argument_spec: Doc, *, supports_check_mode: bool = False, **_: bool) -> None:
        super().__init__()
        self.options = argument_spec
        self.check_mode = supports_check_mode


def declared(name: str, monkeypatch: pytest.MonkeyPatch) -> Declared | None:
    """What a module says that it takes; None if it is documentation alone."""
    module = importlib.import_module(name)
    if not hasattr(module, "main"):
        return None

    def declare(**told: Any) -> None:
        raise Declared(**told)

    monkeypatch.setattr(module, "AnsibleModule", declare)
    with pytest.raises(Declared) as caught:
        module.main()
    return caught.value


def plain(options: Mapping[str, Doc], below: str) -> Doc:
    """Options as Ansible checks them, whether they are from documentation or from the code."""
    return {
        name: {
            "type": option.get("type", "str"),
            "required": bool(option.get("required", False)),
            "default": option.get("default"),
            "choices": list(option.get("choices") or ()),
            "elements": option.get("elements"),
            "suboptions": plain(option.get(below) or {}, below),
        }
        for name, option in options.items()
    }


def accepted(name: str) -> frozenset[str]:
    """Options that an action plugin takes."""
    valid: frozenset[str] = importlib.import_module(f"plugins.action.{name}").ActionModule._VALID_ARGS
    return valid


def fields(kind: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


class TestOptions:
    @pytest.mark.parametrize("name", MODULES)
    def test_are_those_of_the_code(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        options, code = documented(name)["doc"]["options"], declared(name, monkeypatch)
        of_module = set(code.options) if code else set()
        # As in Ansible itself: what an action plugin alone tells its module begins with an underscore.
        internal = {option for option in of_module if option.startswith("_")}
        if name in ACTIONS:
            assert set(options) == accepted(name)
            assert of_module - internal <= accepted(name)
        else:
            assert code, "neither an action plugin nor a module"
            assert set(options) == of_module

    @pytest.mark.parametrize("name", MODULES)
    def test_are_of_the_types_and_defaults_of_the_code(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        code = declared(name, monkeypatch)
        if code is None:
            return
        doc = documented(name)["doc"]
        public = {option: spec for option, spec in code.options.items() if not option.startswith("_")}
        written = plain({option: doc["options"][option] for option in public}, "suboptions")
        for option, spec in public.items():
            # Of a dictionary that the module looks into by itself, Ansible knows nothing.
            written[option]["suboptions"] = written[option]["suboptions"] if spec.get("options") else {}
        assert written == plain(public, "options")
        assert (doc["attributes"]["check_mode"]["support"] != "none") == code.check_mode

    @pytest.mark.parametrize(
        ("name", "option", "wanted"),
        [
            ("install_component", "files", request._FILE_KEYS),
            ("install_component", "directories", request._DIRECTORY_KEYS),
            ("install_component", "certificates", request._CERTIFICATE_KEYS),
            ("component_service", "rolling", fields(rolling.Rolling)),
            ("component_service", "pod", fields(static_pods.Program)),
        ],
    )
    def test_have_the_keys_that_are_understood(self, name: str, option: str, wanted: set[str]) -> None:
        assert set(documented(name)["doc"]["options"][option]["suboptions"]) == wanted

    @pytest.mark.parametrize(
        ("name", "option", "wanted"),
        [
            ("component_service", "form", static_pods.FORMS),
            ("fetch_components", "source", source.SOURCES),
            ("fetch_components", "architectures", pins.ARCHITECTURES),
            ("preflight", "purpose", model.PURPOSES),
            ("verify_cluster", "level", Level.names()),
            ("install_component", "certificates.authority", cas.CAS),
            ("install_component", "files.authority", cas.CAS),
            ("install_component", "files.authority_key", cas.CAS),
            ("install_component", "certificates.usages", tuple(cas._USAGES)),
        ],
    )
    def test_have_the_choices_that_there_are(self, name: str, option: str, wanted: tuple[str, ...]) -> None:
        found = dict(_flat(documented(name)["doc"]["options"], "suboptions"))
        assert sorted(found[option]["choices"]) == sorted(wanted)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("fetch_components", "components", fields(fetch.Fetched)),
        ("preflight", "findings", fields(findings.Finding)),
        # In check mode there is no outcome, but a step of the plan.
        ("etcd_leadership", "", (fields(leadership.Outcome) - {"warnings"}) | {"step"}),
        (
            "etcd_replace_member_plan",
            "ansible_facts.kubeproof_replacement",
            fields(replacing.Replacement) | {"needed", "id"},
        ),
        (
            "host_report",
            "ansible_facts.kubeproof_host",
            {*host_report.HostReport.__annotations__, *host_report.Unexamined.__annotations__},
        ),
    ],
)
def test_results_have_the_fields_that_are_documented(name: str, value: str, wanted: set[str]) -> None:
    found = documented(name)["return"]
    for part in filter(None, value.split(".")):
        found = found[part]["contains"]
    assert set(found) == wanted


def tasks(found: Any) -> Iterator[Doc]:
    """All tasks in a document, those in blocks and plays too."""
    if isinstance(found, dict):
        yield from ([found] if set(found) & set(MODULES) else [])
        found = [found.get(key) for key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always")]
    if isinstance(found, list):
        for entry in found:
            yield from tasks(entry)


class TestTasks:
    def check(self, found: list[Doc]) -> None:
        for task in found:
            (name,) = set(task) & set(MODULES)
            given, options = (task[name] or {}).keys(), documented(name)["doc"]["options"]
            assert given <= options.keys(), task["name"]
            # The defaults of ours are variables, and have what is not given.
            needed = {option for option, spec in options.items() if spec.get("required")}
            assert "module_defaults" in task or needed <= given, task["name"]

    @pytest.mark.parametrize("name", MODULES)
    def test_in_examples_are_right(self, name: str) -> None:
        found = list(tasks(yaml.safe_load(documented(name)["examples"])))
        assert name in {key for task in found for key in task}
        self.check(found)

    @pytest.mark.parametrize("where", ["roles/*/tasks/*.yml", "playbooks/**/*.yml"])
    def test_of_ours_are_right(self, where: str) -> None:
        found = [task for path in paths.PROJECT.glob(where) for task in tasks(yaml.safe_load(path.read_text()))]
        assert found
        self.check(found)


class TestFilters:
    @pytest.mark.parametrize("name", FILTERS)
    def test_take_what_is_documented(self, name: str) -> None:
        doc = shown("filter")[name]["doc"]
        parameters = inspect.signature(FILTERS[name]).parameters.values()
        ordered = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
        wanted = ["_input", *ordered[1:]]
        assert doc["positional"].split(", ") == wanted
        more = set(doc["options"]) - set(wanted)
        assert set(wanted) <= set(doc["options"])
        assert bool(more) == (len(ordered) < len(parameters)), "keywords are documented where there are any"
        for option in wanted:
            assert doc["options"][option].get("required"), option

    @pytest.mark.parametrize("name", FILTERS)
    def test_do_what_their_examples_say(self, name: str) -> None:
        text = shown("filter")[name]["examples"]
        environment = jinja2.Environment(autoescape=False)  # noqa: S701 - no page is made
        environment.filters.update(FILTERS)
        found = re.findall(r'^(\w+: ".*?")\n# => (.*?)(?=^\w+: "|\Z)', text, re.MULTILINE | re.DOTALL)
        # A whole report of a host is too much for an example.
        assert found or name == "host_settings"
        for given, result in found:
            (expression,) = yaml.safe_load(given).values()
            calculate = environment.compile_expression(
                expression.removeprefix("{{").removesuffix("}}"), undefined_to_none=False
            )
            assert calculate() == yaml.safe_load(re.sub(r"^# ", "", result, flags=re.MULTILINE))


def test_fragments_are_used() -> None:
    """A fragment that nothing extends would only look as if it said something."""
    texts = "".join(path.read_text() for path in (PLUGINS / "modules").glob("*.py"))
    used = set(re.findall(r"\w+(?:\.\w+)?", " ".join(re.findall(r"extends_documentation_fragment: \[(.*?)\]", texts))))
    fragments = {
        name if variable == "DOCUMENTATION" else f"{name}.{variable.lower()}"
        for name in names("doc_fragments")
        for variable in vars(importlib.import_module(f"plugins.doc_fragments.{name}").ModuleDocFragment)
        if variable.isupper()
    }
    assert used == fragments
