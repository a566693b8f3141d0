"""Packages, installed in one transaction of the host's package manager that says itself what it brings.

What somebody else installs before, meanwhile or afterwards is never taken for ours: a difference between two points in
time would be. Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ansible.module_utils import places
from ansible.module_utils.manifest import STATE_DIRECTORY, Manifest

SYSTEM_UNITS = "/etc/systemd/system"

PENDING = "packages.pending.json"
PLAN = "packages.plan"
NOTHING = b"nothing to do"
POLICY = "/usr/sbin/policy-rc.d"
# Package lists that are older than this are refreshed first.
FRESH_SECONDS = 24 * 3600
# Without locks of others: how long a download or an installation may take.
TRANSACTION_SECONDS = 1800
POLL_SECONDS = 2.0
LOCKED = re.compile(
    r"could not get lock|unable to acquire the dpkg frontend lock|unable to lock|is locked by another|"
    r"another app is currently holding|failed to obtain (the )?transaction lock|existing lock",
    re.IGNORECASE,
)
QUIET = {
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    # Ubuntu's, which would restart services or ask which.
    "NEEDRESTART_SUSPEND": "1",
    "UCF_FORCE_CONFFOLD": "1",
}
# What policy-rc.d(8) is asked before a package's service is started; 101 says no. A unit's package is known by then.
POLICY_TEXT = """\
#!/bin/sh
# Put here by kubeproof while it installs packages whose own services are not to be started.
for word; do case $word in --*) ;; *) name=${word%%.service}; break ;; esac; done
owners=$(dpkg-query --search "*/systemd/system/$name.service" "/etc/init.d/$name" 2>/dev/null | sed 's/:.*//;s/,/ /g')
for owner in $owners; do
  case " %s " in *" $owner "*) exit 101 ;; esac
done
exit 0
"""

Wanted = Sequence[str]


class PackagesError(RuntimeError):
    """The packages can't be had; the message is for the operator."""


class Package(NamedTuple):
    """An installed package, named as its database names it."""

    name: str
    version: str


def run(command: Sequence[str], timeout: float = TRANSACTION_SECONDS) -> subprocess.CompletedProcess[str]:
    """A program that may fail, with its output and complaints as one text."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUIET},
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PackagesError("`%s` did not end within %d s" % (" ".join(command), timeout)) from None


def unlocked(command: Sequence[str], patience: float) -> subprocess.CompletedProcess[str]:
    """The same, tried again while another program has the package manager's locks, for so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        done = run(command)
        if done.returncode == 0 or not LOCKED.search(done.stdout):
            return done
        if time.monotonic() > deadline:
            said = next(line for line in done.stdout.splitlines() if LOCKED.search(line))
            raise PackagesError(
                "another program has been at work on this host's packages for %d s: %s. Wait until it has ended "
                "(unattended upgrades after a first boot take some minutes), end it, or raise "
                "host_packages_lock_timeout; then run this again" % (patience, said.strip())
            )
        time.sleep(POLL_SECONDS)


