"""The roles keep their promises: interfaces documented, variables prefixed, one page of tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[3] / "roles").iterdir() if path.is_dir())
# Settings whose prefix is not the role's name: "component_source" reads better than "components_source".
PREFIXES = {"components": "component"}
# By it a role is chosen, that of containerd or another.
WITHOUT_PREFIX = {"container_runtime"}


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def prefix(role: Path) -> str:
    return PREFIXES.get(role.name, role.name.replace("-", "_"))


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def options(role: Path) -> dict[str, Any]:
    entries = load(role / "meta" / "argument_specs.yml")["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry.get("options", {}).items()}


def test_defaults_and_argument_specs_name_the_same_variables(role: Path) -> None:
    assert set(load(role / "defaults" / "main.yml")) == set(options(role))


def test_argument_specs_state_the_real_defaults(role: Path) -> None:
    stated = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert stated == {name: value for name, value in load(role / "defaults" / "main.yml").items() if name in stated}


def test_ansible_checks_only_what_the_preflight_does_not(role: Path) -> None:
    """It would do so in a process of its own for each role and host: a third of those of a run without changes."""
    entries = set(load(role / "meta" / "argument_specs.yml")["argument_specs"])
    checked = entries & {path.stem for path in (role / "tasks").glob("*.yml")}
    # The preflight itself, and what other playbooks do.
    assert not checked or role.name in ("preflight", "reset", "restore")


def test_every_variable_is_described_and_typed(role: Path) -> None:
    for name, option in options(role).items():
        assert option.get("description"), f"{name} has no description"
        assert option.get("type"), f"{name} has no type"


@pytest.fixture(scope="module")
def readers() -> str:
    """Everything that may read a setting, in one text: not where it is declared."""
    root = ROLES[0].parents[1]
    texts = (path for top in ("roles", "playbooks", "plugins", "src") for path in (root / top).rglob("*"))
    kinds = (".py", ".yml", ".j2")
    found = [
        path.read_text() for path in texts if path.suffix in kinds and path.parent.name not in ("meta", "defaults")
    ]
    defaults = (load(role / "defaults" / "main.yml") for role in ROLES)
    return "\n".join([*found, *(str(list(values.values())) for values in defaults)])


def test_every_setting_is_read_somewhere(role: Path, readers: str) -> None:
    # Of a single choice there is nothing to read yet: it is refused to be another.
    wanted = [name for name, option in options(role).items() if len(option.get("choices", ())) != 1]
    assert [name for name in wanted if not re.search(rf"\b{name}\b", readers)] == []


def test_no_default_of_a_setting_is_repeated() -> None:
    """Where a play does not have the role, lookup('setting', NAME) knows its default."""
    names = {name for each in ROLES for name in options(each)}
    root = ROLES[0].parents[1]
    repeated = [
        f"{path.relative_to(root)}: {match.group(1)}"
        for top in ("roles", "playbooks")
        for path in (root / top).rglob("*")
        if path.suffix in (".yml", ".j2")
        for match in re.finditer(r"\b(\w+) *\| *default\(", path.read_text())
        if match.group(1) in names
    ]
    assert repeated == []


def test_no_condition_takes_a_text_for_a_switch() -> None:
    """``-e`` and inventories in INI give texts: 'false' is one that is not empty, and that Ansible refuses besides."""
    switches = "|".join(name for each in ROLES for name, option in options(each).items() if option["type"] == "bool")
    condition = re.compile(
        rf"(?:\b(?:if|elif|and|or|not)|(?:when|that|until|\w+_when):|^ *-) +(?:lookup\('setting', ')?({switches})\b"
        r"(?:'\))?+(?! *\| *bool\b)",
        re.MULTILINE,
    )
    assert condition.findall("  when: upgrade_probe_nodes\n    - not reset_state\n    - reset_state | bool") == [
        "upgrade_probe_nodes",
        "reset_state",
    ]
    root = ROLES[0].parents[1]
    bare = [
        f"{path.relative_to(root)}: {name}"
        for top in ("roles", "playbooks")
        for path in (root / top).rglob("*")
        if path.suffix in (".yml", ".yaml", ".j2")
        for name in condition.findall(path.read_text())
    ]
    assert bare == []


def test_public_variables_carry_the_role_prefix(role: Path) -> None:
    wrong = {name for name in options(role) if not name.startswith(prefix(role) + "_")}
    assert wrong <= WITHOUT_PREFIX


def test_internal_variables_carry_two_underscores_and_the_role_prefix(role: Path) -> None:
    wrong = [name for name in load(role / "vars" / "main.yml") if not name.startswith(f"__{prefix(role).rstrip('s')}")]
    assert not wrong


def test_tasks_fit_one_page(role: Path) -> None:
    main = role / "tasks" / "main.yml"
    assert not main.exists() or len(main.read_text().splitlines()) <= 90


def test_no_task_is_for_units_that_a_host_may_have_had_once(role: Path) -> None:
    """The manifest forgets none, for a reset: what is removed because of it would be removed by every run."""
    for path in (role / "tasks").glob("*.yml"):
        assert "installed.units" not in path.read_text(), f"{path}: installed.active are those that there are"


@pytest.mark.parametrize("path", ["etcd/tasks/defragment.yml", "backup/tasks/main.yml"])
def test_what_is_switched_off_leaves_no_certificate_that_nothing_renews(path: str) -> None:
    tasks = [
        each["install_component"]
        for each in yaml.safe_load((ROLES[0].parent / path).read_text())
        if "install_component" in each
    ]
    (on,) = (each["certificates"] for each in tasks if "certificates" in each)
    (off,) = (each["absent"] for each in tasks if "certificates" not in each)
    assert {f"{each['path']}.{kind}" for each in on for kind in ("crt", "key")} <= set(off)


def test_no_injected_facts(role: Path) -> None:
    injected = re.compile(
        r"\{\{ *ansible_(?!facts|host|connection|check_mode|play|user|managed|inventory_sources|failed)\w+"
    )
    for path in filter(Path.is_file, role.rglob("*")):
        assert not injected.search(path.read_text()), f"{path} uses an injected fact"


# All that components write to. Root has to work in them, too, and takes the more care there.
WRITABLE = {
    "/var/log/kubernetes/apiserver",
    "{{ __backup_state }}",
    "{{ __backup_state }}/metrics",
    "{{ __etcd_defragment_state }}",
    "{{ __etcd_defragment_state }}/metrics",
    "{{ backup_directory }}",
    "{{ etcd_data_directory }}",
}


def directories(found: Any) -> list[dict[str, Any]]:
    """Directories that a role's tasks make."""
    if isinstance(found, dict):
        mine = found.get("directories")
        listed = [entry for entry in mine if isinstance(entry, dict)] if isinstance(mine, list) else []
        return listed + [entry for value in found.values() for entry in directories(value)]
    return [entry for value in found for entry in directories(value)] if isinstance(found, list) else []


def test_directories_are_roots_but_for_those_that_a_component_writes_to(role: Path) -> None:
    for path in role.glob("tasks/*.yml"):
        for entry in directories(yaml.safe_load(path.read_text())):
            assert "owner" not in entry or entry["path"] in WRITABLE, f"{path}: {entry}: give its group access instead"
            assert "group" not in entry or entry["mode"] == "0750", f"{path}: {entry}"


def test_no_key_that_a_merge_brought_is_given_again(role: Path) -> None:
    """Ansible warns of it at each run, as of a key that is there twice by mistake."""
    for path in (*role.rglob("*.yml"), *role.rglob("*.yaml.j2")):
        assert "<<:" not in path.read_text(), f"{path} merges"
