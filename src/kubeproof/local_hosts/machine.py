"""What local hosts need of the machine that carries them, remembered so that the last to leave puts it back.

``/run/kubeproof`` holds, as long as there are hosts: ``networks/NAME`` for each network, with the kernel settings that
it needs, a line each; ``modules/NAME`` for each kernel module that was loaded for them; ``settings/NAME`` with the
value of each kernel setting as it was found; and ``bridges``, of who may have come to rely on one of these.
Like what it describes, the directory does not survive a restart of the machine.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from kubeproof.core import controller_packages
from kubeproof.core.errors import KubeproofError
from kubeproof.core.locking import locked
from kubeproof.core.process import attempt, run

RUN = Path("/run/kubeproof")
# Not below /run/lock, where everybody may make a file, which the kernel then keeps root from opening
# (fs.protected_regular); and not in a directory that is removed.
_TURN = Path("/run/kubeproof.lock")
_SETTINGS = Path("/proc/sys")
_INTERFACES = Path("/sys/class/net")
_SYSCTL_CONF = Path("/etc/sysctl.conf")
_SYSCTL_DIRECTORIES = tuple(Path(each, "sysctl.d") for each in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
_FORWARDING = "net.ipv4.ip_forward"
# In RUN: the bridges that were there before packets were forwarded.
_BRIDGES = "bridges"

# Kernel modules that components use, and what shows that one is there, built into the kernel or loaded. They are the
# whole machine's: a container can't load its own.
_MODULES = {
    "br_netfilter": "/proc/sys/net/bridge",
    "nf_conntrack": "/proc/sys/net/netfilter/nf_conntrack_max",
    "overlay": "/sys/module/overlay",
}

# Limits for each user that all hosts share, since their roots are one user to the kernel. Every systemd, kubelet and
# containerd watches files; the usual limit of 128 watchers is used up by the third host or so.
_LIMITS = {"fs.inotify.max_user_instances": 8192, "fs.inotify.max_user_watches": 524288}

# What br_netfilter switches on for the machine's own bridges when it is loaded, and what nobody had asked for.
_BRIDGE_FILTERS = ("bridge-nf-call-arptables", "bridge-nf-call-ip6tables", "bridge-nf-call-iptables")


def require(report: Callable[[str], None]) -> None:
    """Have what local hosts need installed, or raise an error that names all of it."""
    require_root()
    controller_packages.ensure([*controller_packages.SSH, *controller_packages.LOCAL_HOSTS], report)


def require_root() -> None:
    """Raise an error unless this is root: to anybody else podman shows other containers, those of their own."""
    if os.geteuid() != 0:
        raise KubeproofError(
            "local hosts are containers with a systemd of their own, which only root sees and changes",
            hint="run the same command with sudo",
        )


def turn() -> AbstractContextManager[None]:
    """Hold what several runs must not change at once: networks, and what is remembered of the machine."""
    return locked(_TURN)


def claim(network_name: str) -> None:
    """Prepare the machine for a network's hosts."""
    (RUN / "networks").mkdir(parents=True, exist_ok=True)
    for setting, least in _LIMITS.items():
        _raise(network_name, setting, least)
    for module, sign in _MODULES.items():
        if not Path(sign).exists():
            _load(module)


def forward_packets(network_name: str) -> None:
    """Let the machine forward packets, as a network's hosts that are reached from or reach the outside need it to."""
    _raise(network_name, _FORWARDING, 1)


def release(network_name: str) -> list[str]:
    """Put back what no other network needs: each setting by itself, the rest with the last network.

    Returns what stays, and why, in a line each.
    """
    stays: list[str] = []
    (RUN / "networks" / network_name).unlink(missing_ok=True)
    if not RUN.is_dir():
        return stays
    left = [_needs(other.name) for other in (RUN / "networks").iterdir()]
    for remembered in (RUN / "settings").glob("*"):
        # A network without needs was made by a version that did not write them down; it may need any.
        if not any(remembered.name in needs or not needs for needs in left):
            stays += _put_back(remembered.name, remembered.read_text().strip())
            remembered.unlink()
            if remembered.name == _FORWARDING:
                (RUN / _BRIDGES).unlink(missing_ok=True)
    if left:
        return stays
    for mark in (RUN / "modules").glob("*"):
        # Refused while something else has come to use it.
        attempt(["modprobe", "--remove", mark.name])
    shutil.rmtree(RUN)
    return stays


