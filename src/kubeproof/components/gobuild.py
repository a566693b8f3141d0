"""Source ``go``: a component's binaries built from the pinned Go module in ``components/go/NAME/VERSION``.

The build is reproducible: module versions and content are fixed by go.mod and go.sum, paths are trimmed, nothing is
taken from a version control system or from the user's Go flags, and the compiler's version is part of the cache's key.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kubeproof.components import cache as caching
from kubeproof.components.pins import MACHINES, Component, ModuleCopy, Pins
from kubeproof.components.progress import Event, Phase, Progress
from kubeproof.core import controller_packages
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import ProgramFailed, Result, attempt, run

# Part of every key: raise it when the way of building changes, so that nothing built the old way is used.
_RECIPE = "1"

_GO_LINE = re.compile(r"^go (\d+(?:\.\d+)*)", re.MULTILINE)
_GO_VERSION = re.compile(r"\bgo(\d\S*)")
_REQUIREMENT = re.compile(r"^\s*(?:require\s+)?([\w.~/-]+\.[\w.~/-]+) (v\S+)", re.MULTILINE)
_MAJOR_VERSION = re.compile(r"v\d+")
_NEEDS_GO = "install Go from https://go.dev/dl/ or your distribution, or set component_source to release or mirror"


@dataclass(frozen=True)
class Toolchain:
    """The Go toolchain on this machine: its version such as ``1.26.8``, and its own architecture.

    ``build``: what it says of itself, if that is more, as ``1.26.8 (Red Hat 1.26.8-1.el10)`` or ``1.26.8 X:…``.
    """

    version: str
    arch: str
    build: str = ""


class NoToolchain(KubeproofError):
    """There is no Go toolchain here, or one that is too old."""


def toolchain() -> Toolchain:
    """The Go toolchain on the PATH. Raises NoToolchain."""
    if not shutil.which("go"):
        raise NoToolchain("there is no Go toolchain on this machine (`go` is not on the PATH)", hint=_NEEDS_GO)
    said, arch = run(["go", "env", "GOVERSION", "GOHOSTARCH"]).splitlines()
    version = _GO_VERSION.search(said)
    if not version:
        raise NoToolchain(f"`go env GOVERSION` says {said!r}, which is no version", hint=_NEEDS_GO)
    return Toolchain(version.group(1), arch.strip(), said.strip().removeprefix("go"))


def check(pins: Pins, component: Component, arch: str, tools: Toolchain) -> None:
    """Raise KubeproofError if ``component`` can't be built here for ``arch``, without building anything."""
    demand_module(pins, component)
    wanted = go_line(pins, component)
    if _numbers(tools.version) < _numbers(wanted):
        raise NoToolchain(f"{component.name} needs Go {wanted}, this machine has {tools.version}", hint=_NEEDS_GO)
    if component.go.cgo and arch != tools.arch:
        raise KubeproofError(
            f"{component.name} contains C code and can't be built for {arch} on a {tools.arch} machine",
            hint=f"set component_source to release or mirror, or run kubeproof on a {arch} machine",
        )
    if component.go.cgo:
        compiler(arch)
        controller_packages.demand(controller_packages.C_LIBRARIES)


def compiler(arch: str) -> str:
    """The C compiler for ``arch``: this machine's own, or a cross compiler. Raises KubeproofError if there is none."""
    if arch == MACHINES.get(platform.machine()):
        name, package = os.environ.get("CC", "cc"), "gcc libc6-dev libseccomp-dev pkg-config"
    else:
        triple = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
        name, package = f"{triple}-gcc", f"gcc-{triple.replace('_', '-')} libc6-dev-{arch}-cross"
    if not shutil.which(name):
        raise KubeproofError(
            f"there is no C compiler for {arch} on this machine (`{name}` is not on the PATH)",
            hint=f"apt-get install {package}",
        )
    return name


def go_line(pins: Pins, component: Component) -> str:
    """The oldest Go version that may build a component's module, from the ``go`` line of its go.mod."""
    match = _GO_LINE.search(_go_mod(pins, component))
    if not match:
        raise KubeproofError(f"{component.module_file('go.mod')} has no go line")
    return match.group(1)


def origin(pins: Pins, component: Component) -> str:
    """``MODULE@VERSION`` that a component's first binary comes from, as go.mod requires it."""
    package = component.go.of or next(iter(component.go.packages.values()))
    return "@".join(module_of(pins, component, package))


def module_of(pins: Pins, component: Component, package: str) -> tuple[str, str]:
    """The module, and its version, that a component's go.mod requires for a package."""
    required = dict(_REQUIREMENT.findall(_go_mod(pins, component)))
    parts = package.split("/")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        if path in required:
            return path, required[path]
    raise KubeproofError(f"{component.module_file('go.mod')} does not require the module of {package}")