def complaint(said: str) -> str:
    """What a package manager's output says of a failure: its errors, or its last lines."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = r"E:|Error|dpkg: error|No match|Unable to|\S+ : \S+: |.*nothing provides"
    errors = [line for line in lines if re.match(telling, line, re.IGNORECASE)]
    return "; ".join((errors or lines)[-5:])[:1500]


class Order(NamedTuple):
    """What is to be installed, how long locks are waited for, and where the package manager says what it will do."""

    wanted: Wanted
    patience: float
    plan: str


class Apt:
    """Debian's, Ubuntu's. ``options`` and ``dpkg_options`` are for tests, which have a root of their own."""

    def __init__(self, options: Sequence[str] = (), dpkg_options: Sequence[str] = (), policy: str = POLICY) -> None:
        self._options = list(options)
        self._dpkg_options = list(dpkg_options)
        self._policy = policy

    def _apt(self, *arguments: str) -> List[str]:
        forwarded = [word for option in self._dpkg_options for word in ("-o", "DPkg::Options::=" + option)]
        return ["apt-get", *self._options, *forwarded, "--yes", "--quiet", "-o", "Acquire::Retries=3", *arguments]

    def _rows(self, layout: str) -> List[List[str]]:
        """A row for each package that dpkg knows, of whatever state."""
        done = run(["dpkg-query", *self._dpkg_options, "--show", "--showformat", layout + "\n"], 60)
        return [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]

    def installed(self) -> Set[str]:
        """Names of installed packages."""
        rows = self._rows("${db:Status-Status}\t${Package}")
        return {row[1] for row in rows if row[0] == "installed"}

    def before(self) -> Dict[str, Any]:
        """Packages that were removed, and whose configuration is still there: it is somebody's."""
        rows = self._rows("${db:Status-Status}\t${binary:Package}")
        return {"configured": sorted(row[1] for row in rows if row[0] == "config-files")}

    def refresh(self, order: Order) -> List[str]:
        """Refresh the package lists if they are old, or don't know what is wanted; what was wrong with that."""
        if not self._unknown(order.wanted) and self._age() < FRESH_SECONDS:
            return []
        done = unlocked(self._apt("update"), order.patience)
        unknown = self._unknown(order.wanted)
        if unknown:
            raise PackagesError(
                "no package source of this host has %s. `apt-get update` says: %s. Correct its package sources "
                "(/etc/apt), install it manually, or name another package in host_packages"
                % (", ".join(unknown), complaint(done.stdout) or "nothing")
            )
        return [] if done.returncode == 0 else ["apt-get update: " + complaint(done.stdout)]

    def _unknown(self, wanted: Wanted) -> List[str]:
        done = run(["apt-cache", *self._options, "policy", *wanted], 60)
        blocks = re.split(r"^(?=\S+:$)", done.stdout, flags=re.MULTILINE)
        # A name that nobody knows has no block at all.
        known = {
            block.split(":\n", 1)[0] for block in blocks if re.search(r"^  Candidate: [^(\s]", block, re.MULTILINE)
        }
        return [name for name in wanted if name not in known]

    def _age(self) -> float:
        """Seconds since the lists were last refreshed, as far as anything was new."""
        shell = run(["apt-config", *self._options, "shell", "LISTS", "Dir::State::lists/d"], 60).stdout
        match = re.search(r"LISTS='(.*)'", shell)
        directory = match.group(1) if match else "/var/lib/apt/lists"
        names = os.listdir(directory) if os.path.isdir(directory) else []
        changed = [os.stat(os.path.join(directory, name)).st_ctime for name in names if "_" in name]
        return time.time() - max(changed, default=0.0)

    def install(self, order: Order) -> None:
        """Install, and have apt write down, before it begins, what it is about to do."""
        command = self._apt(
            "-o", "DPkg::Pre-Install-Pkgs::=sed '1,/^$/d' > '%s'" % order.plan,
            "-o", "DPkg::Tools::Options::sed::Version=3",
            "-o", "DPkg::Options::=--force-confdef", "-o", "DPkg::Options::=--force-confold",
            # Nothing of what is there is taken away for it, and nothing comes that is only recommended.
            "install", "--no-remove", "--no-install-recommends", *order.wanted,
        )  # fmt: skip
        done = unlocked(command, order.patience)
        if done.returncode != 0 and re.search(r"Failed to fetch|404 +Not Found", done.stdout):
            unlocked(self._apt("update"), order.patience)
            done = unlocked(command, order.patience)
        if done.returncode != 0:
            raise PackagesError("apt could not install %s: %s" % (", ".join(order.wanted), complaint(done.stdout)))

    def unfinished(self) -> None:
        """Have dpkg configure what a transaction of ours that was killed has unpacked."""
        states = {row[0] for row in self._rows("${db:Status-Status}\t${binary:Package}")}
        if states & {"unpacked", "half-configured", "triggers-pending", "triggers-awaited"}:
            unlocked(
                ["dpkg", *self._dpkg_options, "--force-confdef", "--force-confold", "--configure", "--pending"], 60
            )

    def came(self, order: Order, before: Dict[str, Any]) -> List[Package]:  # noqa: ARG002 - dnf's way takes it
        """What the transaction of this plan brought that had not been there, as far as it is there now."""
        with contextlib.suppress(FileNotFoundError), open(order.plan, encoding="utf-8") as stream:
            new = {fields[0] + " " + fields[6] for fields in map(str.split, stream) if newly(fields)}
            layout = "${db:Status-Status}\t${binary:Package}\t${Version}\t${Package} ${Architecture}"
            rows = [row for row in self._rows(layout) if row[0] not in ("not-installed", "config-files")]
            return [Package(row[1], row[2]) for row in rows if row[3] in new]
        return []

    def files(self, name: str) -> List[str]:
        """What a package has put on the host."""
        return run(["dpkg-query", *self._dpkg_options, "--listfiles", name], 60).stdout.splitlines()

    def forbid_starts(self, wanted: Wanted) -> None:
        """Have no service of these packages started by their installation, unless others decide that on this host."""
        if not os.path.lexists(self._policy):
            text = POLICY_TEXT % " ".join(wanted)
            places.write(self._policy, text.encode(), os.geteuid(), os.getegid(), 0o755)

    def allow_starts(self) -> None:
        """The opposite, also after a run that was killed."""
        with contextlib.suppress(FileNotFoundError):
            with open(self._policy, "rb") as stream:
                ours = b"Put here by kubeproof" in stream.read(1000)
            if ours:
                os.unlink(self._policy)


