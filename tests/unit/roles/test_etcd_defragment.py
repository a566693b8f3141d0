"""The units that defragment etcd: what the program is given is what it takes."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.preflight.builders import report
from tests.unit.roles.test_extra_config import rendered

from kubeproof.install.etcd_defragment.main import parser

SERVICE, TIMER = (f"etc/systemd/system/etcd-defragment.{kind}" for kind in ("service", "timer"))


def unit(path: str, directory: Path, **given: Any) -> dict[str, str]:
    known = {"ansible_facts": {"kubeproof_host": report()}, "inventory_hostname": "cp2", **given}
    lines = rendered("etcd", path, directory, **known).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_program_takes_what_its_unit_says(tmp_path: Path) -> None:
    found = unit(SERVICE, tmp_path, etcd_data_directory="/srv/etcd", etcd_defragment_percent=40)
    program, *arguments = shlex.split(found["ExecStart"])
    given = parser().parse_args(arguments)
    assert Path(program).name == "kubeproof-etcd-defragment"
    assert (given.host, given.url) == ("cp2", "https://127.0.0.1:2379")
    assert (given.percent, given.bytes, given.timeout) == (40, 268435456, 600)
    assert given.data_directory == Path("/srv/etcd")
    assert found["ReadWritePaths"] == str(given.state)


@pytest.mark.parametrize("number", [1, 3])
def test_it_waits_as_long_as_all_members_may_take_and_is_not_ended_before(number: int, tmp_path: Path) -> None:
    groups = {"etcd": [f"cp{each}" for each in range(number)]}
    found = unit(SERVICE, tmp_path, groups=groups, etcd_defragment_timeout="100")
    given = parser().parse_args(shlex.split(found["ExecStart"])[1:])
    assert given.patience == 100 * number
    assert float(found["TimeoutStartSec"]) >= given.patience + given.timeout + 120


def test_a_run_that_was_missed_is_not_caught_up_on(tmp_path: Path) -> None:
    found = unit(TIMER, tmp_path, etcd_defragment_schedule="Sun 04:00")
    assert found["OnCalendar"] == "Sun 04:00"
    assert "Persistent" not in found


@pytest.mark.parametrize(("minutes", "starts"), [(None, True), (1, False), (31, True)])
def test_it_does_not_start_while_a_run_changes_the_host(minutes: int | None, starts: bool, tmp_path: Path) -> None:
    """Records of runs are those of plugins/module_utils/host_runs.py, which expire after half an hour."""
    if minutes is not None:
        record = tmp_path / "runs" / "abc.json"
        record.parent.mkdir()
        record.touch()
        then = time.time() - 60 * minutes
        os.utime(record, (then, then))
    condition = unit(SERVICE, tmp_path, groups={"etcd": ["cp1"]})["ExecCondition"]
    assert condition.startswith("+")
    command = shlex.split(condition[1:].replace("/var/lib/kubeproof", str(tmp_path)))
    assert (subprocess.run(command, check=False).returncode == 0) is starts
