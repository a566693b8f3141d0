"""``kubeproof test``: everything that says whether kubeproof itself is in order."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from kubeproof.cli.options import FAILED, SubParsers
from kubeproof.components import pins
from kubeproof.core import console as ui
from kubeproof.core import controller_packages, paths, pythons
from kubeproof.core.environment import environment, tool
from kubeproof.core.process import attend
from kubeproof.core.process import run as run_program
from kubeproof.install import playbook
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import ssh_command

# A network and names of their own: a cluster of the user's on this machine is left alone.
INVENTORY = paths.PROJECT / "inventory" / "test" / "hosts.yml"

# What is installed for a short upgrade: an older version of what takes no drain and no restart of its own.
OLDER = {"cni-plugins": "1.9.1"}
# One of these plugins says of which version it is.
_ASK_PLUGIN = "/opt/cni/bin/bridge --version 2>&1 || true"

# What linters and unit tests call. Without the second line, tests of the pod network would be skipped on a new machine.
_CALLED = tuple(
    controller_packages.Requirement(program, package)
    for program, package in (
        ("shellcheck", "shellcheck"), ("git", "git"),
        ("ip", "iproute2"), ("nft", "nftables"), ("age", "age"),
    )
)  # fmt: skip


@dataclass
class Suite:
    """Checks that have been run, and how each ended."""

    console: Console
    results: list[tuple[str, bool, float]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def leave_out(self, name: str, why: str) -> None:
        """Say of a check that it can't be run here, and why, now and in the summary."""
        self.console.rule(f"[bold]{name}", align="left")
        self.console.print(f"not run: {why}", markup=False)
        self.left_out.append((name, why))

    def check(self, name: str, passes: Callable[[], bool]) -> bool:
        """Run one check and remember its result."""
        self.console.rule(f"[bold]{name}", align="left")
        started = time.monotonic()
        passed = passes()
        self.results.append((name, passed, time.monotonic() - started))
        return passed

    def program(self, name: str, *command: str) -> bool:
        """Run a program that fails if something is wrong; what is run is shown, so that anyone can run it alone."""
        return self.check(name, lambda: self._succeeds(command))

    def _succeeds(self, command: Sequence[str]) -> bool:
        # With the terminal's own names: .venv/bin/ruff rather than its whole path.
        shown = [part.removeprefix(f"{paths.PROJECT}/") for part in command]
        self.console.print(f"$ {shlex.join(shown)}", markup=False, soft_wrap=True)
        return attend(command, cwd=paths.PROJECT, env=environment(), time_to_tidy=None) == 0

    def summary(self) -> Table:
        """One line for each check."""
        table = Table.grid(padding=(0, 2))
        for name, passed, seconds in self.results:
            mark = "[green]passed[/green]" if passed else "[bold red]FAILED[/bold red]"
            table.add_row(f"  {name}", mark, ui.duration(seconds))
        for name, why in self.left_out:
            table.add_row(f"  {name}", "[yellow]not run[/yellow]", why)
        return table

    @property
    def passed(self) -> bool:
        """Whether all did."""
        return all(passed for _, passed, _ in self.results)


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "test",
        help="kubeproof's own tests",
        description="Runs the linters and unit tests, then installs a real cluster on local hosts of its own, verifies "
        "it, installs it again to see that nothing changes, breaks it in many ways to see that the verification "
        "notices, and removes it.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--fast", action="store_true", help="linters and unit tests only")
    what.add_argument("--lint", action="store_true", help="linters only, in two minutes: before every commit")
    what.add_argument("--unit", action="store_true", help="unit tests only, with the launcher's Python only")
    what.add_argument(
        "--saboteurs", action="store_true", help="the cluster only, with every saboteur (docs/saboteurs.md)"
    )
    what.add_argument(
        "--vm",
        action="store_true",
        help="a cluster of virtual machines: installed twice, verified, workers restarted, reset",
    )
    what.add_argument(
        "--debian13",
        action="store_true",
        help="Debian 13 as controller and hosts, with each version of ansible-core for its Python",
    )
    parser.add_argument("--keep", action="store_true", help="keep the cluster for inspection")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    suite = Suite(ui.console())
    if arguments.lint:
        controller_packages.ensure(_CALLED, suite.console.print)
        _lint(suite)
    elif arguments.unit:
        _unit(suite)
    elif arguments.vm:
        suite.program("virtual machines", tool("pytest"), "tests/vm/test_vm.py", "-v", "-s")
    elif arguments.debian13:
        suite.program("Debian 13", tool("pytest"), "tests/debian13")
        suite.program("local hosts of Debian 13", tool("pytest"), "tests/local", "--system", "debian-13")
    else:
        if not arguments.saboteurs:
            controller_packages.ensure(_CALLED, suite.console.print)
            _lint(suite)
            _unit(suite)
            _other_cores(suite)
        if not (arguments.fast or arguments.saboteurs):
            _local_hosts(suite)
        if not arguments.fast:
            _cluster(suite, keep=arguments.keep, every_saboteur=arguments.saboteurs)
    suite.console.rule("[bold]Summary", align="left")
    suite.console.print(suite.summary())
    if arguments.fast:
        suite.console.print("  No cluster was installed: --fast was given.")
    return 0 if suite.passed else FAILED


def _lint(suite: Suite) -> None:
    """What reads the sources and runs nothing."""
    suite.program("shellcheck", "shellcheck", "kubeproof", *_shell_scripts())
    suite.program("yamllint", tool("yamllint"), "--strict", ".")
    suite.program("ansible-lint", tool("ansible-lint"))
    suite.program("ruff format", tool("ruff"), "format", "--check")
    suite.program("ruff check", tool("ruff"), "check")
    suite.program("mypy", tool("mypy"))


