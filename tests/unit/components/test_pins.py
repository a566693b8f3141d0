"""components.yml, and what is wrong with others like it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeproof.components import gobuild, pins, release, selection
from kubeproof.components.document import DocumentError
from kubeproof.components.pins import ARCHITECTURES, GROUPS, ROOT, Misfit, Pins
from kubeproof.core.errors import KubeproofError

REAL: dict[str, Any] = yaml.safe_load((ROOT / "components.yml").read_text())


@pytest.fixture(scope="module")
def real() -> Pins:
    return pins.load()


def load(tmp_path: Path, document: object) -> Pins:
    (tmp_path / "components.yml").write_text(yaml.safe_dump(document))
    return pins.load(tmp_path)


def changed(path: str, value: object) -> dict[str, Any]:
    """The real document with one value replaced, or removed if it is None."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "components.yml").read_text())
    *parents, last = path.split(".")
    place = document
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("schema", 2, "schema is 2; this kubeproof reads 1"),
        ("components.etcd.version", None, "components.etcd.version is missing"),
        ("components.etcd.version", 3.7, "components.etcd.version must be a text (quote it"),
        ("components.etcd.version", "v3.7.3", "three numbers without a v"),
        ("components.etcd.relase", {}, "components.etcd.relase is not known here; did you mean 'release'?"),
        ("components.etcd.release", None, "components.etcd.release is missing, but hosts need its binaries"),
        ("components.etcd.release.url", "http://example.org/etcd", "url must start with https://"),
        ("components.etcd.release.url", "https://example.org/{verison}", "names 'verison' in braces"),
        ("components.etcd.release.sha256", {"amd64": "abc"}, "must be amd64 or arm64 with 64 hexadecimal digits"),
        ("published.calico.version", "v3.32.4", "three numbers without a v"),
        ("published.calico.url", "http://example.org/calico.yaml", "published.calico.url must start with https://"),
        ("published.calico.sha256", "abc", "published.calico.sha256 must be 64 hexadecimal digits"),
        ("published.calico.groups", ["nodes"], "published.calico.groups names nodes"),
        ("published.calico.checksums", "x", "published.calico.checksums is not known here"),
        ("components.etcd.directory", "sbin", "directory must be one of bin, cni, not 'sbin'"),
        ("components.etcd.go.tags", "netgo", "components.etcd.go.tags must be a list of texts"),
        ("components.etcd.go.cgo", "yes", "components.etcd.go.cgo must be true or false"),
        ("components.etcd.go.cold_seconds", "60", "must be a whole number"),
        ("components.etcd.go.packages", {"etcd": "x"}, "go.packages has no package for etcdctl, etcdutl"),
        (
            "components.etcd.binaries.etcd.groups",
            ["masters"],
            "names masters; known are etcd, control_plane, workers, b",
        ),
        ("components.etcd.binaries.etcd", "etcd", "components.etcd.binaries.etcd must be a mapping"),
        ("images.pause.local.program.path", "/pause", "program.path is not known here"),
        ("images.pause.version", "3.10.1", "images.pause.version is 3.10.2 by a set, and must not be given here"),
        (
            "components.etcd.release.first_download",
            True,
            "components.etcd.release.first_download is for one download of a release that publishes no checksums",
        ),
        ("sets.podman", {}, "sets.podman is no component"),
        ("sets.etcd", {3.7: {}}, 'sets.etcd.3.7 must be a minor version in quotes, like "1.36"'),
        ("sets.etcd", {"3.7.3": {}}, 'sets.etcd.3.7.3 must be a minor version in quotes, like "1.36"'),
        ("sets.containerd", {"2.4": {"runc": "v1.5.2"}}, "2.4.runc must be a version without a v, not 'v1.5.2'"),
        ("sets.containerd", {"2.4": {}}, "components.runc.version is missing"),
        ("images.agnhost.local.files", [{"module": "x"}], "local.files[0].source is missing"),
        ("images.metallb-speaker.version_of", "metalb", "version_of is 'metalb', of which there is none"),
        ("images.metallb-speaker.version", "0.15.2", "images.metallb-speaker.version is not known here"),
        ("components.metallb.manifests.files", None, "components.metallb.manifests.files is missing"),
        ("components.metallb.manifests.groups", ["metalb"], "manifests.groups names metalb; known are"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, path: str, value: object, problem: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(problem)):
        load(tmp_path, changed(path, value))


def test_a_file_that_is_no_yaml_is_said(tmp_path: Path) -> None:
    (tmp_path / "components.yml").write_text("a: [")
    with pytest.raises(DocumentError, match=r"components\.yml"):
        pins.load(tmp_path)


