"""Further kernel parameters of nodes, as ``host_sysctls`` has them. No Ansible."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

SETTING = "host_sysctls"
# As for sysctl(8), with dots first: a slash is then a dot in the name of an interface.
_NAME = re.compile(r"[a-z0-9_]+\.[A-Za-z0-9_:@-]+([./][A-Za-z0-9_:@-]+)*")
# These exist only once a module is loaded, which a run does.
_OF_MODULES = ("net.bridge.", "net.netfilter.", "net.nf_conntrack")


def problems(given: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with the setting, a line each."""
    for name, value in given.items():
        if not _NAME.fullmatch(str(name)):
            yield f"{name!r} is not the name of a kernel parameter: vm.max_map_count, net.ipv4.ip_forward"
        elif isinstance(value, bool) or not isinstance(value, (int, str)):
            yield f"{name} takes a number or a text, not {value!r}"
        elif str(value).strip() != str(value) or not str(value) or not str(value).isprintable():
            yield f"{name}: {str(value)!r} is empty, or begins or ends with a space, or has characters that do not show"


def of_a_module(name: str) -> bool:
    """Whether a kernel may have a parameter although it does not exist yet."""
    return name.startswith(_OF_MODULES)