def newly(fields: List[str]) -> bool:
    """Whether a line of apt's plan (version 3) is a package that was not there, and comes from a file."""
    return len(fields) == 9 and fields[1] == "-" and fields[4] == "<" and not fields[8].startswith("**")


class Dnf:
    """Fedora's, and of what is made of it."""

    def installed(self) -> Set[str]:
        """Names of installed packages."""
        return set(self._database())

    def before(self) -> Dict[str, Any]:
        """All that is there."""
        return {"installed": sorted(self._database())}

    @staticmethod
    def _database() -> Dict[str, List[str]]:
        """Version and transaction of each package. Those of one transaction have its number."""
        layout = "%{NAME}\t%{VERSION}-%{RELEASE}\t%{INSTALLTID}\n"
        done = run(["rpm", "--query", "--all", "--queryformat", layout], 60)
        rows = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 2]
        return {row[0]: row[1:] for row in rows}

    def refresh(self, order: Order) -> List[str]:  # noqa: ARG002 - apt's way takes it
        """Nothing: dnf does it by itself."""
        return []

    def install(self, order: Order) -> None:
        """Install. What came is known by the transaction's number, which rpm has given it."""
        options = ["--assumeyes", "--setopt=install_weak_deps=False", "--setopt=exit_on_lock=True"]
        done = unlocked(["dnf", *options, "install", *order.wanted], order.patience)
        if done.returncode != 0:
            raise PackagesError(
                "dnf could not install %s: %s. Correct the package sources of this host, install it manually, or name "
                "another package in host_packages" % (", ".join(order.wanted), complaint(done.stdout))
            )
        if "nothing to do" in done.stdout.lower():
            # Somebody else's transaction was quicker.
            places.write(order.plan, NOTHING, os.geteuid(), os.getegid(), 0o600)

    def unfinished(self) -> None:
        """Nothing that another transaction would not do."""

    def came(self, order: Order, before: Dict[str, Any]) -> List[Package]:
        """What came in the last transaction that brought something of what was wanted, and had not been there.

        A transaction that came between is not the last one: both had the same lock.
        """
        known = set(before["installed"])
        new = {name: row for name, row in self._database().items() if name not in known}
        numbers = [int(new[name][1]) for name in order.wanted if name in new]
        if not numbers or places.read(order.plan) == NOTHING:
            return []
        return [Package(name, row[0]) for name, row in sorted(new.items()) if int(row[1]) == max(numbers)]

    def files(self, name: str) -> List[str]:
        """What a package has put on the host."""
        return run(["rpm", "--query", "--list", name], 60).stdout.splitlines()

    def forbid_starts(self, wanted: Wanted) -> None:
        """Nothing: packages start nothing here, and enable what the system's presets say."""

    def allow_starts(self) -> None:
        """Nothing."""


Manager = Union[Apt, Dnf]


def manager() -> Optional[Manager]:
    """The host's; none if it has none of those that are known here."""
    if shutil.which("apt-get"):
        return Apt()
    return Dnf() if shutil.which("dnf") else None


