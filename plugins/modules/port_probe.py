#!/usr/bin/python
"""Whether hosts reach each other's ports, found out before there are components that listen on them.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: port_probe
short_description: Find out whether hosts reach each other's ports before components listen on them
description:
  - With O(state=listening), listens on TCP ports of this host in the background, until O(state=closed) or for
    O(seconds). Ports that are in use are left out, since whatever listens there accepts connections too.
  - With O(state=connected), connects to ports of other hosts, all of them at the same time, and returns those to which
    it has no connection.
  - On UDP ports what listens answers what this module asks, and nothing else, with as many bytes. Such a port is asked
    again until it answers, since a packet may be lost.
  - An answer from a closed port is not enough, since a firewall may send the same one.
options:
  state:
    description: What to do.
    type: str
    choices: [listening, connected, closed]
    required: true
  address:
    description: IP address to listen on, for O(state=listening). By default, all IPv4 addresses.
    type: str
    default: ""
  ports:
    description: TCP ports to listen on, for O(state=listening).
    type: list
    elements: int
    default: []
  udp_ports:
    description:
      - UDP ports to listen on, for O(state=listening). One that is in use is left out, and does not answer then, as
        that of a VXLAN device, which the kernel has.
    type: list
    elements: int
    default: []
  targets:
    description: Where to connect to, for O(state=connected).
    type: list
    elements: dict
    default: []
    suboptions:
      address: {description: IP address., type: str, required: true}
      port: {description: Port., type: int, required: true}
      protocol: {description: Which of the two., type: str, choices: [tcp, udp], default: tcp}
  seconds:
    description: Time limit of each connection; with O(state=listening), how long to listen at most.
    type: int
    default: 5
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: none}
  diff_mode: {support: none}
seealso:
  - module: preflight
"""

EXAMPLES = r"""
- name: Listen on the ports of etcd
  port_probe:
    state: listening
    address: 192.0.2.11
    ports: [2379, 2380]
    udp_ports: [8472]
    seconds: 30

- name: Connect to the ports of etcd on another host
  port_probe:
    state: connected
    targets:
      - {address: 192.0.2.12, port: 2379}
      - {address: 192.0.2.12, port: 8472, protocol: udp}
"""

RETURN = r"""
listening:
  description: TCP ports on which it listens now.
  type: list
  elements: int
  returned: with O(state=listening)
udp:
  description: UDP ports on which it listens now.
  type: list
  elements: int
  returned: with O(state=listening)
failed_targets:
  description: Targets to which there was no connection, each with the error.
  type: list
  elements: dict
  returned: with O(state=connected)
  contains:
    address: {description: IP address., type: str}
    port: {description: Port., type: int}
    protocol: {description: V(tcp) or V(udp)., type: str}
    error: {description: Error message of the operating system., type: str, sample: timed out}
"""

# Holds the PID of what listens, which keeps it locked.
PID_FILE = "/run/kubeproof-port-probe.pid"
AT_ONCE = 64
POLL_SECONDS = 0.05
STOP_SECONDS = 5.0
# Before a random number. Answers begin otherwise, so that two that listen do not answer each other.
QUESTION = b"kubeproof asks "
ANSWER = b"kubeproof hears"
NONCE_BYTES = 16
DATAGRAM_BYTES = 64
# A packet may be lost, also the first one while an address is resolved.
AGAIN_SECONDS = 0.5


def open_ports(address: str, ports: Sequence[int]) -> List[socket.socket]:
    """Sockets that listen on these ports, except those that are in use."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = []
    for port in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        # A component that starts on this port right afterwards must not find it occupied by ended connections.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(AT_ONCE)
        except OSError:
            listener.close()
            continue
        opened.append(listener)
    return opened


def open_udp_ports(address: str, ports: Sequence[int]) -> List[socket.socket]:
    """Sockets for datagrams to these ports, except those that are in use."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = []
    for port in ports:
        listener = socket.socket(family, socket.SOCK_DGRAM)
        try:
            listener.bind((address, port))
        except OSError:
            listener.close()
            continue
        opened.append(listener)
    return opened


def answer(listener: socket.socket) -> None:
    """End a connection, or answer a datagram that is a question of ours."""
    if listener.type == socket.SOCK_STREAM:
        connection, _ = listener.accept()
        connection.close()
        return
    question, sender = listener.recvfrom(DATAGRAM_BYTES)
    if question.startswith(QUESTION) and len(question) == len(QUESTION) + NONCE_BYTES:
        listener.sendto(ANSWER + question[len(QUESTION) :], sender)


