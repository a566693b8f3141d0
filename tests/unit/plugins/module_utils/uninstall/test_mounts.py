"""What of a host's mounts a reset takes for its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.module_utils.uninstall import mounts
from ansible.module_utils.uninstall.account import Account

# A machine: its disk, one more at etcd's directory, kubelet's directory on itself, and in it a volume of a pod.
MACHINE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:17 / /var/lib/etcd rw,relatime shared:9 - ext4 /dev/sdb1 rw
41 22 8:1 /var/lib/kubelet /var/lib/kubelet rw,relatime shared:1 - ext4 /dev/sda1 rw
42 41 0:50 / /var/lib/kubelet/pods/1/volumes/with\040blank rw shared:20 - tmpfs tmpfs rw
43 22 0:51 / /var/lib/kubelet-of-others rw shared:21 - tmpfs tmpfs rw
"""
# A host in a container: the same directory is a volume, and lies on itself once more.
CONTAINER = """
10 1 0:40 / / rw - overlay overlay rw
11 10 254:0 /volumes/6/_data /var/lib/kubelet rw - ext4 /dev/vda rw
12 11 254:0 /volumes/6/_data /var/lib/kubelet rw shared:7 - ext4 /dev/vda rw
"""


def numbers(mountinfo: str, directory: str) -> list[str]:
    return [mount.number for mount in mounts.beneath(mounts.parse(mountinfo.strip()), directory)]


def test_kubelets_directory_on_itself_and_what_is_in_it() -> None:
    assert numbers(MACHINE, "/var/lib/kubelet") == ["41", "42"]
    assert numbers(CONTAINER, "/var/lib/kubelet") == ["12"]


def test_a_disk_at_a_directory_stays() -> None:
    assert numbers(MACHINE, "/var/lib/etcd") == []


def test_a_directory_that_is_reached_over_links_has_the_mounts_of_the_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubelet = tmp_path / "disk/lib/kubelet"
    kubelet.mkdir(parents=True)
    (tmp_path / "var").symlink_to("disk")
    (tmp_path / "kubelet").symlink_to(tmp_path / "var/lib/kubelet")
    mounted = MACHINE.strip().replace("/var/lib/kubelet", str(kubelet))
    monkeypatch.setattr(mounts, "read", lambda: mounts.parse(mounted))
    commands: list[str] = []
    monkeypatch.setattr(mounts, "run", lambda command: commands.append(command[-1]))
    for directory in (tmp_path / "kubelet", tmp_path / "var/lib/kubelet"):
        assert mounts.Mounts(Account()).busy(str(directory))
    mounts.Mounts(Account()).detach([str(tmp_path / "kubelet")])
    assert commands == [f"{kubelet}/pods/1/volumes/with blank", str(kubelet)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody")
def test_nothing_is_unmounted_where_a_link_leads_that_somebody_planted(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "home")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    assert mounts.real(str(link)) == str(link)


def test_names_with_blanks() -> None:
    assert mounts.parse(MACHINE.strip())[3].point == "/var/lib/kubelet/pods/1/volumes/with blank"


def test_the_newest_is_unmounted_first_and_lazily_if_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run(command: list[str]) -> str:
        commands.append(command[2:])
        if command[2:] == ["/var/lib/kubelet"]:
            raise mounts.CommandFailed("target is busy")
        return ""

    monkeypatch.setattr(mounts, "read", lambda: mounts.parse(MACHINE.strip()))
    monkeypatch.setattr(mounts, "run", run)
    account = Account()
    mounts.Mounts(account).detach(["/var/lib/kubelet", "/var/lib/etcd"])
    assert account.changes == [{"path": "mounts in /var/lib/kubelet: 2", "what": "unmounted"}]
    in_pod = "/var/lib/kubelet/pods/1/volumes/with blank"
    assert commands == [[in_pod], ["/var/lib/kubelet"], ["--lazy", "/var/lib/kubelet"]]


def test_only_namespaces_that_containerd_named_go(tmp_path: Path) -> None:
    ours = tmp_path / "cni-36142381-a14c-809d-3c01-20889f168b6c"
    for path in (ours, tmp_path / "cni-of-others", tmp_path / "vpn"):
        path.touch()
    account = Account()
    mounts.Mounts(account).remove_namespaces(str(tmp_path))
    assert [change["path"] for change in account.changes] == [str(ours)]
    assert {path.name for path in tmp_path.iterdir()} == {"cni-of-others", "vpn"}
