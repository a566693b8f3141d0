"""Backups of three members: copied by rsync and to S3, proven, fetched back; another member takes over."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

from kubeproof.components import gobuild, pins
from kubeproof.components.cache import Cache
from kubeproof.components.progress import silent
from kubeproof.core import waiting
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import ssh_command
from kubeproof.verify.observe.hosts import Host, Hosts

_LAST = "/kubeproof/backup/last"
_ETCDCTL = (
    "etcdctl --cacert /etc/etcd/pki/ca.crt --cert /etc/etcd/pki/operator.crt --key /etc/etcd/pki/operator.key"
    " --endpoints https://127.0.0.1:2379"
)


def worker(hosts: Hosts) -> Host:
    return hosts.group("workers")[0]


def status(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run("cat /var/lib/etcd-backup/status.json"))
    return found


def s3_server() -> Path:
    pinned, tools = pins.load(), gobuild.toolchain()
    with Cache() as cache:
        component = pinned.components["s3-server"]
        built, _ = gobuild.build(pinned, component, pins.MACHINES[platform.machine()], tools, cache, silent)
        return built.blobs["s3-server"].path


def test_prepare(described: Inventory, hosts: Hosts) -> None:
    """Before the cluster is installed: its settings name the S3 server's certificate."""
    target, state = worker(hosts), described.state / "s3"
    state.mkdir(parents=True, exist_ok=True)
    certificate, key = state / "tls.crt", state / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=s3", "-addext", f"subjectAltName=IP:{target.address}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    target.run("useradd --create-home copies; install -d -o copies -m 0700 /srv/copies /srv/copies/s3/backups")
    for source, path in (
        (s3_server(), "/usr/local/bin/s3-server"),
        (certificate, "/srv/tls.crt"),
        (key, "/srv/tls.key"),
    ):
        send(described, target, source, path)
    target.run("chmod 0755 /usr/local/bin/s3-server")
    target.run(
        "systemd-run --unit=s3-server s3-server serve s3 /srv/copies/s3 --config= --addr=%s:9443 --cert=/srv/tls.crt"
        " --key=/srv/tls.key --auth-key=copies,not-a-secret --dir-cache-time=0s",
        target.address,
    )


def send(described: Inventory, host: Host, source: Path, path: str) -> None:
    command = [*ssh_command(described.host(host.name)), f"cat > {shlex.quote(path)}"]
    with source.open("rb") as stream:
        subprocess.run(command, stdin=stream, check=True)


def test_copies_are_brought_proven_and_fetched(described: Inventory, hosts: Hosts) -> None:
    etcd = hosts.group("etcd")
    keys = [host.run("kubeproof-backup public-key").strip() for host in etcd]
    assert len(set(keys)) == len(etcd)
    target = worker(hosts)
    target.run("install -d -o copies -m 0700 ~copies/.ssh")
    target.run("printf '%%s\\n' %s > ~copies/.ssh/authorized_keys; chown copies ~copies/.ssh/*", "\n".join(keys))

    one = etcd[0]
    one.run("kubeproof-backup save")
    one.run("systemctl start etcd-backup-copy.service")
    found = status(one)
    name = found["backup"]["name"]
    assert {target: (entry["ok"], entry["newest"]) for target, entry in found["targets"].items()} == {
        "far": (True, name),
        "s3": (True, name),
    }
    one.run("systemctl start etcd-backup-drill.service")
    assert status(one)["proven"]["name"] == name

    other = etcd[1]
    for place in ("far", "s3"):
        listed = json.loads(other.run("kubeproof-backup list %s --json", place))
        assert [entry["name"] for entry in listed if not entry["problem"]] == [name]
        other.run("install -d -o etcd-backup -m 0700 /srv/%s", place)
        other.run("kubeproof-backup fetch %s %s %s", place, name, f"/srv/{place}")
        assert "is whole" in other.run("kubeproof-backup check %s", f"/srv/{place}/{name}")


def test_another_member_takes_over(hosts: Hosts) -> None:
    down, *others = hosts.group("etcd")
    up = others[0]
    # As if the last one was long ago.
    up.run(f"{_ETCDCTL} del %s", _LAST)
    down.run("systemctl stop etcd")
    try:
        for host in others:
            host.run("systemctl start --no-block etcd-backup.service")
        state = "systemctl is-active etcd-backup.service"
        assert waiting.until(
            lambda: all(host.attempt(state)[1].strip() != "activating" for host in others), 120, pause=1
        ), "the backup is not made"
        made = [host.name for host in others if status(host)["backup"]]
        assert len(made) == 1, f"one makes it, not {made}"
    finally:
        down.run("systemctl start etcd")


def test_a_target_that_is_down_is_told_and_made_up_for(hosts: Hosts) -> None:
    one = hosts.group("etcd")[0]
    # Of a manual run and the timer's one gives way.
    one.run(
        "systemctl stop etcd-backup.timer; while systemctl is-active etcd-backup-copy | grep -q ^act; do sleep 1; done"
    )
    worker(hosts).run("systemctl kill --signal=SIGSTOP s3-server")
    try:
        one.run("kubeproof-backup save")
        code, _, said = one.attempt("kubeproof-backup copy")
        targets = status(one)["targets"]
        assert code != 0
        assert "s3: " in said
        assert targets["far"]["ok"]
        assert not targets["s3"]["ok"]
    finally:
        worker(hosts).run("systemctl kill --signal=SIGCONT s3-server")
    one.run("kubeproof-backup copy")
    assert status(one)["targets"]["s3"]["newest"] == status(one)["backup"]["name"]
    one.run("systemctl start etcd-backup.timer")
