"""In which form a component runs on a host, and how it is stopped, started, frozen and found there.

A component is named like its unit: ``kube-scheduler``. It may be that unit; or a static pod, whose manifest is then in
the kubelet's directory; or, kube-proxy only, a pod of a daemonset. Operations are shell commands, so that a host can
revert them by itself.
"""

from __future__ import annotations

import enum
import json
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubeproof.verify.observe.hosts import Host

MANIFESTS = "/etc/kubernetes/manifests"
_ASIDE = "/run/kubeproof-verify-aside"
# In the shell: the UID in a manifest, the processes of a pod without the one that keeps its namespaces, and whether
# the kubelet has it still.
_POD = r"""
uid_of() { sed -n 's/^ *"uid": "\([0-9a-f]*\)".*/\1/p' "$1" 2>/dev/null; }
members() {
  grep -ls "pod$1" /proc/[0-9]*/cgroup | cut -d/ -f3 | while read -r pid; do
    [ "$(cat /proc/$pid/comm 2>/dev/null)" = pause ] || echo "$pid"
  done
}
ended() {
  [ -z "$1" ] && return
  for _ in $(seq 1200); do
    if ! grep -qs "pod$1" /proc/[0-9]*/cgroup; then
      [ -z "$(find /sys/fs/cgroup -maxdepth 4 -name "*pod$1*" -print -quit)" ] && sleep 0.5 && return
    fi
    sleep 0.1
  done
  echo "the kubelet does not end the pod $1" >&2
  return 1
}
"""


class Form(enum.StrEnum):
    """How a component runs."""

    SERVICE = "service"
    STATIC_POD = "static pod"
    DAEMONSET = "daemonset"


@dataclass(frozen=True)
class Component:
    """A component on a host. Each operation is a shell command."""

    name: str
    form: Form

    @property
    def manifest(self) -> str:
        """Where its manifest is, if it is a static pod."""
        return f"{MANIFESTS}/{self.name}.json"

    @property
    def stop(self) -> str:
        """Stop it, and wait until it is gone. A daemonset's pod can't be kept away from a node: it is frozen."""
        if self.form is Form.STATIC_POD:
            aside = f"{_ASIDE}/{self.name}.json"
            return (
                f"{_POD}\nif [ -e {self.manifest} ]; then uid=$(uid_of {self.manifest}); mkdir -p {_ASIDE}; "
                f"cp --preserve=all {self.manifest} {aside} && rm {self.manifest} && ended $uid; fi"
            )
        if self.form is Form.DAEMONSET:
            return self.signal("STOP")
        return f"systemctl stop {shlex.quote(self.name)}"

    @property
    def start(self) -> str:
        """Start it again."""
        if self.form is Form.STATIC_POD:
            aside, hidden = f"{_ASIDE}/{self.name}.json", f"{MANIFESTS}/.{self.name}.json"
            return (
                f"if [ -e {aside} ]; then cp --preserve=all {aside} {hidden} && mv {hidden} {self.manifest} && "
                f"rm {aside}; rmdir --ignore-fail-on-non-empty {_ASIDE}; fi"
            )
        if self.form is Form.DAEMONSET:
            return self.signal("CONT")
        return f"systemctl start {shlex.quote(self.name)}"

    @property
    def restart(self) -> str:
        """End its process, and see to it that there is another."""
        if self.form is Form.STATIC_POD:
            return f"{self.stop}\n{self.start}"
        if self.form is Form.DAEMONSET:
            another = 'if [ -n "$now" ] && [ "$now" != "$before" ]; then break; fi'
            look = f"for _ in $(seq 300); do now=$({self.processes}); {another}; sleep 0.2; done"
            return f"before=$({self.processes}); kill $before; {look}"
        return f"systemctl restart {shlex.quote(self.name)}"

    @property
    def kill(self) -> str:
        """End it without warning, and keep it from coming back."""
        if self.form is Form.STATIC_POD:
            # The manifest goes first, or the kubelet would have another process there at once.
            kill = 'sleep 0.05\nfor pid in $pids; do kill -KILL "$pid"; done\nwait $!'
            return f"{_POD}\npids=$(members $(uid_of {self.manifest}))\n( {self.stop} ) &\n{kill}"
        name = shlex.quote(self.name)
        return f"systemctl kill --signal=SIGKILL {name} && systemctl stop {name}"

    def signal(self, name: str) -> str:
        """Send its processes a signal."""
        if self.form is Form.SERVICE:
            return f"systemctl kill --signal=SIG{name} {shlex.quote(self.name)}"
        return f"for pid in $({self.processes}); do kill -{name} $pid; done"

    @property
    def processes(self) -> str:
        """Print the numbers of its processes."""
        if self.form is Form.STATIC_POD:
            return f'{_POD}\nuid=$(uid_of {self.manifest}); if [ -n "$uid" ]; then members $uid; fi\n'
        if self.form is Form.DAEMONSET:
            return f"pgrep -x {shlex.quote(self.name[:15])}"
        return f"systemctl show --property=MainPID --value {shlex.quote(self.name)}"


def component(host: Host, name: str) -> Component:
    """A component as it runs on a host, by its unit's name, with or without its suffix."""
    name = name.removesuffix(".service")
    look = f"if [ -e {MANIFESTS}/%s.json ] || [ -e {_ASIDE}/%s.json ]; then echo pod; else systemctl cat %s; fi"
    status, told, _ = host.attempt(look, name, name, f"{name}.service")
    if told.strip() == "pod":
        return Component(name, Form.STATIC_POD)
    return Component(name, Form.DAEMONSET if status != 0 and name == "kube-proxy" else Form.SERVICE)


def processes(host: Host, name: str) -> tuple[int, ...]:
    """The processes of a component on a host."""
    told = host.attempt("sh -c %s", component(host, name).processes)[1].split()
    return tuple(int(pid) for pid in told if pid != "0")


def edited(manifest: str, edit: Callable[[list[str]], list[str]]) -> str:
    """A manifest whose command is another one; it is another pod for the kubelet."""
    document: dict[str, Any] = json.loads(manifest)
    container = document["spec"]["containers"][0]
    container["command"] = edit(container["command"])
    document["metadata"]["uid"] = secrets.token_hex(16)
    return json.dumps(document, indent=1) + "\n"


def with_command(host: Host, static: Component, edit: Callable[[list[str]], list[str]]) -> tuple[str, str]:
    """Two shell commands: one has a static pod run with another command, one takes that back."""
    saved = f"/run/{secrets.token_hex(8)}.json"
    hidden = f"{MANIFESTS}/.{static.name}.json"
    changed = edited(host.run("cat %s", static.manifest), edit)
    write = f"printf %s {shlex.quote(changed)} > {hidden} && mv {hidden} {static.manifest}"
    away = f"{_POD}\nuid=$(uid_of {static.manifest}); rm -f {static.manifest}; ended $uid"
    do = f"cp --preserve=all {static.manifest} {saved}\n{away}\n{write}"
    back = f"cp --preserve=all {saved} {hidden} && mv {hidden} {static.manifest} && rm {saved}"
    undo = f"if [ -e {saved} ]; then {away}\n{back}; fi"
    return do, undo
