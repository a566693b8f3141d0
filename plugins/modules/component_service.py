#!/usr/bin/python
"""Run a component, as a systemd unit or a static pod, with what is on disk now, and wait until it is healthy.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import Any, Dict, List, Optional, Sequence

from ansible.module_utils import host_runs
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.component_unit import (
    ENABLED,
    UNITS,
    Condition,
    Health,
    Record,
    Systemd,
    affected,
    changed_inputs,
    drop_ins,
    fingerprints,
    reason_to_reload,
    reason_to_restart,
)
from ansible.module_utils.static_pod import PodError, StaticPod

DOCUMENTATION = r"""
module: component_service
short_description: Start a component, or restart it if its inputs changed, and wait until it is healthy
description:
  - Starts a component's systemd unit or static pod, enables the unit, and waits until the component is healthy.
  - Records in C(/var/lib/kubeproof/units), per unit, a digest of every input of the running process. A running process
    is restarted only if an input no longer matches its record. So if a run is killed after it has written a file and
    before it restarts the component, the next run restarts it.
  - All hosts are checked, and stopped components are started, in parallel. Only running components that need a restart
    wait for each other, see O(rolling). If one does not become healthy, the remaining ones are left running.
  - The manifest of a static pod contains the digest of the inputs, so that changed inputs replace the pod. If the
    component ran in the other form before, that one is stopped first, as part of the same restart.
  - Fails with the last lines of the component's log if it does not become healthy in time, and for a unit that
    M(install_component) did not install, since a reset would leave it running.
options:
  unit:
    description: Name of the unit with its suffix, C(.service) or C(.timer). A static pod is named after it.
    type: str
    required: true
  inputs:
    description:
      - Files and directories that the process reads at startup. The unit file and its drop-ins are always inputs.
        Files of more than 1 MiB are compared by size, modification time and inode, others by SHA-256.
    type: list
    elements: path
    default: []
  reload_inputs:
    description: Files for which C(systemctl reload) is enough.
    type: list
    elements: path
    default: []
  health:
    description:
      - The health check of the component, either O(health.url) or O(health.command). Without it, an active unit or a
        running pod counts as healthy.
    type: dict
    default: {}
    suboptions:
      url:
        description: URL for a GET request. A response with status 2xx that contains O(health.expect) is healthy.
        type: str
      expect:
        description: Text that the response must contain.
        type: str
        default: ''
      ca:
        description: File with the CA certificate of the server, in PEM. Without it, the system's CAs are trusted.
        type: path
      certificate:
        description: File with the client certificate, in PEM.
        type: path
      key:
        description: File with the private key of O(health.certificate), in PEM.
        type: path
      command:
        description: Program with its arguments. Exit status 0 is healthy.
        type: list
        elements: str
  registers:
    description:
      - An API object that the process creates only at startup, given by C(url), C(expect), C(ca), C(certificate) and
        C(key) as in O(health). If the object is missing (404), or does not contain C(expect), for 8 seconds, a running
        process is restarted.
      - Or anything else that it makes at its start and does not miss, with a C(command) that fails without it. A
        running process is restarted if it has failed for 15 seconds.
    type: dict
    default: {}
  timeout:
    description:
      - Longest time to wait for O(health), in seconds, and before a restart for O(rolling.gate). Multiplied by up to 10
        on slow hosts, by the C(work_seconds) of M(host_report).
    type: int
    default: 60
  form:
    description:
      - How the component runs, as a systemd service or as a static pod. The latter needs O(pod), O(health.url) and
        O(timeout).
    type: str
    choices: [services, static-pods]
    default: services
  pod:
    description: The program of the static pod. Ignored without O(form=static-pods), so that a task may always set it.
    type: dict
    suboptions:
      component:
        description: Name of the component in C(components/components.yml), and of its image.
        type: str
        required: true
      user:
        description: Name of the user, and group, on the host that the process runs as.
        type: str
        required: true
      arguments:
        description: Flags of the program.
        type: list
        elements: str
        required: true
      reads:
        description: Directories of the host that the pod may read.
        type: list
        elements: path
        required: true
      writes:
        description: Directories of the host that the pod may write to.
        type: list
        elements: path
        default: []
      live:
        description: Path of the liveness probe, with host and port of O(health.url).
        type: str
        required: true
      cpu:
        description: CPU request of the container, for example V(250m).
        type: str
        required: true
  rolling:
    description:
      - Parameters of the rolling restart of a component that several hosts run. Without it, with a single host, or if
        C(cluster_rolling) is false, hosts are restarted independently.
    type: dict
    suboptions:
      hosts:
        description: All hosts that run the component, this one included.
        type: list
        elements: str
        required: true
      at_once:
        description:
          - Number of hosts that may be restarted at a time, or a percentage like V(25%), which is rounded down to at
            least 1.
        type: raw
        default: 1
      gate:
        description: Health gate, checks like O(health) that must all succeed before a running process is restarted.
        type: list
        elements: dict
        default: []
      waits:
        description:
          - A check like O(health). If it succeeds, a running process is not restarted and RV(waits) is true, so that a
            later task can restart it. Used for the etcd leader, which is restarted last.
        type: dict
        default: {}
      recovers:
        description:
          - An API object and one of its conditions, given by C(condition), and by C(url), C(ca), C(certificate) and
            C(key) as in O(health). If the condition was true before the restart of a unit, it has to be true again
            within O(timeout), with a heartbeat or transition after the restart. Otherwise the restart has failed, and
            the remaining hosts are left running. Not for static pods.
        type: dict
        default: {}
  state:
    description:
      - V(running) starts or restarts the component as described above. V(absent) stops and removes the unit or static
        pod, and its record. Other files of the component stay.
    type: str
    choices: [running, absent]
    default: running
