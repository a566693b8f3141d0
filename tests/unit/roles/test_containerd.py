"""containerd's configuration and the RuntimeClasses: what settings make of runtime handlers."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.roles.test_metrics_server import rendered
from tests.unit.roles.test_texts import variables

from kubeproof.settings import specs

_CONFIG = specs.ROLES / "containerd" / "templates" / "etc" / "containerd" / "config.toml.j2"
_RUNTIME = "io.containerd.cri.v1.runtime"
HANDLERS = [
    {"name": "gvisor", "type": "gvisor", "options": {"platform": "systrap"}},
    {"name": "crun", "type": "runc", "options": {"BinaryName": "/usr/bin/crun"}},
]


def config(directory: Path, **settings: Any) -> dict[str, Any]:
    known = {**variables(directory, texts=False), **settings}
    templar = Templar(loader=DataLoader(), variables=known)
    overrides = {"trim_blocks": True, "lstrip_blocks": True}
    text = templar.template(trust_as_template(_CONFIG.read_text()), overrides=overrides)
    assert text.endswith("\n")
    found: dict[str, Any] = tomllib.loads(text)["plugins"][_RUNTIME]["containerd"]["runtimes"]
    return found


def test_by_default_there_is_runc(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert list(found) == ["runc"]
    assert found["runc"]["options"]["BinaryName"] == "/usr/local/bin/runc"
    assert rendered(tmp_path, "{{ __containerd_handler_files }}") == []
    assert "gvisor" not in rendered(tmp_path, "{{ __components_addons }}")
    addons = {each["name"]: each["objects"] for each in rendered(tmp_path, "{{ __addons_of_roles }}")}
    assert addons["runtime-classes"] == []


def test_handlers_and_their_classes(tmp_path: Path) -> None:
    found = config(tmp_path, containerd_runtimes=HANDLERS)
    assert list(found) == ["runc", "gvisor", "crun"]
    assert found["gvisor"] == {
        "runtime_type": "io.containerd.runsc.v1",
        "options": {
            "TypeUrl": "io.containerd.runsc.v1.options",
            "ConfigPath": "/etc/containerd/runtimes/gvisor.toml",
        },
    }
    assert found["crun"]["options"]["BinaryName"] == "/usr/bin/crun"
    [file] = rendered(tmp_path, "{{ __containerd_handler_files }}", containerd_runtimes=HANDLERS)
    assert file["dest"] == "/etc/containerd/runtimes/gvisor.toml"
    assert tomllib.loads(file["content"])["runsc_config"]["platform"] == "systrap"
    assert "gvisor" in rendered(tmp_path, "{{ __components_addons }}", containerd_runtimes=HANDLERS)
    addons = {
        each["name"]: each["objects"]
        for each in rendered(tmp_path, "{{ __addons_of_roles }}", containerd_runtimes=HANDLERS)
    }
    classes = addons["runtime-classes"]
    assert {each["metadata"]["name"]: each["handler"] for each in classes} == {"gvisor": "gvisor", "crun": "crun"}
    assert {(each["apiVersion"], each["kind"]) for each in classes} == {("node.k8s.io/v1", "RuntimeClass")}
