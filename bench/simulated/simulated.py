"""A connection to a host that does not exist: what a real one's modules would print, from what earlier tasks left.

Of ``bench/simulation.py``, which says what is real and what is not. Ansible finds this plugin by the variable
ANSIBLE_CONNECTION_PLUGINS, and this finds its hosts in the directory that KUBEPROOF_SIMULATION names: of each a file
with what it would have on its disk. Each host is worked on by one process at a time, so that nothing is locked.
"""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: simulated
short_description: Answer as a host on which all goes well
description: Of kubeproof's bench of large fleets; nothing is connected to.
author: The kubeproof authors
options:
  host:
    description: Address of the host.
    default: inventory_hostname
    vars: [{name: inventory_hostname}, {name: ansible_host}]
  pipelining:
    description: Modules are sent in one piece.
    type: bool
    default: true
"""

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30
_DISK = {
    "on": "/", "device": 1, "type": "ext4", "total": 100 * GIBIBYTE, "free": 50 * GIBIBYTE,
    "inodes_total": 10**7, "inodes_free": 10**6, "read_only": False, "noexec": False, "nodev": False,
}  # fmt: skip
_COMMANDS = (
    "conntrack", "gzip", "haproxy", "ip", "ipset", "iptables", "keepalived", "modprobe", "mount", "nft", "nsenter",
    "openssl", "rsync", "sha256sum", "ssh", "systemctl", "tar", "umount", "useradd", "zstd",
)  # fmt: skip
_SYSCTLS = (
    "fs.inotify.max_user_instances", "fs.inotify.max_user_watches", "fs.nr_open", "kernel.panic",
    "kernel.panic_on_oops", "kernel.pid_max", "net.bridge.bridge-nf-call-iptables", "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range", "net.ipv6.conf.all.forwarding", "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "net.netfilter.nf_conntrack_tcp_timeout_established",
    "vm.overcommit_memory", "vm.panic_on_oom",
)  # fmt: skip
_CAPABILITIES = ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE"]
_LIMITS = {"nofile": 1048576, "nproc": 65536}
_ETCD = "/var/lib/etcd"
# What programs say of their version, by the component that they are of.
_PROGRAMS = {"etcd": "etcd", "kube-apiserver": "kubernetes", "kubelet": "kubernetes"}

Answer = dict[str, Any]


class Host:
    """What one host has: the answers of settled tasks, units, and the files by which it is identified."""

    def __init__(self, directory: Path, address: str) -> None:
        self.address = address
        self.directory = directory
        # Of each host: its number, its address, and whether it is one of etcd's.
        self.fleet: dict[str, Any] = json.loads((directory / "fleet.json").read_text())
        self.name = next(name for name, each in self.fleet["hosts"].items() if each["address"] == address)
        self._path = directory / "hosts" / f"{self.name}.json"
        self.kept: dict[str, Any] = {"tasks": {}, "units": {}, "active": [], "settings": {}, "components": {}}
        if self._path.is_file():
            self.kept = json.loads(self._path.read_text())

    @property
    def number(self) -> int:
        """What it has that others have not is made of this."""
        return int(self.fleet["hosts"][self.name]["number"])

    @property
    def root(self) -> Path:
        """Where its files are."""
        return Path(self.directory, "files", self.name)

    def save(self) -> None:
        """Keep it for the next task."""
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(self.kept))


def _settle(host: Host, wanted: Mapping[str, Any], answer: Any) -> None:
    # As the real module does: a record by task, of which the newest counts.
    host.kept["tasks"][wanted["task"]] = {"digest": wanted["digest"], "answer": answer}
    host.save()


def _install_component(host: Host, given: Mapping[str, Any], *, check: bool) -> Answer:
    payload = json.loads(base64.b64decode(given["_payload"]))
    files = {file["path"]: base64.b64decode(file["content"]) for file in payload["files"]}
    before = host.kept["tasks"].get(payload["settle"]["task"], {})
    issued = {path[:-4]: content.decode() for path, content in files.items() if path.endswith(".crt")}
    known = {
        wanted["path"]: {
            "public_key": host.fleet["public_key"],
            "certificate": issued.get(
                wanted["path"], (before.get("answer") or {}).get(wanted["path"], {}).get("certificate", "")
            ),
        }
        for wanted in payload["settle"]["keys"]
    }
    same = before.get("digest") == payload["settle"]["digest"]
    changes = [] if same else [{"path": path, "what": "created"} for path in files]
    if not check:
        for path, content in files.items():
            if path in _identifying():
                (host.root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                (host.root / path[1:]).write_bytes(content)
        host.kept["settings"] |= payload.get("settings", {})
        _settle(host, payload["settle"], known)
    return {"changed": bool(changes), "changes": changes, "certificates": known, "diff": []}


def _component_service(host: Host, given: Mapping[str, Any], *, check: bool) -> Answer:
    unit, wanted = given["unit"], given.get("_digest", "")
    there = unit in host.kept["units"]
    if given.get("state") == "absent":
        return {"changed": False, "done": [], "unit": unit, "restart_needed": ""}
    if not check:
        host.kept["units"][unit] = wanted
        host.kept["active"] = sorted({*host.kept["active"], unit})
        host.save()
    done = [] if there else ["enabled", "started: it was inactive"]
    return {"changed": bool(done), "done": done, "unit": unit, "restart_needed": "", "interrupts": False}


def _distribute_components(host: Host, given: Mapping[str, Any], *, check: bool) -> Answer:
    # The files themselves are taken for sent: what they weigh does not grow with the number of hosts at a time.
    if not check:
        host.kept["components"] = dict(given["_versions"])
        _settle(host, given["_settle"], {})
    return {"changed": False, "changes": [], "staging": "", "zstd": True}


def _runtime_images(host: Host, given: Mapping[str, Any], *, check: bool) -> Answer:
    if not check:
        _settle(host, given["_settle"], {})
    return {"changed": False, "changes": []}


def _kube_wait(host: Host, given: Mapping[str, Any], *, check: bool) -> Answer:
    """All is there; the pod network of a node is by its number. On a cluster that is not there yet, nothing is."""
    begun = "kubelet.service" in host.kept["units"] or not check
    values = {each["path"]: _value(host, each) for each in given["objects"]} if begun else {}
    return {"changed": False, "values": values, "complete": begun}


def _value(host: Host, wanted: Mapping[str, Any]) -> Any:
    if wanted.get("field") == "spec.podCIDR":
        return _pod_network(host.fleet["hosts"][wanted["path"].rpartition("/")[2]]["number"])
    return None


def _host_report(host: Host, given: Mapping[str, Any], *, check: bool) -> Answer:  # noqa: ARG001
    return {"changed": False, "ansible_facts": {"kubeproof_host": _report(host, given)}}


def _unchanged(host: Host, given: Mapping[str, Any], *, check: bool) -> Answer:  # noqa: ARG001
    # As kube_objects, node_taints, active_run and port_probe say that there was nothing to do.
    return {
        "changed": False,
        "changes": [],
        "refused": "",
        "runs": [],
        "pending": [],
        "kept": [],
        "failed_targets": [],
        "listening": [],
        "udp": [],
    }


MODULES: Mapping[str, Callable[..., Answer]] = {
    "active_run": _unchanged,
    "component_service": _component_service,
    "distribute_components": _distribute_components,
    "host_report": _host_report,
    "install_component": _install_component,
    "kube_addons": _unchanged,
    "kube_objects": _unchanged,
    "kube_wait": _kube_wait,
    "local_volumes_prune": _unchanged,
    "node_taints": _unchanged,
    "port_probe": _unchanged,
    "runtime_images": _runtime_images,
}


class Connection(ConnectionBase):  # type: ignore[misc]
    """Answers what modules print, and nothing else."""

    transport = "simulated"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """``in_data`` is a module with its arguments, as Ansible sends it; without, it is the command that releases."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if in_data is None:
            return 0, b"released\n", b""
        name, given = _asked(in_data)
        if name not in MODULES:
            raise AnsibleError(f"no host is simulated on which {name} runs")
        simulated = Path(os.environ["KUBEPROOF_SIMULATION"])
        with (simulated / "asked").open("a") as asked:
            print(name, file=asked)
        host = Host(simulated, str(self.get_option("host")))
        answer = MODULES[name](host, given, check=bool(given["_ansible_check_mode"]))
        shown = {key: value for key, value in given.items() if not key.startswith("_ansible_")}
        return 0, json.dumps({**answer, "invocation": {"module_args": shown}}).encode(), b""

    def put_file(self, in_path: str, out_path: str) -> None:
        """Nothing is sent: modules come by pipelining."""
        raise AnsibleError(f"no file can be put on a simulated host: {in_path}, {out_path}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Nothing is there."""
        raise AnsibleError(f"no file can be had of a simulated host: {in_path}, {out_path}")

    def close(self) -> None:
        """Nothing is open."""
        self._connected = False


def _asked(program: bytes) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the module in what Ansible sends to a host's Python."""

    def line(key: bytes) -> Any:
        begin = program.rindex(b"\n" + key + b"=") + len(key) + 2
        return ast.literal_eval(program[begin : program.index(b"\n", begin)].decode().rstrip(","))

    return str(line(b"ansible_module")), json.loads(line(b"params"))["ANSIBLE_MODULE_ARGS"]


def _module_utils(name: str) -> Any:
    path = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", path)
    if spec is None or spec.loader is None:
        raise AnsibleError(f"{path} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _identifying() -> set[str]:
    return {path for paths in _module_utils("identity").FILES.values() for path in paths}


def _report(host: Host, given: Mapping[str, Any]) -> Answer:
    """The shape of ``kubeproof.settings.host_report``; a test compares the fields."""
    kept, now = host.kept, time.time()
    installed = bool(kept["active"])
    versions = {
        program: kept["components"][component].removeprefix("v")
        for program, component in _PROGRAMS.items()
        if f"{program}.service" in kept["units"] and component in kept["components"]
    }
    return {
        "user": {"id": 0, "name": "root"},
        "hostname": host.name,
        "machine_id": f"{host.number:032x}",
        "os": {"id": "debian", "version": "12", "pretty": "Debian GNU/Linux 12 (bookworm)", "like": []},
        "arch": "amd64",
        "kernel": "6.1.0-18-amd64",
        "python": "3.11.2",
        "service_python": "3.11.2",
        "service_python_path": "/usr/bin/python3",
        "systemd": {"init": True, "version": 252, "state": "running", "virtualization": "kvm"},
        "container": "",
        "hidepid": "",
        "package_manager": "apt-get",
        "commands": {name: f"/usr/bin/{name}" for name in _COMMANDS} | {"/etc/protocols": "/etc/protocols"},
        "handlers": {},
        "cpus": 2,
        "work_seconds": 0.01,
        "memory": {"total": 4 * GIBIBYTE, "available": 3 * GIBIBYTE},
        "swap": {"on": False, "devices": []},
        "disks": {path: dict(_DISK) for path in given["paths"]},
        "interfaces": {
            "lo": {"mac": "00:00:00:00:00:00", "mtu": 65536, "up": True, "kind": "", "addresses": ["127.0.0.1/8"]},
            "eth0": {
                "mac": f"52:54:00:00:{host.number >> 8:02x}:{host.number & 255:02x}",
                "mtu": 1500, "up": True, "kind": "", "addresses": [f"{host.address}/16"],
            },
        },
        "default_route": {"interface": "eth0", "gateway": "10.99.255.254"},
        "default_route_ipv6": None,
        "router_advertisements": {},
        "resolver": {"nameservers": ["10.99.255.254"], "upstream": "", "upstream_nameservers": []},
        "firewall": {"ufw": False, "chains": []},
        "ports": [_port(22, "sshd", "ssh.service"), *_ports(kept["active"])],
        "processes": _processes(kept["active"]),
        "cgroup": {"version": 2, "hybrid": False, "controllers": ["cpuset", "cpu", "io", "memory", "pids"]},
        "capabilities": {"init": _CAPABILITIES, "self": _CAPABILITIES},
        "limits": {"init": _LIMITS, "self": _LIMITS},
        "user_namespace": False,
        "modules": {
            "br_netfilter": "loaded", "ip_set": "loaded", "ip_tables": "loadable", "nf_conntrack": "loaded",
            "nf_tables": "loaded", "overlay": "loaded", "vxlan": "loadable",
        },
        "sysctls": {name: {"value": "262144", "writable": True} for name in (*_SYSCTLS, *given.get("sysctls", ()))},
        "apparmor": False,
        "iptables_legacy": False,
        "selinux": "disabled",
        "leftovers": [],
        "etcd": _etcd(host),
        "etcd_disk": None,
        "node": _node(host),
        "identity": _module_utils("identity").report(_identifying(), str(host.root)),
        "installed": {
            "manifest": installed,
            "units": kept["active"],
            "active": kept["active"],
            "settings": kept["settings"],
            "components": kept["components"],
            "running": [],
            "versions": versions,
        },
        "settled": {
            "tasks": {record["digest"]: record["answer"] for record in kept["tasks"].values()},
            "units": kept["units"],
        },
        "runs": [],
        "clock": {"synchronised": True, "start": now, "end": now},
    }  # fmt: skip


def _node(host: Host) -> dict[str, Any] | None:
    """What the API says of it, once it has a kubelet."""
    networks = [_pod_network(host.number)]
    return (
        {"there": True, "networks": networks, "given": networks} if "kubelet.service" in host.kept["active"] else None
    )


def _pod_network(number: int) -> str:
    return f"10.244.{number}.0/24"


def _port(number: int, name: str, unit: str) -> Answer:
    return {"port": number, "address": "0.0.0.0", "process": {"pid": 1000 + number, "name": name[:15], "unit": unit}}  # noqa: S104


# Of what is installed: where it listens, and the names of its processes.
_LISTENING = {
    "etcd.service": ("etcd", (2379, 2380, 2381)),
    "kube-apiserver.service": ("kube-apiserver", (6443,)),
    "kube-controller-manager.service": ("kube-controller-manager", (10257,)),
    "kube-scheduler.service": ("kube-scheduler", (10259,)),
    "kube-balancer.service": ("haproxy", (7443,)),
    "containerd.service": ("containerd", ()),
    "kubelet.service": ("kubelet", (10250, 10248)),
    "kube-proxy.service": ("kube-proxy", (10249, 10256)),
    "kube-network-policy.service": ("kube-router", (20244,)),
}


def _ports(units: list[str]) -> list[Answer]:
    known = [(unit, *_LISTENING[unit]) for unit in units if unit in _LISTENING]
    return [_port(number, name, unit) for unit, name, numbers in known for number in numbers]


def _processes(units: list[str]) -> list[Answer]:
    known = [(unit, _LISTENING[unit][0][:15]) for unit in units if unit in _LISTENING]
    ours = [(unit, name) for unit, name in known if name not in ("etcd", "haproxy")]
    return [{"pid": 2000 + at, "name": name, "unit": unit} for at, (unit, name) in enumerate(ours)]


def _etcd(host: Host) -> Answer:
    """A member that responds, once it was started."""
    begun = "etcd.service" in host.kept["units"]
    directory = _ETCD if begun else ""
    members = {name: f"https://{each['address']}:2380" for name, each in host.fleet["hosts"].items() if each["etcd"]}
    listed = [
        {"id": f"{number:016x}", "name": name, "peer_urls": [url], "started": True}
        for number, (name, url) in enumerate(members.items())
    ]
    says = {"cluster": "1", "members": listed, "alarms": [], "size": 20 * MEBIBYTE, "in_use": 10 * MEBIBYTE,
            "revision": 1000, "applied": 2000}  # fmt: skip
    return {
        "directory": directory,
        "lived": directory,
        "data": {_ETCD: {"there": begun, "restore": ""}},
        "peers": members if begun else {},
        "says": says if begun else None,
    }
