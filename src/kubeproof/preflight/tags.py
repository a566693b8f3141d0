"""Tags that a run is given: with one that nothing has it would do nothing, and succeed.

https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_tags.html
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from kubeproof.core.errors import KubeproofError

# Ansible's own.
_SPECIAL = frozenset({"all", "always", "never", "tagged", "untagged"})
_ADDONS = ("gateway_api", "local_path", "metallb", "metrics_server", "traefik")
# What cannot be left out, and why; Ansible leaves out whatever has a tag that is skipped.
_NEEDED = {
    "components": "all roles need the facts that are gathered as components are distributed",
    **dict.fromkeys(_ADDONS, "add-ons are applied together, so that all would be left out: skip addons for that"),
}


def refuse_unknown(chosen: Iterable[str], skipped: Iterable[str], known: Collection[str]) -> None:
    """Raise KubeproofError if a tag is none of the playbook's. ``known``: those that it has; empty if it has none."""
    skipped = list(skipped)
    for tag in skipped:
        if tag in _NEEDED and tag in known:
            raise KubeproofError(
                f"--skip-tags {tag} is not possible: {_NEEDED[tag]}",
                hint="name what to run with --tags",
            )
    given = [*chosen, *skipped]
    wrong = sorted({tag for tag in given if tag not in _SPECIAL} - set(known))
    if not wrong:
        return
    names = ", ".join(wrong)
    if not known:
        raise KubeproofError(
            f"this playbook is run as a whole: it has no part for --tags or --skip-tags {names}",
            hint="leave them out",
        )
    near = [match for tag in wrong for match in difflib.get_close_matches(tag, known, n=1)]
    meant = f"; you may mean {', '.join(near)}" if near else ""
    raise KubeproofError(
        f"no part of this playbook has the tag {names}{meant}",
        hint=f"the tags are {', '.join(sorted(known))}; docs/operations/partial-runs.md says what each of them does",
    )