def key(pins: Pins, component: Component, arch: str, tools: Toolchain) -> str:
    """The cache's key of a build: everything that its bytes depend on."""
    build = component.go
    directory = pins.module_directory(component)
    # What most builds are not is only in the key of those that are it: the others keep theirs, and what was built.
    kind: list[object] = ["test"] if build.test else []
    kind += [dataclasses.astuple(copy) for copy in build.copies]
    pinned = json.dumps([component.version, dict(build.packages), build.tags, dict(build.stamps), build.cgo, *kind])
    c = run([compiler(arch), "--version"]).splitlines()[0] if build.cgo else ""
    own = sorted(path for pattern in ("*/**/*.go", "*/**/go.mod") for path in directory.glob(pattern))
    files = [path.read_bytes() for path in (directory / "go.mod", directory / "go.sum", *own)]
    return caching.key_of("go", _RECIPE, pinned, *files, tools.build or tools.version, arch, c)


def build(
    pins: Pins, component: Component, arch: str, tools: Toolchain, cache: caching.Cache, progress: Progress
) -> tuple[caching.Result, bool]:
    """Build all binaries of a component, or take them from the cache; whether it was built comes second.

    Raises KubeproofError with the compiler's last words.
    """
    identity = key(pins, component, arch, tools)
    with cache.lock(identity):
        cached = cache.result(identity)
        if cached:
            return cached, False
        started = time.monotonic()
        with cache.work() as directory, cache.work() as sources:
            _compile(component, arch, _sources(pins, component, sources), directory, progress)
            suffix = ".test" if component.go.test else ""
            files = {
                name: directory / f"{_executable(package)}{suffix}" for name, package in component.go.packages.items()
            }
            if arch == tools.arch:
                _check_versions(component, files)
            note = {"seconds": round(time.monotonic() - started, 1), "go": tools.version}
            return cache.store(identity, files, note), True


def module_file(pins: Pins, module: str, source: str) -> Path:
    """A file (package path and name) of a module that ours requires, from Go's cache, where go.sum has verified it."""
    package, _, name = source.rpartition("/")
    component = pins.built_of(module)
    module_path, _ = module_of(pins, component, package)
    directory = pins.module_directory(component)
    answer = run(["go", "-C", str(directory), "mod", "download", "-json", module_path], env=environment())
    information = json.loads(answer)
    return Path(information["Dir"]) / package.removeprefix(module_path).lstrip("/") / name


def compile_c(source: Path, flags: Sequence[str], arch: str, cache: caching.Cache) -> caching.Blob:
    """Compile a one-file C program, or take it from the cache."""
    cc = compiler(arch)
    version = run([cc, "--version"]).splitlines()[0]
    identity = caching.key_of("c", _RECIPE, source.read_bytes(), json.dumps(list(flags)), version, arch)
    with cache.lock(identity):
        cached = cache.result(identity)
        if cached:
            return cached.blobs["program"]
        with cache.work() as directory:
            program = directory / "program"
            # The linker strips what the compiler would else leave of this machine's paths.
            run([cc, *flags, "-s", "-o", str(program), str(source)])
            return cache.store(identity, {"program": program}, {"compiler": version}).blobs["program"]


def demand_module(pins: Pins, component: Component) -> None:
    """Raise KubeproofError if there is no Go module of a component's version."""
    if (pins.module_directory(component) / "go.mod").is_file():
        return
    name, version = component.name, component.version
    have = ", ".join(pins.module_versions(component)) or "none"
    always = component.go.always or component.manifests
    other = "switch off what needs it" if always else "set component_source to release or mirror"
    use = "which it always takes" if always else "of which source go could build it"
    raise KubeproofError(
        f"there is no Go module of {name} {version}, {use}; components/go has: {have}",
        hint=f"make one with `./kubeproof components add {name} {version}`, choose another version, or {other}",
    )


def _go_mod(pins: Pins, component: Component) -> str:
    demand_module(pins, component)
    return (pins.module_directory(component) / "go.mod").read_text(encoding="utf-8")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _executable(package: str) -> str:
    """The name that `go build` gives to a package's executable."""
    parts = package.split("/")
    return parts[-2] if _MAJOR_VERSION.fullmatch(parts[-1]) else parts[-1]


def environment(**changes: str) -> dict[str, str]:
    """The user's environment (proxies, caches, PATH) without what would change the result of a build."""
    fixed = {"GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOEXPERIMENT": "", "GOAMD64": "v1", "GOARM64": "v8.0"}
    return {**os.environ, **fixed, **changes}


