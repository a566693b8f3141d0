"""local-path-provisioner's objects: what its helpers may do on nodes, and what depends on settings."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.roles.test_metrics_server import rendered
from tests.unit.roles.test_texts import COMPONENTS

BUILT = "localhost/kubeproof/local-path-helper:0.0.30"


def objects(directory: Path, *, helper: str = BUILT, **settings: Any) -> dict[str, Any]:
    images = {**COMPONENTS["images"], "local-path-helper": helper}  # type: ignore[dict-item]
    facts = {"kubeproof_components": {**COMPONENTS, "images": images}}
    known = {"local_path_enabled": True, "ansible_facts": facts, **settings}
    addons = {each["name"]: each for each in rendered(directory, "{{ __addons_of_roles }}", **known)}
    return {f"{each['kind']} {each['metadata']['name']}": each for each in addons["local-path"]["objects"]}


def configuration(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    data = found["ConfigMap local-path-config"]["data"]
    return json.loads(data["config.json"]), json.loads(data["helperPod.yaml"])


@pytest.mark.parametrize("off", [False, "false", "no"])
def test_switched_off_there_is_nothing_of_it(tmp_path: Path, off: Any) -> None:
    assert objects(tmp_path, local_path_enabled=off) == {}


def test_helpers_have_no_token_and_no_more_rights_than_it_takes(tmp_path: Path) -> None:
    _, helper = configuration(objects(tmp_path))
    [container] = helper["spec"]["containers"]
    assert helper["spec"]["automountServiceAccountToken"] is False
    assert container["image"] == BUILT
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["DAC_OVERRIDE", "FOWNER"]}
    assert "privileged" not in container["securityContext"]


@pytest.mark.parametrize(
    ("helper", "own"), [(BUILT, True), ("registry.example.org/busybox:1.37.0", False)], ids=["built", "pulled"]
)
def test_a_helper_without_a_shell_runs_no_script(tmp_path: Path, helper: str, own: bool) -> None:
    found = objects(tmp_path, helper=helper, local_path_directory="/srv/volumes")
    settings, pod = configuration(found)
    assert settings["nodePathMap"] == [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": ["/srv/volumes"]}]
    assert (settings.get("setupCommand") == settings.get("teardownCommand") == "/local-path-helper") is own
    assert ({"setup", "teardown"} <= found["ConfigMap local-path-config"]["data"].keys()) is not own
    # Either refuses what is not directly in it.
    assert pod["spec"]["containers"][0]["env"] == [{"name": "LOCAL_PATH_DIRECTORY", "value": "/srv/volumes"}]


@pytest.mark.parametrize("script", ["setup", "teardown"])
@pytest.mark.parametrize(("volume", "taken"), [("volumes/pvc-1", True), ("other/pvc-1", False), ("volumes/a/b", False)])
def test_scripts_touch_what_is_directly_in_the_directory_and_nothing_else(
    tmp_path: Path, script: str, volume: str, taken: bool
) -> None:
    found = objects(tmp_path, helper="registry.example.org/busybox:1.37.0")["ConfigMap local-path-config"]["data"]
    path = tmp_path / volume
    (path if script == "teardown" else path.parent).mkdir(parents=True)
    known = {"VOL_DIR": str(path), "LOCAL_PATH_DIRECTORY": str(tmp_path / "volumes"), "PATH": os.environ["PATH"]}
    ended = subprocess.run(["/bin/sh", "-c", found[script]], env=known, check=False)
    assert (ended.returncode == 0) is taken
    assert path.exists() is (taken if script == "setup" else not taken)


def test_what_the_provisioner_reads_once_starts_it_again(tmp_path: Path) -> None:
    one, other = (objects(tmp_path, local_path_directory=path) for path in ("/srv/one", "/srv/other"))
    name = "Deployment local-path-provisioner"
    assert one[name]["spec"]["template"]["metadata"] != other[name]["spec"]["template"]["metadata"]
    assert one[name]["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(("default", "said"), [(True, "true"), ("no", "false")])
def test_the_class_is_the_default_if_it_is_to_be(tmp_path: Path, default: Any, said: str) -> None:
    found = objects(tmp_path, local_path_default_class=default, local_path_storage_class="fast")["StorageClass fast"]
    assert found["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == said
    assert found["volumeBindingMode"] == "WaitForFirstConsumer"
