"""What makes a local host itself, as files and as a seed for cloud-init."""

from __future__ import annotations

import dataclasses
import io
import ipaddress
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.unit.local_hosts.virtual import machine, planned

from kubeproof.local_hosts import cloud_init, identity
from kubeproof.local_hosts.identity import File
from kubeproof.local_hosts.plan import LocalHost, System, VmSettings

MAC = "52:54:00:00:00:01"


def files(host: LocalHost) -> dict[str, File]:
    return identity.machine_files(planned(host), host, mac=MAC, repository="")


def test_an_isolated_host_resolves_by_itself_so_that_names_fail_at_once() -> None:
    assert files(machine())["etc/resolv.conf"].content == "nameserver 10.213.99.11\n"


def test_a_host_has_some_resolver_where_this_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """CoreDNS does not start without."""
    plan = planned(machine())
    plan = dataclasses.replace(plan, network=dataclasses.replace(plan.network, isolated=False))
    for own, servers in (["192.0.2.53"], ["192.0.2.53"]), ([], ["10.213.99.11"]):
        monkeypatch.setattr("kubeproof.local_hosts.machine.resolvers", lambda own=own: own)
        assert identity.resolvers(plan, machine()) == servers


def test_debian_13_has_its_servers_from_resolved() -> None:
    made = files(machine(system=System.DEBIAN_13))
    assert "etc/resolv.conf" not in made
    assert "DNS=10.213.99.11\n" in made["etc/systemd/network/10-segment.network"].content


def test_an_address_belongs_to_the_interface_on_the_segment() -> None:
    segment = files(machine())["etc/systemd/network/10-segment.network"].content
    assert f"MACAddress={MAC}\n" in segment
    assert "Address=10.213.99.11/24\nGateway=10.213.99.254\n" in segment


def test_a_host_on_a_further_segment_has_the_gateway_there() -> None:
    host = dataclasses.replace(machine(), address=ipaddress.IPv4Address("10.213.98.11"))
    plan = planned(host)
    further = (ipaddress.IPv4Network("10.213.98.0/25"),)
    plan = dataclasses.replace(plan, network=dataclasses.replace(plan.network, further_subnets=further))
    made = identity.machine_files(plan, host, mac=MAC, repository="")
    segment = made["etc/systemd/network/10-segment.network"].content
    assert "Address=10.213.98.11/25\nGateway=10.213.98.126\n" in segment


def test_a_second_address_belongs_to_it_too() -> None:
    host = dataclasses.replace(machine(), address_ipv6=ipaddress.IPv6Address("fd00:10:213:99::11"))
    plan = planned(host)
    subnet = ipaddress.IPv6Network("fd00:10:213:99::/64")
    plan = dataclasses.replace(plan, network=dataclasses.replace(plan.network, subnet_ipv6=subnet))
    made = identity.machine_files(plan, host, mac=MAC, repository="")
    segment = made["etc/systemd/network/10-segment.network"].content
    assert "Address=10.213.99.11/24\nAddress=fd00:10:213:99::11/64\n" in segment
    assert "Gateway=10.213.99.254\nGateway=fd00:10:213:99::fe\n" in segment
    assert "LinkLocalAddressing=ipv6\n" in segment
    [interface] = cloud_init.network_config(plan, host, MAC)["ethernets"].values()
    assert interface["addresses"] == ["10.213.99.11/24", "fd00:10:213:99::11/64"]
    assert interface["routes"] == [
        {"to": "0.0.0.0/0", "via": "10.213.99.254"},
        {"to": "::/0", "via": "fd00:10:213:99::fe"},
    ]


def test_root_needs_no_sudo() -> None:
    assert not [path for path in files(machine()) if "sudoers" in path]
    assert "useradd" not in files(machine())["run/local-host/setup"].content


@pytest.mark.parametrize(("password", "rule"), [("", "NOPASSWD:ALL"), ('it\'s a "secret"', "(ALL:ALL) ALL")])
def test_a_user_has_sudo(password: str, rule: str) -> None:
    made = files(machine(user="operator", sudo_password=password))
    assert rule in made["etc/sudoers.d/50-operator"].content
    assert made["etc/sudoers.d/50-operator"].mode == 0o440
    setup = made["run/local-host/setup"].content
    assert "useradd --create-home --gid operator --shell /bin/bash operator" in setup
    assert ("usermod --password" in setup) == bool(password)
    assert password == "" or password not in setup
    subprocess.run(["sh", "-n"], input=setup.encode(), check=True)


def test_a_password_makes_one_hash_as_long_as_it_is_the_same() -> None:
    host = machine(user="operator", sudo_password="one")  # noqa: S106
    assert identity.password_hash(host) == identity.password_hash(host)
    assert identity.password_hash(host) != identity.password_hash(dataclasses.replace(host, sudo_password="two"))  # noqa: S106


def test_the_controller_is_let_in_as_the_user_that_logs_in() -> None:
    assert list(identity.authorized_keys(machine(), "key")) == ["root/.ssh/authorized_keys"]
    ((path, file),) = identity.authorized_keys(machine(user="operator"), "key").items()
    assert path == "home/operator/.ssh/authorized_keys"
    assert file.mode == 0o600


def test_an_archive_has_permissions_and_is_the_same_each_time() -> None:
    made = {"b": File("two", 0o600), "a": File("one")}
    data = identity.archive(made)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(member.name, member.mode) for member in tar] == [("a", 0o644), ("b", 0o600)]
    assert identity.archive(dict(reversed(made.items()))) == data
    assert len(data) % 512 == 0, "a disk has whole sectors"


def test_cloud_init_is_told_the_same() -> None:
    host = machine(user="ubuntu", sudo_password="secret")  # noqa: S106
    told = cloud_init.user_data(host, "ssh-ed25519 AAAA key\n")
    (user,) = told["users"]
    assert user["name"] == "ubuntu"
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAA key"]
    assert user["sudo"] == "ALL=(ALL:ALL) ALL"
    assert user["hashed_passwd"] == identity.password_hash(host)
    assert told["disable_root"]
    (ethernet,) = cloud_init.network_config(planned(host), host, MAC)["ethernets"].values()
    assert ethernet["addresses"] == ["10.213.99.11/24"]
    assert ethernet["match"] == {"macaddress": MAC}


def test_a_cloud_image_may_let_root_in() -> None:
    assert not cloud_init.user_data(machine(vm=VmSettings(image=Path("/image.qcow2"))), "key")["disable_root"]
