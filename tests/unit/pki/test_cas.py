"""CAs and leaf certificates."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kubeproof.pki import cas
from kubeproof.pki import kubeconfig as admin

NOW = datetime.datetime.now(datetime.UTC)
YEARS = datetime.timedelta(days=3650)
WANTED = cas.Wanted(
    "kubernetes", "system:node:w1", ("server", "client"), ("system:nodes",), ("w1", "w1"), ("10.0.0.1", "127.0.0.1")
)


def public_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    cas.ensure_cas(tmp_path / "pki", "test", YEARS)
    return tmp_path / "pki"


@pytest.fixture
def ca(directory: Path) -> cas.CA:
    return cas.CA.load(directory, "kubernetes")


@pytest.fixture(scope="module")
def public_key() -> str:
    return public_pem(ec.generate_private_key(ec.SECP256R1()))


def test_all_is_made_once_and_private(tmp_path: Path) -> None:
    made = cas.ensure_cas(tmp_path / "pki", "test", YEARS)
    assert made == [cas.ENCRYPTION_KEY, *cas.CAS, cas.SERVICE_ACCOUNT]
    assert cas.ensure_cas(tmp_path / "pki", "test", YEARS) == []
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "pki").glob("*.key")} == {0}


def test_cas_are_separate(directory: Path) -> None:
    keys = {public_pem(cas.CA.load(directory, name).key) for name in cas.CAS}
    assert len(keys) == len(cas.CAS)


def test_a_lost_ca_key_is_never_replaced(directory: Path) -> None:
    (directory / "etcd.key").unlink()
    with pytest.raises(cas.PkiError, match=r"etcd\.key does not: restore it"):
        cas.ensure_cas(directory, "test", YEARS)


def test_a_lost_encryption_key_is_never_replaced(directory: Path) -> None:
    (directory / "encryption.key").unlink()
    with pytest.raises(cas.PkiError, match="no Secret of the cluster can be read"):
        cas.ensure_cas(directory, "test", YEARS)


def test_a_run_killed_between_key_and_certificate_is_made_good(directory: Path) -> None:
    (directory / "etcd.crt").unlink()
    assert cas.ensure_cas(directory, "test", YEARS) == ["etcd"]
    cas.CA.load(directory, "etcd")


def test_a_key_of_another_ca_is_refused(directory: Path) -> None:
    (directory / "etcd.key").write_bytes((directory / "kubernetes.key").read_bytes())
    with pytest.raises(cas.PkiError, match=r"does not belong to etcd\.crt"):
        cas.CA.load(directory, "etcd")


def test_a_leaf_is_what_was_wanted(ca: cas.CA, public_key: str) -> None:
    leaf = x509.load_pem_x509_certificate(ca.issue(WANTED, public_key, NOW).encode())
    leaf.verify_directly_issued_by(ca.certificate)
    assert leaf.subject.rfc4514_string() == "CN=system:node:w1,O=system:nodes"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["w1"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "127.0.0.1"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_leaf_never_outlives_its_ca(ca: cas.CA, public_key: str) -> None:
    long = replace(WANTED, lifetime=datetime.timedelta(days=10000))
    leaf = x509.load_pem_x509_certificate(ca.issue(long, public_key, NOW).encode())
    assert leaf.not_valid_after_utc <= ca.certificate.not_valid_after_utc


def test_a_ca_that_has_ended_signs_nothing_and_says_so(ca: cas.CA, public_key: str) -> None:
    last = ca.certificate.not_valid_after_utc
    ca.issue(WANTED, public_key, last - datetime.timedelta(seconds=1))
    for now in (last, last + datetime.timedelta(days=9)):
        with pytest.raises(cas.PkiError, match=rf"the test kubernetes CA was valid until {last:%Y-%m-%d}.*another"):
            ca.issue(WANTED, public_key, now)


def test_a_good_certificate_is_left_alone(ca: cas.CA, public_key: str) -> None:
    pem = ca.issue(WANTED, public_key, NOW)
    assert ca.reason_to_issue(WANTED, pem, public_key, NOW) == ""


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (replace(WANTED, common_name="system:node:w2"), "subject"),
        (replace(WANTED, organizations=()), "subject"),
        (replace(WANTED, addresses=("10.0.0.2",)), "alternative names"),
        (replace(WANTED, usages=("client",)), "usages"),
    ],
)
def test_another_wish_is_a_reason(ca: cas.CA, public_key: str, wanted: cas.Wanted, reason: str) -> None:
    pem = ca.issue(WANTED, public_key, NOW)
    assert reason in ca.reason_to_issue(wanted, pem, public_key, NOW)


def test_age_is_a_reason_when_a_third_is_left(ca: cas.CA, public_key: str) -> None:
    pem = ca.issue(WANTED, public_key, NOW)
    assert ca.reason_to_issue(WANTED, pem, public_key, NOW + datetime.timedelta(days=240)) == ""
    later = NOW + datetime.timedelta(days=250)
    assert "less than a third" in ca.reason_to_issue(WANTED, pem, public_key, later)


def test_another_key_ca_or_garbage_is_a_reason(directory: Path, ca: cas.CA, public_key: str) -> None:
    pem = ca.issue(WANTED, public_key, NOW)
    other_key = public_pem(ec.generate_private_key(ec.SECP256R1()))
    other_ca = cas.CA.load(directory, "etcd")
    assert "another key" in ca.reason_to_issue(WANTED, pem, other_key, NOW)
    assert "another key" in ca.reason_to_issue(WANTED, pem, "", NOW)
    assert "another CA" in other_ca.reason_to_issue(WANTED, pem, public_key, NOW)
    assert "cannot be read" in ca.reason_to_issue(WANTED, "garbage", public_key, NOW)
    assert "there is none" in ca.reason_to_issue(WANTED, "", public_key, NOW)


def test_a_host_offering_another_kind_of_key_is_refused(ca: cas.CA) -> None:
    key = public_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with pytest.raises(cas.PkiError, match="not an elliptic-curve key"):
        ca.issue(WANTED, key, NOW)


def kubeconfig(state: Path) -> Any:
    return yaml.safe_load((state / "admin.kubeconfig").read_text())


def target(server: str, **servers: str) -> admin.Target:
    return admin.Target(
        "test", f"https://{server}:6443", {host: f"https://{each}:6443" for host, each in servers.items()}
    )


def test_the_admin_kubeconfig_is_written_once_and_again_when_the_server_changes(directory: Path) -> None:
    state = directory.parent
    assert admin.ensure_kubeconfig(state, target("10.0.0.1"))
    assert not admin.ensure_kubeconfig(state, target("10.0.0.1"))
    assert (state / "admin.kubeconfig").stat().st_mode & 0o777 == 0o600
    first = kubeconfig(state)
    assert admin.ensure_kubeconfig(state, target("10.0.0.2"))
    second = kubeconfig(state)
    assert second["clusters"][0]["cluster"]["server"] == "https://10.0.0.2:6443"
    assert second["users"] == first["users"], "copies of it elsewhere have the same certificate"
    (state / "admin.kubeconfig").chmod(0o644)
    assert admin.ensure_kubeconfig(state, target("10.0.0.2"))
    assert (state / "admin.kubeconfig").stat().st_mode & 0o777 == 0o600


def test_each_control_plane_host_has_a_context_where_there_are_several(directory: Path) -> None:
    state = directory.parent
    admin.ensure_kubeconfig(state, target("10.0.0.1", cp1="10.0.0.1"))
    assert [each["name"] for each in kubeconfig(state)["contexts"]] == ["test"]
    assert admin.ensure_kubeconfig(state, target("10.0.0.9", cp1="10.0.0.1", cp2="10.0.0.2"))
    found = kubeconfig(state)
    assert {each["name"]: each["cluster"]["server"] for each in found["clusters"]} == {
        "test": "https://10.0.0.9:6443",
        "test-cp1": "https://10.0.0.1:6443",
        "test-cp2": "https://10.0.0.2:6443",
    }
    assert {each["name"]: each["context"]["cluster"] for each in found["contexts"]} == {
        name: name for name in ("test", "test-cp1", "test-cp2")
    }
    assert found["current-context"] == "test"


def test_what_a_person_has_chosen_in_the_kubeconfig_stays(directory: Path) -> None:
    state = directory.parent
    both = {"cp1": "10.0.0.1", "cp2": "10.0.0.2"}
    admin.ensure_kubeconfig(state, target("10.0.0.1", **both))
    chosen = kubeconfig(state)
    chosen["current-context"] = "test-cp2"
    chosen["contexts"][2]["context"]["namespace"] = "shop"
    (state / "admin.kubeconfig").write_text(yaml.safe_dump(chosen))
    assert not admin.ensure_kubeconfig(state, target("10.0.0.1", **both))
    assert admin.ensure_kubeconfig(state, target("10.0.0.9", **both))
    found = kubeconfig(state)
    assert found["current-context"] == "test-cp2"
    assert found["contexts"][2]["context"]["namespace"] == "shop"
    assert admin.ensure_kubeconfig(state, target("10.0.0.9", cp1="10.0.0.1"))
    assert kubeconfig(state)["current-context"] == "test"


@pytest.mark.parametrize("text", ["", "[]", "{", "users: [{user: {client-key-data: x}}]", "contexts: 3"])
def test_a_kubeconfig_that_is_none_is_made_anew(directory: Path, text: str) -> None:
    state = directory.parent
    (state / "admin.kubeconfig").write_text(text)
    assert admin.ensure_kubeconfig(state, target("10.0.0.1"))
    assert not admin.ensure_kubeconfig(state, target("10.0.0.1"))