def test_versions_are_those_of_the_go_modules(real: Pins) -> None:
    unbuilt = set()
    for name, component in real.components.items():
        versions = real.module_versions(component)
        if component.version not in versions:
            unbuilt.add(name)
        for version in versions:
            other = real.with_versions({name: version})
            for package in other.components[name].go.packages.values():
                made_of = component.go.of if package.startswith("kubeproof.invalid/") else package
                assert gobuild.module_of(other, other.components[name], made_of)[1] == f"v{version}"
    # Pinned is what has no known vulnerabilities, and it is not served.
    assert unbuilt - {name for name, component in real.components.items() if not component.can_be_built} == {
        "local-path"
    }


def test_every_set_can_be_built(real: Pins) -> None:
    for leader, minors in real.sets.items():
        component = real.components[leader]
        built = {pins.minor_of(version) for version in real.module_versions(component)}
        assert built == set(minors)
        for minor, members in minors.items():
            for member in members.keys() & real.components.keys():
                assert members[member] in real.module_versions(real.components[member]), f"{leader} {minor}"


def test_versions_with_modules_are_in_order(real: Pins) -> None:
    assert real.module_versions(real.components["cni-plugins"]) == ["1.9.1", "1.10.0"]


def test_every_binary_of_a_host_has_a_download(real: Pins) -> None:
    for component in real.components.values():
        for arch in ARCHITECTURES:
            needed = component.needed(GROUPS)
            had = {name for artifact in release.artifacts(component, arch, needed) for name in artifact.members}
            assert had == {binary.name for binary in needed}


def test_official_urls(real: Pins) -> None:
    """As the projects document them."""
    urls = {
        artifact.url
        for component in real.components.values()
        for artifact in release.artifacts(component, "arm64", component.needed(["workers", "containerd"]))
    }
    assert urls == {
        "https://dl.k8s.io/release/v1.37.2/bin/linux/arm64/kubectl",
        "https://dl.k8s.io/release/v1.37.2/bin/linux/arm64/kubelet",
        "https://dl.k8s.io/release/v1.37.2/bin/linux/arm64/kube-proxy",
        "https://github.com/containerd/containerd/releases/download/v2.4.2/containerd-2.4.2-linux-arm64.tar.gz",
        "https://github.com/opencontainers/runc/releases/download/v1.5.2/runc.arm64",
        "https://github.com/containernetworking/plugins/releases/download/v1.10.0/cni-plugins-linux-arm64-v1.10.0.tgz",
        "https://github.com/kubernetes-sigs/cri-tools/releases/download/v1.37.0/crictl-v1.37.0-linux-arm64.tar.gz",
    }


def test_cri_o_is_a_bundle_with_a_published_checksum_and_is_not_built(real: Pins) -> None:
    crio = real.components["crio"]
    assert not crio.can_be_built
    [artifact] = release.artifacts(crio, "arm64", crio.needed(["crio"]))
    assert artifact.url == f"https://storage.googleapis.com/cri-o/artifacts/cri-o.arm64.v{crio.version}.tar.gz"
    assert artifact.checksums == f"{artifact.url}.sha256sum"
    assert artifact.members == {name: f"cri-o/bin/{name}" for name in ("crio", "conmon", "pinns")}
    assert release.artifacts(crio, "arm64", crio.needed(["workers", "containerd"])) == []
    with pytest.raises(KubeproofError, match="crio comes as an official download, and is not built") as refused:
        selection.refuse_builds(selection.on_hosts(real, ["workers", "crio"]))
    assert "component_source to release" in str(refused.value)
    selection.refuse_builds(selection.on_hosts(real, ["workers", "containerd"]))


def test_docker_is_two_downloads_that_are_held_to_the_first_and_not_built(real: Pins) -> None:
    found = {
        name: release.artifacts(real.components[name], "arm64", real.components[name].needed(["docker"]))
        for name in ("docker", "cri-dockerd")
    }
    engine, bridge = (real.components[name].version for name in found)
    [docker], [cri] = found.values()
    assert docker.url == f"https://download.docker.com/linux/static/stable/aarch64/docker-{engine}.tgz"
    at = "https://github.com/Mirantis/cri-dockerd/releases/download"
    assert cri.url == f"{at}/v{bridge}/cri-dockerd-{bridge}.arm64.tgz"
    assert all(each.first_download and not each.checksums for each in (docker, cri))
    assert release.artifacts(real.components["runc"], "arm64", real.components["runc"].needed(["workers"])) == []
    with pytest.raises(KubeproofError, match="docker comes as an official download, and is not built"):
        selection.refuse_builds(selection.on_hosts(real, ["workers", "docker"]))


