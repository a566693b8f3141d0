#!/usr/bin/python
"""Make directories that pods get as volumes, and leave those alone that are there."""

from __future__ import annotations

import os
import stat
from typing import Iterator, List

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: volume_directories
short_description: Make directories for local volumes
description:
  - Makes directories that do not exist, for root only (mode V(0750)); directories above them that do not exist get mode
    V(0755). A directory that exists is left as it is, since the kubelet gives it the group of its pod (C(fsGroup)).
  - Refuses a path that is a link or a file, and one in a directory that others than root may write to, where they could
    put something else in its place.
  - Never removes anything, and leaves no record for a reset, which therefore leaves the data.
options:
  paths:
    description: Absolute paths.
    type: list
    elements: path
    required: true
  setting:
    description: The setting that they are from, for messages.
    type: str
    required: true
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: Make the directory of a volume
  volume_directories:
    paths: [/srv/volumes/data]
    setting: local_volumes_directories
"""

RETURN = r"""
made:
  description: Directories that were made; in check mode those that would be.
  type: list
  elements: str
  returned: always
  sample: [/srv/volumes/data]
"""

MODE = 0o750
MODE_ABOVE = 0o755


def above(path: str) -> Iterator[str]:
    """The directories that a path is in, from the root directory on."""
    parts = path.strip("/").split("/")[:-1]
    yield "/"
    for number in range(len(parts)):
        yield "/" + "/".join(parts[: number + 1])


def problem(path: str) -> str:
    """Why a directory cannot be given to pods; empty if it can."""
    for directory in above(path):
        try:
            found = os.lstat(directory)
        except FileNotFoundError:
            return ""
        if stat.S_ISLNK(found.st_mode):
            return "%s: %s is a link; name the directory that it leads to" % (path, directory)
        if not stat.S_ISDIR(found.st_mode):
            return "%s: %s is no directory" % (path, directory)
        if found.st_uid != 0 or found.st_mode & 0o022:
            return (
                "%s: others than root may write to %s (owner %d, mode %04o), and so put something else in its place; "
                "name another directory, or take the right away"
                % (path, directory, found.st_uid, stat.S_IMODE(found.st_mode))
            )
    if os.path.islink(path) or (os.path.exists(path) and not os.path.isdir(path)):
        return "%s is there, and is no directory" % path
    return ""


def make(path: str, dry_run: bool) -> bool:
    """Make a directory, and those that it is in, if it is missing; returns whether it was."""
    if os.path.isdir(path):
        return False
    if not dry_run:
        for directory in above(path):
            if not os.path.isdir(directory):
                os.mkdir(directory)
                os.chmod(directory, MODE_ABOVE)
        os.mkdir(path)
        os.chmod(path, MODE)
    return True


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "setting": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    problems: List[str] = [said for said in map(problem, module.params["paths"]) if said]
    if problems:
        module.fail_json(msg="%s: %s" % (module.params["setting"], "; ".join(problems)), made=[])
    try:
        made = [path for path in module.params["paths"] if make(path, module.check_mode)]
    except OSError as error:
        module.fail_json(msg="%s: %s" % (error.filename, error.strerror))
    module.exit_json(changed=bool(made), made=made)


if __name__ == "__main__":
    main()
