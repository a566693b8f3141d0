"""Components for a cluster whose hosts are this machine's, fetched before any host exists."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable

from kubeproof.components import fetch, pins, selection
from kubeproof.components.progress import Event, Phase
from kubeproof.core import controller_packages
from kubeproof.settings import addons
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.resolve import Settings

Tell = Callable[[str], None]


def fetch_all(cluster: Inventory, tell: Tell, request: fetch.Request | None = None) -> None:
    """Have everything that the cluster needs (or ``request`` asks for) in the cache and in the inventory's lock."""
    request = request or request_of(cluster)
    pinned = pins.load()
    choice = fetch.choose(request, pinned, cluster.state)
    always = [each for each in selection.on_hosts(pinned, request.groups) if each.go.always]
    if choice.source == "go" or always:
        controller_packages.ensure(controller_packages.BUILDS, tell)
    narrator = Narrator(tell)
    tell(f"from {choice.source}: {choice.reason}")
    chosen = dataclasses.replace(request, source=choice.source)
    outcome = fetch.fetch(chosen, pinned, cluster.state, progress=narrator)
    fresh = sum(item.fresh for item in outcome.fetched)
    tell(f"{len(outcome.fetched)} from {choice.source}, {f'{fresh} of them new' if fresh else 'all cached'}")


def request_of(cluster: Inventory) -> fetch.Request:
    """What the inventory's settings and groups ask for."""
    settings = Settings(cluster.representative)
    groups = [name for name in pins.GROUPS if cluster.group(name)]
    uses = selection.uses(
        groups,
        settings["backup_targets"],
        settings["network_policy_engine"],
        settings["pod_network_plugin"],
        addons.switched_on(settings),
        settings["container_runtime"],
    )
    return fetch.Request(
        source=settings["component_source"],
        mirror=settings["component_mirror"],
        registry=settings["component_image_registry"],
        versions=settings["component_versions"],
        architectures=tuple(settings["component_architectures"]) or (pins.MACHINES[platform.machine()],),
        groups=(*groups, *uses),
        manifest_sha256=settings["pod_network_manifest_sha256"],
        sha256=settings["component_sha256"],
    )


class Narrator:
    """Turns a fetch's events, which come from several threads, into one line of progress."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._active: dict[str, Event] = {}
        self._finished = 0

    def __call__(self, event: Event, /) -> None:
        """Take in an event."""
        if event.phase in (Phase.CACHED, Phase.DONE):
            self._active.pop(event.component, None)
            self._finished += 1
        else:
            self._active[event.component] = event
        doing = ", ".join(_words(each) for each in list(self._active.values()))
        self._tell(f"{self._finished} done; {doing}" if doing else f"{self._finished} done")


def _words(event: Event) -> str:
    if event.total:
        how_far = f" {100 * event.done // event.total} %"
    elif event.typical:
        how_far = f" {event.elapsed:.0f} s of about {event.typical:.0f}"
    else:
        how_far = ""
    return f"{event.phase.value} {event.component}{how_far}"