extends_documentation_fragment: [attributes, attributes.action]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
seealso:
  - module: install_component
"""

EXAMPLES = r"""
- name: Start etcd, or restart it one member at a time
  component_service:
    unit: etcd.service
    inputs: [/etc/etcd/etcd.yaml, /usr/local/bin/etcd]
    health:
      url: https://127.0.0.1:2379/health
      expect: '"health":"true"'
      ca: /etc/etcd/pki/ca.crt
      certificate: /etc/etcd/pki/operator.crt
      key: /etc/etcd/pki/operator.key
    timeout: 120
    rolling:
      hosts: "{{ groups['etcd'] }}"

- name: Start kubelets, or restart them on a quarter of the nodes at a time
  component_service:
    unit: kubelet.service
    inputs: [/etc/kubernetes/kubelet, /usr/local/bin/kubelet]
    health: {url: "http://127.0.0.1:10248/healthz", expect: ok}
    rolling: {hosts: "{{ groups['workers'] }}", at_once: 25%}

- name: Stop and remove kube-proxy's unit
  component_service:
    unit: kube-proxy.service
    state: absent
"""

RETURN = r"""
done:
  description: Actions, in order and with their reasons; in check mode those that would be taken.
  type: list
  elements: str
  returned: success
  sample: ["restarted: changed since its start: /etc/etcd/etcd.yaml"]
unit:
  description: The unit.
  type: str
  returned: success
restart_needed:
  description: Why a process that was left running needs a restart; empty if it does not.
  type: str
  returned: success
waits:
  description: Whether O(rolling.waits) succeeded, so that another task has to restart the process.
  type: bool
  returned: when RV(restart_needed) is not empty, and in check mode
interrupts:
  description: Whether a running process was ended; in check mode whether it would be.
  type: bool
  returned: O(state=running)
step:
  description:
    - "What a plan says of RV(done): C(reason), with C(kind) and C(text); C(restarts), units whose processes are ended;
      C(gate), with what is waited for C(before) and C(after); C(at_once), hosts at a time, V(0) for all of them."
  type: dict
  returned: in check mode, if RV(done) is not empty
waited:
  description: Time until the component was healthy, in seconds.
  type: float
  returned: when the component was waited for
