"""What makes the claims about metrics false."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from tests.saboteurs.framework.mutations import changed_file, changed_object, everywhere, flags
from tests.saboteurs.framework.registry import saboteur

from kubeproof.core import waiting
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object, name

_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
_MAY_MEASURE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:metrics-server"
_NODES_MEASURED = "/apis/metrics.k8s.io/v1beta1/nodes"
# Two measurements, and a moment until the API servers ask again whether there are any.
_MEASURED_SECONDS = 90.0
_KUBELET = "/etc/kubernetes/kubelet/config.yaml"


@saboteur(
    "metrics-resource",
    breaks="The API servers take whatever certificate the metrics API has",
    says="have no CA to verify the metrics API with",
    quick=True,
)
def unverified(cluster: Cluster) -> Iterator[None]:
    def trusting(service: Object) -> None:
        service["spec"].pop("caBundle", None)
        service["spec"]["insecureSkipTLSVerify"] = True

    with changed_object(cluster.api, _SERVICE, trusting):
        yield


@saboteur(
    "metrics-resource",
    breaks="The API servers' CA for the metrics API is another one",
    says="the metrics API does not answer: .*certificate|not measured: ",
)
def foreign_authority(cluster: Cluster) -> Iterator[None]:
    # The certificate of the CA of the aggregation layer: a real one, which has not signed this server's.
    known = cluster.api.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")["data"]

    def foreign(service: Object) -> None:
        service["spec"]["caBundle"] = base64.b64encode(known["requestheader-client-ca-file"].encode()).decode()

    with changed_object(cluster.api, _SERVICE, foreign):
        yield


@saboteur(
    "metrics-resource",
    breaks="metrics-server may no longer ask kubelets",
    says="not measured: |is not measured as such|the metrics API does not answer",
)
def kubelets_refuse(cluster: Cluster) -> Iterator[None]:
    def nothing(role: Object) -> None:
        role["rules"] = [rule for rule in role["rules"] if "nodes/metrics" not in rule["resources"]]

    kubelets = [node.host for node in cluster.nodes]
    with (
        everywhere(kubelets, lambda host: changed_file(host, _KUBELET, forgetful, "kubelet")),
        changed_object(cluster.api, _MAY_MEASURE, nothing),
    ):
        yield
    _await_measurements(cluster)


def forgetful(configuration: str) -> str:
    """The kubelet's configuration, with which it asks each time anew what its callers may do.

    By default it lets those in for five minutes whom it has let in once.
    """
    asking = "webhook: {cacheAuthorizedTTL: 1s, cacheUnauthorizedTTL: 1s}"
    return re.sub(r"^authorization:\n( +)", rf"authorization:\n\1{asking}\n\1", configuration, flags=re.MULTILINE)


def _await_measurements(cluster: Cluster) -> None:
    """Wait until metrics-server has measured all nodes again: it is not ready, and not as it was, until then."""
    names = {node.name for node in cluster.nodes}

    def measured() -> bool:
        answer = cluster.api.request("GET", _NODES_MEASURED)
        return answer.ok and names <= {name(item) for item in answer.required()["items"]}

    if not waiting.until(measured, cluster.api.patient(_MEASURED_SECONDS), pause=1.0):
        raise TimeoutError(f"not within {_MEASURED_SECONDS:.0f} s: all nodes are measured again")


@saboteur(
    "hpa-scales",
    breaks="The controller manager runs without the loop of autoscalers",
    says="no controller acts on an autoscaler",
)
def no_loop_for_autoscalers(cluster: Cluster) -> Iterator[None]:
    without = "--controllers=*,-horizontal-pod-autoscaler-controller"
    with everywhere(cluster.control_plane, lambda host: flags(host, "kube-controller-manager", without)):
        yield
