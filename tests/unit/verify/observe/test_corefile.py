"""Whom CoreDNS asks about a name, by its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.roles.test_extra_config import corefile as rendered

from kubeproof.verify.observe import corefile

TEXT = """
# forward . 192.0.2.99
.:53 {
    errors
    health {
        lameduck 5s
    }
    forward . /etc/resolv.conf 192.0.2.1 {
        max_concurrent 1000
    }
}
dns://Corp.Example.:53, corp.example.net {
    forward sub.corp.example 192.0.2.2
    forward . 192.0.2.3:5353  # and nobody else
}
silent.example {
    errors
}
"""


@pytest.mark.parametrize(
    ("name", "servers"),
    [
        ("example", ("/etc/resolv.conf", "192.0.2.1")),
        ("xcorp.example", ("/etc/resolv.conf", "192.0.2.1")),
        ("corp.example", ("192.0.2.3:5353",)),
        ("a.corp.example", ("192.0.2.3:5353",)),
        ("a.sub.corp.example", ("192.0.2.2",)),
        ("a.corp.example.net", ("192.0.2.3:5353",)),
        ("a.silent.example", ()),
    ],
)
def test_the_block_of_the_longest_zone_counts(name: str, servers: tuple[str, ...]) -> None:
    assert corefile.forwarders(TEXT, name) == servers


def test_a_corefile_of_the_role(tmp_path: Path) -> None:
    stub = {"outside.kubeproof.test": ["192.0.2.7:5399"]}
    text = rendered(tmp_path, dns_stub_domains=stub, dns_hosts={"a.outside.kubeproof.test": "192.0.2.8"})
    assert corefile.forwarders(text, "x.outside.kubeproof.test") == ("192.0.2.7:5399",)
    assert corefile.forwarders(text, "example.org") == ("/etc/resolv.conf",)


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("dns://192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_a_server_has_a_port(server: str, place: tuple[str, int]) -> None:
    assert corefile.endpoint(server) == place


def test_servers_in_a_file() -> None:
    assert corefile.nameservers("search a b\nnameserver 192.0.2.1\n#nameserver 192.0.2.2\nnameserver ::1 x\n") == (
        "192.0.2.1",
        "::1",
    )