def _command(component: Component, output: Path) -> list[str]:
    stamps = [f"-X={name}={component.text(value)}" for name, value in component.go.stamps.items()]
    link = ["-s", "-w", "-buildid=", *stamps]
    if component.go.cgo:
        link.append("-extldflags=-static")
    # `go test` has no option that names packages as they are compiled: its -v is for running the tests. It also
    # examines all packages with `go vet`, which takes as long as a part of the build and changes nothing of it.
    kind = ["test", "-c", "-vet=off"] if component.go.test else ["build", "-v"]
    command = ["go", *kind, "-trimpath", "-buildvcs=false", f"-ldflags={' '.join(link)}", "-o", f"{output}/"]
    if component.go.tags:
        command.append(f"-tags={','.join(component.go.tags)}")
    return [*command, *component.go.packages.values()]


def _sources(pins: Pins, component: Component, work: Path) -> Path:
    """Where the module is that is built: in the repository, or, with copies of others in it, in ``work``."""
    ours = pins.module_directory(component)
    if not component.go.copies:
        return ours
    made = work / "module"
    shutil.copytree(ours, made)
    for copy in component.go.copies:
        place = made / copy.directory
        shutil.rmtree(place, ignore_errors=True)
        _copy_writable(_verified(copy, work), place)
        shutil.copytree(ours / copy.directory, place, dirs_exist_ok=True)
    return made


def _verified(copy: ModuleCopy, outside: Path) -> Path:
    """A module in Go's cache whose content is what it must be. ``outside``: a directory in no module."""
    wanted = f"{copy.module}@{copy.version}"
    answer = json.loads(
        run(["go", "-C", str(outside), "mod", "download", "-json", wanted], env=environment(GOFLAGS="-mod=mod"))
    )
    if answer["Sum"] != copy.sum:
        raise KubeproofError(f"{wanted} is not what components.yml says: its sum is {answer['Sum']}, not {copy.sum}")
    return Path(answer["Dir"])


def _copy_writable(source: Path, target: Path) -> None:
    """Copy a directory of Go's cache, in which nothing may be written."""
    for directory, _, files in os.walk(source):
        there = target / Path(directory).relative_to(source)
        there.mkdir(parents=True)
        for name in files:
            shutil.copyfile(Path(directory, name), there / name)


def _compile(component: Component, arch: str, sources: Path, output: Path, progress: Progress) -> None:
    changes = {"GOOS": "linux", "GOARCH": arch, "CGO_ENABLED": "1" if component.go.cgo else "0"}
    if component.go.cgo:
        changes["CC"] = compiler(arch)
    command = _command(component, output)
    watch = _Watch(component, progress)
    with subprocess.Popen(
        command,
        cwd=sources,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stderr or ():
                watch.line(line.strip())
        except BaseException:
            with suppress(ProcessLookupError):
                process.terminate()
            raise
    if process.returncode:
        raise ProgramFailed(command, Result(process.returncode, "", "\n".join(watch.said)), hint=_hint(watch.said))


def _check_versions(component: Component, files: Mapping[str, Path]) -> None:
    """Refuse a build whose binaries do not say the version that is pinned."""
    for binary in component.binaries.values():
        program, arguments = str(files[binary.name]), binary.version_arguments
        said = attempt(["go", "version", "-m", program] if arguments is None else [program, *arguments])
        expected = component.text(binary.version_output, binary=binary.name)
        if expected not in said.stdout + said.stderr:
            raise KubeproofError(f"the built {binary.name} does not say {expected!r}: {said.stdout}{said.stderr}")


def _hint(said: Sequence[str]) -> str:
    text = "\n".join(said)
    if "no space left" in text:
        return "the disk is full; a cold build of all components needs about 8 GB"
    if "-lseccomp" in text or "seccomp.h" in text:
        return "apt-get install libseccomp-dev"
    if "dial tcp" in text or "lookup " in text:
        return "Go modules come from GOPROXY: is it reachable?"
    return ""


@dataclass
class _Watch:
    """Reads what `go build -v` prints: a line for each package that it compiles, and errors."""

    component: Component
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    packages: int = 0
    said: list[str] = field(default_factory=list)

    def line(self, line: str) -> None:
        """Count a package, or keep what else is said."""
        if line.startswith("go: downloading"):
            self._event(line.removeprefix("go: "))
        elif " " in line or line.startswith("#") or ":" in line:
            self.said.append(line)
        else:
            self.packages += 1
            self._event(line)

    def _event(self, detail: str) -> None:
        self.progress(
            Event(
                self.component.name,
                Phase.BUILD,
                done=self.packages,
                unit="packages",
                elapsed=time.monotonic() - self.started,
                typical=self.component.go.cold_seconds,
                detail=detail,
            )
        )
