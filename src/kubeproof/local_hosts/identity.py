"""What makes a local host itself: its name, its address, its user, and whom it lets in."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from kubeproof.core.process import run
from kubeproof.local_hosts import machine
from kubeproof.local_hosts.plan import LocalHost, Plan, System


@dataclass(frozen=True)
class File:
    """A file's content and permissions."""

    content: str
    mode: int = 0o644


def files(plan: Plan, host: LocalHost) -> dict[str, File]:
    """The files of a host of any kind by their path from the root, those that let the controller in aside."""
    return {
        "etc/hosts": File(f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{host.address} {host.name}\n"),
        "etc/resolv.conf": File("".join(f"nameserver {address}\n" for address in resolvers(plan, host))),
    }


def resolvers(plan: Plan, host: LocalHost) -> list[str]:
    """The name servers that a host is given."""
    # An isolated host's resolver is its own address, where nothing listens: names fail at once. CoreDNS needs one.
    found = [] if plan.network.isolated else machine.resolvers()
    return found or [str(host.address)]


def authorized_keys(host: LocalHost, key: str) -> dict[str, File]:
    """The file that lets the controller in, with its public key."""
    home = "root" if host.user == "root" else f"home/{host.user}"
    return {f"{home}/.ssh/authorized_keys": File(key, 0o600)}


def machine_files(plan: Plan, host: LocalHost, *, mac: str, repository: str) -> dict[str, File]:
    """What a virtual machine needs besides: network and hostname, which a container is given from outside.

    ``repository`` is the line of the package manager's sources, empty without one.
    """
    found = files(plan, host)
    if host.system is System.DEBIAN_13:
        # There it is a link to what systemd-resolved writes.
        del found["etc/resolv.conf"]
    servers = "".join(f"DNS={address}\n" for address in resolvers(plan, host))
    own = "".join(f"Address={address}\n" for address in host.addresses(plan.network))
    gateways = "".join(f"Gateway={gateway.ip}\n" for gateway in host.gateways(plan.network))
    # Neighbours are looked for by IPv6 from a link-local address.
    link_local = "ipv6" if plan.network.ipv6 else "no"
    segment = (
        f"[Match]\nMACAddress={mac}\n\n[Network]\n{own}{gateways}{servers}"
        f"LinkLocalAddressing={link_local}\nIPv6AcceptRA=no\n"
    )
    found |= {
        "etc/hostname": File(f"{host.name}\n"),
        "etc/systemd/network/10-segment.network": File(segment),
        "run/local-host/setup": File(_setup(host), 0o700),
    }
    if repository:
        found["etc/apt/sources.list"] = File(f"{repository}\n")
    if host.user != "root":
        free = "" if host.sudo_password else "NOPASSWD:"
        found[f"etc/sudoers.d/50-{host.user}"] = File(f"{host.user} ALL=(ALL:ALL) {free}ALL\n", 0o440)
    return found


def _setup(host: LocalHost) -> str:
    """The program that a virtual machine runs once with its files in place."""
    lines = ["#!/bin/sh", "set -eu", "hostname --file /etc/hostname"]
    if host.user != "root":
        lines += [
            # Debian has groups, such as "operator", that have no user of their name.
            f"getent group {host.user} >/dev/null || groupadd {host.user}",
            f"id {host.user} >/dev/null 2>&1 || useradd --create-home --gid {host.user} --shell /bin/bash {host.user}",
            f"cp --no-clobber --recursive /etc/skel/. /home/{host.user}/",
            f"chown --recursive {host.user}: /home/{host.user}",
        ]
        if host.sudo_password:
            lines.append(f"usermod --password '{password_hash(host)}' {host.user}")
    return "\n".join([*lines, ""])


def password_hash(host: LocalHost) -> str:
    """The hash of the user's password for the host; unchanged as long as the password is."""
    # With a salt of its own at each call the host would seem to be another one.
    salt = run(["openssl", "dgst", "-sha256", "-r"], stdin=f"{host.unique_name}:{host.sudo_password}")[:16]
    return run(["openssl", "passwd", "-6", "-salt", salt, "-stdin"], stdin=host.sudo_password).strip()


def archive(contents: Mapping[str, File]) -> bytes:
    """Files as a tar archive of root's, the same for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, file in sorted(contents.items()):
            data = file.content.encode()
            member = tarfile.TarInfo(path)
            member.size = len(data)
            member.mode = file.mode
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
