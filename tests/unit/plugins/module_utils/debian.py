"""A Debian of a test's own below a directory: the real apt and dpkg work in it, and this machine stays as it is."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible.module_utils.transaction import Apt
from ansible.module_utils.uninstall.packages import Dpkg

_TREE = (
    "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "etc/apt/sources.list.d", "usr/sbin",
    "var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/lib/dpkg/info", "var/lib/dpkg/triggers",
    "var/lib/dpkg/updates", "var/log/apt",
)  # fmt: skip


def available() -> bool:
    """Whether this machine has what is needed."""
    return all(map(shutil.which, ("apt-get", "dpkg-deb", "dpkg-query")))


class Debian:
    """Its root, and a repository from which it installs."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # As others than root, too.
        monkeypatch.setenv("DPKG_FORCE", "not-root")
        self.root, self.repository = directory / "root", directory / "repository"
        self.repository.mkdir()
        for path in _TREE:
            (self.root / path).mkdir(parents=True)
        for path in ("var/lib/dpkg/status", "var/lib/dpkg/available"):
            (self.root / path).touch()
        # As on every Debian, the common directories are somebody's.
        self.offer("base", files={f"/{path}/.base": "" for path in (*_TREE, "usr/share", "lib/systemd/system")})
        self.install_manually("base")
        (self.root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{self.repository} ./\n")

    @property
    def apt(self) -> Apt:
        """Its apt."""
        settings = (
            f"Dir={self.root}",
            f"Dir::State::status={self.root}/var/lib/dpkg/status",
            "APT::Sandbox::User=root",
        )
        options = [word for setting in (*settings, "Dir::Bin::dpkg=/usr/bin/dpkg") for word in ("-o", setting)]
        return Apt(options, [f"--root={self.root}"], str(self.root / "usr/sbin/policy-rc.d"))

    @property
    def dpkg(self) -> Dpkg:
        """Its database of packages."""
        return Dpkg(str(self.root))

    def offer(
        self,
        name: str,
        version: str = "1",
        files: Mapping[str, str] | None = None,
        architecture: str = "all",
        **more: str,
    ) -> None:
        """Put a package into the repository; files under /etc are configuration, and ``more`` fields of its control."""
        with tempfile.TemporaryDirectory() as scratch:
            tree = Path(scratch, "tree")
            content = {f"/usr/share/{name}/file": "", **(files or {})}
            for path, text in content.items():
                (tree / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                (tree / path[1:]).write_text(text)
            fields = {"Package": name, "Version": version, "Architecture": architecture, "Maintainer": "x <x@x>"}
            fields |= {key.replace("_", "-"): value for key, value in more.items()} | {"Description": "x"}
            (tree / "DEBIAN").mkdir()
            (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
            configuration = "".join(f"{path}\n" for path in content if path.startswith("/etc/"))
            (tree / "DEBIAN/conffiles").write_text(configuration)
            package = self.repository / f"{name}_{version}.deb"
            subprocess.run(
                ["dpkg-deb", "--root-owner-group", "--build", tree, package], check=True, capture_output=True
            )
        self._index()

    def _index(self) -> None:
        blocks = []
        for path in sorted(self.repository.glob("*.deb")):
            control = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            blocks.append(f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n")
        (self.repository / "Packages").write_text("\n".join(blocks))

    def install_manually(self, name: str, version: str = "1") -> None:
        """As an operator does."""
        self.run("dpkg", "--install", str(self.repository / f"{name}_{version}.deb"))

    def run(self, *command: str) -> str:
        """Run dpkg or dpkg-query in it."""
        command = (command[0], f"--root={self.root}", *command[1:])
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def states(self) -> dict[str, str]:
        """The state of each package that dpkg knows."""
        rows = self.run("dpkg-query", "--show", "--showformat", "${binary:Package} ${db:Status-Status}\n").splitlines()
        return {name: state for name, state in map(str.split, rows) if name != "base"}
