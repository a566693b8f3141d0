"""Helm for the verification: with its access, and only if it is here."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubeproof.api import kubeconfig
from kubeproof.api.kubeconfig import Access, Certificate, Token
from kubeproof.components import controller_program
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.act import charts
from kubeproof.verify.observe.api import NotObserved
from kubeproof.verify.observe.hosts import NotObservable

ACCESS = Access("https://192.0.2.5:6443", "ca", Token("secret"))
INVENTORY: Any = SimpleNamespace(state=Path("/nowhere"))


@pytest.mark.parametrize("credentials", [Token("secret"), Certificate("certificate", "key")])
def test_the_kubeconfig_is_read_as_what_it_was_made_of(tmp_path: Path, credentials: Token | Certificate) -> None:
    path = tmp_path / "kubeconfig"
    access = Access("https://192.0.2.5:6443", "ca", credentials)
    path.write_text(charts.kubeconfig(access))
    assert kubeconfig.load(path) == access


@pytest.mark.parametrize(
    ("found", "said"),
    [(None, "helm version` fetches or builds it"), (KubeproofError("no lock"), "it takes helm: no lock")],
)
def test_nothing_is_fetched_for_it(monkeypatch: pytest.MonkeyPatch, found: Any, said: str) -> None:
    def cached(*_: Any) -> None:
        if found:
            raise found

    monkeypatch.setattr(controller_program, "request_of", lambda _: None)
    monkeypatch.setattr(controller_program, "cached", cached)
    with pytest.raises(NotObservable, match=said), charts.helm(INVENTORY, ACCESS, "n", 5):
        pass


def test_what_it_says_and_when_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "helm"
    program.write_text(
        '#!/bin/sh\nshift 2\ncase "$1" in\n'
        'list) echo "[\\"$KUBECONFIG\\", \\"$HELM_CACHE_HOME\\", \\"$HELM_KUBECONTEXT\\"]";;\nslow) exec sleep 20;;\n'
        "*) echo first >&2; echo last >&2; exit 3;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(controller_program, "request_of", lambda _: None)
    monkeypatch.setattr(controller_program, "cached", lambda *_: program)
    monkeypatch.setenv("HELM_KUBECONTEXT", "of-another-cluster")
    with charts.helm(INVENTORY, ACCESS, "n", 5) as helm:
        config, cache, context = helm.told("list")
        assert not context
        assert stat.S_IMODE(Path(config).stat().st_mode) == 0o600
        assert Path(cache).parent == helm.directory == Path(config).parent
        with pytest.raises(NotObserved, match="helm upgrade ended with 3: last"):
            helm.run("upgrade")
    monkeypatch.setattr(charts, "_GRACE_SECONDS", 0.0)
    with charts.helm(INVENTORY, ACCESS, "n", 0.5) as helm, pytest.raises(NotObserved, match="helm slow: not within"):
        helm.run("slow")
    assert not helm.directory.exists()
