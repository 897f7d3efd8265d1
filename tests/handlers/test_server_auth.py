"""Credentials: who is let in, under which name, and that nothing else is."""

from __future__ import annotations

import base64

import pytest

from handlers.auth import Authenticator

AUTH = Authenticator(tokens={"prod": "t0ken", "next": "ümläut"}, passwords={"am": "päss:word", "other": "x"})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "who"),
    [
        (bearer("t0ken"), "prod"),
        (bearer("ümläut"), "next"),
        ({"Authorization": "bearer  t0ken "}, "prod"),
        (basic("am:päss:word"), "am"),
        (basic("other:x"), "other"),
        (bearer("T0ken"), None),
        (bearer("t0ke"), None),
        (bearer(""), None),
        (bearer("\udcff\udcfe"), None),
        (basic("am:wrong"), None),
        (basic("am"), None),
        (basic(""), None),
        (basic("other:päss:word"), None),
        ({"Authorization": "Basic ???"}, None),
        ({"Authorization": "Basic é"}, None),
        ({"Authorization": "Basic t0ken"}, None),
        ({"Authorization": "Digest t0ken"}, None),
        ({"Authorization": "t0ken"}, None),
        ({"Authorization": ""}, None),
        ({}, None),
    ],
)
def test_who(headers: dict[str, str], who: str | None) -> None:
    """Right credentials give their holder's name, in any encoding; everything else is nobody."""
    assert AUTH.who(headers) == who


def test_nobody_is_let_in_without_credentials() -> None:
    """No tokens configured means no token is right, not that every one is."""
    empty = Authenticator()
    assert empty.who(bearer("")) is None
    assert empty.who(bearer("x")) is None
    assert empty.challenge().getall("WWW-Authenticate") == ['Bearer realm="lastgood"']


def test_the_challenge_names_the_schemes() -> None:
    """One header per scheme that could succeed."""
    assert [value.split()[0] for value in AUTH.challenge().getall("WWW-Authenticate")] == ["Bearer", "Basic"]
    assert Authenticator(passwords={"a": "b"}).challenge()["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "secrets", [{"tokens": {"a": ""}}, {"tokens": {"": "s3cret"}}, {"passwords": {"a:b": "s3cret"}}]
)
def test_credentials_that_would_let_everybody_in_are_refused(secrets: dict[str, dict[str, str]]) -> None:
    """Empty secrets and impossible names are errors at start; no message repeats a secret."""
    with pytest.raises(ValueError, match=r".+") as raised:
        Authenticator(**secrets)
    assert "s3cret" not in str(raised.value)
