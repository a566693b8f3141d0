"""What a host is like, as JSON: sent to a host by :mod:`tests.local.snapshots` and run there by its own Python.

Every section maps names to what describes them, so that two snapshots can be compared name by name. Left out is what
changes on a host to which nobody does anything, and each omission says why.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

Section = dict[str, str]

# Not files but the kernel's state, of which other sections have what matters; and what no restart of the host survives.
NOT_ON_DISK = {"/proc", "/sys", "/dev", "/run", "/tmp"}  # noqa: S108 - names to compare with
VOLATILE = {
    "/var/cache": "caches of apt, of debconf, of the dynamic loader",
    "/var/lib/apt": "package lists, rewritten by every run of apt",
    "/var/lib/dpkg": "rewritten in another order; the section packages says the same",
    "/var/lib/systemd/random-seed": "written when systemd pleases",
    "/var/lib/systemd/timers": "when timers last went off",
    "/var/log/alternatives.log": "a log, which stays, as the journal does",
    "/var/log/apt": "a log",
    "/var/log/btmp": "logins",
    "/var/log/dpkg.log": "a log",
    "/var/log/journal": "the journal grows with every line that anything logs",
    "/var/log/lastlog": "logins, and the reset comes by SSH",
    "/var/log/wtmp": "logins",
    "/var/log/wtmp.db": "logins, on Debian 13",
    # Made by useradd and userdel for themselves: a lock, and files as they were before the last change.
    "/etc/.pwd.lock": "lock of useradd",
    "/etc/group-": "backup by userdel",
    "/etc/gshadow-": "backup by userdel",
    "/etc/passwd-": "backup by userdel",
    "/etc/shadow-": "backup by userdel",
    "/etc/subgid-": "backup by userdel",
    "/etc/subuid-": "backup by userdel",
}
# Their content is compared; elsewhere size and time of change tell as much and are had sooner.
READ = ("/etc/", "/home/", "/opt/", "/root/", "/srv/", "/usr/local/", "/var/")
# Sessions come and go, one of them with whoever asks.
SESSION = re.compile(r"session-.*\.scope|user@.*|user-runtime-dir@.*|user-\d+\.slice|run-.*")
UNITS_LEFT_OUT = {
    "network-online.target": "a milestone: reached once anything waits for it, and nothing runs for it",
    "systemd-networkd-wait-online.service": "what reaches that milestone",
}
# Readings, not settings; what a kernel chooses when it boots; and what is an error to read unless it was set.
SYSCTL_LEFT_OUT = re.compile(
    r"net/netfilter/nf_conntrack_(count|buckets)|net/ipv[46]/route/flush|.*/stable_secret"
    r"|fs/(aio-nr|dentry-state|file-nr|inode-nr|inode-state|epoll/max_user_watches|quota/.*)"
    r"|kernel/(ns_last_pid|pty/nr|random/.*)"
    r"|net/ipv4/tcp_fastopen_key|vm/user_reserve_kbytes"
)
# Temporary directories of services, named by the boot and at random.
PRIVATE = re.compile(r"/var/tmp/systemd-private-[0-9a-f]{32}-.*")  # noqa: S108 - a name to compare with
# Of iptables-save: a table's begin and end, and its built-in chains with the policy that they have from the start.
EMPTY_TABLE = re.compile(r"\*\w+|COMMIT|:[A-Z]+ ACCEPT \[\d+:\d+\]")
# udev starts and ends them as events come.
WORKER = "(udev-worker)"


def run(*command: str) -> str:
    """Output of a program; empty if there is no such program."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.decode(errors="replace")


