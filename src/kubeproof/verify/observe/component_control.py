"""In which form a component runs on a host, and how it is stopped, started, frozen and found there.

A component is named like its unit: ``kube-scheduler``. It may be that unit; or a static pod, whose manifest is then in
the kubelet's directory; or, kube-proxy only, a pod of a daemonset. Operations are shell commands, so that a host can
revert them by itself.
"""

from __future__ import annotations

import abc
import enum
import json
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

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
class Component(abc.ABC):
    """A component on a host. Each operation is a shell command."""

    name: str
    form: ClassVar[Form]

    @property
    @abc.abstractmethod
    def stop(self) -> str:
        """Stop it, and wait until it is gone."""

    @property
    @abc.abstractmethod
    def start(self) -> str:
        """Start it again."""

    @property
    @abc.abstractmethod
    def restart(self) -> str:
        """End its process, and see to it that there is another."""

    @property
    @abc.abstractmethod
    def kill(self) -> str:
        """End it without warning, and keep it from coming back."""

    @property
    @abc.abstractmethod
    def processes(self) -> str:
        """Print the numbers of its processes."""

    def signal(self, name: str) -> str:
        """Send its processes a signal."""
        return f"for pid in $({self.processes}); do kill -{name} $pid; done"


class Service(Component):
    """A systemd service."""

    form = Form.SERVICE

    @property
    def stop(self) -> str:
        """Stop the unit."""
        return f"systemctl stop {self._unit}"

    @property
    def start(self) -> str:
        """Start the unit."""
        return f"systemctl start {self._unit}"

    @property
    def restart(self) -> str:
        """Restart the unit."""
        return f"systemctl restart {self._unit}"

    @property
    def kill(self) -> str:
        """Kill all its processes; stopped by then, it is not started again."""
        return f"systemctl kill --signal=SIGKILL {self._unit} && systemctl stop {self._unit}"

    @property
    def processes(self) -> str:
        """Its main process."""
        return f"systemctl show --property=MainPID --value {self._unit}"

    def signal(self, name: str) -> str:
        """Send all its processes a signal."""
        return f"systemctl kill --signal=SIG{name} {self._unit}"

    @property
    def _unit(self) -> str:
        return shlex.quote(self.name)


class StaticPod(Component):
    """A static pod: the kubelet runs it as long as its manifest is there."""

    form = Form.STATIC_POD

    @property
    def manifest(self) -> str:
        """Where its manifest is."""
        return f"{MANIFESTS}/{self.name}.json"

    @property
    def stop(self) -> str:
        """Put its manifest aside."""
        return (
            f"{_POD}\nif [ -e {self.manifest} ]; then uid=$(uid_of {self.manifest}); mkdir -p {_ASIDE}; "
            f"cp --preserve=all {self.manifest} {self._aside} && rm {self.manifest} && ended $uid; fi"
        )

    @property
    def start(self) -> str:
        """Put its manifest back, which the kubelet must not read before it is whole."""
        hidden = f"{MANIFESTS}/.{self.name}.json"
        return (
            f"if [ -e {self._aside} ]; then cp --preserve=all {self._aside} {hidden} && mv {hidden} {self.manifest} && "
            f"rm {self._aside}; rmdir --ignore-fail-on-non-empty {_ASIDE}; fi"
        )

    @property
    def restart(self) -> str:
        """Stop and start it."""
        return f"{self.stop}\n{self.start}"

    @property
    def kill(self) -> str:
        """Kill its processes while its manifest goes: that goes first, or the kubelet would start others at once."""
        kill = 'sleep 0.05\nfor pid in $pids; do kill -KILL "$pid"; done\nwait $!'
        return f"{_POD}\npids=$(members $(uid_of {self.manifest}))\n( {self.stop} ) &\n{kill}"

    @property
    def processes(self) -> str:
        """The processes of its control group."""
        return f'{_POD}\nuid=$(uid_of {self.manifest}); if [ -n "$uid" ]; then members $uid; fi\n'

    @property
    def _aside(self) -> str:
        return f"{_ASIDE}/{self.name}.json"


class DaemonSetPod(Component):
    """A pod of a DaemonSet. It can't be kept away from its node: instead of being stopped it is frozen."""

    form = Form.DAEMONSET

    @property
    def stop(self) -> str:
        """Freeze its processes."""
        return self.signal("STOP")

    @property
    def start(self) -> str:
        """Let its processes run again."""
        return self.signal("CONT")

    @property
    def restart(self) -> str:
        """End its process, and wait for another."""
        another = 'if [ -n "$now" ] && [ "$now" != "$before" ]; then break; fi'
        look = f"for _ in $(seq 300); do now=$({self.processes}); {another}; sleep 0.2; done"
        return f"before=$({self.processes}); kill $before; {look}"

    @property
    def kill(self) -> str:
        """There is no way."""
        raise NotImplementedError(f"{self.name}: a DaemonSet's pod that is killed comes back")

    @property
    def processes(self) -> str:
        """The processes of that name."""
        return f"pgrep -x {shlex.quote(self.name[:15])}"


def component(host: Host, name: str) -> Component:
    """A component as it runs on a host, by its unit's name, with or without its suffix."""
    name = name.removesuffix(".service")
    look = f"if [ -e {MANIFESTS}/%s.json ] || [ -e {_ASIDE}/%s.json ]; then echo pod; else systemctl cat %s; fi"
    status, told, _ = host.attempt(look, name, name, f"{name}.service")
    if told.strip() == "pod":
        return StaticPod(name)
    return DaemonSetPod(name) if status != 0 and name == "kube-proxy" else Service(name)


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


def with_command(host: Host, static: StaticPod, edit: Callable[[list[str]], list[str]]) -> tuple[str, str]:
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
