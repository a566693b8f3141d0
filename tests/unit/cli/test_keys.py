"""``kubeproof backup keys``: what hosts have for their backups, put back into a state directory that has lost it."""

from __future__ import annotations

import argparse
import base64
import datetime
import shutil
from pathlib import Path

import pyrage
import pytest
import yaml

from kubeproof.backup import keys
from kubeproof.cli import keys as command
from kubeproof.cli.keys import from_hosts
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import Result
from kubeproof.pki import cas
from kubeproof.settings import state
from kubeproof.settings.inventory import Host, Inventory

DAY = datetime.timedelta(days=1)


def answer(kept: Path, how: keys.How = "encrypted", ca: Path | None = None) -> Result:
    """What a host of a cluster says."""
    bundle = keys.ensure(kept, how, [])
    assert bundle is not None
    encoded = base64.b64encode(bundle.content).decode()
    pem = ((ca or kept) / "pki" / "etcd.crt").read_text()
    return Result(0, f"/etc/kubeproof/{bundle.name}\n{encoded}\n{pem}", "")


@pytest.fixture
def cluster(tmp_path: Path) -> Inventory:
    kept = tmp_path / state.NAME
    cas.ensure_cas(kept / "pki", "test", DAY)
    where = {"cluster_state_directory": str(kept)}
    hosts = {name: Host(name, frozenset(["etcd"]), where) for name in ("cp1", "cp2")}
    return Inventory(tmp_path / "hosts.yml", hosts)


def contents(cluster: Inventory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (cluster.state / "pki").iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("how", ["encrypted", "plain"])
def test_the_first_host_that_has_them_gives_them(cluster: Inventory, how: keys.How) -> None:
    good, before = answer(cluster.state, how), contents(cluster)
    shutil.rmtree(cluster.state / "pki")
    answers = {"cp1": Result(255, "", "no route to host\n"), "cp2": good}
    taken = from_hosts(cluster, cluster.state / keys.IDENTITY, lambda host: answers[host.name])
    assert sorted(taken) == sorted(before)
    assert contents(cluster) == before
    assert from_hosts(cluster, cluster.state / keys.IDENTITY, lambda _: good) == []


@pytest.mark.parametrize("recipients", [[], ["age1"]])
def test_so_is_the_private_key_that_opened_them_unless_it_is_somebody_elses(
    cluster: Inventory, tmp_path: Path, recipients: list[str]
) -> None:
    good = answer(cluster.state)
    safe = (cluster.state / keys.IDENTITY).rename(tmp_path / "safe.txt")
    text = safe.read_text()
    shutil.rmtree(cluster.state)
    assert from_hosts(cluster, safe, lambda _: good, recipients)
    own = cluster.state / keys.IDENTITY
    assert own.read_text() == text if not recipients else not own.exists()


@pytest.mark.parametrize("recipients", [[], [str(pyrage.x25519.Identity.generate().to_public())]])
def test_the_command_says_what_it_has_put_back(
    cluster: Inventory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recipients: list[str],
) -> None:
    good = answer(cluster.state)
    safe = (cluster.state / keys.IDENTITY).rename(tmp_path / "safe.txt")
    shutil.rmtree(cluster.state / "pki")
    hosts = {"etcd": {"hosts": {"cp1": None}}}
    variables = {"cluster_state_directory": str(cluster.state), "backup_recipients": recipients}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": hosts, "vars": variables}}))
    monkeypatch.setattr(command, "_read", lambda _: good)
    given = argparse.Namespace(inventory=[tmp_path / "hosts.yml"], identity=safe, backup=None)
    assert command.run(given) == 0
    said = capsys.readouterr().out
    assert f"restored into {cluster.state / 'pki'}: " in said
    assert (f"restored {cluster.state / keys.IDENTITY}, which decrypts" in said) == (not recipients)


def test_what_is_there_stays(cluster: Inventory) -> None:
    good, before = answer(cluster.state), contents(cluster)
    (cluster.state / "pki" / "etcd.crt").unlink()
    assert from_hosts(cluster, cluster.state / keys.IDENTITY, lambda _: good) == ["etcd.crt"]
    assert contents(cluster) == before
    (cluster.state / "pki" / "etcd.crt").write_text("another")
    with pytest.raises(KubeproofError, match=r"has other keys than the backup \(etcd\.crt\)"):
        from_hosts(cluster, cluster.state / keys.IDENTITY, lambda _: good)


def test_keys_of_another_cluster_are_refused(cluster: Inventory, tmp_path: Path) -> None:
    cas.ensure_cas(tmp_path / "other" / "pki", "other", DAY)
    theirs = answer(cluster.state, ca=tmp_path / "other")
    shutil.rmtree(cluster.state / "pki")
    with pytest.raises(KubeproofError, match="the keys that cp1 has for its backups are another cluster's"):
        from_hosts(cluster, cluster.state / keys.IDENTITY, lambda _: theirs)
    assert not (cluster.state / "pki").exists()


def test_nobody_has_them(cluster: Inventory) -> None:
    pem = (cluster.state / "pki" / "etcd.crt").read_text()
    answers = {"cp1": Result(0, pem, ""), "cp2": Result(0, "/etc/kubeproof/keys.tar\n?\n?\n", "")}
    with pytest.raises(KubeproofError) as raised:
        from_hosts(cluster, cluster.state / keys.IDENTITY, lambda host: answers[host.name])
    said = str(raised.value)
    assert "cp1: it has none of /etc/kubeproof/keys.tar.age, /etc/kubeproof/keys.tar" in said
    assert "cp2: its answer cannot be read" in said
    assert "give the directory of a backup" in said
