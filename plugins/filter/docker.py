"""Filters for Docker's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import docker, registries


def docker_mirrors(given: Mapping[str, object]) -> list[str]:
    """The URLs of mirrors, in their order; ``given`` is ``containerd_registry_mirrors``.

    Raises AnsibleFilterError if Docker cannot do what is asked for.
    """
    try:
        return docker.mirrors(given)
    except KubeproofError as error:
        raise AnsibleFilterError(str(error)) from error


def docker_ca_files(given: Mapping[str, object]) -> list[dict[str, str]]:
    """The certificates of registries that have a CA of their own, as files for ``install_component``.

    ``given``: mirrors by upstream host, as ``docker_mirrors`` takes them.
    """
    try:
        return [{"dest": path, "content": ca} for path, ca in registries.ca_files(given, docker.CERTIFICATES).items()]
    except KubeproofError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"docker_ca_files": docker_ca_files, "docker_mirrors": docker_mirrors}
