"""Which of a node's rules lead from a Service to its endpoints, as nft and iptables-save print them."""

from __future__ import annotations

import re

import pytest

from kubeproof.verify.observe import proxy_rules

# kube-proxy 1.37, and 1.36 with a chain for each endpoint.
NFTABLES = """table ip kube-proxy {
	map no-endpoint-services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.208.59 . tcp . 80 comment "lab/empty:http" : goto reject-chain,
				10.96.141.241 . tcp . 80 comment "lab/bare:http" : goto reject-chain }
	}

	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.10 . tcp . 53 : goto service-NWBZK7IH-lab/dns/tcp/dns,
				10.96.0.11 . tcp . 53 : goto service-AAAAAAAA-lab/other/tcp/dns }
	}

	chain reject-chain {
		reject
	}

	chain service-NWBZK7IH-lab/dns/tcp/dns {
		meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.1.8 . 53, 1 : 10.244.3.17 . 53 }
	}

	chain service-AAAAAAAA-lab/other/tcp/dns {
		ip daddr 10.96.0.11 tcp dport 53 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
		numgen random mod 2 vmap { 0 : goto endpoint-B-lab/other/tcp/dns__10.244.2.2/53, 1 : goto endpoint-C-lab/other/tcp/dns__10.244.2.3/53 }
	}

	chain endpoint-B-lab/other/tcp/dns__10.244.2.2/53 {
		meta l4proto tcp dnat to 10.244.2.2:53
	}

	chain endpoint-C-lab/other/tcp/dns__10.244.2.3/53 {
		meta l4proto tcp dnat to 10.244.2.3:53
	}
}
"""  # noqa: E501 - as it is printed
IPTABLES = """*nat
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "lab/dns cluster IP" -m tcp --dport 53 -j KUBE-SVC-ONE
-A KUBE-SVC-ONE ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -j KUBE-MARK-MASQ
-A KUBE-SVC-ONE -m comment --comment "lab/dns -> 10.244.1.8:53" -m statistic --mode random -j KUBE-SEP-A
-A KUBE-SVC-ONE -m comment --comment "lab/dns -> 10.244.3.17:53" -j KUBE-SEP-B
-A KUBE-SEP-A -s 10.244.1.8/32 -m comment --comment "lab/dns" -j KUBE-MARK-MASQ
-A KUBE-SEP-A -p tcp -m comment --comment "lab/dns" -m tcp -j DNAT --to-destination 10.244.1.8:53
-A KUBE-SEP-B -p tcp -m comment --comment "lab/dns" -m tcp -j DNAT --to-destination 10.244.3.17:53
-A KUBE-SEP-C -p tcp -m comment --comment "lab/other" -m tcp -j DNAT --to-destination 10.244.2.2:53
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
"""


def destinations(listing: str, address: str, port: int = 53) -> set[str]:
    """The addresses of pods among the rules."""
    return set(re.findall(r"\b10\.244\.[1-9]\.\d+", "\n".join(proxy_rules.of_service(listing, address, port))))


@pytest.mark.parametrize("listing", [NFTABLES, IPTABLES], ids=["nftables", "iptables"])
def test_rules_of_a_service_are_its_own_to_the_last(listing: str) -> None:
    assert destinations(listing, "10.96.0.10") == {"10.244.1.8", "10.244.3.17"}
    assert re.search(proxy_rules.leading("10.96.0.10", 53), listing)
    assert not destinations(listing, "10.96.0.10", 5353)
    assert not destinations(listing, "0.96.0.10")


def test_chains_of_endpoints_are_followed() -> None:
    assert destinations(NFTABLES, "10.96.0.11") == {"10.244.2.2", "10.244.2.3"}


def test_a_service_that_is_refused_for_want_of_endpoints_has_no_rules() -> None:
    assert re.search(proxy_rules.mentioned("10.96.208.59", 80), NFTABLES)
    assert not re.search(proxy_rules.leading("10.96.208.59", 80), NFTABLES)
    assert proxy_rules.of_service(NFTABLES, "10.96.208.59", 80) == []


def test_no_rules_at_all() -> None:
    assert proxy_rules.of_service("", "10.96.0.10", 53) == []
