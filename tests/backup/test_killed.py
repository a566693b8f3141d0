"""``save``, killed at random points: what has a backup's name is a backup, always."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.backup.conftest import Store, agent_environment
from tests.backup.test_save import made

from kubeproof.backup.agent import backups

KILLS = 100


def start(configuration: Path, trigger: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kubeproof.backup.agent", "--config", str(configuration)]
    return subprocess.Popen(
        [*command, "save", "--trigger", trigger],
        env=agent_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_nothing_unfinished_ever_has_a_backups_name(store: Store) -> None:
    """Retention is at work too: what is half removed must not look like a backup either."""
    store.fill(3000)
    chance = random.Random(6)  # noqa: S311 - no secret
    keep = {"last": 2, "hourly": 0, "daily": 0, "weekly": 0, "bytes": 0, "free": 0}
    # An interval of a second: no run is spared because of the last one.
    configuration = store.configure(keep=keep, interval=1)
    begun = time.monotonic()
    assert start(configuration, "schedule").wait() == 0
    takes = time.monotonic() - begun
    killed = finished = left = 0
    while killed < KILLS:
        process = start(configuration, chance.choice(["schedule", "hand"]))
        # Most of them in the second half: the first half is Python's start.
        time.sleep(chance.uniform(0.3, 1.2) * takes)
        process.kill()
        ended = process.wait() != -9
        killed, finished = killed + (not ended), finished + ended
        # The machine is not always as busy as it was for the first one. Three of four are to be killed.
        takes *= 0.97 if ended else 1.01
        listed = made(store)
        assert [backup.problem for backup in listed] == [""] * len(listed), f"after kill {killed}"
        assert listed, "there is always one"
        left += bool(list((store.directory / "backups").glob(backups.PARTIAL + "*")))
    # Kills that left nothing behind did not test much.
    assert left > KILLS // 20
    # The lock of a run that was killed is free again soon, and its rests are removed.
    assert start(configuration, "schedule").wait() == 0
    assert not list((store.directory / "backups").glob(backups.PARTIAL + "*"))
    print(f"{killed} killed, {finished} finished before, {left} left something unfinished")