def serve(listeners: Sequence[socket.socket], seconds: float) -> None:
    """Accept connections and end them, and answer datagrams, for so long."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            listener.setblocking(False)
            selector.register(listener, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            for key, _ in selector.select(deadline - time.monotonic()):
                with contextlib.suppress(OSError):
                    answer(key.fileobj)  # type: ignore[arg-type]


def listen(
    address: str, ports: Sequence[int], seconds: float, pid_file: str = PID_FILE, udp_ports: Sequence[int] = ()
) -> Tuple[List[int], List[int]]:
    """Listen in a process of its own, which outlives this one; returns the TCP ports, and those of UDP."""
    close(pid_file)
    streams, datagrams = open_ports(address, ports), open_udp_ports(address, udp_ports)
    listeners = streams + datagrams
    numbers = [listener.getsockname()[1] for listener in streams], [each.getsockname()[1] for each in datagrams]
    if not listeners:
        return numbers
    child = os.fork()
    if child == 0:
        try:
            _in_background(listeners, seconds, pid_file)
        finally:
            # Whatever happens, it must not continue as a second module.
            os._exit(0)
    os.waitpid(child, 0)
    for listener in listeners:
        listener.close()
    _await(lambda: is_locked(pid_file), "the process that listens did not start")
    return numbers


def _in_background(listeners: Sequence[socket.socket], seconds: float, pid_file: str) -> None:
    os.setsid()
    if os.fork():
        return
    # ssh waits for whoever has its output.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    held = os.open(pid_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.ftruncate(held, 0)
    os.write(held, str(os.getpid()).encode())
    # Who looks whether it is locked has it for a moment.
    fcntl.flock(held, fcntl.LOCK_EX)
    serve(listeners, seconds)
    # Before it is said that nothing listens any more.
    for listener in listeners:
        listener.close()
    os.unlink(pid_file)


def close(pid_file: str = PID_FILE) -> None:
    """End what listens, if anything does."""
    if is_locked(pid_file):
        with open(pid_file, encoding="ascii") as stream:
            pid = int(stream.read())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        _await(lambda: not is_locked(pid_file), "the process that listens did not end")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(pid_file)


def is_locked(pid_file: str) -> bool:
    """Whether a process listens."""
    try:
        descriptor = os.open(pid_file, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _await(condition: Any, problem: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise OSError(problem)
        time.sleep(POLL_SECONDS)


def failed_targets(targets: Sequence[Dict[str, Any]], seconds: float) -> List[Dict[str, Any]]:
    """The targets to which there is no connection, each with its ``error``."""

    def attempt(target: Dict[str, Any]) -> str:
        if target.get("protocol") == "udp":
            return unanswered(target["address"], target["port"], seconds)
        try:
            socket.create_connection((target["address"], target["port"]), timeout=seconds).close()
        except OSError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        errors = list(pool.map(attempt, targets))
    return [dict(target, error=error) for target, error in zip(targets, errors) if error]


def unanswered(address: str, port: int, seconds: float) -> str:
    """Why a UDP port does not answer; empty if it does."""
    question = os.urandom(NONCE_BYTES)
    deadline = time.monotonic() + seconds
    error = "no answer"
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return error
            asking.settimeout(min(left, AGAIN_SECONDS))
            try:
                # Connected, so that others' datagrams do not count, and a refusal is an error.
                asking.connect((address, port))
                asking.send(QUESTION + question)
                if asking.recv(DATAGRAM_BYTES) == ANSWER + question:
                    return ""
            except socket.timeout:
                error = "no answer"
            except OSError as problem:
                error = str(problem)
                time.sleep(max(0.0, min(deadline - time.monotonic(), AGAIN_SECONDS)))


def main() -> None:
    """Run as an Ansible module."""
    target = {
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["listening", "connected", "closed"], "required": True},
            "address": {"type": "str", "default": ""},
            "ports": {"type": "list", "elements": "int", "default": []},
            "udp_ports": {"type": "list", "elements": "int", "default": []},
            "targets": {"type": "list", "elements": "dict", "default": [], "options": target},
            "seconds": {"type": "int", "default": 5},
        }
    )
    parameters = module.params
    try:
        if parameters["state"] == "listening":
            tcp, udp = listen(
                parameters["address"], parameters["ports"], parameters["seconds"], udp_ports=parameters["udp_ports"]
            )
            module.exit_json(changed=False, listening=tcp, udp=udp)
        if parameters["state"] == "connected":
            failed = failed_targets(parameters["targets"], parameters["seconds"])
            module.exit_json(changed=False, failed_targets=failed)
        close()
        module.exit_json(changed=False)
    except (OSError, ValueError) as error:
        module.fail_json(msg="ports cannot be probed: %s" % error)


if __name__ == "__main__":
    main()
