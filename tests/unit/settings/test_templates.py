"""Templates of a cluster's own."""

from __future__ import annotations

from pathlib import Path

from kubeproof.settings import specs
from kubeproof.settings.templates import problems

UNIT = "kubelet/etc/systemd/system/kubelet.service.j2"


def test_none_is_fine() -> None:
    assert list(problems("")) == []


def test_a_template_of_a_role_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / UNIT
    path.parent.mkdir(parents=True)
    path.write_text((specs.ROLES / "kubelet" / "templates" / UNIT.partition("/")[2]).read_text())
    assert list(problems(str(tmp_path))) == []


def test_what_would_never_be_used_is_said(tmp_path: Path) -> None:
    for name in ("kubelet/etc/systemd/system/kublet.service.j2", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    first, second = problems(str(tmp_path))
    assert first.startswith(f"{tmp_path}/kubelet/etc/systemd/system/kublet.service.j2: no role has this template")
    assert second.startswith(f"{tmp_path}/notes.txt: ")
    (relative,) = problems("templates")
    assert relative.startswith("templates is not the absolute path")