"""

STATE_DIRECTORY = "/var/lib/kubeproof"
# What makes a unit another one, and not only its start.
ASKED = ("inputs", "reload_inputs", "health", "registers")
MANY_CRASHES = 5
POLL_SECONDS = 0.1
# Of the API, which all nodes ask.
RECOVERY_POLL_SECONDS = 0.5
# A kubelet that could not reach the API tries again after seven seconds at most.
REGISTER_SECONDS = 8
# One that has just been started is given the time for the first of what it makes.
MAKE_SECONDS = 15.0
OK = 200
NOT_FOUND = 404


class ServiceError(Exception):
    """The unit does not do what it should; the message is for the operator."""


def reason_to_register(spec: Dict[str, Any]) -> str:
    """Why a running process has to register anew, in words; empty if it needn't, or nobody can tell.

    One that is about to is given the time for it.
    """
    if not spec:
        return ""
    asked = spec.get("url")
    health, deadline = Health(spec), time.monotonic() + (REGISTER_SECONDS if asked else MAKE_SECONDS)
    while not health.good():
        if asked and health.code not in (OK, NOT_FOUND):
            return ""
        if time.monotonic() > deadline:
            return "%s is not there as it makes it at its start" % asked if asked else health.problem
        time.sleep(POLL_SECONDS)
    return ""


def wait_for_health(systemd: Systemd, health: Health, timeout: float, replaced: str) -> None:
    """Poll until healthy. A unit that has failed for good, or keeps crashing, is not waited for.

    ``replaced`` is the invocation that a restart is to end: while it is still there, its health says nothing.
    """
    deadline = time.monotonic() + timeout
    crashes: Optional[int] = None
    while True:
        state = systemd.show()
        ours = state["InvocationID"] != replaced
        # A timer has no process, and so none that crashes.
        if ours and crashes is None:
            crashes = int(state.get("NRestarts", 0))
        if ours and state["ActiveState"] == "active" and health.good():
            return
        if ours and state["ActiveState"] == "failed":
            problem = "has failed"
        elif crashes is not None and int(state.get("NRestarts", 0)) - crashes >= MANY_CRASHES:
            problem = "keeps crashing"
        elif time.monotonic() > deadline:
            problem = "is not healthy after %d s (%s, %s)" % (timeout, state["ActiveState"], health.problem)
        else:
            time.sleep(POLL_SECONDS)
            continue
        raise ServiceError("%s %s. Its last lines:\n%s" % (systemd.unit, problem, systemd.log()))


def wait_for_gate(unit: str, gate: List[Dict[str, Any]], timeout: float) -> None:
    """Wait until all the others are healthy, so that never two are down at a time."""
    deadline = time.monotonic() + timeout
    for check in map(Health, gate):
        while not check.good():
            if time.monotonic() > deadline:
                raise ServiceError(
                    "%s was not restarted, and keeps running with its old inputs: another one that has to take over is "
                    "not healthy (%s). Repair that one first." % (unit, check.problem)
                )
            time.sleep(POLL_SECONDS)


class Recovery:
    """What has to be true again after a restart, because it was before.

    That it was is remembered until it is again: the next run must not take what this one broke for how it has to be.
    """

    def __init__(self, spec: Dict[str, Any], record: Record) -> None:
        """Ask, before the restart."""
        self.spec = spec
        self.wanted = bool(spec) and (record.data.get("recovering", False) or Condition(spec).good())
        self.began = time.time()
        if self.wanted:
            record.save({**record.data, "recovering": True})

    def wait(self, unit: str, timeout: float) -> None:
        """Raises ServiceError if it does not come back."""
        if not self.wanted:
            return
        deadline, condition = time.monotonic() + timeout, Condition(self.spec, self.began)
        while not condition.good():
            if time.monotonic() > deadline:
                raise ServiceError(
                    "%s was restarted and is healthy, but what was true before is not %d s later: %s (%s). Its last "
                    "lines:\n%s" % (unit, timeout, condition.problem, self.spec["url"], Systemd(unit).log())
                )
            time.sleep(RECOVERY_POLL_SECONDS)


def require_remembered(unit: str) -> None:
    """Refuse a unit that is not in the manifest: a reset would leave it running."""
    path = os.path.join(STATE_DIRECTORY, "manifest.json")
    with open(path, encoding="utf-8") as stream:
        manifest = json.load(stream)
    if not any(entry["kind"] == "unit" and entry["name"] == unit for entry in manifest["entries"]):
        raise ServiceError("%s was not installed by install_component; a reset would leave it behind" % unit)


class Plan:
    """What has to be done to a unit, and why. ``instead``: something else runs for it still, which has to end."""

    def __init__(
        self, state: Dict[str, str], restart: str, reload: str, may_restart: bool, instead: bool = False
    ) -> None:
        runs = state["ActiveState"] == "active" or instead
        self.enable = state["UnitFileState"] not in ENABLED
        # Left to its turn. Its health is asked for then; it may be what the restart is for.
        self.put_off = restart if runs and not may_restart else ""
        self.restart = "" if self.put_off else restart
        self.reload = "" if restart else reload
        self.interrupts = bool(self.restart) and runs

    def actions(self) -> List[str]:
        """The plan for people."""
        told = ["enabled"] if self.enable else []
        if self.restart:
            told.append("%s: %s" % ("restarted" if self.interrupts else "started", self.restart))
        if self.reload:
            told.append("reloaded: " + self.reload)
        return told

    def carry_out(
        self, systemd: Systemd, state: Dict[str, str], others: Sequence[str] = (), drop_ins_differ: bool = False
    ) -> None:
        """Do it, in the order in which systemd needs it. ``others``: units that this one starts, a timer's service."""
        # systemd sees by itself that a file has changed, but not that a package's unit of this name has to yield, nor a
        # new directory of drop-ins, which is not in its cache of paths.
        stale = state["NeedDaemonReload"] == "yes" or state["FragmentPath"] not in ("", UNITS + systemd.unit)
        stale = stale or drop_ins_differ
        if stale or any(Systemd(other).show()["NeedDaemonReload"] == "yes" for other in others):
            systemd.call("daemon-reload")
        if self.enable:
            # Without the reload that enable does by default: the start needs none, and it is slow.
            systemd.call("enable", "--no-reload", "--quiet", systemd.unit)
            # systemd keeps a unit in memory as it was if another one that is loaded names it.
            if systemd.show()["UnitFileState"] not in ENABLED:
                systemd.call("daemon-reload")
        if self.restart:
            if state["ActiveState"] == "failed":
                systemd.call("reset-failed", systemd.unit)
            systemd.call("restart", "--no-block", systemd.unit)
        if self.reload:
            systemd.call("reload", systemd.unit)


