"""The verification's own chart in a registry on loopback, brought there by ``./kubeproof helm`` and used from there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.everything import registry
from tests.everything.registry import Registry

from kubeproof.core import paths
from kubeproof.verify.act.application_operator import gate

CHART = paths.PROJECT / "tests" / "architecture" / "charts" / "greeter"
_REPOSITORY = "charts"
_SECONDS = 300.0
_BUILD_SECONDS = 1800.0


@dataclass(frozen=True)
class Helm:
    """``./kubeproof helm`` for the cluster of an inventory; ``directory`` takes the place of the user's directories."""

    inventory: Path
    directory: Path

    def build(self) -> None:
        """Have it in the cache: by itself, since that may take minutes more than what is done with it."""
        self.succeed("version", limit=_BUILD_SECONDS)

    def run(self, *arguments: str, limit: float = _SECONDS) -> subprocess.CompletedProcess[str]:
        """Run it to its end, successful or not."""
        own = {f"HELM_{name}_HOME": str(self.directory / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        # Nothing of a proxy or a registry that this machine's user has.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HELM_")}
        command = [sys.executable, "-m", "kubeproof", "helm", "--inventory", str(self.inventory), *arguments]
        return subprocess.run(
            command,
            cwd=paths.PROJECT,
            env={**inherited, **own, "no_proxy": "*", "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )

    def succeed(self, *arguments: str, limit: float = _SECONDS) -> str:
        """Run it, and have what it prints."""
        done = self.run(*arguments, limit=limit)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout


@dataclass(frozen=True)
class Published:
    """A chart in a registry. ``reference``: as Helm takes it. ``trust``, ``login``: options for CA and password."""

    reference: str
    version: str
    trust: tuple[str, ...]
    login: tuple[str, ...]
    package: Path
    registry: Registry

    @property
    def options(self) -> tuple[str, ...]:
        """What it takes to have this version of it."""
        return "--version", self.version, *self.trust, *self.login


@contextmanager
def published(helm: Helm) -> Iterator[Published]:
    """Package the chart and push it to a registry that is there for the time of the block."""
    issued = gate.issue("localhost")
    ca, certificate = helm.directory / "ca.pem", helm.directory / "certificate.pem"
    ca.write_text(issued.ca)
    certificate.write_text(issued.certificate + issued.key)
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    name, version = described["name"], described["version"]
    trust, login = ("--ca-file", str(ca)), ("--username", registry.USER, "--password", registry.PASSWORD)
    with registry.serving(None, certificate, "127.0.0.1") as made:
        helm.succeed("package", str(CHART), "--destination", str(helm.directory))
        package = helm.directory / f"{name}-{version}.tgz"
        root = f"oci://localhost:{made.port}/{_REPOSITORY}"
        helm.succeed("push", str(package), root, *trust, *login)
        yield Published(f"{root}/{name}", version, trust, login, package, made)
