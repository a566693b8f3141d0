"""What the role ``host`` puts on hosts for their next boot."""

from __future__ import annotations

import yaml

from kubeproof.settings.specs import ROLES


def test_sysctls_are_the_last_ones_at_boot() -> None:
    """Of all directories the files are read by their names: many systems have one for /etc/sysctl.conf."""
    (task,) = (
        each["install_component"]
        for each in yaml.safe_load((ROLES / "host/tasks/main.yml").read_text())
        if "install_component" in each
    )
    paths = [f"/{each['template'].removesuffix('.j2')}" for each in task["files"]]
    (name,) = (path.removeprefix("/etc/sysctl.d/") for path in paths if path.startswith("/etc/sysctl.d/"))
    assert "99-sysctl.conf" < name < "99-zzz-override_cilium.conf"
    # The one of earlier versions would set what was taken out of the settings since.
    assert task["absent"] == ["/etc/sysctl.d/99-kubernetes.conf"]
