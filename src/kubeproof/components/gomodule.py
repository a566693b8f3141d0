"""Making the Go module of another version of a component, for ``kubeproof components add``.

It requires exactly the modules that the component is made of, in that version; everything else is what `go mod tidy`
selects for them, and go.sum has the checksums of it all, which Go compares with those of its checksum database.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kubeproof.components import gobuild, selection
from kubeproof.components.pins import Component, Pins
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import attempt, run

Tell = Callable[[str], None]

# In Kubernetes's go.mod, modules of its own repository have this version; they are published as v0.MINOR.PATCH.
_UNPUBLISHED = "v0.0.0"


@dataclass(frozen=True)
class _Upstream:
    """A module that a component is made of: its path, and what its go.mod says."""

    path: str
    go_mod: Mapping[str, Any]


def add(pins: Pins, name: str, version: str, tell: Tell) -> Path:
    """Make the module of a component's version, like that of the newest version that has one; returns its directory.

    Raises KubeproofError if there is one, or if the module proxy does not have that version.
    """
    wanted = pins.with_versions({name: version}).components.get(name)
    if not wanted:
        raise KubeproofError(f"{name} is an image: it is made of the Go module of a component")
    selection.refuse_builds([wanted])
    if wanted.go.copies:
        copied = ", ".join(copy.module for copy in wanted.go.copies)
        raise KubeproofError(
            f"{name} is built with files of our own in copies of {copied}, which another version may not fit",
            hint=f"make components/go/{wanted.go.module}/{version} manually, like the one that is there",
        )
    gobuild.toolchain()
    directory = pins.module_directory(wanted)
    have = pins.module_versions(wanted)
    if version in have:
        raise KubeproofError(f"{wanted.module_file('go.mod')} is there already")
    if not have:
        raise KubeproofError(f"components/go/{wanted.go.module} has no module of any version to make another like it")
    like = _of_version(wanted, have[-1])
    upstream = [_download(path, version, tell) for path in _required(pins, like)]
    with tempfile.TemporaryDirectory(prefix=".new-", dir=directory.parent) as temporary:
        made = Path(temporary) / version
        made.mkdir()
        (made / "go.mod").write_text(_go_mod(wanted, upstream), encoding="utf-8")
        # A stand-in for another module stays behind: it may lack what this version needs.
        for program in sorted(pins.module_directory(like).glob("*/*.go")) if _own_programs(wanted) else ():
            (made / program.parent.name).mkdir(exist_ok=True)
            shutil.copy(program, made / program.parent.name)
        tell("selecting versions of all modules, and downloading them")
        # Of a module of which only files are taken nothing is imported: `tidy` would leave it out.
        step = ["tidy"] if wanted.go.packages else ["download", "-json", wanted.go.of]
        run(["go", "-C", str(made), "mod", *step], env=gobuild.environment(GOFLAGS="-mod=mod"))
        made.rename(directory)
    return directory


def _of_version(component: Component, version: str) -> Component:
    return replace(component, version=version)


def _required(pins: Pins, like: Component) -> list[str]:
    """Paths of the modules that a component is made of."""
    packages = [like.go.of] if _own_programs(like) else list(like.go.packages.values())
    return sorted({gobuild.module_of(pins, like, package)[0] for package in packages})


def _own_programs(component: Component) -> bool:
    """Whether its main programs are ours, in the module itself."""
    return component.go.of not in component.go.packages.values()


def _download(path: str, version: str, tell: Tell) -> _Upstream:
    tell(f"downloading {path} {version}")
    said = attempt(
        ["go", "mod", "download", "-json", f"{path}@v{version}"], env=gobuild.environment(GOFLAGS="-mod=mod")
    )
    answer = json.loads(said.stdout or "{}")
    if not said.ok or "GoMod" not in answer:
        problem = str(answer.get("Error") or said.stderr).strip().splitlines()
        raise KubeproofError(
            f"{path} {version} is not available: {problem[-1] if problem else 'no answer'}",
            hint=f"see which are with `go list -m -versions {path}`, or set component_source to release or mirror",
        )
    return _Upstream(path, json.loads(run(["go", "mod", "edit", "-json", answer["GoMod"]])))


def _go_mod(component: Component, upstream: Iterable[_Upstream]) -> str:
    """The module, before it is tidied: tools, requirements, and what counts in the go.mod of a main module only."""
    upstream = list(upstream)
    first = upstream[0].go_mod
    blocks = [f"module kubeproof.invalid/components/{component.go.module}", f"go {first['Go']}"]
    # Go's behaviour at run time, as in the official builds. `go help mod edit` spells the key in another way.
    blocks += [f"godebug {setting['Key']}={setting['Value']}" for setting in first.get("GoDebug") or ()]
    if not _own_programs(component):
        blocks.append(_block("tool", component.go.packages.values()))
    blocks.append(_block("require", (f"{module.path} v{component.version}" for module in upstream)))
    replacements = [line for module in upstream for line in _replacements(module, component.version)]
    if replacements:
        blocks.append(_block("replace", replacements))
    return "\n\n".join(blocks) + "\n"


def _block(keyword: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{keyword} (", *(f"\t{line}" for line in sorted(set(lines))), ")"])


def _replacements(module: _Upstream, version: str) -> Iterable[str]:
    """Forks as the project has them, and its own directories as the modules that they are published as."""
    required = {each["Path"]: each["Version"] for each in module.go_mod.get("Require") or ()}
    for each in module.go_mod.get("Replace") or ():
        old, new = each["Old"], each["New"]
        source = " ".join(filter(None, [old["Path"], old.get("Version")]))
        if "Version" in new:
            yield f"{source} => {new['Path']} {new['Version']}"
        elif required.get(old["Path"]) == _UNPUBLISHED:
            yield f"{source} => {old['Path']} v0.{version.partition('.')[2]}"