def converge(module: AnsibleModule) -> Dict[str, Any]:
    """Bring the unit to what is on disk; returns the module's result."""
    unit, timeout = module.params["unit"], module.params["timeout"]
    systemd, pod = Systemd(unit), StaticPod(unit)
    state = systemd.show()
    record = Record(unit)
    pending = module.params["_pending"]
    inputs = affected(fingerprints([UNITS + unit, *drop_ins(unit), *module.params["inputs"]]), pending)
    was_pod = pod.text() is not None
    reloads = affected(fingerprints(module.params["reload_inputs"]), pending)
    reason = "it was a static pod" if was_pod else reason_to_restart(state, record.data, inputs, pending)
    restart = reason or reason_to_register(module.params["registers"])
    plan = Plan(
        state,
        restart=restart,
        reload=reason_to_reload(state, record.data, reloads, pending),
        may_restart=may_restart(module, restart),
        instead=was_pod,
    )
    result = result_of(plan, unit)
    if module.check_mode:
        return {**result, "waits": bool(plan.put_off)}
    require_remembered(unit)
    if plan.interrupts:
        pass_gate(module)
    recovery = Recovery(module.params["_recovers"] if plan.interrupts else {}, record)
    if was_pod and not plan.put_off:
        pod.withdraw(timeout)
    # What a timer starts has to be looked at too: nothing else would make systemd read it again.
    others = [path[len(UNITS) :] for path in module.params["inputs"] if path.startswith(UNITS)]
    differ = any(
        path.startswith(UNITS + unit + ".d/") for path in changed_inputs(record.data.get("inputs", {}), inputs)
    )
    plan.carry_out(systemd, state, others if plan.restart else (), differ and bool(plan.restart))
    if plan.put_off:
        result["waits"] = bool(module.params["_waits"]) and Health(module.params["_waits"]).good()
        return result
    started = time.monotonic()
    replaced = state["InvocationID"] if plan.restart and state["InvocationID"] else "none"
    wait_for_health(systemd, Health(module.params["health"]), timeout, replaced)
    recovery.wait(unit, timeout)
    result["waited"] = round(time.monotonic() - started, 2)
    keep(
        module,
        record,
        {
            "inputs": inputs,
            "reload_inputs": reloads,
            "invocation": systemd.show()["InvocationID"],
            # For the host report, which tells the next run that there is nothing to do.
            "digest": module.params["_digest"],
            "request": {name: module.params[name] for name in ASKED},
        },
    )
    return result


