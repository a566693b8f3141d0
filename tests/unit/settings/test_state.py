"""The state directory: where it is, who may read it, and that Ansible never does."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.pki import cas, kubeconfig
from kubeproof.settings import inventory, state

ROOT = Path(__file__).resolve().parents[3]
HOSTS = """
[control_plane]
cp1 ansible_host=192.0.2.1
[etcd]
cp1
[workers]
w1 ansible_host=192.0.2.2
"""
NOTHING = re.compile(rb"^\.")


def fill(directory: Path) -> str:
    """What an installation leaves in a state directory; returns the encryption key."""
    state.prepare(directory)
    cas.ensure_cas(directory / "pki", "test", datetime.timedelta(days=2))
    kubeconfig.ensure_kubeconfig(directory, kubeconfig.Target("test", "https://192.0.2.1:6443", {}))
    for name in ("logs", "reports", "ssh", "rolling"):
        (directory / name).mkdir()
    (directory / "components.lock.json").write_text('{"components": {"amd64": {"etcd": {}}}}')
    (directory / "reports" / "preflight-hosts.json").write_text('{"stage": {"hosts": {}}}')
    (directory / "logs" / "cluster.log").write_text("TASK\n")
    (directory / "ssh" / "known_hosts").write_text("192.0.2.1 ssh-ed25519 AAAA\n")
    (directory / "backup-identity").write_text("AGE-SECRET-KEY-1QQQ\n")
    return (directory / "pki" / "encryption.key").read_text()


def mine(tmp_path: Path) -> Path:
    """An inventory that is a directory."""
    directory = tmp_path / "mine"
    (directory / "group_vars").mkdir(parents=True)
    (directory / "hosts").write_text(HOSTS)
    (directory / "more.yml").write_text("workers: {hosts: {w2: {ansible_host: 192.0.2.3}}}\n")
    (directory / "group_vars" / "all.yml").write_text("cluster_name: mine\n")
    return directory


def listed(tmp_path: Path, source: Path, *options: str, **environment: str) -> tuple[str, str]:
    """What Ansible makes of an inventory under a configuration of its user's own, and what it complains of."""
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(source), "--list", *options]
    given = {**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "NO_COLOR": "1", **environment}
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_ansible_reads_none_of_it_whatever_its_configuration(tmp_path: Path) -> None:
    source = mine(tmp_path)
    key = fill(state.directory(source))
    shown, complaints = listed(tmp_path, source)
    assert set(json.loads(shown)["_meta"]["hostvars"]) == {"cp1", "w1", "w2"}
    assert key not in shown + complaints
    assert "state" not in complaints.lower()
    assert state.NAME not in shown + complaints
    assert "WARNING" not in complaints