def read(path: str) -> str:
    """A file's text; empty if it can't be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def lines(*commands: tuple[str, ...]) -> Section:
    """Lines of the output of programs, with how often they came."""
    output = "\n".join(run(*command) for command in commands)
    stripped = (line.strip() for line in output.splitlines())
    return {line: str(count) for line, count in Counter(stripped).items() if line and not line.startswith("#")}


def files() -> Section:
    """Every file: kind, mode, owner, and content."""
    return {entry.path: describe(entry) for entry in walk("/", NOT_ON_DISK | set(VOLATILE))}


def walk(directory: str, left_out: set[str]) -> Iterator[os.DirEntry[str]]:
    """All files below a directory, but for some."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.path not in left_out and not PRIVATE.fullmatch(entry.path):
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(entry.path, left_out)


def describe(entry: os.DirEntry[str]) -> str:
    """One line about a file."""
    status = entry.stat(follow_symlinks=False)
    what = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if entry.is_symlink():
        return f"{what} -> {Path(entry.path).readlink()}"
    if not entry.is_file():
        return what
    if entry.path.startswith(READ):
        return f"{what} {hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()}"
    return f"{what} {status.st_size} bytes of {status.st_mtime_ns}"


def run_time_files() -> Section:
    """What is in /run and one level down. Not what systemd notes of units, streams of the journal, and sessions."""
    # sudo keeps its own there, which the look itself may have called.
    found = [path for path in Path("/run").glob("*") if path.name not in {"systemd", "user", "utmp", "sudo"}]
    below = [path for directory in found if directory.is_dir() for path in directory.glob("*")]
    return {str(path): stat.filemode(path.lstat().st_mode) for path in found + below}


def unit_files() -> Section:
    """Unit files, and whether they are enabled."""
    rows = [line.split() for line in run("systemctl", "list-unit-files", "--no-legend", "--plain").splitlines()]
    return {row[0]: row[1] for row in rows if not SESSION.fullmatch(row[0])}


def units() -> Section:
    """Units that are there, and their state."""
    listed = run("systemctl", "list-units", "--all", "--no-legend", "--plain", "--full").splitlines()
    rows = [line.split(maxsplit=4) for line in listed]
    # Those that are not found are only names, in the dependencies of others.
    known = (row for row in rows if row[1] != "not-found" and not SESSION.fullmatch(row[0]))
    return {row[0]: " ".join(row[1:4]) for row in known if row[0] not in UNITS_LEFT_OUT}


def users() -> Section:
    """Users, by name."""
    return {user.pw_name: f"{user.pw_uid}:{user.pw_gid} {user.pw_dir} {user.pw_shell}" for user in pwd.getpwall()}


def groups() -> Section:
    """Groups, by name."""
    return {group.gr_name: f"{group.gr_gid} {group.gr_mem}" for group in grp.getgrall()}


def packages() -> Section:
    """Packages that are installed, or of which configuration is left."""
    listed = run("dpkg-query", "--show", "--showformat", "${binary:Package} ${db:Status-Abbrev} ${Version}\n")
    return dict(line.split(maxsplit=1) for line in listed.splitlines())


def mounts() -> Section:
    """Mount points and what is mounted there; of several at one place the second is ``PATH (2)``."""
    found: Section = {}
    seen: Counter[str] = Counter()
    for line in read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        kind, source = fields[fields.index("-") + 1 :][:2]
        seen[fields[4]] += 1
        name = fields[4] if seen[fields[4]] == 1 else f"{fields[4]} ({seen[fields[4]]})"
        found[name] = f"{kind} {source} {fields[3]} {fields[5]}"
    return found


def links() -> Section:
    """Network devices."""
    found = {}
    for link in json.loads(run("ip", "-json", "-details", "link", "show")):
        kind = link.get("linkinfo", {}).get("info_kind", "")
        found[link["ifname"]] = f"{kind} {link['address']} mtu {link['mtu']} {sorted(link['flags'])}"
    return found


def addresses() -> Section:
    """IP addresses and where they are."""
    shown = json.loads(run("ip", "-json", "address", "show"))
    listed = [(link["ifname"], address) for link in shown for address in link["addr_info"]]
    return {f"{address['local']}/{address['prefixlen']} on {name}": address["scope"] for name, address in listed}


