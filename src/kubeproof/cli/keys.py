"""``kubeproof backup keys``: the cluster's keys, put back where the controller has lost them."""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubeproof.backup import keys
from kubeproof.cli.options import SubParsers, add_become, add_inventory
from kubeproof.core import active_run
from kubeproof.core import console as ui
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import Result
from kubeproof.restore import checking
from kubeproof.settings import inventory, remote, state
from kubeproof.settings.inventory import Host, Inventory
from kubeproof.settings.resolve import Settings

_SECONDS = 60.0
# What hosts that make backups have of the keys, for the next one; and whose they are.
_ARCHIVES = tuple(f"/etc/kubeproof/{name}" for name in checking.ARCHIVES)
_CA_FILE = "/etc/etcd/pki/ca.crt"
_READ = f"for file in {' '.join(_ARCHIVES)}; do test -e $file && echo $file && base64 -w0 $file && echo && break; done"

Read = Callable[[Host], Result]


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to ``kubeproof backup``."""
    parser = subparsers.add_parser(
        "keys",
        help="restore the cluster's keys that the controller has lost",
        description="Restores missing CAs, the service-account key and the encryption key into the state directory, "
        "from an etcd host, which has them encrypted for its backups, or from a backup. Without backup_recipients, "
        "the private key that decrypts them is put there, too. Changes nothing on hosts, and no existing file.",
    )
    parser.add_argument(
        "backup", nargs="?", type=Path, help="directory of a backup (default: the keys on the etcd hosts)"
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument(
        "--identity",
        type=Path,
        help="file with the private key that decrypts them (default: backup-identity.txt in the state directory)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    own = cluster.state / keys.IDENTITY
    identity, had_own = arguments.identity or own, own.exists()
    recipients = Settings(cluster.representative)["backup_recipients"]
    with active_run.held(state.prepare(cluster.state), "kubeproof backup keys"):
        if arguments.backup:
            taken = checking.keys_for(cluster.state, arguments.backup.resolve(), identity, recipients)
        else:
            taken = from_hosts(cluster, identity, _read, recipients)
    console = ui.console()
    if taken:
        console.print(f"restored into {cluster.state / 'pki'}: {', '.join(taken)}", markup=False, soft_wrap=True)
    else:
        console.print(f"{cluster.state / 'pki'} lacks no keys", markup=False, soft_wrap=True)
    if own.exists() and not had_own:
        console.print(f"restored {own}, which decrypts the keys in backups", markup=False, soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Held:
    """What a host has of the cluster's keys; ``name`` is the archive's."""

    name: str
    archive: bytes
    ca_digest: str


def from_hosts(cluster: Inventory, identity: Path, read: Read, recipients: Sequence[str] = ()) -> list[str]:
    """Take the keys from the first host of etcd that has them; returns the names of the files that were missing.

    Without ``recipients``, which are the cluster's, the private key is kept that has decrypted them.
    """
    problems = []
    for host in cluster.group("etcd"):
        try:
            held = _ask(host, read)
        except KubeproofError as error:
            problems.append(f"{host.name}: {error}")
            continue
        encrypted = held.name.endswith(checking.ENCRYPTED)
        opened = keys.decrypt(held.archive, identity) if encrypted else held.archive
        otherwise = f"the keys that {host.name} has for its backups are another cluster's than its etcd"
        taken = checking.take(opened, cluster.state, held.ca_digest, otherwise)
        if encrypted:
            keys.keep_identity(cluster.state, held.archive, identity, recipients)
        return taken
    raise KubeproofError(
        "\n    ".join(["no host of etcd has the cluster's keys", *problems]),
        hint="give the directory of a backup, for example of a copy elsewhere; or put a copy of the state directory "
        "back",
    )


def _read(host: Host) -> Result:
    script = f"{_READ}; cat {_CA_FILE}"
    return remote.login(host).run(script, timeout=_SECONDS)


def _ask(host: Host, read: Read) -> Held:
    """Raises KubeproofError if there is nothing to be had."""
    result = read(host)
    name, _, rest = result.stdout.partition("\n")
    encoded, _, pem = rest.partition("\n")
    if not result.ok:
        raise KubeproofError((result.stderr.strip().splitlines() or [f"it ended with {result.returncode}"])[-1])
    if name not in _ARCHIVES:
        raise KubeproofError(f"it has none of {', '.join(_ARCHIVES)}")
    try:
        der = ssl.PEM_cert_to_DER_cert(pem.strip())
        return Held(name, base64.b64decode(encoded, validate=True), hashlib.sha256(der).hexdigest())
    except (ValueError, binascii.Error):
        raise KubeproofError("its answer cannot be read") from None
