"""How long runs on an installed cluster take, by number of hosts.

    .venv/bin/python -m bench.fleet [--hosts 3 5 10 20] [--repeat 5]

Makes local hosts of its own for each size (up to four: one control-plane host; more: three), installs a cluster on
them, and measures what operators wait for: a plan, a run with nothing to do, and a run with one setting of the kubelet
changed, which rolls over all nodes. Prints a table of medians, and per host and processor how much longer a run with
nothing to do takes than with the first size.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from bench import ending
from rich.console import Console
from rich.table import Table

from kubeproof.core import paths
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

NETWORK = {"name": "kubeproof-fleet", "subnet": "10.213.246.0/24"}
_SINGLE_UP_TO = 4


def main() -> None:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[3, 5], metavar="N", help="numbers of hosts")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="how many times each run is measured")
    arguments = parser.parse_args()
    console = Console()
    table = Table("hosts", "installation", "plan", "nothing to do", "a kubelet setting", "nothing to do, per host-core")
    base = 0.0
    for number in arguments.hosts:
        with tempfile.TemporaryDirectory(prefix="kubeproof-bench-") as directory:
            cluster = _inventory(Path(directory), number)
            hosts = plan(cluster)
            try:
                lifecycle.destroy(hosts, _silent)
                lifecycle.create(hosts, _silent)
                installed, looked, idle, rolled = _measure(cluster, arguments.repeat)
            finally:
                lifecycle.destroy(hosts, _silent)
        share = idle / number * (os.cpu_count() or 1)
        base = base or share
        cells = [f"{seconds:.1f} s" for seconds in (installed, looked, idle, rolled)]
        table.add_row(str(number), *cells, f"{share:.2f} s ({share / base:.2f} times)")
        console.print(table)


def _measure(cluster: Inventory, repeat: int) -> tuple[float, float, float, float]:
    """Seconds: of the installation, and medians of a plan, of a run with nothing to do, and of one with a setting."""
    installed = _run(cluster)
    _run(cluster)
    looked = [_run(cluster, "--check") for _ in range(repeat)]
    idle = [_run(cluster) for _ in range(repeat)]
    rolled = [_changed(cluster, kubelet_max_pods=100 + at) for at in range(repeat)]
    return installed, statistics.median(looked), statistics.median(idle), statistics.median(rolled)


def _changed(cluster: Inventory, **settings: object) -> float:
    """Seconds of the run that changes settings of a cluster at rest; it rests again before this returns."""
    options = ("--extra-vars", json.dumps(settings))
    seconds = _run(cluster, *options)
    _run(cluster, *options)
    return seconds


def _run(cluster: Inventory, *options: str) -> float:
    started = time.monotonic()
    ended = playbook.run("cluster", cluster.sources, cluster.state, options, quiet=True)
    if not ended.ok:
        raise SystemExit(f"the run failed: {ended.log}")
    return time.monotonic() - started


def _inventory(directory: Path, number: int) -> Inventory:
    document = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    document["all"]["vars"]["local_host_network"] = NETWORK
    masters = [f"cp{at}" for at in range(1, 2 if number <= _SINGLE_UP_TO else 4)]
    workers = [f"w{at}" for at in range(1, number - len(masters) + 1)]
    document["all"]["children"] = {
        "control_plane": {"hosts": _addressed(masters, 11)},
        "etcd": {"hosts": {name: {} for name in masters}},
        "workers": {"hosts": _addressed(workers, 21)},
    }
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump(document))
    return inventory.load(path)


def _addressed(names: Sequence[str], first: int) -> dict[str, dict[str, str]]:
    prefix = str(NETWORK["subnet"]).removesuffix("0/24")
    return {name: {"ansible_host": f"{prefix}{first + at}"} for at, name in enumerate(names)}


def _silent(_message: str) -> None:
    """Progress is not what is measured."""


if __name__ == "__main__":
    ending.cleans_up()
    main()
