"""What the verification does with backups on a host, where it is root and they are another user's."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
from pathlib import Path

from tests.unit.backup.test_manifest import MADE

from kubeproof.backup.agent import manifest
from kubeproof.core import paths
from kubeproof.verify.etcd_backups import drills


def test_a_forgery_takes_links_in_a_backup_for_links(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("secret")
    backup = tmp_path / "backups" / MADE.name
    backup.mkdir(parents=True)
    (backup / manifest.NAME).write_bytes(MADE.render())
    (backup / "snapshot.db").symlink_to(tmp_path / "precious")
    (tmp_path / "backup.json").write_text(json.dumps({"user": getpass.getuser(), "keep": {}}))
    where = tmp_path / "forged"
    arguments = [paths.PROJECT / "src", tmp_path / "backup.json", backup, where]
    subprocess.run([sys.executable, "-c", drills._FORGE, *map(str, arguments)], check=True)
    copy = where / "backups" / MADE.name
    assert (copy / "snapshot.db").is_symlink()
    assert manifest.read(copy).revision == MADE.revision - 1
