"""Filters for CRI-O's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import crio, registries


def crio_registries(given: Mapping[str, object]) -> str:
    """The registries' configuration, as text; ``given`` is ``containerd_registry_mirrors``.

    Raises AnsibleFilterError if CRI-O cannot do what is asked for.
    """
    try:
        return crio.registries_configuration(given)
    except KubeproofError as error:
        raise AnsibleFilterError(str(error)) from error


def crio_ca_files(given: Mapping[str, object]) -> list[dict[str, str]]:
    """The certificates of registries that have a CA of their own, as files for ``install_component``.

    ``given``: mirrors by upstream host, as ``crio_registries`` takes them.
    """
    try:
        return [{"dest": path, "content": ca} for path, ca in registries.ca_files(given, crio.CERTIFICATES).items()]
    except KubeproofError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"crio_ca_files": crio_ca_files, "crio_registries": crio_registries}
