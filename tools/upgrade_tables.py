"""Write the table of flags and feature gates that each minor version of Kubernetes knows, from its sources.

`python -m tools.upgrade_tables` reads the Go modules of the versions that are there (`go mod download
k8s.io/kubernetes@v1.37.2`, and the same for each of MODULES as v0.37.2), and keeps what the table has of others.
Sources are searched, not compiled: that takes seconds. A name that is put together by code is not found in any version,
so the table says what a version has lost, and not what it never had.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "src" / "kubeproof" / "upgrade" / "known.json"
VERSIONS = ("1.35.4", "1.36.3", "1.37.2")
# Staged modules, which have versions of their own: v0.37.2 is that of 1.37.2.
MODULES = (
    "apiextensions-apiserver", "apiserver", "client-go", "cloud-provider", "component-base", "controller-manager",
    "kms", "kube-aggregator",
)  # fmt: skip
# Where gates are declared: constants, and what versions say of them.
GATES = (
    "kubernetes/pkg/features", "apiserver/pkg/features", "client-go/features", "apiextensions-apiserver/pkg/features",
    "component-base/metrics/features", "component-base/logs/api/v1", "component-base/zpages/features",
    "controller-manager/pkg/features", "cloud-provider/app",
)  # fmt: skip
_SHARED = ("component-base/cli", "component-base/compatibility", "component-base/featuregate", "component-base/logs",
           "component-base/metrics", "component-base/version", "component-base/config/options",
           "component-base/term")  # fmt: skip
_SERVING = ("apiserver/pkg/server/options", "apiserver/pkg/util/flag")
# Where flags are declared, by program. A flag too many is harmless: it refuses nothing.
FLAGS = {
    "kube-apiserver": (
        *_SHARED, *_SERVING, "kubernetes/cmd/kube-apiserver", "kubernetes/pkg/controlplane",
        "kubernetes/pkg/kubeapiserver", "kube-aggregator/pkg/cmd", "apiextensions-apiserver/pkg/cmd",
        "cloud-provider/options", "kubernetes/pkg/credentialprovider",
    ),
    "kube-controller-manager": (
        *_SHARED, *_SERVING, "kubernetes/cmd/kube-controller-manager", "controller-manager/options",
        "cloud-provider", "kubernetes/pkg/controller",
    ),
    "kube-scheduler": (*_SHARED, *_SERVING, "kubernetes/cmd/kube-scheduler", "controller-manager/options"),
    "kubelet": (*_SHARED, "kubernetes/cmd/kubelet", "kubernetes/pkg/kubelet", "kubernetes/pkg/credentialprovider"),
    "kube-proxy": (*_SHARED, "kubernetes/cmd/kube-proxy", "kubernetes/pkg/proxy"),
}  # fmt: skip
# A flag set's method with the flag's name as its first string: fs.StringVar(&options.name, "name", …).
_FLAG = re.compile(
    r"\b\w*(?:[fF]s|[fF]lags?|FlagSet\(\"[^\"]*\"\)|globalflag)\.\w+\((?:[^\"`]{0,200}?,\s*)?\"([a-z][a-z0-9.-]*)\""
)
_CONSTANT = re.compile(r"^\s*(\w+)\s+(?:\w+\.)?Feature\s*=\s*\"([A-Za-z0-9]+)\"", re.MULTILINE)
_SPECS = re.compile(r"^(\t+)(?:\w+\.)?(\w+):\s*\{(?:([^\n]*)\},?[^\n]*|$(.*?)^\1\},?)$", re.MULTILINE | re.DOTALL)
_DEFAULT = re.compile(r"\bDefault:\s*(true|false)")
_LOCKED = re.compile(r"\bLockToDefault:\s*true")


def sources(root: Path, version: str, place: str) -> Iterator[Path]:
    """Go files of a directory of a module, tests left out."""
    module, _, inside = place.partition("/")
    staged = version if module == "kubernetes" else f"0.{version.partition('.')[2]}"
    top = root / f"{module}@v{staged}" / inside
    yield from sorted(path for path in top.rglob("*.go") if not path.name.endswith("_test.go"))


def gates(files: Iterable[str]) -> tuple[set[str], dict[str, bool]]:
    """Feature gates that are declared with what versions say of them, and those that are locked to their default."""
    texts = list(files)
    names = {constant: name for text in texts for constant, name in _CONSTANT.findall(text)}
    known: set[str] = set()
    locked: dict[str, bool] = {}
    for text in texts:
        for _, constant, *parts in _SPECS.findall(text):
            specs = "".join(parts)
            # One for each version that changed it, the newest last.
            found = list(_DEFAULT.finditer(specs))
            if constant in names and found:
                known.add(names[constant])
                if _LOCKED.search(specs, found[-1].start()):
                    locked[names[constant]] = found[-1][1] == "true"
    return known, locked


def flags(files: Iterable[str]) -> set[str]:
    """Names of flags."""
    return {name for text in files for name in _FLAG.findall(text)}


def table(root: Path, version: str) -> dict[str, Any] | None:
    """What a version knows; None if its sources are not all there."""
    staged = f"0.{version.partition('.')[2]}"
    needed = [root / f"kubernetes@v{version}", *(root / f"{module}@v{staged}" for module in MODULES)]
    if not all(path.is_dir() for path in needed):
        return None
    known, locked = gates(path.read_text() for place in GATES for path in sources(root, version, place))
    return {
        "version": version,
        "gates": " ".join(sorted(known)),
        "locked": dict(sorted(locked.items())),
        "flags": {
            program: " ".join(
                sorted(flags(path.read_text() for place in places for path in sources(root, version, place)))
            )
            for program, places in FLAGS.items()
        },
    }


def main() -> int:
    """Write the table."""
    cache = subprocess.run(["go", "env", "GOMODCACHE"], check=True, capture_output=True, text=True).stdout.strip()
    found = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for version in VERSIONS:
        read = table(Path(cache) / "k8s.io", version)
        if read is None:
            print(f"{version}: its modules are not downloaded; left as it is", file=sys.stderr)
        else:
            found[version.rpartition(".")[0]] = read
    TABLE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
