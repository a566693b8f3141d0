"""How the controller's work grows with the number of hosts: the playbook on hosts that are simulated.

    .venv/bin/python bench/simulation.py [--hosts 3 10 30 100] [--repeat 1] [--profiles DIRECTORY]

Real is all that the controller does: ansible-playbook, started as ``./kubeproof up`` and ``plan`` do it, with the
project's playbooks, roles and plugins, its workers, the packed modules that it would send, the CAs and certificates
that it makes, its log and profile. Simulated is the other end of the connection (``bench/simulated``): what modules
print is made there, in the shapes of the real ones, without a host and without ssh. Hosts keep what a run leaves on
them, so that the digests by which the next run knows settled tasks are its own. Components are in the cache, as
for the other benches (the first run fetches them), and count as sent.

For each number of hosts (up to four: one control-plane host; more: three): the installation, a plan, a run with
nothing to do, and a plan and a run after that, which know that nothing is to be done (at rest). Of each the wall clock,
the processor time of all of the controller's processes, and their memory at its peak (PSS: what processes share counts
once). On a busy machine only the last two say something.

Measured on two idle cores, a plan of 3, 10 and 30 hosts: 10, 29 and 58 seconds of the processor, 102, 206 and 270 MiB;
at rest 5.1, 6.1 and 8.7, and 98, 153 and 241 MiB. A run with nothing to do takes the same. docs/design.md has more.

``--profiles`` keeps how long each task took, as the callback of the runs writes it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from bench import ending
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from rich.table import Table

from kubeproof.core import paths
from kubeproof.install import playbook
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

_SINGLE_UP_TO = 4
_SIMULATED = paths.PROJECT / "bench" / "simulated"
_MEBIBYTE = 1 << 20
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Cost:
    """What a run took: seconds by the clock and of processors, bytes, and modules that hosts were asked to run."""

    wall: float
    cpu: float
    memory: int
    asked: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[3, 10, 30, 100], metavar="N", help="numbers of hosts")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="how many times each run is measured")
    parser.add_argument("--profiles", type=Path, metavar="DIRECTORY", help="keep how long each task took")
    arguments = parser.parse_args()
    console = Console()
    table = Table("hosts", "run", "changed", "modules", "seconds", "processor seconds", "per host", "MiB")
    for number in arguments.hosts:
        with tempfile.TemporaryDirectory(prefix="kubeproof-bench-") as directory:
            for run, changed, costs in _measured(Path(directory), number, arguments):
                wall, cpu = (statistics.median(getattr(cost, kind) for cost in costs) for kind in ("wall", "cpu"))
                memory = max(cost.memory for cost in costs) / _MEBIBYTE
                cells = (f"{wall:.1f}", f"{cpu:.1f}", f"{cpu / number:.2f}", f"{memory:.0f}")
                table.add_row(str(number), run, str(changed), str(costs[-1].asked), *cells)
                console.print(number, run, changed, costs[-1].asked, *cells)
    console.print(table)


def _measured(directory: Path, number: int, arguments: argparse.Namespace) -> Iterator[tuple[str, int, Sequence[Cost]]]:
    cluster = _fleet(directory, number)
    os.environ["KUBEPROOF_SIMULATION"] = str(directory)
    os.environ |= {"ANSIBLE_CONNECTION_PLUGINS": str(_SIMULATED), "ANSIBLE_TRANSPORT": "simulated"}
    for run, options, times in (
        ("installation", [], 1),
        ("plan", ["--check"], arguments.repeat),
        ("nothing to do", [], 1),
        ("plan, at rest", ["--check"], arguments.repeat),
        ("at rest", [], arguments.repeat),
    ):
        costs, changed = [], 0
        for _ in range(times):
            ended, cost = _run(cluster, options)
            costs.append(cost)
            changed = ended.count("changed")
        if arguments.profiles:
            arguments.profiles.mkdir(exist_ok=True, parents=True)
            name = f"{number}-{run.replace(' ', '-')}.json"
            (arguments.profiles / name).write_text(json.dumps(ended.profile, indent=1))
        yield run, changed, costs


def _run(cluster: Inventory, options: Sequence[str]) -> tuple[playbook.Run, Cost]:
    """Run the playbook. All processes that are waited for are its own."""
    asked = cluster.state.parents[1] / "asked"
    asked.write_text("")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with _memory() as peak, (cluster.state.parent / "output").open("w+") as output:
        ended = playbook.run("cluster", cluster.sources, cluster.state, options, quiet=True, output=output)
        output.seek(0)
        if not ended.ok:
            raise SystemExit(f"the run failed:\n{output.read()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.monotonic() - started
    return ended, Cost(wall, cpu, max(peak, default=0), len(asked.read_text().splitlines()))


@contextlib.contextmanager
def _memory() -> Iterator[list[int]]:
    """What all descendants of this process use together, every so often."""
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            seen.append(sum(map(_proportional, _descendants(os.getpid()))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _descendants(process: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from _descendants(child)


def _proportional(process: int) -> int:
    """A process's PSS in bytes; 0 once it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _fleet(directory: Path, number: int) -> Inventory:
    """The inventory, and what the connection plugin has to know of its hosts."""
    masters = [f"cp{at}" for at in range(1, 2 if number <= _SINGLE_UP_TO else 4)]
    workers = [f"w{at}" for at in range(1, number - len(masters) + 1)]
    addresses = {name: f"10.99.{at >> 8}.{at & 255}" for at, name in enumerate([*masters, *workers], start=1)}
    document = {
        "all": {
            "vars": {"ansible_python_interpreter": "/usr/bin/python3"},
            "children": {
                "control_plane": {"hosts": {name: {"ansible_host": addresses[name]} for name in masters}},
                "etcd": {"hosts": {name: {} for name in masters}},
                "workers": {"hosts": {name: {"ansible_host": addresses[name]} for name in workers}},
            },
        }
    }
    hosts = {
        name: {"number": at, "address": address, "etcd": name in masters}
        for at, (name, address) in enumerate(addresses.items(), start=1)
    }
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    (directory / "fleet.json").write_text(json.dumps({"hosts": hosts, "public_key": pem}))
    path = directory / "inventory" / "hosts.yml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(document))
    return inventory.load(path)


if __name__ == "__main__":
    ending.cleans_up()
    main()
