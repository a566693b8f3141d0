"""The webhook that judges Applications, and its certificates.

It is the test image's own webhook, in a pod behind a service. Which certificate it is to serve, by number, is an
annotation of the webhook's configuration. A new one is trusted first, then served, and the old one is then trusted no
more, so that no request meets a certificate that the API servers do not know.
"""

from __future__ import annotations

import base64
import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.objects import Object

NAME = "gate"
PORT = 8443
GENERATION = "verify.kubeproof.io/certificate"
# What the test image's webhook refuses, and what it says.
REFUSED_DATA = {"webhook-e2e-test": "webhook-disallow"}
REFUSAL = "the custom resource contains unwanted data"
# As long as nodes and API servers may need to hear that a pod goes. Its CA is trusted for that time only: with others
# API servers make new connections, so that none of theirs ends with the pod, which lives on for longer.
_HEARD_SECONDS = 6.0
_GOODBYE_SECONDS = 15
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_DAY = datetime.timedelta(days=1)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
_CRITICAL = (x509.BasicConstraints, x509.KeyUsage)


@dataclass(frozen=True)
class Issued:
    """A server's certificate and key, and the CA that signed it, for this certificate only. In PEM."""

    ca: str
    certificate: str
    key: str


def issue(name: str) -> Issued:
    """A certificate for a DNS name.

    Both have what RFC 5280 demands of them: Python 3.13 and newer (``ssl.VERIFY_X509_STRICT``) trust no others.
    """
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {x509.random_serial_number():x}"[:60])])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    limits = x509.BasicConstraints(ca=True, path_length=0)
    ca = _signed(authority, authority, ca_key, ca_key, limits, _SIGNS_CERTIFICATES, identifier)
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    certificate = _signed(subject, authority, key, ca_key, names, usage, by)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Issued(ca, certificate, private.decode())


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> str:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = (
        builder.serial_number(x509.random_serial_number()).not_valid_before(now - _DAY).not_valid_after(now + _DAY)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, _CRITICAL))
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def deployment(manifests: Manifests) -> Object:
    """The webhook's pod, which serves the certificate of the Secret ``served`` names."""
    arguments = ["webhook", f"--port={PORT}", "--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key"]
    probe = {"httpGet": {"path": "/readyz", "port": PORT, "scheme": "HTTPS"}, "periodSeconds": 1}
    container = manifests.container(
        "webhook",
        arguments,
        readinessProbe=probe,
        volumeMounts=[{"name": "tls", "mountPath": "/tls", "readOnly": True}],
        lifecycle={"preStop": {"sleep": {"seconds": _GOODBYE_SECONDS}}},
    )
    volume = {"name": "tls", "secret": {"secretName": _secret(1)}}
    pod = manifests.pod("", [container], volumes=[volume], terminationGracePeriodSeconds=2 * _GOODBYE_SECONDS)
    labels = {"app": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": manifests.namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        },
    }


def service(manifests: Manifests) -> Object:
    """The service by which API servers find it."""
    item = manifests.service(NAME, {"app": NAME})
    item["spec"]["ports"] = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": PORT}]
    return item


