"""Runs on a host: sends requests from there, and prints the responses. Credentials never leave the host.

Standard library only, Python 3.8 and newer: hosts.py sends this file's text, those of the modules of this package that
it imports, and a list of requests in JSON, and gets a list of answers. A request has ``do``, the name of a function
here without its underscore, and the function's arguments.
"""
# ruff: noqa: PLR0913, PLR0917, PTH123

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse
from typing import Any

# Sent along by hosts.py.
from kubeproof.verify.observe import certificate_files

BODY_LIMIT = 1 << 20


def _http(
    url: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: str | None = None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    token: str | None = None,
    timeout: float = 5.0,
) -> dict[str, Any]:
    """An HTTP request. ``ca``, ``cert``, ``key``, ``token``: files of the host. Without ``ca`` anybody is believed.

    ``refused`` tells a server that would not have the caller from one that did not answer.
    """
    parts = urllib.parse.urlsplit(url)
    host, target = parts.hostname or "", parts.path + ("?" + parts.query if parts.query else "")
    headers = dict(headers or {})
    if token:
        with open(token, encoding="utf-8") as stream:
            headers["Authorization"] = "Bearer " + stream.read().strip()
    # Always with its port: http.client would look for one in an IPv6 address.
    connection = http.client.HTTPConnection(host, parts.port or 80, timeout=timeout)
    if parts.scheme == "https":
        # A file that is missing here ends the probe: it would look like a refusal.
        context = ssl.create_default_context(cafile=ca)
        if not ca:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert:
            context.load_cert_chain(cert, key)
        connection = http.client.HTTPSConnection(host, parts.port or 443, timeout=timeout, context=context)
    try:
        connection.request(method, target or "/", body=body, headers=headers)
        local = connection.sock.getsockname()[0]
        response = connection.getresponse()
        return {"status": response.status, "body": response.read(BODY_LIMIT).decode("utf-8", "replace"), "from": local}
    except (OSError, http.client.HTTPException) as error:
        refused = isinstance(error, (ssl.SSLError, ConnectionError, http.client.BadStatusLine))
        return {"error": f"{type(error).__name__}: {error}", "refused": refused}
    finally:
        connection.close()


def _spread(url: str, count: int, ca: str, timeout: float = 5.0) -> dict[str, Any]:
    """Requests over so many connections at a time; the digest of the certificate that each met at the other end."""
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    connections = [
        http.client.HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=timeout, context=context)
        for _ in range(count)
    ]
    answers: list[dict[str, Any]] = []
    try:
        for connection in connections:
            try:
                connection.connect()
                shown = connection.sock.getpeercert(binary_form=True)
                connection.request("GET", parts.path)
                status = connection.getresponse().status
                answers.append({"status": status, "certificate": hashlib.sha256(shown or b"").hexdigest()})
            except (OSError, http.client.HTTPException) as error:
                answers.append({"error": f"{type(error).__name__}: {error}"})
    finally:
        for connection in connections:
            connection.close()
    return {"answers": answers}


def _datagram(address: str, port: int, data: str, timeout: float = 2.0) -> dict[str, Any]:
    """Send one datagram and wait for one; both in base64."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.sendto(base64.b64decode(data), (address, port))
            return {"data": base64.b64encode(sock.recv(65535)).decode()}
        except OSError as error:
            return {"error": f"{type(error).__name__}: {error}"}


def _framed(address: str, port: int, data: str, timeout: float = 2.0) -> dict[str, Any]:
    """Send one message over TCP, with its length before it, and wait for one; both in base64 (RFC 1035, 4.2.2)."""
    message = base64.b64decode(data)
    try:
        with socket.create_connection((address, port), timeout=timeout) as sock, sock.makefile("rb") as stream:
            sock.sendall(len(message).to_bytes(2, "big") + message)
            length = stream.read(2)
            answer = stream.read(int.from_bytes(length, "big")) if len(length) == 2 else b""
    except OSError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return (
        {"data": base64.b64encode(answer).decode()} if answer else {"error": "the connection ended without an answer"}
    )


def _arp(address: str, timeout: float = 1.5) -> dict[str, Any]:
    """Ask this host's segment who has an IPv4 address (RFC 826); the hardware addresses of all others that answer."""
    told = subprocess.run(["ip", "-4", "route", "get", address], stdout=subprocess.PIPE, check=False)
    route = told.stdout.decode().split()
    if "dev" not in route or "via" in route:
        return {"error": "it is on no segment of this host: " + " ".join(route), "hardware": []}
    device, source = route[route.index("dev") + 1], route[route.index("src") + 1]
    found = set()
    arp, reply = 0x0806, 2
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(arp)) as sock:
        sock.bind((device, arp))
        own = sock.getsockname()[4]
        addresses = own + socket.inet_aton(source) + bytes(6) + socket.inet_aton(address)
        sock.send(b"\xff" * 6 + own + struct.pack("!HHHBBH", arp, 1, 0x0800, 6, 4, 1) + addresses)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                frame = sock.recv(128)
            except OSError:
                break
            operation = struct.unpack("!H", frame[20:22])[0]
            if operation == reply and frame[28:32] == socket.inet_aton(address):
                found.add(frame[22:28].hex())
    return {"hardware": sorted(":".join(each[at : at + 2] for at in range(0, 12, 2)) for each in found)}


def _poll(
    command: list[str], pattern: str, present: bool = True, timeout: float = 10.0, interval: float = 0.03
) -> dict[str, Any]:
    """Run a command until its output has, or no longer has, a match of ``pattern``; what it said last."""
    start = time.monotonic()
    while True:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        output = done.stdout.decode("utf-8", "replace")
        seconds = time.monotonic() - start
        if bool(re.search(pattern, output)) == present:
            return {"met": True, "seconds": seconds, "output": output[:BODY_LIMIT]}
        if seconds > timeout:
            return {"met": False, "seconds": seconds, "output": output[:BODY_LIMIT]}
        time.sleep(interval)


def _certificates(servers: list[list[Any]], timeout: float = 1.0) -> dict[str, str]:
    """The certificate, DER in base64, that each TLS server shows; nothing of those that speak something else."""
    found = {}
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for address, port in servers:
        try:
            plain = socket.create_connection((address, port), timeout=timeout)
            with plain, context.wrap_socket(plain) as wrapped:
                shown = wrapped.getpeercert(binary_form=True)
        except OSError:
            continue
        if shown:
            found[f"{address} {port}"] = base64.b64encode(shown).decode()
    return found


def _certificate_files(directories: list[str]) -> dict[str, list[str]]:
    """The certificates, DER in base64, in the files of directories, kubeconfigs included; nothing of keys."""
    return certificate_files.below(directories, (".crt", ".pem", ".conf", ".kubeconfig"))


def _main() -> None:
    functions: dict[str, Any] = {
        "http": _http,
        "spread": _spread,
        "datagram": _datagram,
        "framed": _framed,
        "arp": _arp,
        "poll": _poll,
        "certificates": _certificates,
        "certificate_files": _certificate_files,
    }
    requests = json.loads(sys.argv[1])
    print(json.dumps([functions[request.pop("do")](**request) for request in requests]))


_main()
