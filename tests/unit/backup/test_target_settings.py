"""What is refused of backup_targets, and what a host gets of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubeproof.backup import target_settings

DISK = {"name": "disk", "type": "directory", "path": "/mnt/backups"}
FAR = {
    "name": "far", "type": "rsync", "host": "backup.example.org", "user": "etcd-backup", "path": "/srv/backups",
    "known_hosts": "backup.example.org ssh-ed25519 AAAA",
}  # fmt: skip
S3 = {
    "name": "s3", "type": "s3", "endpoint": "https://s3.example.org", "bucket": "backups",
    "access_key_id": "me", "secret_access_key": "hush-hush",
}  # fmt: skip


def test_right_ones_are_right() -> None:
    more = {**S3, "name": "plain", "endpoint": "http://127.0.0.1:9000", "allow_http": True, "prefix": "a/b"}
    assert list(target_settings.problems([DISK, FAR, S3, more])) == []
    assert list(target_settings.problems([])) == []


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ("disk", "it is not a list"),
        (["disk"], "entry 1 is not a dictionary"),
        ([{**DISK, "name": "Disk!"}], "entry 1 (Disk!) has no `name`"),
        ([DISK, {**FAR, "name": "disk"}], "entry 2 (disk): another one has this name"),
        ([{**DISK, "type": "tape"}], "entry 1 (disk): `type` is 'tape'; it must be one of directory, rsync, s3"),
        ([{"name": "far", "type": "rsync"}], "entry 1 (far): `host`, `known_hosts`, `path`, `user` must be set"),
        ([{**DISK, "paht": "/x"}], "`paht`: no such field of a target of type directory"),
        ([{**DISK, "timeout": 0}], "`timeout` is '0', no number from 1 to 86400"),
        ([{**FAR, "port": "ssh"}], "`port` is 'ssh'"),
        ([{**DISK, "mount": "maybe"}], "`mount` must be true or false"),
        ([{**DISK, "path": "backups"}], "`path` is 'backups'; it must be an absolute path"),
        ([{**DISK, "path": "/mnt/../etc"}], "`path` is"),
        ([{**FAR, "path": "/srv/$(reboot)"}], "`path` is"),
        ([{**FAR, "user": "-oProxyCommand=x"}], "`user` is"),
        ([{**FAR, "known_hosts": "backup.example.org"}], "`known_hosts` has no lines like"),
        ([{**S3, "endpoint": "http://s3.example.org"}], "`endpoint` is not encrypted; `allow_http: true`"),
        ([{**S3, "endpoint": "s3.example.org"}], "`endpoint` is not a URL"),
        ([{**S3, "bucket": "A"}], "`bucket` is 'A'"),
        ([{**S3, "ca": "/etc/ca.crt"}], "`ca` has no certificate in PEM"),
    ],
)
def test_what_is_wrong_is_named(targets: Any, said: str) -> None:
    found = list(target_settings.problems(targets))
    assert any(said in problem for problem in found), found
    assert "hush-hush" not in "".join(found)


def test_a_host_is_told_no_secret_in_what_all_may_read() -> None:
    told = target_settings.for_hosts(
        [DISK, FAR, S3], "/etc/kubeproof/targets", "/var/lib/etcd-backup", "/usr/local/bin"
    )
    files = target_settings.files([DISK, FAR, {**S3, "ca": "-----BEGIN CERTIFICATE-----"}], "/etc/t", "etcd-backup")
    assert "hush-hush" not in json.dumps(told)
    assert told[0]["mount"] is True
    assert told[2]["credentials"] == "/etc/kubeproof/targets/s3.credentials.json"
    secret = next(file for file in files if "hush-hush" in file["content"])
    assert (secret["mode"], secret["owner"]) == ("0600", "etcd-backup")
    assert [file["dest"] for file in files] == [
        "/etc/t/far.known_hosts",
        "/etc/t/s3.credentials.json",
        "/etc/t/s3.ca.crt",
    ]
