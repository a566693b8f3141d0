"""What Cilium's agent sets in a host's kernel by itself, which a reset puts back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kubeproof.core import paths

# Once it is 1 the kernel keeps it so until it boots.
_FOR_GOOD = {"kernel.unprivileged_bpf_disabled"}
# Applied before only where a setting of the user's own asks for what takes them.
_ON_DEMAND = {"net.core.fb_tunnels_only_for_init_net", "net.ipv6.conf.all.disable_ipv6"}
_SET = re.compile(r'Name: \[\]string\{((?:"\w+"(?:, )?)+)\}')


def remembered() -> list[str]:
    role = paths.PROJECT / "roles" / "cilium"
    [_, task] = yaml.safe_load((role / "tasks" / "main.yml").read_text())
    variables = yaml.safe_load((role / "vars" / "main.yml").read_text())
    name = re.fullmatch(r"\{\{ (\w+) \}\}", task["install_component"]["remember"]["sysctls"])
    assert name is not None
    found: list[str] = variables[name[1]]
    return found


def test_what_it_changes_on_a_host_is_remembered() -> None:
    assert {"net.ipv4.conf.all.rp_filter", "net.ipv4.fib_multipath_use_neigh"} <= set(remembered())
    assert not _FOR_GOOD & set(remembered())


def _loader() -> Path | None:
    found = sorted(Path.home().glob("go/pkg/mod/github.com/cilium/cilium@v*/pkg/datapath/loader/base.go"))
    return found[-1] if found else None


@pytest.mark.skipif(_loader() is None, reason="Cilium's module is not in this machine's Go cache")
def test_upstream_sets_nothing_else() -> None:
    path = _loader()
    assert path is not None
    names = {".".join(re.findall(r"\w+", each)) for each in _SET.findall(path.read_text())}
    assert names
    assert names - set(remembered()) <= _FOR_GOOD | _ON_DEMAND
