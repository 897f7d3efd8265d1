"""Statuses and exceptions become one of two kinds, once, without secrets."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import pytest
from yarl import URL

from handlers.faults import (
    CAUSES_MAX,
    REASON_CHARS_MAX,
    RETRY_AFTER_SECONDS_MAX,
    FaultKind,
    Permanent,
    Transient,
    client_faults,
    from_exception,
    from_status,
    retry_after_seconds,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, FaultKind.TIMEOUT),
        (425, FaultKind.CLIENT),
        (429, FaultKind.RATE_LIMITED),
        (500, FaultKind.SERVER),
        (502, FaultKind.SERVER),
        (503, FaultKind.SERVER),
        (504, FaultKind.TIMEOUT),
        (599, FaultKind.SERVER),
    ],
)
def test_statuses_that_may_pass(status: int, kind: FaultKind) -> None:
    """Overload, time-outs and server errors are worth another try."""
    fault = from_status(status, {}, peer="Slack")
    assert isinstance(fault, Transient)
    assert (fault.kind, fault.status, fault.retry_after) == (kind, status, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, FaultKind.CLIENT),
        (400, FaultKind.CLIENT),
        (401, FaultKind.AUTH),
        (403, FaultKind.AUTH),
        (404, FaultKind.NOT_FOUND),
        (409, FaultKind.CONFLICT),
        (410, FaultKind.GONE),
        (413, FaultKind.CLIENT),
        (422, FaultKind.INVALID),
        (501, FaultKind.SERVER),
    ],
)
def test_statuses_that_will_not_pass(status: int, kind: FaultKind) -> None:
    """Redirects, refusals and what the server never learned are not repeated."""
    fault = from_status(status, {}, peer="Slack")
    assert isinstance(fault, Permanent)
    assert (fault.kind, fault.status) == (kind, status)


def test_success_is_no_fault() -> None:
    """To classify a 2xx is a mistake of the caller and says so."""
    with pytest.raises(ValueError, match="204"):
        from_status(204, {}, peer="Slack")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "9" * 5000}, RETRY_AFTER_SECONDS_MAX),
        ({"Retry-After": "Sat, 21 Nov 2026 10:00:42 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 42.0),
        ({"Retry-After": "Sat, 21 Nov 2026 09:00:00 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"Retry-After": "Sun, 22 Nov 2026 09:00:00 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 300.0),
        ({"Retry-After": "Sat, 21 Nov 2026 10:00:42 GMT"}, None),
        ({"Retry-After": "Sat, 21 Nov 2026 10:00:42 -0000", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds and dates are read, nonsense is ignored, and nobody makes us wait longer than the cap."""
    assert retry_after_seconds(headers) == seconds


def test_the_longer_of_two_waits_counts() -> None:
    """A wait in the body and one in the header are both honoured."""
    fault = from_status(429, {"Retry-After": "3"}, peer="Slack", retry_after=9)
    assert isinstance(fault, Transient)
    assert fault.retry_after == 9
    capped = from_status(429, {"Retry-After": "3"}, peer="Slack", retry_after=1e9)
    assert isinstance(capped, Transient)
    assert capped.retry_after == RETRY_AFTER_SECONDS_MAX


def test_reasons_are_short_and_on_one_line() -> None:
    """Whatever a peer sends fits a log line."""
    fault = from_status(422, {}, peer="Kubernetes", message="a\nb " * 10_000, causes=("x" * 9999,) * 99)
    assert "\n" not in str(fault)
    assert len(str(fault)) == REASON_CHARS_MAX
    assert len(fault.causes) == CAUSES_MAX
    assert all(len(cause) <= REASON_CHARS_MAX for cause in fault.causes)


SECRET = "xoxb-secret"
ADDRESS = URL(f"https://hooks.test/{SECRET}")
INFO = aiohttp.RequestInfo(ADDRESS, "POST", {}, ADDRESS)  # type: ignore[arg-type]
KEY = type("Key", (), {"host": "hooks.test", "port": 443, "is_ssl": True, "ssl": True})()


@pytest.mark.parametrize(
    ("exc", "kind", "transient"),
    [
        (TimeoutError(), FaultKind.TIMEOUT, True),
        (aiohttp.SocketTimeoutError(SECRET), FaultKind.TIMEOUT, True),
        (aiohttp.ConnectionTimeoutError(SECRET), FaultKind.TIMEOUT, True),
        (aiohttp.ServerDisconnectedError(SECRET), FaultKind.NETWORK, True),
        (aiohttp.ClientPayloadError(SECRET), FaultKind.NETWORK, True),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), FaultKind.NETWORK, True),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), FaultKind.NETWORK, True),
        (ConnectionResetError(), FaultKind.NETWORK, True),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(SECRET)), FaultKind.NETWORK, True),
        (aiohttp.ClientConnectorSSLError(KEY, OSError(1, SECRET)), FaultKind.NETWORK, True),
        (aiohttp.ContentTypeError(INFO, (), message=SECRET), FaultKind.SERVER, True),
        (aiohttp.InvalidURL(str(ADDRESS)), FaultKind.CLIENT, False),
        (aiohttp.TooManyRedirects(INFO, ()), FaultKind.CLIENT, False),
        (asyncio.IncompleteReadError(b"", 1), FaultKind.NETWORK, True),
    ],
)
def test_client_exceptions(exc: Exception, kind: FaultKind, transient: bool) -> None:
    """Each exception of the client has its kind, and no fault repeats an address or a text that may hold a token."""
    fault = from_exception(exc, peer="Slack")
    assert fault.kind is kind
    assert isinstance(fault, Transient) is transient
    assert SECRET not in repr(fault)
    with pytest.raises(type(fault)) as raised, client_faults("Slack"):
        raise exc
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("exc", [asyncio.CancelledError(), KeyError("x"), Permanent("no", FaultKind.AUTH)])
def test_what_is_not_the_clients_passes(exc: BaseException) -> None:
    """Cancellation, bugs and faults go through unchanged."""
    with pytest.raises(type(exc)) as raised, client_faults("Slack"):
        raise exc
    assert raised.value is exc