def test_under_its_former_name_ansible_reads_it_and_we_do_not(tmp_path: Path) -> None:
    source = mine(tmp_path)
    key = fill(source / state.FORMER)
    assert key in listed(tmp_path, source)[0], "what all this is for"
    # In a process of its own, which has not loaded the project's configuration.
    program = "import sys; from pathlib import Path; from kubeproof.settings import inventory\n"
    program += "found = inventory.load(Path(sys.argv[1])); print(*found.hosts, found.state)"
    environment = {**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")}
    command = [sys.executable, "-c", program, str(source)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cp1", "w1", "w2", str(source / state.FORMER)]
    assert done.stderr == ""


def test_the_projects_configuration_leaves_out_what_the_former_name_was() -> None:
    assert f"inventory_ignore_patterns = {state.IGNORED}\n" in (ROOT / "ansible.cfg").read_text()


def play(tmp_path: Path, source: Path, *options: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The beginning of an installation, under a configuration that has what the roles need and no more."""
    own = tmp_path / "own.cfg"
    plugins = {"action_plugins": "action", "filter_plugins": "filter", "library": "modules"}
    lines = [f"{name} = {ROOT}/plugins/{directory}" for name, directory in plugins.items()]
    own.write_text("\n".join(["[defaults]", f"roles_path = {ROOT}/roles", *lines, ""]))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(source), *options]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(config or own), "NO_COLOR": "1"}
    environment |= {"ANSIBLE_LOG_PATH": str(tmp_path / "log")}
    # Nothing is connected to: hosts end where they would be.
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    command += ["-e", f"ansible_ssh_executable={tmp_path}/ssh", str(ROOT / "playbooks" / "cluster.yml")]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [[], ["--limit", "!w1"]])
def test_a_playbook_refuses_before_a_key_is_printed(tmp_path: Path, options: list[str]) -> None:
    source = mine(tmp_path)
    key = fill(source / state.FORMER)
    done = play(tmp_path, source, *options)
    said = done.stdout + done.stderr + (tmp_path / "log").read_text()
    assert done.returncode != 0
    assert f"{source / state.FORMER}, the state directory of a cluster, is within the inventory {source}" in said
    assert f"mv {source / state.FORMER} {source / state.NAME}" in said.replace("\n", " ")
    assert key not in said
    assert "Check the settings" not in said


def test_a_playbook_goes_on_where_nothing_of_it_was_read(tmp_path: Path) -> None:
    source = mine(tmp_path)
    fill(source / state.FORMER)
    assert "Check the settings" in play(tmp_path, source / "hosts").stdout
    assert "Check the settings" in play(tmp_path, source, config=ROOT / "ansible.cfg").stdout


def test_it_is_beside_the_inventory(tmp_path: Path) -> None:
    source = mine(tmp_path)
    for given in (source, source / "hosts", [source / "hosts", source / "more.yml"]):
        assert inventory.load(given).state == source / ".kubeproof"
        assert inventory.find_state(given) == source / ".kubeproof"


@pytest.mark.parametrize("mark", ["pki", "components.lock.json", "backup-identity.txt"])
def test_one_of_the_former_name_stays_in_use(tmp_path: Path, mark: str) -> None:
    (tmp_path / "state").mkdir()
    assert state.directory(tmp_path) == tmp_path / ".kubeproof", "somebody else's"
    (tmp_path / "state" / mark).mkdir()
    assert state.directory(tmp_path) == tmp_path / "state"
    # Something of ours may be there besides; CAs decide.
    (tmp_path / ".kubeproof" / "ssh").mkdir(parents=True)
    assert state.directory(tmp_path) == tmp_path / "state"


def test_two_are_one_too_many(tmp_path: Path) -> None:
    for name in ("state", ".kubeproof"):
        (tmp_path / name / "pki").mkdir(parents=True)
    with pytest.raises(KubeproofError, match="both have the CAs of a cluster"):
        state.directory(tmp_path)


def test_it_is_its_owners_only_and_not_for_git(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "kept"
    path.mkdir(parents=True)
    path.chmod(0o755)
    for _ in range(2):
        assert state.prepare(path) == path
        assert path.stat().st_mode & 0o777 == 0o700
        assert "*" in (path / ".gitignore").read_text().splitlines()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (path / "admin.kubeconfig").touch()
    command = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.parametrize("name", ["group_vars/all.yml", "host_vars/cp1.json", "hosts"])
def test_a_setting_is_followed_wherever_it_stands(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "hosts").write_text("[etcd]\ncp1\n")
    place = f"{tmp_path}/kept"
    texts = {"yml": f"cluster_state_directory: {place}\n", "json": json.dumps({"cluster_state_directory": place})}
    texts["hosts"] = f"[etcd]\ncp1\n[all:vars]\ncluster_state_directory={place}\n"
    (tmp_path / name).write_text(texts[name.rpartition(".")[2]])
    for given in (tmp_path / "hosts", [tmp_path / "hosts"]):
        assert inventory.load(given).state == tmp_path / "kept"
        assert inventory.find_state(given) == tmp_path / "kept"


@pytest.mark.parametrize("place", ["kept", "./kept", "~/kept"])
def test_a_place_that_depends_on_where_one_is_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "hosts").write_text(f"[etcd]\ncp1 cluster_state_directory={place}\n")
    with pytest.raises(KubeproofError, match=r"is not an absolute path.*\n.*\{\{ inventory_dir \}\}/kept"):
        inventory.load(tmp_path / "hosts")


def test_what_a_program_says_is_asked_for(tmp_path: Path) -> None:
    answer = {"etcd": {"hosts": ["a"]}, "_meta": {"hostvars": {"a": {"cluster_" + "state_directory": "/srv/kept"}}}}
    program = tmp_path / "hosts.py"
    encoded = json.dumps(answer).encode().hex()
    program.write_text(f"#!{sys.executable}\nprint(bytes.fromhex('{encoded}').decode())\n")
    program.chmod(0o755)
    assert inventory.find_state(program) == Path("/srv/kept")


def test_hosts_of_one_cluster_have_one(tmp_path: Path) -> None:
    source = mine(tmp_path)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "hosts").write_text("[workers]\nw9\n[others]\nbastion\n")
    with pytest.raises(KubeproofError, match=r"have different state directories: .* for cp1, .* for w9"):
        inventory.load([source / "hosts", tmp_path / "far" / "hosts"])
    (tmp_path / "far" / "hosts").write_text("[others]\nbastion\n")
    assert inventory.load([source, tmp_path / "far"]).state == source / ".kubeproof"


@pytest.mark.parametrize(("place", "ok"), [("keys", False), (".keys", True), ("state", True), ("", False)])
def test_it_is_refused_where_it_would_be_read(tmp_path: Path, place: str, ok: bool) -> None:
    source = mine(tmp_path)
    (source / "group_vars" / "all.yml").write_text(f"cluster_state_directory: '{{{{ inventory_dir }}}}/{place}'\n")
    if ok:
        assert inventory.load(source).state == source / place
        return
    with pytest.raises(KubeproofError, match=r"is within the inventory .*\n.*set cluster_state_directory"):
        inventory.load(source)
    if not place:
        with pytest.raises(KubeproofError, match="is the directory of the inventory"):
            inventory.load(source / "hosts")


def test_the_state_of_a_cluster_behind_a_link_is_not_passed_by(tmp_path: Path) -> None:
    source = mine(tmp_path)
    (source / "state" / "pki").mkdir(parents=True)
    link = tmp_path / "hosts"
    link.symlink_to(source / "hosts")
    with pytest.raises(
        KubeproofError, match="is a symbolic link, and next to its target is the state directory of a cluster"
    ):
        inventory.load(link)
    state.refuse_within(tmp_path / ".kubeproof", [link], NOTHING)
