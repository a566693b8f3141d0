"""The command line of ``kubeproof-turn``, which an upgrade calls, and the host's own unit."""

from __future__ import annotations

import argparse
import json
import ssl
import sys
import urllib.request
from typing import Optional, Sequence

from kubeproof.upgrade.host_turn.errors import TurnError
from kubeproof.upgrade.host_turn.record import Places
from kubeproof.upgrade.host_turn.turn import START_SECONDS, Turn, Wanted, summary
from kubeproof.upgrade.host_turn.units import Systemd

_PKI = "/etc/etcd/pki/"
_SECONDS = 5


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; returns the process's exit status."""
    given = parser().parse_args(arguments)
    turn = Turn(Places(), Systemd(), lambda: cluster_version(given.etcd_port), _tell)
    try:
        if given.command == "begin":
            former = json.loads(given.former)
            turn.begin(Wanted(given.act, given.what, former, given.unit, given.seconds, given.start_seconds))
        elif given.command == "confirm":
            turn.confirm()
        elif given.command == "show":
            print(summary(Places()), flush=True)
        elif not turn.put_back(given.by, given.reason):
            return 1
    except (TurnError, OSError, ValueError) as error:
        print("kubeproof-turn: %s" % error, file=sys.stderr, flush=True)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    whole = argparse.ArgumentParser(
        prog="kubeproof-turn", description="Puts back a turn of an upgrade that was not confirmed."
    )
    whole.add_argument("--etcd-port", type=int, default=2379, help="of etcd's clients on this host")
    commands = whole.add_subparsers(dest="command", required=True)
    begin = commands.add_parser("begin", help="keep what there is, and let the time run")
    begin.add_argument("--act", required=True, help="what the turn does, for people")
    begin.add_argument("--what", required=True, help="what there is before, for people")
    begin.add_argument("--former", default="{}", help="the same: versions by program, as JSON")
    begin.add_argument("--seconds", type=int, required=True, help="until it is put back")
    begin.add_argument("--start-seconds", type=int, default=START_SECONDS, help="for a unit to start, when it is")
    begin.add_argument("--unit", action="append", required=True, help="a unit that the turn may restart")
    commands.add_parser("confirm", help="the turn went well")
    commands.add_parser("show", help="print the record of the last turn")
    back = commands.add_parser("put-back", help="have what there was before, if the turn was not confirmed")
    back.add_argument("--by", choices=["host", "run"], default="host", help="who does that")
    back.add_argument("--reason", default="it was not confirmed", help="why, for the journal")
    return whole


def cluster_version(port: int) -> str:
    """The version of etcd's cluster, as this host's member has it; empty if it does not say."""
    try:
        context = ssl.create_default_context(cafile=_PKI + "ca.crt")
        context.load_cert_chain(_PKI + "operator.crt", _PKI + "operator.key")
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with direct.open("https://127.0.0.1:%d/version" % port, timeout=_SECONDS) as answer:
            return str(json.load(answer).get("etcdcluster", ""))
    except (OSError, ValueError):
        return ""


def _tell(text: str) -> None:
    print(text, flush=True)
