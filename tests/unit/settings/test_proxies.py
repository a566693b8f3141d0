"""Nothing goes through a proxy to the cluster's own addresses, whatever the environment says."""

from __future__ import annotations

import datetime
import re
import runpy
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jinja2
import pytest
from ansible.module_utils.component_unit import Health
from ansible.module_utils.kube_client import Client
from cryptography.hazmat.primitives.asymmetric import ec

import etcd_leadership
from kubeproof.api import kubectl
from kubeproof.api.kubeconfig import Access, Anonymous
from kubeproof.backup.agent import running
from kubeproof.core import paths
from kubeproof.pki import cas
from kubeproof.settings import proxies
from kubeproof.verify.observe import api

# Nobody listens there: what asks it fails.
DEAD = "http://127.0.0.1:1"
# What fetches components from elsewhere is to use a proxy.
OUTWARD = {"src/kubeproof/components/download.py"}
SOURCES = [
    path
    for directory in ("src", "plugins", "roles")
    for path in (paths.PROJECT / directory).rglob("*")
    if path.suffix in (".py", ".j2") and str(path.relative_to(paths.PROJECT)) not in OUTWARD
]


@pytest.fixture(autouse=True)
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.setenv(spelled, DEAD)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Component(BaseHTTPRequestHandler):
    """Answers everybody alike."""

    def do_GET(self) -> None:
        body = b"ok" if self.path == "/readyz" else b'{"kind": "Status", "health": "true"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a CA, and of a certificate for loopback that serves both sides."""
    directory = tmp_path_factory.mktemp("pki")
    cas.ensure_cas(directory, "test", datetime.timedelta(days=1))
    key = ec.generate_private_key(ec.SECP256R1())
    public = directory / "leaf.pub"
    (directory / "leaf.key").write_bytes(cas.private_pem(key))
    subprocess.run(["openssl", "pkey", "-in", directory / "leaf.key", "-pubout", "-out", public], check=True)
    wanted = cas.Wanted("kubernetes", "leaf", ("server", "client"), addresses=("127.0.0.1",))
    now = datetime.datetime.now(datetime.UTC)
    leaf = cas.CA.load(directory, "kubernetes").issue(wanted, public.read_text(), now)
    (directory / "leaf.crt").write_text(leaf)
    names = {"ca": "kubernetes.crt", "certificate": "leaf.crt", "key": "leaf.key"}
    return {name: str(directory / file) for name, file in names.items()}


@pytest.fixture(scope="module")
def url(credentials: dict[str, str]) -> Iterator[str]:
    """A component that serves TLS."""
    server = HTTPServer(("127.0.0.1", 0), Component)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credentials["certificate"], credentials["key"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def plain_url() -> Iterator[str]:
    """A component that serves without TLS."""
    server = HTTPServer(("127.0.0.1", 0), Component)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_health_is_asked_directly(url: str, plain_url: str, credentials: dict[str, str]) -> None:
    for server in (url, plain_url):
        health = Health({"url": f"{server}/readyz", "expect": "ok", **credentials})
        assert health.good(), health.problem


def test_members_of_etcd_are_asked_directly(url: str, credentials: dict[str, str]) -> None:
    assert etcd_leadership.over_tls(credentials)(url, "/v3/maintenance/status", {})["kind"] == "Status"


def test_modules_ask_the_api_directly(url: str, credentials: dict[str, str]) -> None:
    assert Client({"server": url, **credentials}, seconds=0).get("/api/v1/nodes")["kind"] == "Status"


def test_the_verifier_asks_the_api_directly(url: str, credentials: dict[str, str]) -> None:
    with api.Api(Access(url, Path(credentials["ca"]).read_text(), Anonymous())) as client:
        assert client.request("GET", "/readyz").status == 200


def test_keepalived_asks_directly(url: str, credentials: dict[str, str], tmp_path: Path) -> None:
    template = paths.PROJECT / "roles/keepalived/templates/etc/kubernetes/keepalived/ready.py.j2"
    settings = {"cluster_api_port": url.rpartition(":")[2], "__cluster_authority": credentials["ca"]}
    program = tmp_path / "ready.py"
    program.write_text(jinja2.Template(template.read_text()).render(settings))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(program))
    assert not ended.value.code


