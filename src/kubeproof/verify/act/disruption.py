"""Stops parts of a cluster for a test, and sees to it that they run again, whatever ends the verification.

Before anything is stopped, a transient systemd timer on the host is set to start it after ``LIMIT_SECONDS``: a
verification that is killed, or cut off from the host, leaves nothing stopped for longer.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from kubeproof.verify.act.pods import Blocked
from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.hosts import IN_PATH, Host
from kubeproof.verify.observe.objects import Object, condition, holds, troubles

LIMIT_SECONDS = 300
_RECOVERY_SECONDS = 90.0
_PREFIX = "kubeproof-verify"
_TABLE = "kubeproof_verify_cut"
_SSH_PORT = 22


@contextmanager
def stopped(host: Host, *units: str) -> Iterator[None]:
    """Stop components of a host, the first one first, and start them in the opposite order."""
    with ExitStack() as undo:
        for unit in units:
            component = component_control.component(host, unit)
            undo.enter_context(undone(host, component.start))
            host.run("sh -c %s", component.stop)
        yield


@contextmanager
def killed(host: Host, unit: str) -> Iterator[None]:
    """End a component's processes without warning, and keep it from starting others."""
    component = component_control.component(host, unit)
    with undone(host, component.start):
        host.run("sh -c %s", component.kill)
        yield


@contextmanager
def stopped_everywhere(hosts: Sequence[Host], *units: str) -> Iterator[None]:
    """Stop components on several hosts."""
    with ExitStack() as undo:
        for host in hosts:
            undo.enter_context(stopped(host, *units))
        yield


@contextmanager
def frozen(host: Host, unit: str) -> Iterator[None]:
    """Keep a component's processes from running without ending them, as an overloaded host would."""
    component = component_control.component(host, unit)
    with undone(host, component.signal("CONT")):
        host.run("sh -c %s", component.signal("STOP"))
        yield


@contextmanager
def restarted_with(host: Host, unit: str, *flags: str) -> Iterator[None]:
    """Restart a unit with more flags, of two that are the same the last one counts, and afterwards without them."""
    running = host.run("tr '\\0' '\\n' < /proc/$(systemctl show --property=MainPID --value %s)/cmdline", unit)
    command = " ".join([*running.splitlines(), *flags]).replace("%", "%%").replace("$", "$$")
    with drop_in(host, unit, "[Service]", "ExecStart=", f"ExecStart={command}"):
        yield


@contextmanager
def drop_in(host: Host, unit: str, *lines: str, name: str = _PREFIX) -> Iterator[None]:
    """Restart a unit with lines added to its unit file, for this boot of the host only."""
    directory = f"/run/systemd/system/{unit}.service.d"
    path = f"{directory}/{name}.conf"
    restart = f"systemctl daemon-reload && systemctl restart {unit}"
    with undone(host, f"rm -f {path}; rmdir --ignore-fail-on-non-empty {directory}; {restart}"):
        host.run("mkdir -p %s && printf '%%s\\n' %s > %s", directory, "\n".join(lines), path)
        host.run(restart)
        yield


@contextmanager
def configured(host: Host, unit: str, settings: Mapping[str, Any], *flags: str) -> Iterator[None]:
    """Restart a unit with other settings over those of its configuration, and afterwards without them.

    ``settings``: with their apiVersion and kind. The unit's program merges what is in the directory that its flag
    ``--config-dir`` names.
    """
    directory = f"/run/{_PREFIX}-{unit}.d"
    with undone(host, f"rm -rf {directory}"):
        host.run("mkdir -p %s && printf %%s %s > %s", directory, json.dumps(settings), f"{directory}/10.conf")
        with restarted_with(host, unit, *flags, f"--config-dir={directory}"):
            yield


@contextmanager
def cut_off(host: Host) -> Iterator[None]:
    """Let nothing in or out of a host, its pods included, but what its loopback and this SSH connection carry."""
    rules = _only_ssh(host.run("echo $SSH_CONNECTION").split(), host.port or _SSH_PORT)
    with undone(host, f"nft delete table inet {_TABLE}"):
        host.run("printf %%s %s | nft -f -", rules)
        yield


def _only_ssh(connection: Sequence[str], port: int) -> str:
    """The firewall's rules that let nothing through but ssh. ``connection``: both ends' addresses and ports, if known.

    ``port``: ssh's where they are not. A port that is forwarded to it may be another than the host's own.
    """
    known = len(connection) == 4
    address = connection[0] if known else ""
    ports = connection[3] if known else f"{{ {', '.join(map(str, sorted({port, _SSH_PORT})))} }}"
    family = "ip6" if ":" in address else "ip"
    peer = f"{family} saddr {address} " if address else ""
    reply = f"{family} daddr {address} " if address else ""
    # Without these a client would not find the host by IPv6 for long.
    neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
    return f"""
table inet {_TABLE} {{
  chain input {{
    type filter hook input priority -500; policy drop;
    iif lo accept
    {peer}tcp dport {ports} accept
    {neighbours}
  }}
  chain output {{
    type filter hook output priority -500; policy drop;
    oif lo accept
    {reply}tcp sport {ports} accept
    {neighbours}
  }}
  chain forward {{
    type filter hook forward priority -500; policy drop;
  }}
}}
"""


def await_recovery(api: Api, what: str) -> None:
    """Wait until all nodes are ready again, so that the next test is not blamed for this one's deeds."""
    try:
        api.observe("/api/v1/nodes", _all_ready, what=what, timeout=_RECOVERY_SECONDS)
    except NotObserved as error:
        raise Blocked("kubelet", str(error)) from None


def _all_ready(nodes: list[Object]) -> bool:
    # The node's controller takes its taint away a moment after the node is ready; until then pods avoid it.
    return bool(nodes) and all(holds(node, "Ready") and not _tainted(node) for node in nodes)


def _tainted(node: Object) -> bool:
    return condition(node, "Ready").get("status") == "Unknown" or bool(troubles(node))


@contextmanager
def undone(host: Host, command: str, seconds: int = LIMIT_SECONDS) -> Iterator[None]:
    """Have a shell command run on a host at the end, or by the host itself when this process does not get there."""
    # systemd would put its own values into what looks like its variables.
    told = command.replace("$", "$$")
    timer = f"{_PREFIX}-undo-{secrets.token_hex(4)}"
    host.run(f"systemd-run --quiet --collect --unit={timer} --on-active={seconds} {IN_PATH} sh -c %s", told)
    try:
        yield
    finally:
        host.run("sh -c %s", command)
        host.run(f"systemctl stop {timer}.timer")
