"""``kubeproof backup``: the backups of a cluster's etcd, and one more now."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kubeproof.cli import keys, restore
from kubeproof.cli.options import FAILED, SubParsers, add_become, add_inventory
from kubeproof.core import amounts
from kubeproof.core import console as ui
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import Result
from kubeproof.settings import inventory, remote
from kubeproof.settings.inventory import Host, Inventory
from kubeproof.settings.resolve import Settings

# A backup, or a drill, of a large etcd on a slow disk.
_LONGEST_SECONDS = 7200.0
_ASK_SECONDS = 120.0
_DRILL = """
unit=etcd-backup-drill.service
printf 'BACKUP=%s\\n' {name} > /run/etcd-backup-drill.env
systemctl start $unit 2> /dev/null
status=$?
rm -f /run/etcd-backup-drill.env
journalctl --sync
journalctl --quiet --output=cat SYSLOG_IDENTIFIER=kubeproof-backup \\
  _SYSTEMD_INVOCATION_ID=$(systemctl show --property=InvocationID --value $unit)
exit $status
"""


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "backup",
        help="backups of etcd: list, now, drill, status, restore, keys",
        description="Lists the backups on the etcd hosts, makes one, proves one in a drill, shows whether the schedule "
        "is met, and restores the cluster, or its keys, from a backup.",
    )
    parts = parser.add_subparsers(title="what", metavar="list|now|drill|status|restore|keys", required=True)

    listing = _add(parts, "list", "all backups on all hosts, newest first", _list)
    listing.add_argument(
        "--read", action="store_true", help="read every backup completely, which detects any corruption"
    )
    _add(parts, "now", "make a backup, on the first etcd host that can", _now)
    proof = _add(parts, "drill", "restore a backup into a scratch etcd on its host, and compare the data", _drill)
    proof.add_argument("name", nargs="?", help="name of the backup (default: the newest)")
    _add(parts, "status", "failed and overdue backups, copies and drills; exits with 1 if there are any", _status)
    restore.add_parser(parts)
    keys.add_parser(parts)


def _add(
    parts: SubParsers[argparse.ArgumentParser], name: str, about: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = parts.add_parser(name, help=about)
    add_inventory(parser)
    add_become(parser)
    parser.set_defaults(run=run)
    return parser


@dataclass(frozen=True)
class Listed:
    """One backup, as the program on its host lists it."""

    host: str
    name: str
    bytes: int
    problem: str
    proven: bool
    manifest: Mapping[str, Any]


def _list(arguments: argparse.Namespace) -> int:
    console = ui.console()
    command = ["list", "--json", *(["--read"] if arguments.read else [])]
    answers = _ask_all(
        inventory.load(arguments.inventory), command, _LONGEST_SECONDS if arguments.read else _ASK_SECONDS
    )
    found = sort(listed(answers))
    console.print(table(found) if found else "there are no backups")
    missing = _unanswered(console, answers)
    return FAILED if missing or any(backup.problem for backup in found) else 0


def listed(answers: Mapping[str, Result]) -> list[Listed]:
    """The backups in the answers of ``kubeproof-backup list --json``, by host; hosts that gave none are left out."""
    return [
        Listed(
            host=host,
            name=entry["name"],
            bytes=entry["bytes"],
            problem=entry["problem"],
            proven=entry["proven"],
            manifest=entry["manifest"] or {},
        )
        for host, answer in answers.items()
        if answer.ok
        for entry in json.loads(answer.stdout)
    ]


def sort(found: Sequence[Listed]) -> list[Listed]:
    """Newest first."""
    return sorted(found, key=lambda backup: (backup.name, backup.host), reverse=True)


def table(found: Sequence[Listed]) -> Table:
    """A table of backups."""
    shown = Table(box=None, pad_edge=False)
    for title, justify in (("when (UTC)", "left"), ("host", "left"), ("revision", "right"), ("keys", "right")):
        shown.add_column(title, justify=justify)  # type: ignore[arg-type]
    shown.add_column("size", justify="right")
    shown.add_column("proven")
    shown.add_column("what is wrong", overflow="fold")
    for backup in found:
        about = backup.manifest
        shown.add_row(
            _when(backup.name),
            backup.host,
            str(about.get("revision", "")),
            str(about.get("keys", "")),
            amounts.size(backup.bytes),
            "[green]yes[/green]" if backup.proven else "",
            Text(backup.problem, "bold red") if backup.problem else _remark(about),
        )
    return shown


def _when(name: str) -> str:
    """The time in a backup's name, for people."""
    day, time = name[:8], name[9:15]
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}:{time[4:]}"