def configuration(name: str) -> Object:
    """The webhook's configuration before there is a webhook: it asks for the first certificate."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name, "annotations": {GENERATION: "1"}},
        "webhooks": [],
    }


def renew(api: Api, name: str, generation: int) -> None:
    """Ask for a certificate of another number."""
    api.patch(f"{_CONFIGURATIONS}/{name}", {"metadata": {"annotations": {GENERATION: str(generation)}}})


def trusted(api: Api, name: str) -> str:
    """The CAs that API servers trust for the webhook, in PEM; empty if there is none."""
    hooks = api.get(f"{_CONFIGURATIONS}/{name}").get("webhooks") or []
    return base64.b64decode(hooks[0]["clientConfig"]["caBundle"]).decode() if hooks else ""


class Gate:
    """The webhook, as the operator keeps it."""

    def __init__(
        self,
        api: Api,
        group: str,
        configured: str,
        wanted: Object,
        front: Object,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``configured``: the name of its configuration; ``wanted`` and ``front``: its Deployment and Service."""
        self._api, self._group, self._configured, self._clock = api, group, configured, clock
        self._deployment, self._service = wanted, front
        self._namespace = str(wanted["metadata"]["namespace"])
        # By UID of pods that go, when that was seen first.
        self._going: dict[str, float] = {}

    def converge(self) -> None:
        """Do the next of what is to be done: each step is as good as done if this process ends after it."""
        configured = self._api.get(f"{_CONFIGURATIONS}/{self._configured}")
        generation = int(configured["metadata"]["annotations"][GENERATION])
        self._present(self._service)
        served = self._served()
        pods = self._api.items(objects.core(self._namespace, "pods"), labelSelector=f"app={NAME}")
        # What pods serve that are asked now or soon; those that are about to go are asked for a moment more.
        numbers = {generation, served or generation, *(_number(pod) for pod in pods if self._asked(pod))}
        self._trust(configured, *map(self._authority, sorted(numbers)))
        if not served:
            self._present(self._deployment_of(generation))
        elif served != generation:
            volumes = self._deployment_of(generation)["spec"]["template"]["spec"]["volumes"]
            change = {"spec": {"template": {"spec": {"volumes": volumes}}}}
            self._api.patch(objects.path(self._deployment), change)

    def _asked(self, pod: Object) -> bool:
        """Whether an API server may ask a pod: one that goes is asked until all have heard that it does."""
        if "deletionTimestamp" not in pod["metadata"]:
            return True
        now = self._clock()
        return now - self._going.setdefault(pod["metadata"]["uid"], now) < _HEARD_SECONDS

    def _authority(self, generation: int) -> str:
        """The CA of a certificate of this number, which is made if there is none."""
        manifest: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _secret(generation), "namespace": self._namespace},
        }
        answer = self._api.request("GET", objects.path(manifest))
        if answer.status != 404:
            return base64.b64decode(answer.required()["data"]["ca.crt"]).decode()
        made = issue(f"{NAME}.{self._namespace}.svc")
        data = {"ca.crt": made.ca, "tls.crt": made.certificate, "tls.key": made.key}
        self._api.create({**manifest, "stringData": data})
        return made.ca

    def _present(self, manifest: Object) -> None:
        if self._api.request("GET", objects.path(manifest)).status == 404:
            self._api.create(manifest)

    def _served(self) -> int:
        """The number of the certificate that the Deployment asks for; 0 if there is none."""
        answer = self._api.request("GET", objects.path(self._deployment))
        return 0 if answer.status == 404 else _number(answer.required()["spec"]["template"])

    def _deployment_of(self, generation: int) -> Object:
        template = self._deployment["spec"]["template"]
        volume = {"name": "tls", "secret": {"secretName": _secret(generation)}}
        spec = {**template["spec"], "volumes": [volume]}
        return {**self._deployment, "spec": {**self._deployment["spec"], "template": {**template, "spec": spec}}}

    def _trust(self, configured: Object, *authorities: str) -> None:
        """Have API servers ask the webhook, and trust these CAs."""
        hook = {
            "name": f"applications.{self._group}",
            "clientConfig": {
                "service": {"name": NAME, "namespace": self._namespace, "path": "/custom-resource", "port": 443},
                "caBundle": base64.b64encode("".join(authorities).encode()).decode(),
            },
            "rules": [
                {
                    "apiGroups": [self._group],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["applications"],
                    "scope": "Namespaced",
                }
            ],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 10,
        }
        present = (configured.get("webhooks") or [{}])[0].get("clientConfig", {}).get("caBundle")
        if present != hook["clientConfig"]["caBundle"]:  # type: ignore[index]
            self._api.patch(f"{_CONFIGURATIONS}/{self._configured}", {"webhooks": [hook]})


def _secret(generation: int) -> str:
    return f"{NAME}-tls-{generation}"


def _number(item: Object) -> int:
    """The number of the certificate that a pod, or the template of one, has."""
    return next(
        int(volume["secret"]["secretName"].rpartition("-")[2])
        for volume in item["spec"]["volumes"]
        if volume["name"] == "tls"
    )
