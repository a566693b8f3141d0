"""The rules for what crosses the border of the hosts' segment."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

from kubeproof.local_hosts import forwarding
from kubeproof.local_hosts.plan import LocalHost, Network, Plan, PublishedPort


def planned(*ports: PublishedPort, isolated: bool = True) -> Plan:
    network = Network("lab", ipaddress.IPv4Network("10.213.99.0/24"), isolated=isolated)
    host = LocalHost("a", "lab-a", ipaddress.IPv4Address("10.213.99.11"), ports)
    return Plan(Path("/lab/hosts.yml"), Path("/lab/state"), network, (host,))


def chain(plan: Plan, name: str) -> str:
    """The text of one chain of the ruleset."""
    rules = forwarding.ruleset(plan)
    return rules[rules.index(f"chain {name}") :].partition("}")[0]


def test_what_is_published_on_loopback_is_not_reached_from_outside() -> None:
    plan = planned(PublishedPort(port=80, published=8080))
    assert "ip daddr 127.0.0.1 tcp dport 8080 dnat to 10.213.99.11:80" in chain(plan, "output")
    assert "dnat" not in chain(plan, "prerouting")


def test_what_is_published_everywhere_is_reached_from_here_and_from_outside() -> None:
    plan = planned(PublishedPort(port=53, published=53, address="0.0.0.0", protocol="udp"))
    rule = "fib daddr type local udp dport 53 dnat to 10.213.99.11:53"
    assert rule in chain(plan, "output")
    assert rule in chain(plan, "prerouting")


def test_only_hosts_that_are_not_isolated_hide_behind_the_machine() -> None:
    way_out = f"ip saddr 10.213.99.0/24 oifname != {planned().network.interface} masquerade"
    assert way_out not in forwarding.ruleset(planned(PublishedPort(80, 80)))
    assert way_out in forwarding.ruleset(planned(isolated=False))


def test_hosts_on_further_segments_have_the_same_ways() -> None:
    plan = planned(PublishedPort(80, 80), isolated=False)
    further = (ipaddress.IPv4Network("10.213.98.0/24"),)
    plan = dataclasses.replace(plan, network=dataclasses.replace(plan.network, further_subnets=further))
    interface, subnets = plan.network.interface, "{ 10.213.99.0/24, 10.213.98.0/24 }"
    rules = forwarding.ruleset(plan)
    assert f"ip saddr != {subnets} oifname {interface} masquerade" in rules
    assert f"ip saddr {subnets} oifname != {interface} masquerade" in rules