def pass_gate(module: AnsibleModule) -> None:
    """Wait until a running process may be ended. Raises OtherRun if another run has begun to change the host meanwhile.

    That takes minutes at times, and a module keeps waiting when its run is killed.
    """
    wait_for_gate(module.params["unit"], module.params["_gate"], module.params["timeout"])
    host_runs.claim(module.params["_run"])


def keep(module: AnsibleModule, record: Record, data: Dict[str, Any]) -> None:
    """Record what runs now. Raises OtherRun if that is another run's to record, which has begun meanwhile."""
    host_runs.claim(module.params["_run"])
    record.save(data)


def may_restart(module: AnsibleModule, reason: str) -> bool:
    """Whether a running process may be restarted for a reason now.

    Check mode has no further task for those that have to wait for others: there only what leaves it to a later play,
    etcd's leader, does not restart.
    """
    if module.params["_restart"] or not module.check_mode:
        return bool(module.params["_restart"])
    return not (reason and module.params["_waits"] and Health(module.params["_waits"]).good())


class PodPlan:
    """What has to be done so that a component runs as a static pod, and why."""

    def __init__(self, module: AnsibleModule, systemd: Systemd, pod: StaticPod, record: Record) -> None:
        self.service = systemd.show()["ActiveState"] not in ("inactive", "failed")
        # A unit that is not running may be about to: it must not come back at the next boot.
        self.unit = self.service or os.path.exists(UNITS + systemd.unit)
        self.inputs = affected(fingerprints(module.params["inputs"]), module.params["_pending"])
        digest = hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()
        self.text = pod.wanted(module.params["_manifest"], digest, module.check_mode)
        reason = self._reason(pod.text(), record.data.get("inputs", {}))
        runs = bool(reason) and (self.service or bool(pod.processes(pod.uid())))
        self.put_off = reason if runs and not may_restart(module, reason) else ""
        self.reason = "" if self.put_off else reason
        self.interrupts = bool(self.reason) and runs

    def _reason(self, before: Optional[str], inputs: Dict[str, Any]) -> str:
        if self.unit:
            return "it was a service"
        if before is None:
            return "there was no manifest"
        if before == self.text:
            return ""
        return "changed since its start: " + (", ".join(changed_inputs(inputs, self.inputs)) or "its manifest")

    def actions(self) -> List[str]:
        """The plan for people."""
        return ["%s: %s" % ("restarted" if self.interrupts else "started", self.reason)] if self.reason else []


def result_of(plan: Plan | PodPlan, unit: str) -> Dict[str, Any]:
    """What is returned of a plan, whether or not it is carried out."""
    return {
        "changed": bool(plan.actions()),
        "done": plan.actions(),
        "unit": unit,
        "restart_needed": plan.put_off,
        "interrupts": plan.interrupts,
    }


