"""The command line of ``kubeproof-etcd-defragment``, which its unit has."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from kubeproof.install.etcd_defragment import records
from kubeproof.install.etcd_defragment.cluster import Threshold
from kubeproof.install.etcd_defragment.errors import DefragmentError
from kubeproof.install.etcd_defragment.gateway import Gateway
from kubeproof.install.etcd_defragment.job import Done, Job, Settings


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; returns the process's exit status."""
    given = parser().parse_args(arguments)
    settings = Settings(
        host=given.host,
        url=given.url,
        data_directory=given.data_directory,
        threshold=Threshold(given.percent, given.bytes),
        timeout=given.timeout,
        patience=given.patience,
    )
    done: Optional[Done] = None
    problem = ""
    try:
        etcd = Gateway(given.ca, given.certificate, given.key)
        done = Job(settings, etcd, _tell).run()
    except (DefragmentError, OSError) as error:
        problem = str(error)
    if done is not None:
        _tell(done.text)
    else:
        print("kubeproof-etcd-defragment: " + problem, file=sys.stderr, flush=True)
    try:
        records.note(given.state, done, problem)
    except OSError as error:
        print("kubeproof-etcd-defragment: the record cannot be written: %s" % error, file=sys.stderr, flush=True)
        return 1
    return 1 if problem else 0


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    whole = argparse.ArgumentParser(
        prog="kubeproof-etcd-defragment",
        description="Defragments the etcd member on this host, if that pays and no other member is stalled.",
    )
    whole.add_argument("--host", required=True, help="this host's name, for those who wait")
    whole.add_argument("--url", required=True, help="of the member on this host")
    for name in ("ca", "certificate", "key"):
        whole.add_argument("--" + name, type=Path, required=True)
    whole.add_argument("--data-directory", type=Path, required=True, help="where etcd's database is")
    whole.add_argument("--state", type=Path, required=True, help="the directory of the records")
    whole.add_argument("--percent", type=int, required=True, help="of the database that has to be unused")
    whole.add_argument("--bytes", type=int, required=True, help="of the database that have to be unused")
    whole.add_argument("--timeout", type=float, required=True, help="of the defragmentation, in seconds")
    whole.add_argument("--patience", type=float, required=True, help="to wait for other members, in seconds")
    return whole


def _tell(text: str) -> None:
    print(text, flush=True)
