"""A chart from an OCI registry over TLS, with the helm that is in this machine's cache; no cluster is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.everything.published_chart import CHART, Helm, Published, published

from kubeproof.api.kubeconfig import Access, Token
from kubeproof.components import controller_program, pins
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory
from kubeproof.verify.act import charts


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm for an inventory without a cluster, built as its components would be."""
    directory = tmp_path_factory.mktemp("helm")
    path = directory / "hosts.yml"
    hosts = {"hosts": {"cp1": {"ansible_host": "192.0.2.11"}}}
    groups = dict.fromkeys(("control_plane", "etcd", "workers"), hosts)
    path.write_text(yaml.safe_dump({"all": {"vars": {"component_source": "go"}, "children": groups}}))
    described = inventory.load(path)
    try:
        found = controller_program.cached(
            "helm", controller_program.request_of(described), pins.load(), described.state
        )
    except KubeproofError as error:
        pytest.skip(f"no helm: {error}")
    if not found:
        pytest.skip("no helm that was built here is in this machine's cache: `./kubeproof helm version` builds it")
    described.state.mkdir(parents=True, exist_ok=True)
    # Nobody answers there (RFC 5737).
    access = Access("https://192.0.2.11:6443", "ca", Token("secret"))
    (described.state / "admin.kubeconfig").write_text(charts.kubeconfig(access))
    return Helm(path, directory)


@pytest.fixture(scope="module")
def chart(helm: Helm) -> Iterator[Published]:
    with published(helm) as made:
        yield made


def test_it_is_pulled_as_it_was_pushed(helm: Helm, chart: Published, tmp_path: Path) -> None:
    helm.succeed("pull", chart.reference, *chart.options, "--destination", str(tmp_path))
    assert (tmp_path / chart.package.name).read_bytes() == chart.package.read_bytes()


def test_its_manifests_are_those_of_its_directory(helm: Helm, chart: Published) -> None:
    values = ("--set", "image=example", "--set", "replicas=2")
    here = helm.succeed("template", "greeter", str(CHART), *values)
    assert [each["kind"] for each in yaml.safe_load_all(here)]
    assert helm.succeed("template", "greeter", chart.reference, *chart.options, *values) == here


@pytest.mark.parametrize(
    ("options", "says"),
    [("login", "certificate signed by unknown authority"), ("trust", "401|unauthorized|basic credential not found")],
)
def test_it_takes_the_ca_and_the_password(
    helm: Helm, chart: Published, tmp_path: Path, options: str, says: str
) -> None:
    given: tuple[str, ...] = getattr(chart, options)
    refused = helm.run("pull", chart.reference, "--version", chart.version, *given, "--destination", str(tmp_path))
    assert refused.returncode != 0
    assert list(tmp_path.iterdir()) == []
    assert any(each in refused.stderr.lower() for each in says.split("|")), refused.stderr
