"""What makes nodes depend on the control plane."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import everywhere, running
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe.cluster import Cluster

# Something to do on a host over and over while nothing listens at an API server, and something to do afterwards.
_WHILE_AWAY = """
while sleep 0.1; do
  if timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null; then
    [ -z "$away" ] || {{ {afterwards}; }}
    away=
  else
    away=yes
    {act}
  fi
done
"""


def _while_away(lab: Cluster, act: str, afterwards: str = "true") -> str:
    [(address, port), *_] = lab.api_servers
    return _WHILE_AWAY.format(address=address, port=port, act=act, afterwards=afterwards)


@saboteur(
    "kubelet-autonomous",
    breaks="A kubelet does nothing as long as it has no API server",
    says="a container on .* whose process was killed is not restarted within",
)
def kubelet_waits_for_the_api(lab: Cluster) -> Iterator[None]:
    host = lab.nodes[-1].host
    freeze, thaw = (f"systemctl kill --signal={signal} kubelet" for signal in ("SIGSTOP", "SIGCONT"))
    with undone(host, thaw), running(host, _while_away(lab, freeze, thaw)):
        yield


@saboteur(
    "kubelet-autonomous",
    breaks="Applications are ended when there is no API server",
    says="(?s)without an API server: .* is answered.*was replaced by the outage",
)
def applications_end_with_the_api(lab: Cluster) -> Iterator[None]:
    program = _while_away(lab, "pkill -KILL -f '^/agnhost netexec'")
    with everywhere([node.host for node in lab.nodes], lambda host: running(host, program)):
        yield