def converge_pod(module: AnsibleModule) -> Dict[str, Any]:
    """Bring the static pod to what is on disk; returns the module's result."""
    unit, timeout = module.params["unit"], module.params["timeout"]
    systemd, pod, record = Systemd(unit), StaticPod(unit), Record(unit)
    plan = PodPlan(module, systemd, pod, record)
    result = result_of(plan, unit)
    if module.check_mode:
        return {**result, "waits": bool(plan.put_off)}
    if plan.put_off:
        result["waits"] = bool(module.params["_waits"]) and Health(module.params["_waits"]).good()
        return result
    if plan.interrupts:
        pass_gate(module)
    if plan.reason:
        if plan.unit:
            remove_unit(systemd)
        if pod.text() is not None:
            pod.replace(plan.text, timeout)
        else:
            pod.place(plan.text)
            pod.disinherit()
    started = time.monotonic()
    wait_for_pod(pod, Health(module.params["health"]), timeout)
    result["waited"] = round(time.monotonic() - started, 2)
    keep(module, record, {"inputs": plan.inputs})
    return result


def wait_for_pod(pod: StaticPod, health: Health, timeout: float) -> None:
    """Poll until the pod of the manifest runs, and is healthy."""
    uid, deadline = pod.uid(), time.monotonic() + timeout
    while not (pod.processes(uid) and health.good()):
        if time.monotonic() > deadline:
            seen = health.problem if pod.processes(uid) else "no process of it runs"
            raise ServiceError(
                "%s is not healthy as a static pod after %d s (%s). Its last lines, or kubelet's about it:\n%s"
                % (pod.name, timeout, seen, pod.log(uid))
            )
        time.sleep(POLL_SECONDS)


def remove_unit(systemd: Systemd) -> None:
    """Stop and remove a unit, and what is known of it."""
    require_remembered(systemd.unit)
    systemd.call("disable", "--now", "--quiet", systemd.unit)
    for path in (UNITS + systemd.unit, Record(systemd.unit).path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    systemd.call("daemon-reload")


def remove(module: AnsibleModule) -> Dict[str, Any]:
    """See to it that neither unit nor static pod is there; returns the module's result."""
    unit = module.params["unit"]
    systemd, pod = Systemd(unit), StaticPod(unit)
    unit_there = systemd.show()["LoadState"] != "not-found" or os.path.exists(UNITS + unit)
    pod_there = pod.text() is not None
    there = unit_there or pod_there
    result = {"changed": there, "done": ["removed"] if there else [], "unit": unit, "restart_needed": ""}
    if module.check_mode:
        return result
    pod.disinherit()
    if unit_there:
        remove_unit(systemd)
    if pod_there:
        pod.withdraw(module.params["timeout"])
        with contextlib.suppress(FileNotFoundError):
            os.remove(Record(unit).path)
    return result


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "inputs": {"type": "list", "elements": "path", "default": []},
            "reload_inputs": {"type": "list", "elements": "path", "default": []},
            "health": {"type": "dict", "default": {}},
            "registers": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 60},
            "state": {"type": "str", "choices": ["running", "absent"], "default": "running"},
            # What the action plugin says.
            "_restart": {"type": "bool", "default": True},
            "_gate": {"type": "list", "elements": "dict", "default": []},
            "_waits": {"type": "dict", "default": {}},
            "_recovers": {"type": "dict", "default": {}},
            "_digest": {"type": "str", "default": ""},
            # In check mode: files that the tasks before would have changed, with their content's SHA-256.
            "_pending": {"type": "dict", "default": {}},
            "_manifest": {"type": "dict"},
            "_run": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    act = converge_pod if module.params["_manifest"] else converge
    try:
        host_runs.claim(module.params["_run"])
        module.exit_json(**(remove if module.params["state"] == "absent" else act)(module))
    except (ServiceError, PodError, CommandFailed, host_runs.OtherRun, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
