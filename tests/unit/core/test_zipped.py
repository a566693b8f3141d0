from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kubeproof.core import zipped

PACKAGE = "kubeproof.backup.agent"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "kubeproof-backup"
    path.write_bytes(zipped.program(PACKAGE))
    path.chmod(0o755)
    return path


def test_the_same_package_is_the_same_bytes() -> None:
    assert zipped.program(PACKAGE) == zipped.program(PACKAGE)


@pytest.mark.parametrize("package", ["recorder", "kubeproof.backup"])
def test_a_package_that_is_none_or_has_no_main_is_an_error(package: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=rf"there is no module {package}\.main"):
        zipped.program(package)


def test_it_runs_by_itself_with_no_module_from_elsewhere(program: Path) -> None:
    command = [sys.executable, "-I", "-S", str(program), "--config", "/nonexistent", "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 1
    assert done.stderr.startswith("kubeproof-backup: /nonexistent cannot be read")
    assert program.read_bytes().startswith(b"#!/usr/bin/python3 -I\n")


@pytest.mark.parametrize(
    "package",
    [PACKAGE, "kubeproof.install.etcd_defragment", "kubeproof.install.pod_network", "kubeproof.upgrade.host_turn"],
)
def test_it_has_no_module_but_its_own_and_pythons(package: str) -> None:
    with zipfile.ZipFile(io.BytesIO(zipped.program(package))) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"__main__.py", "kubeproof/__init__.py", f"{package.replace('.', '/')}/main.py"} <= set(sources)
    for name, source in sources.items():
        # What Python 3.8 has no grammar for, such as `match`, fails here.
        for node in ast.walk(ast.parse(source, name, feature_version=(3, 8))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                ours = module.startswith(package)
                assert ours or module.split(".")[0] in sys.stdlib_module_names, f"{name} imports {module}"


def test_what_it_says_as_data_is_json(program: Path, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    etcd = {"endpoint": "", "endpoints": [], "ca": str(tmp_path / "ca.crt"), "certificate": "/x", "key": "/x"}
    keep = dict.fromkeys(("last", "hourly", "daily", "weekly", "bytes", "free"), 1)
    settings = {
        "cluster": "c", "host": "h", "user": "root", "directory": str(tmp_path / "backups"), "keys": "", "etcd": etcd,
        "state": str(tmp_path / "state"), "interval": 60, "overdue": 90, "timeout": 9, "keep": keep,
    }  # fmt: skip
    (tmp_path / "backup.json").write_text(json.dumps(settings))
    command = [sys.executable, "-I", "-S", str(program), "--config", str(tmp_path / "backup.json")]
    listed = subprocess.run([*command, "list", "--json"], capture_output=True, check=True).stdout
    assert json.loads(listed) == []
    status = subprocess.run([*command, "status", "--json"], capture_output=True, check=False)
    assert status.returncode == 1
    assert json.loads(status.stdout)["problems"] == ["there is no backup yet"]


def test_what_it_needs_of_others_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "recorder"
    path.write_bytes(zipped.program("kubeproof.verify.faults.recorder", "hpack", "hyperframe"))
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(path), "{}", "/nonexistent/log"], capture_output=True, text=True, check=False
    )
    assert "No such file or directory: '/nonexistent/log'" in done.stderr
    with pytest.raises(ModuleNotFoundError, match="there is no package nonsense"):
        zipped.program("kubeproof.verify.faults.recorder", "nonsense")


def test_it_names_the_python_of_its_host() -> None:
    theirs = zipped.program(PACKAGE, python="/opt/kubeproof/python/bin/python3")
    assert theirs.startswith(b"#!/opt/kubeproof/python/bin/python3 -I\n")
    assert zipped.program(PACKAGE).startswith(b"#!/usr/bin/python3 -I\n")
