"""``kubeproof components``: what a cluster is made of, and fetching it."""

from __future__ import annotations

import argparse
import dataclasses

from rich.table import Table

from kubeproof.cli.options import SubParsers, add_inventory
from kubeproof.components import fetch, gomodule, pins, prefetch
from kubeproof.components.source import SOURCES
from kubeproof.components.survey import Row, survey
from kubeproof.core import console as ui
from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

_DESCRIPTION = """\
Lists every component and image: its version and source, how it is verified, and whether it is in the cache. With
`fetch`, downloads or builds what is missing. The versions are those of components/components.yml, unless the
inventory's component_versions has others. `add NAME VERSION` makes the Go module of which source go builds another
version.
"""


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "components", help="versions, sources and verification of components; fetch them", description=_DESCRIPTION
    )
    parser.add_argument("action", nargs="?", choices=("list", "fetch", "add"), default="list", help="default: list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="add: the component")
    parser.add_argument("version", nargs="?", metavar="VERSION", help="add: its version, without a v")
    add_inventory(parser)
    parser.add_argument("--source", choices=SOURCES, help="instead of the inventory's component_source")
    parser.add_argument("--mirror", metavar="URL", help="instead of the inventory's component_mirror")
    parser.add_argument(
        "--accept-changed",
        action="store_true",
        help="fetch: accept downloads that differ from those with which the cluster was installed",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    if arguments.action == "add":
        _add(arguments.name, arguments.version)
        return 0
    if arguments.name:
        raise KubeproofError(f"components {arguments.action} takes no {arguments.name!r}")
    cluster = inventory.load(arguments.inventory)
    request = _request(cluster, arguments)
    if arguments.action == "fetch":
        display = ui.StepDisplay(ui.console())
        with display.showing(), display.step("Components") as tell:
            prefetch.fetch_all(cluster, tell, request)
    else:
        _list(request, cluster)
    return 0


def _add(name: str | None, version: str | None) -> None:
    if not name or not version:
        raise KubeproofError(
            "components add needs a component and its version", hint="./kubeproof components add kubernetes 1.36.1"
        )
    console = ui.console()
    made = gomodule.add(pins.load(), name, version, console.print)
    console.print(f"{made.relative_to(paths.PROJECT)} is made: commit it, and choose it with component_versions")


def _request(cluster: Inventory, arguments: argparse.Namespace) -> fetch.Request:
    request = prefetch.request_of(cluster)
    return dataclasses.replace(
        request,
        source=arguments.source or request.source,
        mirror=arguments.mirror or request.mirror,
        accept_changed=arguments.accept_changed,
    )


def _list(request: fetch.Request, cluster: Inventory) -> None:
    pinned = pins.load()
    choice = fetch.choose(request, pinned, cluster.state)
    console = ui.console()
    console.print(f"Source [bold]{choice.source}[/bold]: {choice.reason}\n")
    console.print(_table(survey(request, choice.source, pinned, cluster.state)))


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("component", "version", "arch", "from", "verified by", "state"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*dataclasses.astuple(row))
    return table
