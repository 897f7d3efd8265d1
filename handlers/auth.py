"""Who sends a request: bearer tokens and basic auth (RFC 6750, RFC 7617), several of each, compared in constant time.

One `Authenticator` per purpose: webhook credentials can inform, operators' tokens can command, and neither opens the
other's door because they are different objects. Alertmanager signs nothing: this is the best it can offer (protocols
§1.3).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping

from multidict import CIMultiDict

REALM = "lastgood"


class Authenticator:
    """Knows credentials and tells whose a request's are. Without any credentials it lets nobody in."""

    def __init__(self, *, tokens: Mapping[str, str] | None = None, passwords: Mapping[str, str] | None = None) -> None:
        """`tokens`: name of the bearer → token. `passwords`: user name → password.

        Raises ValueError for an empty name, token or password, and for a user name with a colon, which basic auth
        cannot carry; the message never holds the secret.
        """
        self._tokens = tuple((name, _digest(token.encode())) for name, token in _checked(tokens, "token"))
        self._basics = tuple(
            (user, _digest(f"{user}:{password}".encode())) for user, password in _checked(passwords, "password")
        )
        if any(":" in user for user, _ in self._basics):
            raise ValueError("a user name for basic auth must not contain a colon")

    def who(self, headers: Mapping[str, str]) -> str | None:
        """The name behind the Authorization header; None where it is missing, unreadable or wrong."""
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        # aiohttp decodes headers with surrogateescape: this gives back the bytes as they were sent.
        sent = credentials.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer":
            return _match(sent, self._tokens)
        if scheme.lower() == "basic":
            return _match(_decoded(sent), self._basics)
        return None

    def challenge(self) -> CIMultiDict[str]:
        """The WWW-Authenticate headers of a 401: one per scheme that could succeed (RFC 9110 §11.6.1)."""
        headers: CIMultiDict[str] = CIMultiDict()
        if self._tokens or not self._basics:
            headers.add("WWW-Authenticate", f'Bearer realm="{REALM}"')
        if self._basics:
            headers.add("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"')
        return headers


def _checked(secrets: Mapping[str, str] | None, what: str) -> Iterable[tuple[str, str]]:
    for name, secret in (secrets or {}).items():
        if not name:
            raise ValueError(f"a {what} needs the name of its holder")
        if not secret:
            raise ValueError(f"the {what} of {name!r} is empty: it would let everybody in")
    return (secrets or {}).items()


def _digest(secret: bytes) -> bytes:
    # Equal lengths: compare_digest tells by its duration when the lengths differ.
    return hashlib.sha256(secret).digest()


def _match(sent: bytes | None, known: tuple[tuple[str, bytes], ...]) -> str | None:
    """The name whose secret was sent. Compares with every one, so that the time tells nothing about which matched."""
    found: str | None = None
    digest = _digest(sent or b"")
    for name, expected in known:
        if hmac.compare_digest(digest, expected):
            found = name
    return found if sent else None


def _decoded(credentials: bytes) -> bytes | None:
    try:
        return base64.b64decode(credentials, validate=True)
    except (binascii.Error, ValueError):
        return None