def test_users_may_give_checksums_of_downloads(real: Pins) -> None:
    digest = "0" * 63 + "a"
    given = real.with_versions({"flannel": "0.28.9"}).with_sha256({"flannel": {"arm64": digest}})
    (artifact,) = release.artifacts(
        given.components["flannel"], "arm64", given.components["flannel"].needed(["pod_network_flannel"])
    )
    assert (artifact.pinned, artifact.pinned_by) == (digest, "component_sha256")
    assert real.with_sha256({}) == real


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"dockerd": {"amd64": "0" * 64}}, "'dockerd' is not one download; known are etcd, containerd"),
        ({"kubernetes": {"amd64": "0" * 64}}, "'kubernetes' is not one download"),
        ({"metallb": {"amd64": "0" * 64}}, "'metallb' is not one download"),
        ({"docker": "0" * 64}, "is not of the form {amd64: SHA-256}"),
        ({"docker": {"x86_64": "0" * 64}}, "is not of the form {amd64: SHA-256}"),
        ({"docker": {"amd64": "0" * 63}}, "is not of the form {amd64: SHA-256}"),
        ({"docker": {"amd64": "A" * 64}}, "is not of the form {amd64: SHA-256}"),
    ],
)
def test_checksums_that_are_of_nothing_are_refused(real: Pins, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(KubeproofError, match=re.escape(problem)):
        real.with_sha256(given)


def test_settings_decide_who_gets_some_of_them(real: Pins) -> None:
    s3 = [{"name": "far", "type": "s3"}]
    assert list(selection.uses(["etcd"], s3, "kube-router", "flannel")) == ["backup_s3"]
    assert list(selection.uses(["workers"], s3, "kube-router", "bridge")) == ["network_policy", "containerd"]
    assert list(selection.uses(["workers"], s3, "none", "flannel")) == ["pod_network_flannel", "containerd"]
    shapes: list[Any] = ["of", "any", {"shape": 1}]
    both = ["network_policy", "pod_network_flannel", "containerd"]
    assert list(selection.uses(["control_plane", "etcd"], shapes, "kube-router", "flannel")) == both
    assert list(selection.uses(["etcd", "workers"], (), "none", "none")) == ["containerd"]
    assert list(selection.uses(["etcd", "workers"], (), "none", "none", (), "crio")) == ["crio"]
    assert list(selection.uses(["etcd"], (), "none", "none", (), "crio")) == []
    assert "kube-router" in {each.name for each in selection.on_hosts(real, ["workers", "network_policy"])}
    assert "kube-router" not in {each.name for each in selection.on_hosts(real, ["workers"])}


def test_the_image_of_an_addon_is_for_nodes_where_it_is_switched_on(real: Pins) -> None:
    assert list(selection.uses(["workers"], (), "none", "none", ["metrics_server"])) == ["metrics_server", "containerd"]
    assert list(selection.uses(["etcd"], (), "none", "none", ["metrics_server"])) == []
    for addons, there in (([], False), (["metrics_server"], True)):
        assert ("metrics-server" in {each.name for each in selection.images(real, ["workers", *addons])}) is there
        assert ("metrics-server" in {each.name for each in selection.to_build(real, ["workers", *addons])}) is there


def test_an_addons_image_has_the_version_of_the_program_that_it_is_made_of(real: Pins) -> None:
    for name in set(real.images) & set(real.components):
        assert real.images[name].version == real.components[name].version


def test_flannel_is_for_nodes_of_clusters_with_that_network(real: Pins) -> None:
    def needed(groups: tuple[str, ...], network: str) -> set[str]:
        uses = selection.uses(groups, [], "none", network)
        return {each.name for each in selection.on_hosts(real, (*groups, *uses))}

    assert "flannel" in needed(("workers",), "flannel")
    assert "flannel" in needed(("etcd", "control_plane"), "flannel")
    assert "flannel" not in needed(("etcd",), "flannel")
    assert "flannel" not in needed(GROUPS, "bridge") | needed(GROUPS, "none")
    [artifact] = release.artifacts(real.components["flannel"], "arm64", real.components["flannel"].needed(pins.USES))
    assert artifact.url.endswith("/flannel/releases/download/v0.28.4/flanneld-arm64")
    # None is published. This fails once one is pinned, and then belongs to another component or goes.
    assert not artifact.checksums + artifact.pinned


def test_references_of_images(real: Pins) -> None:
    references = {image.reference() for image in real.images.values() if image.registry}
    assert references == {
        "registry.k8s.io/pause:3.10.2",
        "registry.k8s.io/coredns/coredns:v1.15.0",
        "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
        "registry.k8s.io/metrics-server/metrics-server:v0.9.0",
    }
    pause = real.images["pause"]
    assert pause.reference("registry.example.org/k8s/") == "registry.example.org/k8s/pause:3.10.2"
    assert pause.local_reference == "localhost/kubeproof/pause:3.10.2"


def test_an_image_of_no_known_registry_takes_the_one_that_is_set(real: Pins) -> None:
    speaker = real.images["metallb-speaker"]
    assert speaker.reference("registry.example.org") == "registry.example.org/metallb/speaker:v0.15.2"
    with pytest.raises(KubeproofError, match=r"no registry is known here that has .* metallb/speaker:v0\.15\.2"):
        speaker.reference()


def test_images_of_one_component_have_its_version(real: Pins) -> None:
    other = real.with_versions({"metallb": "0.15.9"})
    assert {other.images[f"metallb-{part}"].version for part in ("controller", "speaker")} == {"0.15.9"}
    with pytest.raises(KubeproofError, match="'metallb-speaker' is not a component"):
        real.with_versions({"metallb-speaker": "0.15.9"})


def test_an_image_of_a_component_has_its_version_and_no_registry(real: Pins) -> None:
    assert real.with_versions({"kubernetes": "1.36.1"}).images["kube-proxy"].version == "1.36.1"
    with pytest.raises(KubeproofError, match="'kube-proxy' is not a component"):
        real.with_versions({"kube-proxy": "1.36.1"})


def test_images_of_components_are_for_hosts_where_they_run_as_pods(real: Pins) -> None:
    pods = ["kube-apiserver", "kube-proxy"]
    assert {"kube-apiserver", "kube-proxy"} <= {each.name for each in selection.images(real, ["control_plane"], pods)}
    on_workers = {each.name for each in selection.images(real, ["workers"], pods)}
    assert "kube-proxy" in on_workers
    assert "kube-apiserver" not in on_workers
    assert not {"kube-apiserver", "kube-proxy"} & {each.name for each in selection.images(real, ["control_plane"])}


def test_other_versions(real: Pins) -> None:
    other = real.with_versions({"kubernetes": "1.36.1", "pause": "3.10.1", "etcd": "3.7.3"})
    assert other.components["kubernetes"].version == "1.36.1"
    assert other.images["pause"].reference().endswith("pause:3.10.1")
    assert other.with_versions({"kubernetes": "1.36.1"}) == other


def test_what_is_in_a_set_follows(real: Pins) -> None:
    assert real.misfits() == []
    other = real.with_versions({"kubernetes": "1.35.4", "containerd": "2.3.7"})
    assert other.images["pause"].version == "3.10.1"
    # Its tag has two numbers.
    assert other.images["agnhost"].reference() == "registry.k8s.io/e2e-test-images/agnhost:2.59"
    assert other.components["runc"].version == "1.5.2"
    assert other.misfits() == []
    assert other.with_versions({"kubernetes": "1.36.3"}).images["pause"].version == "3.10.2"


def test_what_was_chosen_stays_and_is_told(real: Pins) -> None:
    other = real.with_versions({"pause": "3.10.1", "runc": "1.4.3", "coredns": "1.15.0"})
    other = other.with_versions({"kubernetes": "1.37.2"})
    assert other.images["pause"].version == "3.10.1"
    assert other.misfits() == [
        Misfit("pause", "3.10.1", "kubernetes", "1.37.2", "3.10.2"),
        Misfit("runc", "1.4.3", "containerd", other.components["containerd"].version, "1.5.2"),
    ]


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ({"kubernetes": "1.34.4"}, "kubernetes 1.34.4 is not supported: this kubeproof installs 1.35, 1.36 and 1.37"),
        ({"cni-plugins": "1.1.0"}, "cni-plugins 1.1.0 is not supported: this kubeproof installs 1.9 and 1.10"),
    ],
)
def test_a_minor_version_that_has_no_set(real: Pins, versions: dict[str, str], problem: str) -> None:
    with pytest.raises(KubeproofError, match=re.escape(problem)):
        real.with_versions(versions)


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ({"kubernets": "1.36.1"}, "'kubernets' is not a component; known are"),
        ({"kubernetes": "v1.36.1"}, "'v1.36.1' is not a version"),
        ({"kubernetes": 1.36}, "1.36 is not a version"),
        ({"kubernetes": "1.36"}, "'1.36' is not a version"),
        ({"kubernetes": "../../1.36.1"}, "is not a version"),
    ],
)
def test_what_is_no_other_version(real: Pins, versions: dict[str, Any], problem: str) -> None:
    with pytest.raises(KubeproofError, match=re.escape(problem)):
        real.with_versions(versions)


def test_images_look_the_same_in_every_process(real: Pins) -> None:
    # Their text is part of the key under which they are cached; a set's order is another one each time.
    assert not [image.name for image in real.images.values() if "set(" in repr(image)]