def test_programs_of_etcd_know_of_no_proxy() -> None:
    said = running.run([sys.executable, "-c", "import os; print(*os.environ)"], 10, ValueError)
    assert "PATH" in said.split()
    assert "proxy" not in said.lower()


def test_kubectl_asks_the_cluster_directly_and_others_as_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "admin.kubeconfig"
    config.write_text("clusters: [{name: x, cluster: {server: 'https://10.1.2.3:6443'}}]\n")
    monkeypatch.setenv("no_proxy", "example.org")
    told = kubectl.environment(config)
    assert (told["NO_PROXY"], told["no_proxy"]) == ("example.org,10.1.2.3",) * 2
    assert told["https_proxy"] == DEAD


def test_every_client_is_told_to_ask_directly() -> None:
    """What uses the environment's proxies by default is not used, or configured not to."""
    for path in SOURCES:
        text = path.read_text()
        assert "urlopen(" not in text, f"{path}: use ansible.module_utils.direct"
        for call in re.findall(r"httpx\.(?:Client|AsyncClient|get|post|stream|request)\((?:[^()]|\([^()]*\))*\)", text):
            assert "trust_env=False" in call, f"{path}: {call}"
        for call in re.findall(r"build_opener\((?:[^()]|\([^()]*\))*\)", text):
            assert "ProxyHandler({})" in text, f"{path}: {call}"


OWN = {
    "cluster_domain": "cluster.local",
    "cluster_pod_network": "10.244.0.0/16",
    "cluster_service_network": "10.96.0.0/16",
    "cluster_virtual_address": "10.0.0.9",
}


def test_images_and_packages_come_by_a_proxy_that_is_told_the_clusters_own_addresses() -> None:
    assert proxies.environment({**OWN, "cluster_http_proxy": "", "cluster_https_proxy": ""}, {"a": "10.0.0.1"}) == {}
    settings = {**OWN, "cluster_https_proxy": "http://proxy:3128", "cluster_no_proxy": ["registry.example", ".corp"]}
    told = proxies.environment(settings, {"a": "10.0.0.1", "b": "10.0.0.2"})
    assert told["https_proxy"] == told["HTTPS_PROXY"] == "http://proxy:3128"
    assert "http_proxy" not in told
    assert (
        told["no_proxy"]
        == told["NO_PROXY"]
        == (
            "localhost,127.0.0.0/8,10.0.0.1,10.0.0.2,10.0.0.9,10.244.0.0/16,10.96.0.0/16,.svc,.cluster.local,"
            "registry.example,.corp"
        )
    )


def test_a_password_is_not_read_as_something_else_by_systemd() -> None:
    text = proxies.environment_file({"https_proxy": 'http://u:p$"\\%@proxy'})
    assert text == 'https_proxy="http://u:p\\$\\"\\\\%@proxy"\n'


@pytest.mark.parametrize(
    "value", ["proxy:3128", "socks5://proxy", "https://", "http://proxy:port", "http://pro xy:1", "http://proxy:99999"]
)
def test_a_proxy_that_is_none_is_refused_and_not_repeated(value: str) -> None:
    [(name, problem)] = proxies.problems({"cluster_https_proxy": value})
    assert name == "cluster_https_proxy"
    assert value not in problem
    assert list(proxies.problems({"cluster_http_proxy": "http://u:p@proxy.corp:3128/"})) == []
    assert [name for name, _ in proxies.problems({"cluster_no_proxy": ["a,b", "10.0.0.0/8"]})] == ["cluster_no_proxy"]
    [(_, told)] = proxies.problems({"cluster_no_proxy": ["10.0.0.0/255.0.0.0", "10.0.0.0/8"]})
    assert told == "'10.0.0.0/255.0.0.0' has a netmask; write 10.0.0.0/8"


def test_units_that_speak_to_other_hosts_are_given_no_proxy() -> None:
    """systemd's DefaultEnvironment= is for all units."""
    for unit in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        (path,) = (paths.PROJECT / "roles").glob(f"*/templates/etc/systemd/system/{unit}.service.j2")
        assert "UnsetEnvironment={{ __cluster_proxy_variables }}" in path.read_text(), unit
