"""Messages of the kernel, taken apart."""

from __future__ import annotations

import errno
import struct

import pytest

from kubeproof.install.pod_network import netlink
from kubeproof.install.pod_network.netlink import Message, NetlinkError


def test_attributes_come_back_as_they_were_packed() -> None:
    data = netlink.attribute(1, b"kubeproof\0") + netlink.attribute(0x8002, b"abc") + netlink.attribute(3, b"")
    assert len(data) % 4 == 0
    assert netlink.attributes(data) == {1: b"kubeproof\0", 2: b"abc", 3: b""}
    assert netlink.text(b"kubeproof\0") == "kubeproof"


def test_what_is_cut_off_or_nonsense_ends_there() -> None:
    assert list(netlink.attribute_list(netlink.attribute(1, b"abcd") + b"\x01")) == [(1, b"abcd")]
    assert list(netlink.attribute_list(struct.pack("=HH", 0, 5))) == []
    assert list(netlink.split(struct.pack("=IHHII", 3, 0, 0, 0, 0))) == []


def test_several_messages_in_one_piece() -> None:
    header = struct.Struct("=IHHII")
    one, other = header.pack(header.size + 2, 24, 2, 7, 0) + b"ab\0\0", header.pack(header.size, 3, 2, 7, 0)
    found = list(netlink.split(one + other))
    assert [(sequence, message.kind, message.body) for sequence, message in found] == [(7, 24, b"ab"), (7, 3, b"")]


def test_an_answer_without_a_complaint() -> None:
    netlink.raise_for(Message(2, 0, struct.pack("=i", 0)))
    netlink.raise_for(Message(3, 2, b""))


@pytest.mark.parametrize("capped", [True, False])
def test_the_kernels_own_words_are_told(capped: bool) -> None:
    request = struct.pack("=IHHII", 21, 24, 5, 1, 0) + b"\x02abcd"
    shown = request[:16] if capped else request + bytes(3)
    flags = 0x200 | (0x100 if capped else 0)
    body = struct.pack("=i", -errno.ENETUNREACH) + shown + netlink.attribute(1, b"Nexthop has invalid gateway\0")
    with pytest.raises(NetlinkError, match="Nexthop has invalid gateway") as caught:
        netlink.raise_for(Message(2, flags, body))
    assert caught.value.errno == errno.ENETUNREACH


def test_without_words_the_errors_name_is() -> None:
    with pytest.raises(NetlinkError, match="No such process"):
        netlink.raise_for(Message(2, 0, struct.pack("=i", -errno.ESRCH) + bytes(16)))
