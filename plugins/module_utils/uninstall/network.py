"""What pods had of the host's network: attachments made by CNI plugins, devices, routes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from typing import Any, Dict, List

from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.uninstall.account import Account, run

# Where libcni keeps what it attached, until it is detached.
RESULTS = "/var/lib/cni/results"
# Marks the routes of roles/pod_network.
ROUTE_PROTOCOL = "86"
# What flannel is configured with, and how the names of its devices begin.
FLANNEL, FLANNEL_DEVICES = "flannel/net-conf.json", ("flannel.", "flannel-v6.")
# Names in CNI of networks that are applied into the cluster, by pod_network_plugin. Cilium has one for each form of its
# configuration (cni.chainingMode).
APPLIED = {"calico": ("k8s-pod-network",), "cilium": ("cilium", "portmap")}
Entry = Dict[str, Any]


class Network:
    """The pod network that we configured."""

    def __init__(self, account: Account, entries: List[Entry], results: str = RESULTS) -> None:
        self.account = account
        self.results = results
        files = [str(entry["path"]) for entry in entries if entry["kind"] == "file"]
        self.configurations = [load(path) for path in files if path.endswith(".conflist")]
        self.flannel = next((load(path) for path in files if path.endswith(FLANNEL)), {})
        # Of networks that were applied into the cluster, whose configuration their pods have written.
        chosen = {str(entry["value"]) for entry in entries if entry.get("name") == "pod_network_plugin"}
        self.applied = {name for plugin in chosen & APPLIED.keys() for name in APPLIED[plugin]}
        # Only programs that we installed are run, by the name under which a configuration calls them.
        self.programs = {os.path.basename(path): path for path in files}

    def detach_pods(self) -> None:
        """Let the plugins that attached each pod take back what they did for it: addresses, port mappings, devices."""
        names = {configuration.get("name") for configuration in self.configurations} | self.applied
        attached = {path: load(path) for path in self._cached()}
        ours = {path: each for path, each in attached.items() if each.get("networkName") in names}
        containers = {each.get("containerId") for each in ours.values()}
        for path, each in attached.items():
            # Every pod is attached to its own loopback too.
            if each.get("containerId") in containers:
                self.account.undo(path, "detached", lambda where=path, what=each: self._detach(where, what))

    def _cached(self) -> List[str]:
        names = os.listdir(self.results) if os.path.isdir(self.results) else []
        return [os.path.join(self.results, name) for name in sorted(names)]

    def _detach(self, path: str, attachment: Entry) -> None:
        configuration = json.loads(base64.b64decode(attachment["config"]))
        for plugin in reversed(configuration.get("plugins") or [configuration]):
            program = self.programs.get(plugin["type"])
            if program and os.path.exists(program):
                document = request(plugin, configuration, attachment)
                run([program], json.dumps(document), environment(attachment, os.path.dirname(program)))
        # As libcni does after a DEL.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_devices(self) -> None:
        """Remove the bridges of our configurations, and the pods' ends that are still plugged into them."""
        plugins = [plugin for each in self.configurations for plugin in each.get("plugins") or [each]]
        bridges = {plugin.get("bridge", "cni0") for plugin in plugins if plugin.get("type") == "bridge"}
        if not bridges and not self.flannel:
            return
        links = json.loads(run(["ip", "-details", "-json", "link", "show"]) or "[]")
        plugged = [link["ifname"] for link in links if link.get("master") in bridges and kind(link) == "veth"]
        present = [link["ifname"] for link in links if link["ifname"] in bridges and kind(link) == "bridge"]
        # Its routes go with it.
        tunnels = [begin + str(self.flannel.get("Backend", {}).get("VNI", "")) for begin in FLANNEL_DEVICES]
        present += [link["ifname"] for link in links if link["ifname"] in tunnels and kind(link) == "vxlan"]
        for device in plugged + present:
            self.account.undo("network device " + device, "removed", lambda name=device: remove_device(name))

    def remove_routes(self) -> None:
        """Remove the routes that carry our mark, and those of flannel to other nodes, which it leaves when it ends."""
        self._remove_flannels()
        for family in ("-4", "-6"):
            shown = run(["ip", family, "route", "show", "proto", ROUTE_PROTOCOL])
            routes = ["route " + " ".join(line.split()) for line in shown.splitlines()]
            command = ["ip", family, "route", "flush", "proto", ROUTE_PROTOCOL]
            self.account.undo_all(routes, "removed", lambda arguments=command: run(arguments))

    def _remove_flannels(self) -> None:
        """Of backend host-gw: in the pod network, by another host. flannel marks them as everybody does."""
        for family, setting in (("-4", "Network"), ("-6", "IPv6Network")):
            network = self.flannel.get(setting)
            shown = (
                json.loads(run(["ip", family, "-json", "route", "show", "root", network]) or "[]") if network else []
            )
            for route in shown:
                if route.get("gateway") and route.get("protocol") in {None, "boot"}:
                    words = [route["dst"], "via", route["gateway"], "dev", route["dev"]]
                    command = ["ip", family, "route", "delete", *words]
                    self.account.undo("route " + " ".join(words), "removed", lambda arguments=command: run(arguments))


def load(path: str) -> Entry:
    """A JSON object; empty if the file is not there or has none."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def request(plugin: Entry, configuration: Entry, attachment: Entry) -> Entry:
    """What a plugin reads from its standard input.

    https://www.cni.dev/docs/spec/#section-4-plugin-delegation-and-execution-request-configuration
    """
    document = dict(plugin, name=configuration["name"], cniVersion=configuration["cniVersion"])
    wanted = document.pop("capabilities", {})
    arguments = attachment.get("capabilityArgs") or {}
    runtime = {name: arguments[name] for name, enabled in wanted.items() if enabled and name in arguments}
    return dict(document, prevResult=attachment.get("result"), **({"runtimeConfig": runtime} if runtime else {}))


def environment(attachment: Entry, directory: str) -> Dict[str, str]:
    """The parameters that a plugin reads from its environment. The namespace may be gone, which plugins bear."""
    namespace = attachment.get("netns") or ""
    return {
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": attachment["containerId"],
        "CNI_NETNS": namespace if os.path.exists(namespace) else "",
        "CNI_IFNAME": attachment["ifName"],
        "CNI_ARGS": ";".join("=".join(pair) for pair in attachment.get("cniArgs") or []),
        "CNI_PATH": directory,
    }


def kind(link: Entry) -> str:
    """What a network device is: veth, bridge … Empty for hardware."""
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def remove_device(name: str) -> None:
    """Remove a network device. A pod's may just have gone by itself, with its namespace."""
    try:
        run(["ip", "link", "delete", "dev", name])
    except CommandFailed:
        if os.path.exists("/sys/class/net/" + name):
            raise
