#!/usr/bin/python
"""Transfer etcd leadership at a moment when no proposal is in flight.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.direct import opener

DOCUMENTATION = r"""
module: etcd_leadership
short_description: Transfer etcd leadership to another member while API servers are paused
description:
  - On the leader's host, waits until all members have the same log and it does not grow, and then transfers leadership
    to the most up-to-date member. Waits for at most one second before, and one second for the transfer.
  - Proposals made during a leader change are dropped (C(ErrProposalDropped),
    U(https://pkg.go.dev/go.etcd.io/raft/v3#pkg-variables)), and only the API client may retry them. So all API servers
    are paused meanwhile, usually for less than a second. Connections stay open, and requests wait.
  - API servers are paused with SIGSTOP. A systemd timer that is started before resumes them after O(seconds), even if
    the run is killed.
  - All hosts of O(leaders) and O(api_servers) have to run this task in parallel. If there are not enough forks, if
    C(--limit) leaves one of them out, or if an API server cannot be paused, leadership is transferred all the same, and
    a warning says that a write may fail.
  - If leadership cannot be transferred, the task warns and succeeds. It fails if a command or module fails on the host.
options:
  leaders:
    description: Hosts whose member is the leader and about to be restarted.
    type: list
    elements: str
    required: true
  api_servers:
    description: Hosts whose API servers are to be paused.
    type: list
    elements: str
    required: true
  seconds:
    description: Longest time for which API servers are paused, in seconds. V(0) does not pause them.
    type: float
    required: true
  url:
    description: Client URL of this host's etcd member, for example V(https://10.0.0.1:2379).
    type: str
    required: true
  ca:
    description: File on the host with the CA certificate of etcd.
    type: path
    required: true
  certificate:
    description: File on the host with the client certificate.
    type: path
    required: true
  key:
    description: File on the host with the private key of O(certificate).
    type: path
    required: true
extends_documentation_fragment: [attributes, attributes.action]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
notes:
  - Uses etcd's JSON gateway, U(https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/).
seealso:
  - module: component_service
"""

EXAMPLES = r"""
- name: Transfer leadership from a member that needs a restart
  etcd_leadership:
    leaders: [cp1]
    api_servers: "{{ groups['control_plane'] }}"
    seconds: 3
    url: https://{{ cluster_host_address }}:2379
    ca: /etc/etcd/pki/ca.crt
    certificate: /etc/etcd/pki/operator.crt
    key: /etc/etcd/pki/operator.key
"""

RETURN = r"""
to:
  description: Name of the new leader; empty on other hosts, and if leadership was not transferred.
  type: str
  returned: success
why:
  description: Why leadership was not transferred, on hosts of O(leaders); empty if it was.
  type: str
  returned: success, except in check mode
  sample: it does not lead
held:
  description: Time for which this host's API server was paused, in seconds.
  type: float
  returned: success
step:
  description: What a plan says the run waits for here, as C(gate.after), a list of texts.
  type: dict
  returned: in check mode, on hosts of O(leaders)
"""

POLL_SECONDS = 0.02
# For the log to stop growing, and again for the transfer.
PATIENCE_SECONDS = 1.0
# A member that takes longer for its own status is no candidate.
ANSWER_SECONDS = 1.0

Ask = Callable[[str, str, Dict[str, Any]], Dict[str, Any]]


class Stays(Exception):
    """Leadership can't be transferred; the message says why."""


def over_tls(parameters: Dict[str, Any]) -> Ask:
    """How to ask a member: its URL, the path, and what to send."""
    context = ssl.create_default_context(cafile=parameters["ca"])
    context.load_cert_chain(parameters["certificate"], parameters["key"])

    def ask(url: str, path: str, body: Dict[str, Any]) -> Dict[str, Any]:
        request = urllib.request.Request(url + path, json.dumps(body).encode())  # noqa: S310 - etcd's own URL
        with opener(context).open(request, timeout=ANSWER_SECONDS) as answer:
            content: Dict[str, Any] = json.load(answer)
        return content

    return ask


class LeadershipTransfer:
    """The transfer from the member at ``url`` to another one."""

    def __init__(self, url: str, ask: Ask) -> None:
        self.url = url
        self.ask = ask

    def candidates(self) -> List[Tuple[int, str, str, str]]:
        """Who may lead: how far the log goes, name, URL and ID of each. Raises Stays if nobody else may."""
        mine = self.status(self.url)
        if mine is None:
            raise Stays("%s does not report its status" % self.url)
        me = mine["header"]["member_id"]
        if mine.get("leader") != me:
            raise Stays("it is not the leader")
        others = [
            (each.get("name", ""), each["clientURLs"][0], each["ID"])
            for each in self.ask(self.url, "/v3/cluster/member/list", {})["members"]
            if each["ID"] != me and each.get("clientURLs") and not each.get("isLearner")
        ]
        looks = {url: self.status(url) for _, url, _ in others}
        able = [(int(look["raftIndex"]), *other) for other in others for look in [looks[other[1]]] if look]
        if not able:
            raise Stays("no other member reports its status")
        return able

    def carry_out(self) -> Tuple[str, bool]:
        """Transfer leadership; the name of the new leader, and whether the log rested. Raises Stays."""
        candidates = self.candidates()
        urls = [self.url, *(url for _, _, url, _ in candidates)]
        rested = self._await(lambda: self._rests(urls))
        _, name, _, target = max(candidates)
        self.ask(self.url, "/v3/maintenance/transfer-leadership", {"targetID": target})
        if not self._await(lambda: all((self.status(url) or {}).get("leader") == target for url in urls)):
            raise Stays("it was to be transferred to %s, but not all members follow that one" % name)
        return name, rested

    def status(self, url: str) -> Optional[Dict[str, Any]]:
        """What a member says of itself; None if it does not."""
        try:
            return self.ask(url, "/v3/maintenance/status", {})
        except (OSError, ValueError):
            return None

    def _rests(self, urls: List[str]) -> bool:
        first = self._logs(urls)
        if len(set(first)) != 1:
            return False
        time.sleep(POLL_SECONDS)
        return self._logs(urls) == first

    def _logs(self, urls: List[str]) -> List[Tuple[str, str]]:
        """How far each member's log goes, and how far it has been applied; equal where a member is up to date."""
        looks = [self.status(url) or {} for url in urls]
        return [
            (look.get("raftIndex", ""), look.get("raftAppliedIndex", ""))
            if look.get("raftIndex") == look.get("raftAppliedIndex")
            else (str(number), "behind")
            for number, look in enumerate(looks)
        ]

    def _await(self, holds: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


def main() -> None:
    """Ansible's entry. No transfer is no failure: the restart that follows changes the leader too, if less gently."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "ca": {"type": "path", "required": True},
            "certificate": {"type": "path", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
            # What the action plugin says.
            "_look": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        # The action plugin does not ask: a plan needs no answer.
        module.exit_json(changed=False)
    to, rested, why = "", False, ""
    try:
        transfer = LeadershipTransfer(module.params["url"], over_tls(module.params))
        if module.params["_look"]:
            transfer.candidates()
        else:
            to, rested = transfer.carry_out()
    except Stays as reason:
        why = str(reason)
    except (OSError, ValueError, KeyError) as error:
        why = "etcd's JSON gateway: %s: %s" % (type(error).__name__, error)
    module.exit_json(changed=False, to=to, rested=rested, why=why)


if __name__ == "__main__":
    main()
