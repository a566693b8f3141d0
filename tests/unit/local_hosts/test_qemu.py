"""How virtual machines are described, found and identified; that they start is for tests with hosts."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.local_hosts.virtual import machine, planned

from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import acceleration, disk, qemu, repository
from kubeproof.local_hosts import machine as this_machine
from kubeproof.local_hosts.plan import System, VmSettings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA" + "k" * 44


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(this_machine, "RUN", tmp_path / "run")
    monkeypatch.setattr(qemu, "_RUN", tmp_path / "run" / "vms")
    (tmp_path / "run" / "vms").mkdir(parents=True)
    return tmp_path


def made(places: Path, *, started: bool = True) -> Path:
    """The directory of a virtual machine that was made."""
    directory = places / "cache" / "kubeproof" / "vms" / "lab-a"
    directory.mkdir(parents=True)
    described = {"unique_name": "lab-a", "network": "lab", "host": "a", "inventory": "i", "recipe": "r", "base": "b"}
    (directory / "vm.json").write_text(json.dumps(described))
    if started:
        (directory / "console.log").touch()
    return directory


@pytest.fixture
def running(places: Path) -> Iterator[int]:
    """A process that looks like the machine's."""
    with subprocess.Popen(["sh", "-c", "read wait", "-name", "lab-a"], stdin=subprocess.PIPE) as process:
        # Popen may return a moment before the new program's words are in place.
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        (places / "run" / "vms" / "lab-a.pid").write_text(f"{process.pid}\n")
        yield process.pid
        process.kill()


def test_a_machine_that_never_ran_is_told_from_one_that_is_off(places: Path) -> None:
    directory = made(places, started=False)
    assert [each.state for each in qemu.instances("lab")] == ["created"]
    (directory / "console.log").touch()
    assert [each.state for each in qemu.instances("lab")] == ["exited"]
    assert qemu.instances("other") == []


def test_a_machine_that_runs_is_known_by_its_process(places: Path, running: int) -> None:
    made(places)
    assert [each.running for each in qemu.instances("lab")] == [True]


def test_somebody_elses_process_under_the_number_is_not_taken_for_it(places: Path) -> None:
    made(places)
    (places / "run" / "vms" / "lab-a.pid").write_text(f"{os.getpid()}\n")
    assert [each.running for each in qemu.instances("lab")] == [False]
    qemu.kill("lab-a")


def test_a_machine_is_removed_with_its_process_and_files(places: Path, running: int) -> None:
    directory = made(places)
    qemu.remove("lab-a")
    assert not directory.exists()
    assert not list((places / "run" / "vms").iterdir())
    assert Path(f"/proc/{running}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_host_key_is_the_last_whole_one_on_the_console(places: Path) -> None:
    console = made(places) / "console.log"
    console.write_text(f"{KEY.replace('k', 'a')} root@a\n[  OK  ] ssh-ed25519 AAAAC3Nz[  1.0] oops\n{KEY} root@a\r\n")
    assert qemu.host_key(machine()) == KEY


def test_a_console_without_a_key_is_an_error_that_says_where_to_look(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_KEY_SECONDS", 0.1)
    made(places)
    with pytest.raises(KubeproofError, match="console"):
        qemu.host_key(machine())


def test_another_setting_is_another_machine() -> None:
    first = machine()
    others = [
        dataclasses.replace(first, memory="1g"),
        dataclasses.replace(first, user="operator"),
        dataclasses.replace(first, vm=VmSettings(cpus=1)),
        dataclasses.replace(first, system=System.DEBIAN_13),
        dataclasses.replace(first, vm=VmSettings(preinstalled=False)),
        dataclasses.replace(first, vm=VmSettings(disk="20g")),
    ]
    recipes = {qemu.recipe(planned(host), host) for host in (first, *others)}
    assert len(recipes) == 1 + len(others)
    assert qemu.recipe(planned(first), first) in recipes


def test_a_machine_of_the_users_image_boots_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # Else QEMU is asked, which is not everywhere.
    monkeypatch.setattr(qemu, "_kvm_runs", lambda _host: False)
    assert qemu._boot(machine(VmSettings(image=Path("/image.qcow2")))) == []
    assert "-kernel" in qemu._boot(machine())


@pytest.mark.parametrize("kvm", [False, True])
def test_only_an_emulated_processor_is_without_mitigations(monkeypatch: pytest.MonkeyPatch, kvm: bool) -> None:
    monkeypatch.setattr(acceleration, "kvm_works", lambda _: kvm)
    assert ("mitigations=off" in qemu._boot(machine())[-1]) is not kvm


def test_kvm_is_tried_once_and_not_taken_from_its_device(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    monkeypatch.setattr(acceleration, "_DEVICE", places)

    def starts(kernel: Path) -> bool:
        tried.append(kernel)
        return False

    monkeypatch.setattr(acceleration, "_starts", starts)
    assert not acceleration.kvm_works(places / "vmlinuz")
    assert not acceleration.kvm_works(places / "vmlinuz")
    assert tried == [places / "vmlinuz"]


def test_a_bare_disk_lacks_what_components_call() -> None:
    full, bare = (disk.recipe(System.DEBIAN_12, preinstalled=each) for each in (True, False))
    assert set(full.packages) - set(bare.packages) >= {"haproxy", "nftables", "conntrack"}
    assert "haproxy.service" in full.off
    assert "haproxy.service" not in bare.off, "what a package starts by itself is to be seen"


def test_disks_that_a_machine_builds_on_stay(places: Path) -> None:
    cache = places / "cache"
    current = disk.base(System.DEBIAN_12, cache, preinstalled=True).disk.parent
    for name in (current.name, "debian-12-old", "debian-12-used", "debian-12-made.new"):
        (current.parent / name).mkdir(parents=True)
    disk.remove_unused(cache, {"debian-12-used"})
    assert {path.name for path in current.parent.iterdir()} == {current.name, "debian-12-used", "debian-12-made.new"}


def test_only_bare_machines_have_the_repository_on_the_segment() -> None:
    bare = machine(VmSettings(preinstalled=False), system=System.DEBIAN_13)
    assert qemu._repository(planned(bare), bare) == f"deb [trusted=yes] http://10.213.99.1:{repository.PORT}/trixie ./"
    assert qemu._repository(planned(machine()), machine()) == ""