class Transaction:
    """One installation, which is finished by whoever comes next if it is killed."""

    def __init__(self, packages: Manager, directory: str = STATE_DIRECTORY) -> None:
        self.packages = packages
        self.directory = directory
        self._pending = os.path.join(directory, PENDING)
        self._plan = os.path.join(directory, PLAN)

    def install(self, wanted: Wanted, patience: float) -> Tuple[List[Package], List[str]]:
        """Install what is wanted: what came, and what was wrong all the same."""
        self.settle()
        wanted = [name for name in wanted if name not in self.packages.installed()]
        if not wanted:
            return [], []
        order = Order(wanted, patience, self._plan)
        warnings: List[str] = self.packages.refresh(order)
        pending = {"wanted": list(wanted), "before": self.packages.before()}
        places.make_directories(self.directory)
        places.write(self._pending, json.dumps(pending).encode(), os.geteuid(), os.getegid(), 0o600)
        try:
            self.packages.forbid_starts(wanted)
            self.packages.install(order)
        except BaseException:
            # What there is of it is remembered now, if that can be; otherwise by the next run.
            with contextlib.suppress(PackagesError, OSError):
                self.settle()
            raise
        return self.settle(), warnings

    def settle(self) -> List[Package]:
        """Remember what a transaction brought, and switch its services off. That of a run which was killed, too."""
        try:
            with open(self._pending, encoding="utf-8") as stream:
                pending = json.load(stream)
        except FileNotFoundError:
            return []
        self.packages.unfinished()
        came: List[Package] = self.packages.came(Order(pending["wanted"], 0, self._plan), pending["before"])
        manifest = Manifest(self.directory)
        for package in came:
            on = switched_on(units(self.packages.files(package.name)))
            if package.name.partition(":")[0] in pending["wanted"]:
                on = switch_off(on)
            residue = package.name in pending["before"].get("configured", ())
            # What of it is on now, is on by itself: another unit that a reset finds on is somebody's.
            manifest.add("package", package.name, version=package.version, residue=residue, units=on)
        self.packages.allow_starts()
        for path in (self._plan, self._pending):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return came


def units(files: Sequence[str]) -> List[str]:
    """Units among a package's files."""
    found: Set[str] = set()
    for path in files:
        directory, name = os.path.split(path)
        if directory.endswith("/systemd/system") and name.endswith((".service", ".socket", ".timer", ".path")):
            found.add(name)
    return sorted(found)


def switched_on(names: Sequence[str]) -> List[str]:
    """Those of these units that are enabled, or run."""
    if not names or not os.path.isdir("/run/systemd/system"):
        return []
    shown = run(["systemctl", "show", "--property=Id,UnitFileState,ActiveState", *names], 60).stdout
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.split("\n\n")]
    return [
        block["Id"]
        for block in blocks
        if block.get("UnitFileState") == "enabled" or block.get("ActiveState") in ("active", "activating", "reloading")
    ]


def switch_off(names: Sequence[str]) -> List[str]:
    """Disable and stop units that a package has switched on by itself: kubeproof has its own. Those that stay on."""
    with directories_kept():
        for name in names:
            run(["systemctl", "disable", "--now", "--quiet", name], 120)
    return switched_on(names)


@contextlib.contextmanager
def directories_kept(directory: str = SYSTEM_UNITS) -> Iterator[None]:
    """Put back the directories of links to units that vanish in a ``with`` block.

    With the last link in one, whoever disables a unit removes that too, whoever made it. Those that are ours are in the
    manifest, and go with the directories.
    """
    kinds = ("*.wants", "*.requires")
    before = {path: os.stat(path).st_mode for kind in kinds for path in glob.glob(os.path.join(directory, kind))}
    yield
    for path, mode in before.items():
        if not os.path.exists(path):
            places.make_directory(path, mode & 0o777)


def finish_interrupted(directory: str = STATE_DIRECTORY) -> None:
    """Settle what a run that was killed has left. Costs nothing if there is none."""
    packages = manager() if os.path.exists(os.path.join(directory, PENDING)) else None
    if packages is not None:
        Transaction(packages, directory).settle()
