"""What makes a disk image of the user's own a local host: a seed for its cloud-init.

https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from kubeproof.core.process import run
from kubeproof.local_hosts import identity
from kubeproof.local_hosts.plan import LocalHost, Plan

_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def write(plan: Plan, host: LocalHost, path: Path, *, mac: str, key: str) -> None:
    """Write the seed, a disk that cloud-init knows by its label."""
    documents = {
        "meta-data": {"instance-id": host.unique_name, "local-hostname": host.name},
        "user-data": user_data(host, key),
        "network-config": network_config(plan, host, mac),
    }
    with tempfile.TemporaryDirectory() as directory:
        for name, document in documents.items():
            head = "#cloud-config\n" if name == "user-data" else ""
            # JSON is YAML, which is what these are.
            Path(directory, name).write_text(head + json.dumps(document, indent=2) + "\n")
        run(["genisoimage", "-quiet", "-volid", "CIDATA", "-joliet", "-rock", "-output", str(path), directory])


def user_data(host: LocalHost, key: str) -> dict[str, Any]:
    """Whom the host lets in, and its own name."""
    user: dict[str, Any] = {"name": host.user, "ssh_authorized_keys": [key.strip()], "shell": "/bin/bash"}
    if host.user != "root":
        user["sudo"] = "ALL=(ALL:ALL) ALL" if host.sudo_password else "ALL=(ALL:ALL) NOPASSWD:ALL"
    if host.sudo_password:
        user |= {"hashed_passwd": identity.password_hash(host), "lock_passwd": False}
    return {
        "hostname": host.name,
        "manage_etc_hosts": "localhost",
        "disable_root": host.user != "root",
        "ssh_pwauth": False,
        "users": [user],
    }


def network_config(plan: Plan, host: LocalHost, mac: str) -> dict[str, Any]:
    """The address on the segment, in version 2 of the format."""
    return {
        "version": 2,
        "ethernets": {
            "segment": {
                "match": {"macaddress": mac},
                "addresses": [str(address) for address in host.addresses(plan.network)],
                "routes": [
                    {"to": _EVERYWHERE[gateway.version], "via": str(gateway.ip)}
                    for gateway in host.gateways(plan.network)
                ],
                "nameservers": {"addresses": identity.resolvers(plan, host)},
            }
        },
    }