def _put_back(setting: str, before: str) -> list[str]:
    """Give a setting the value that was found, unless others want it as it is: why it stays then."""
    now = _path(setting).read_text().strip()
    if now == before:
        return []
    if int(now) != _LIMITS.get(setting, 1):
        why = "others have changed it"
    else:
        files = [str(path) for path, value in _configured(setting) if value != before]
        why = f"others set it as well: {', '.join(files[:3])}" if files else _relies(setting)
    if why:
        return [f"{setting} stays {now}, and was {before}: {why}"]
    _path(setting).write_text(before)
    return []


def _configured(setting: str) -> Iterator[tuple[Path, str]]:
    """Files that set a kernel setting at boot (sysctl.d(5)), and to what."""
    for path in (
        _SYSCTL_CONF,
        *(path for directory in _SYSCTL_DIRECTORIES for path in sorted(directory.glob("*.conf"))),
    ):
        for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
            name, separator, value = line.partition("=")
            # A dash has errors ignored; slashes may separate the parts, and the name may be a pattern.
            pattern = name.strip().lstrip("-").replace("/", ".")
            if separator and fnmatch.fnmatchcase(setting, pattern):
                yield path, value.strip()


def _relies(setting: str) -> str:
    """Who may rely on a setting without having set it: who starts when packets are forwarded need not ask for it."""
    came = _bridges() - set((RUN / _BRIDGES).read_text().split()) if (RUN / _BRIDGES).is_file() else set()
    if setting != _FORWARDING or not came:
        return ""
    return f"{', '.join(sorted(came))} may rely on it, and came later"


def _bridges() -> set[str]:
    """Bridges of this machine, as container tools and hypervisors have them. The local hosts' are elsewhere."""
    return {path.parent.name for path in _INTERFACES.glob("*/bridge")}


def _needs(network_name: str) -> list[str]:
    """The kernel settings that a network needs, as far as they are written down."""
    mark = RUN / "networks" / network_name
    return mark.read_text().split() if mark.exists() else []


def _raise(network_name: str, setting: str, least: int) -> None:
    """Set a kernel setting to a value, unless it is as high already; remember what it was, and who needs it."""
    (RUN / "networks" / network_name).write_text("\n".join(sorted({*_needs(network_name), setting})) + "\n")
    found = _path(setting).read_text()
    if int(found) >= least:
        return
    remembered = RUN / "settings" / setting
    remembered.parent.mkdir(exist_ok=True)
    if not remembered.exists():
        remembered.write_text(found)
        if setting == _FORWARDING:
            (RUN / _BRIDGES).write_text("\n".join(sorted(_bridges())))
    _path(setting).write_text(str(least))


def _path(setting: str) -> Path:
    return _SETTINGS / setting.replace(".", "/")


def resolvers() -> list[str]:
    """The name servers that this machine uses, in a form that works from elsewhere than the machine itself."""
    # With systemd-resolved /etc/resolv.conf names its stub on loopback, and this file the real servers.
    for path in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        lines = path.read_text().splitlines() if path.is_file() else []
        servers = [fields[1] for line in lines if (fields := line.split())[:1] == ["nameserver"] and len(fields) > 1]
        usable = [server for server in servers if not server.startswith("127.")]
        if usable:
            return usable
    return []


def _load(module: str) -> None:
    hint = f"install the kernel modules that belong to the running kernel, then try `modprobe {module}`"
    if shutil.which("modprobe") is None or not attempt(["modprobe", module]).ok:
        raise KubeproofError(f"this machine's kernel has no {module}, which Kubernetes needs", hint=hint)
    (RUN / "modules").mkdir(exist_ok=True)
    (RUN / "modules" / module).touch()
    if module == "br_netfilter":
        run(["sysctl", "--quiet", *(f"net.bridge.{name}=0" for name in _BRIDGE_FILTERS)])
