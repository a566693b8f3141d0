"""Additional authentication: ``apiserver_authentication``, which goes into the API server's own configuration.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

_FIELDS = {"issuer", "claimValidationRules", "claimMappings", "userValidationRules"}


def problems(given: Mapping[str, Any], own_issuer: str) -> Iterator[str]:
    """Settings with which an API server would not start, as far as that can be checked here.

    After k8s.io/apiserver pkg/apis/apiserver/validation. ``own_issuer``: of the cluster's service accounts.
    """
    others = sorted(map(str, given.keys() - {"jwt"}))
    if others:
        yield f"it takes jwt; {', '.join(others)} is set by kubeproof or not supported"
    authenticators = given.get("jwt") or []
    if not isinstance(authenticators, list) or not all(isinstance(each, Mapping) for each in authenticators):
        yield "jwt is a list, of a dictionary for each issuer"
        return
    seen = {own_issuer}
    for number, each in enumerate(authenticators, 1):
        issuer = each.get("issuer")
        url = str(issuer.get("url", "")) if isinstance(issuer, Mapping) else ""
        where = f"jwt {number}" + (f" ({url})" if url else "")
        yield from (f"{where}: {problem}" for problem in _authenticator(each))
        if url in seen:
            yield f"{where}: this issuer is listed already"
        seen.add(url)


def _authenticator(given: Mapping[str, Any]) -> Iterator[str]:
    unknown = sorted(map(str, given.keys() - _FIELDS))
    if unknown:
        yield f"{', '.join(unknown)} is none of {', '.join(sorted(_FIELDS))}"
    issuer = given.get("issuer")
    if not isinstance(issuer, Mapping):
        yield "issuer is missing: a dictionary with url and audiences"
    else:
        yield from _issuer(issuer)
    mappings = given.get("claimMappings")
    username = mappings.get("username") if isinstance(mappings, Mapping) else None
    if not isinstance(username, Mapping) or bool(username.get("claim")) == bool(username.get("expression")):
        yield "claimMappings.username has to have one of claim and expression"
    elif username.get("claim") and not isinstance(username.get("prefix"), str):
        yield "claimMappings.username.prefix is missing; '' is none"


def _issuer(given: Mapping[str, Any]) -> Iterator[str]:
    for name in ("url", "discoveryURL"):
        url = urlsplit(str(given.get(name, "")))
        plain = url.scheme == "https" and url.hostname and not (url.username or url.query or url.fragment)
        if (name == "url" or given.get(name)) and not plain:
            yield f"issuer.{name} has to be a plain https:// address"
    audiences = given.get("audiences")
    if (
        not isinstance(audiences, list)
        or not audiences
        or not all(isinstance(each, str) and each for each in audiences)
    ):
        yield "issuer.audiences is a list of at least one audience"
    elif len(audiences) > 1 and given.get("audienceMatchPolicy") != "MatchAny":
        yield "issuer.audienceMatchPolicy has to be MatchAny with more than one audience"