def _remark(manifest: Mapping[str, Any]) -> str:
    return "" if manifest.get("quorum", True) else "made without a majority"


def _now(arguments: argparse.Namespace) -> int:
    """One is enough; where a host can't, the next one is asked."""
    console = ui.console()
    for host in _hosts(inventory.load(arguments.inventory)):
        result = _ask(host, ["save", "--trigger", "hand"], _LONGEST_SECONDS)
        if result.ok:
            console.print(result.stdout.strip(), markup=False, soft_wrap=True)
            return 0
        console.print(f"{host.name}: {_said(result)}", markup=False, soft_wrap=True, style="bold red")
    return FAILED


def _drill(arguments: argparse.Namespace) -> int:
    console = ui.console()
    cluster = inventory.load(arguments.inventory)
    found = sort(listed(_ask_all(cluster, ["list", "--json"], _ASK_SECONDS)))
    wanted = [backup for backup in found if arguments.name in (None, backup.name)]
    if not wanted:
        raise KubeproofError(
            f"there is no backup {arguments.name}" if arguments.name else "there are no backups",
            hint="`kubeproof backup list` lists backups, `kubeproof backup now` makes one",
        )
    chosen = wanted[0]
    # Its unit has what a drill needs, bounds of memory among it, and the key that Secrets are encrypted with.
    drill = _DRILL.format(name=shlex.quote(chosen.name))
    result = _reach(cluster.host(chosen.host), f"sh -c {shlex.quote(drill)}", _LONGEST_SECONDS)
    console.print(result.stdout.strip() or _said(result), markup=False, soft_wrap=True)
    return 0 if result.ok else FAILED


def _status(arguments: argparse.Namespace) -> int:
    console = ui.console()
    answers = _ask_all(inventory.load(arguments.inventory), ["status", "--json"], _ASK_SECONDS)
    well = not _unanswered(console, {host: answer for host, answer in answers.items() if not answer.stdout})
    for host, answer in answers.items():
        if not answer.stdout:
            continue
        status = json.loads(answer.stdout)
        well = well and not status["problems"]
        console.print(f"{host}: {_summary(status)}", markup=False, soft_wrap=True)
        for problem in status["problems"]:
            console.print(f"  {problem}", markup=False, soft_wrap=True, style="bold red")
    return 0 if well else FAILED


def _summary(status: Mapping[str, Any]) -> str:
    """What a host knows of the last backup and of the last drill."""
    last, proven = status["cluster"], status["proven"]
    backup = f"last backup {last['name']}, {last['finished']}" if last else "no backup yet"
    return f"{backup}; {proven['name']} proven restorable {proven['at']}" if proven else f"{backup}; none proven yet"


def _hosts(cluster: Inventory) -> tuple[Host, ...]:
    hosts = cluster.group("etcd")
    if not hosts:
        raise KubeproofError(f"{cluster.path} has no hosts in the group etcd")
    return hosts


def _ask_all(cluster: Inventory, command: Sequence[str], timeout: float) -> dict[str, Result]:
    """Run the program on all hosts of etcd side by side; what each left, by host."""
    hosts = _hosts(cluster)
    with ThreadPoolExecutor(len(hosts)) as pool:
        results = pool.map(lambda host: _ask(host, command, timeout), hosts)
        return {host.name: result for host, result in zip(hosts, results, strict=True)}


def _ask(host: Host, command: Sequence[str], timeout: float) -> Result:
    directory = Settings(host)["cluster_bin_directory"]
    return _reach(host, shlex.join([f"{directory}/kubeproof-backup", *command]), timeout)


def _reach(host: Host, command: str, timeout: float) -> Result:
    try:
        return remote.login(host).run(command, timeout=timeout)
    except KubeproofError as error:
        return Result(255, "", str(error))


def _unanswered(console: Console, answers: Mapping[str, Result]) -> bool:
    """Say which hosts could not be asked, and why."""
    wrong = {host: answer for host, answer in answers.items() if not answer.ok}
    for host, answer in wrong.items():
        console.print(f"{host}: {_said(answer)}", markup=False, soft_wrap=True, style="bold red")
    return bool(wrong)


def _said(result: Result) -> str:
    if result.returncode == 127:
        return "kubeproof-backup is not installed: playbooks/cluster.yml installs it, unless backup_enabled is false"
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    advice = remote.advice(result.stderr)
    said = lines[-1] if lines else f"it ended with {result.returncode}, and said nothing"
    return f"{said}\n  {advice}" if advice else said