def _unit(suite: Suite) -> None:
    """The unit tests, which play all playbooks, under this Python."""
    name = _unit_tests(platform.python_version(), importlib.metadata.version("ansible-core"))
    suite.program(name, tool("pytest"), "tests/unit", "--numprocesses", "auto")


def _other_cores(suite: Suite) -> None:
    """The unit tests under each version of ansible-core that the lock has for other Pythons, if there is one here."""
    lock = (paths.PROJECT / "requirements.lock").read_text()
    here = pythons.find()
    for core in pythons.other_cores(lock, here):
        if core.python is None:
            takes = ", ".join(f"python{version}" for version in core.takes)
            why = f"it takes one of {takes} with the module venv, on the PATH or among pyenv's"
            suite.leave_out(f"unit tests, ansible-core {core.version}", why)
            continue
        version = next(version for version, path in here.items() if path == core.python)
        # The launcher makes it once, as it does this one's.
        environment = paths.PROJECT / ".venvs" / version
        chosen = [f"KUBEPROOF_PYTHON={core.python}", f"KUBEPROOF_VENV={environment}"]
        launcher = str(paths.PROJECT / "kubeproof")
        suite.program(_unit_tests(version, core.version), "env", *chosen, launcher, "test", "--unit")


def _unit_tests(python: str, core: str) -> str:
    return f"unit tests, Python {python}, ansible-core {core}"


def _shell_scripts() -> list[str]:
    """The shell scripts in git besides the launcher."""
    listed = run_program(["git", "-C", str(paths.PROJECT), "ls-files", "*.sh", ".ci/run"])
    return listed.split()


def _local_hosts(suite: Suite) -> None:
    """That the machine is left as it was found, hosts too by a reset, and that killed installations can be finished.

    Those that are slow show more of the same; `pytest tests/local` runs all.
    """
    suite.program("local hosts", tool("pytest"), "tests/local", "-m", "not slow", "--durations", "12")


def _cluster(suite: Suite, *, keep: bool, every_saboteur: bool) -> None:
    """A real cluster: from nothing, verified, upgraded, installed again, broken and repaired, removed."""
    kubeproof = [sys.executable, "-m", "kubeproof"]
    on = ["--inventory", str(INVENTORY)]
    suite.program("clean slate", *kubeproof, "down", *on)
    if suite.program("cluster", *kubeproof, "up", *on):
        suite.check("upgrade", lambda: _upgrade(suite.console))
        suite.check("second run", lambda: _second_run(suite.console))
        chosen = [] if every_saboteur else ["--quick"]
        suite.program("saboteurs", tool("pytest"), "tests/saboteurs", *on, *chosen)
    if keep:
        suite.console.print(f"The cluster was kept; `./kubeproof down --inventory {INVENTORY}` removes it.")
    else:
        suite.program("removal", *kubeproof, "down", *on)


def _upgrade(console: Console) -> bool:
    """Whether a patch of one component is upgraded, node by node."""
    cluster = inventory.load(INVENTORY)
    [(component, older)] = OLDER.items()
    steps = (
        ("cluster", {"component_versions": OLDER, "preflight_allow_version_change": True}, older),
        ("upgrade", {"upgrade_verification": "none"}, pins.load().components[component].version),
    )
    for name, given, wanted in steps:
        if not playbook.run(name, cluster.sources, cluster.state, ["--extra-vars", json.dumps(given)]).ok:
            return False
        # A run that has done nothing has succeeded, too.
        for host in cluster.hosts.values():
            said = run_program([*ssh_command(host), _ASK_PLUGIN])
            if wanted not in said:
                console.print(
                    f"  {host.name}: after playbooks/{name}.yml not {component} {wanted}: {said}", markup=False
                )
                return False
    console.print(f"On {len(cluster.hosts)} hosts {component} is {wanted}, and was {older} before.")
    return True


def _second_run(console: Console) -> bool:
    """Whether installing what is installed changes nothing and restarts nothing."""
    cluster = inventory.load(INVENTORY)
    before = _processes(cluster)
    again = playbook.run("cluster", cluster.sources, cluster.state)
    after = _processes(cluster)
    restarted = sorted(unit for unit, process in before.items() if after.get(unit) != process)
    changed = _changing_tasks(again)
    for complaint in [f"changed something: {name}" for name in changed] + [f"restarted: {unit}" for unit in restarted]:
        console.print(f"  {complaint}", markup=False)
    if again.ok and not changed and not restarted:
        console.print(
            f"Nothing changed, and {len(before)} services on {len(cluster.hosts)} hosts have the processes they had."
        )
    return again.ok and not changed and not restarted


def _changing_tasks(run: playbook.Run) -> list[str]:
    """The tasks that changed a host, with their places."""
    tasks = [task for phase in run.profile.get("phases", ()) for task in phase["tasks"]]
    return [f"{task['name']} ({task['path']})" for task in tasks if task["outcomes"].get("changed")]


def _processes(cluster: Inventory) -> dict[str, str]:
    """The main process of each running service on each host, logins' own managers aside."""
    ask = "systemctl show --type=service --state=running --property=Id,MainPID '*'"
    found = {}
    for host in cluster.hosts.values():
        shown = run_program([*ssh_command(host), ask])
        for entry in shown.split("\n\n"):
            service = dict(line.split("=", 1) for line in entry.splitlines() if "=" in line)
            if service.get("MainPID", "0") != "0" and not service["Id"].startswith("user@"):
                found[f"{service['Id']} on {host.name}"] = service["MainPID"]
    return found