def routes() -> Section:
    """Routes of all tables."""
    return lines(*(("ip", version, "route", "show", "table", "all") for version in ("-4", "-6")))


def rules() -> Section:
    """Rules that choose among tables of routes."""
    return lines(*(("ip", version, "rule", "show") for version in ("-4", "-6")))


def firewall() -> Section:
    """Rules of nftables (which has most iptables' too), of the old iptables, and sets of ipset. Not their counters."""
    found: Section = {}
    table = chain = ""
    for line in run("nft", "--stateless", "list", "ruleset").splitlines():
        text = line.strip()
        if text.startswith("table "):
            table, chain = text, ""
        elif text.endswith("{"):
            chain = text
        # By its place: the same rule may be in many chains.
        found[f"{table} {chain} {text}"] = ""
    old = lines(("iptables-legacy-save",), ("ip6tables-legacy-save",), ("ipset", "list", "-name"))
    # A table that is there but empty, since its kernel module was loaded, is no rule; its counters are none either.
    return found | {line: count for line, count in old.items() if not EMPTY_TABLE.fullmatch(line)}


def sysctls() -> Section:
    """The kernel's settings. In a container, the network's: all others are the machine's, which has other users."""
    root = "/proc/sys/net" if Path("/run/systemd/container").exists() else "/proc/sys"
    names = (path.removeprefix("/proc/sys/") for path in map(str, Path(root).rglob("*")) if Path(path).is_file())
    return {name: read(f"/proc/sys/{name}").strip() for name in names if not SYSCTL_LEFT_OUT.fullmatch(name)}


def namespaces() -> Section:
    """Network namespaces in use, by number of processes' own, and those that have names."""
    own = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(FileNotFoundError):
            own.add(path.readlink())
    return {"of processes": str(len(own)), **{path.name: "named" for path in Path("/run/netns").glob("*")}}


def processes() -> Section:
    """Programs that run, by control group and name. Not the kernel's, and not those of sessions."""
    found: Counter[str] = Counter()
    for directory in Path("/proc").glob("[0-9]*"):
        groups_of = [line.split(":", 2)[2] for line in read(f"{directory}/cgroup").splitlines()]
        group = max(groups_of, key=len, default="")
        # Without PAM's help, sessions are in sshd's own group; sshd itself is known by its listening.
        session = SESSION.search(group) or (group.endswith("/ssh.service") and not sshd(directory))
        name = read(f"{directory}/comm").strip()
        if read(f"{directory}/cmdline") and not session and name != WORKER:
            found[f"{group} {name}"] += 1
    return {name: str(count) for name, count in found.items()}


def sshd(directory: Path) -> bool:
    """Whether a process is the SSH server, which calls itself ``sshd: … [listener] …``."""
    return "[listener]" in read(f"{directory}/cmdline")


def cgroups() -> Section:
    """Control groups, but those of sessions."""
    found = (str(path) for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir())
    return {path: "" for path in found if not any(SESSION.fullmatch(part) for part in path.split("/"))}


def listeners() -> Section:
    """Sockets that wait for others."""
    rows = [line.split() for line in run("ss", "-H", "-l", "-n", "-t", "-u").splitlines()]
    return {f"{row[0]} {row[4]}": row[1] for row in rows}


SECTIONS: list[Callable[[], Section]] = [
    files, run_time_files, unit_files, units, users, groups, packages, mounts, links, addresses, routes, rules,
    firewall, sysctls, namespaces, processes, cgroups, listeners,
]  # fmt: skip


def settle() -> None:
    """Wait while addresses of IPv6 are tentative: a host that has just started has no routes for them yet."""
    for _ in range(100):
        if not run("ip", "-6", "address", "show", "tentative").strip():
            return
        time.sleep(0.1)


if __name__ == "__main__":
    settle()
    json.dump({section.__name__: section() for section in SECTIONS}, sys.stdout)
