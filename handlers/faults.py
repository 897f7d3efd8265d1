"""What may go wrong with an outside system, in two kinds: it may pass (Transient), or it will fail again (Permanent).

Every handler translates at its edge, once: a status by `from_status`, a client's exception by `client_faults`. Inward
go only these two, so nobody further in knows aiohttp or a vendor's codes. Messages are short and are built from parts
that are known to be harmless: a library's own text may hold an address with a token in it (Slack webhooks).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from enum import Enum

import aiohttp

RETRY_AFTER_SECONDS_MAX = 300.0
"""Longest wait a peer may ask of us. Above it a broken or hostile header would silence a page for hours."""

REASON_CHARS_MAX = 300
"""Longest reason that is kept: a line in a log or a page, not a document."""

CAUSES_MAX = 20
"""Most causes that are kept: enough to see what is wrong with an object, and no more than fits a message."""


class FaultKind(Enum):
    """Why it failed; the values are metric labels."""

    AUTH = "auth"
    RATE_LIMITED = "rate_limited"
    CLIENT = "client"
    SERVER = "server"
    TIMEOUT = "timeout"
    NETWORK = "network"
    CONFLICT = "conflict"
    GONE = "gone"
    NOT_FOUND = "not_found"
    INVALID = "invalid"


class Fault(Exception):  # noqa: N818 - a word of the project; its two kinds are what is raised
    """An outside system did not do what it was asked. Raised only as Transient or Permanent.

    `status` is the HTTP status where there was one; `code` the vendor's machine-readable word (Kubernetes'
    Status.reason, Slack's `error`); `causes` its findings field by field. None of them ever holds a secret of ours.
    """

    def __init__(
        self, reason: str, kind: FaultKind, *, status: int | None = None, code: str = "", causes: tuple[str, ...] = ()
    ) -> None:
        self.reason = shorten(reason)
        self.kind = kind
        self.status = status
        self.code = code
        self.causes = tuple(shorten(cause) for cause in causes[:CAUSES_MAX])
        super().__init__(self.reason)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind.value}, status={self.status}, {self.reason!r})"


class Transient(Fault):
    """May pass by itself. `retry_after` is the least number of seconds the peer asked us to wait, None if none."""

    def __init__(
        self,
        retry_after: float | None,
        reason: str,
        kind: FaultKind,
        *,
        status: int | None = None,
        code: str = "",
        causes: tuple[str, ...] = (),
    ) -> None:
        self.retry_after = retry_after
        super().__init__(reason, kind, status=status, code=code, causes=causes)


class Permanent(Fault):
    """The same request will fail again: it, the credentials or the world must change first."""


def shorten(text: str) -> str:
    """The text on one line, at most REASON_CHARS_MAX characters."""
    # A slice first: a hostile answer may hold megabytes.
    line = " ".join(text[: 4 * REASON_CHARS_MAX].split())
    return line if len(line) <= REASON_CHARS_MAX else line[: REASON_CHARS_MAX - 1] + "…"


_PERMANENT_KINDS = {
    401: FaultKind.AUTH,
    403: FaultKind.AUTH,
    404: FaultKind.NOT_FOUND,
    409: FaultKind.CONFLICT,
    410: FaultKind.GONE,
    422: FaultKind.INVALID,
}
_TRANSIENT_KINDS = {408: FaultKind.TIMEOUT, 425: FaultKind.CLIENT, 429: FaultKind.RATE_LIMITED, 504: FaultKind.TIMEOUT}
_NEVER_IMPLEMENTED = (501, 505)


def from_status(
    status: int,
    headers: Mapping[str, str],
    *,
    peer: str,
    message: str = "",
    code: str = "",
    causes: tuple[str, ...] = (),
    retry_after: float | None = None,
) -> Fault:
    """The fault that an HTTP answer stands for (RFC 9110 §15; 429 of RFC 6585). Raise what it returns.

    `peer` names the outside system, `message` its explanation as read from the body; `retry_after` is a wait in seconds
    found in the body, of which and the header the longer counts. A 2xx is a mistake of the caller: ValueError.
    """
    if 200 <= status <= 299:
        raise ValueError(f"status {status} is no fault")
    reason = f"{peer} answered {status}" + (f": {message}" if message else "")
    transient = _TRANSIENT_KINDS.get(status)
    if transient is None and status >= 500 and status not in _NEVER_IMPLEMENTED:
        transient = FaultKind.SERVER
    if transient is not None:
        waits = [w for w in (retry_after_seconds(headers), _capped(retry_after)) if w is not None]
        return Transient(max(waits, default=None), reason, transient, status=status, code=code, causes=causes)
    kind = _PERMANENT_KINDS.get(status, FaultKind.SERVER if status >= 500 else FaultKind.CLIENT)
    return Permanent(reason, kind, status=status, code=code, causes=causes)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait that a Retry-After header asks for, in [0, RETRY_AFTER_SECONDS_MAX]; None where absent or nonsense.

    RFC 9110 §10.2.3: seconds or an HTTP date. A date is measured against the Date header of the same answer, so that a
    wrong clock on either side does no harm; without that header a date says nothing.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        # Ten digits are already centuries; int() of a hostile length would raise.
        return _capped(float(value[:10]))
    try:
        delta = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return _capped(delta.total_seconds())


def _capped(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


@contextmanager
def client_faults(peer: str) -> Iterator[None]:
    """Turn what aiohttp and the socket layer raise in the block into faults; everything else passes unchanged.

    A cancelled task stays cancelled, a fault stays what it is, a bug of ours stays a bug.
    """
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as exc:
        # `from None`: the original's text may hold an address with a token, and tracebacks are logged.
        raise from_exception(exc, peer=peer) from None


def from_exception(exc: Exception, *, peer: str) -> Fault:
    """The fault that an exception of aiohttp or the socket layer stands for."""
    if isinstance(exc, TimeoutError):
        return Transient(None, f"{peer} did not answer in time ({type(exc).__name__})", FaultKind.TIMEOUT)
    if isinstance(exc, (aiohttp.InvalidURL, aiohttp.TooManyRedirects, aiohttp.ClientPayloadError)):
        return _of_request(exc, peer)
    if isinstance(exc, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError)):
        # A certificate is renewed while we run: worth another try, however permanent it looks.
        return Transient(None, f"TLS with {peer} failed: {_tls_reason(exc)}", FaultKind.NETWORK)
    if isinstance(exc, aiohttp.ClientResponseError):
        return Transient(None, f"{peer} sent no proper HTTP answer ({type(exc).__name__})", FaultKind.SERVER)
    detail = (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__
    return Transient(None, f"connection to {peer} failed: {detail}", FaultKind.NETWORK)


def _of_request(exc: Exception, peer: str) -> Fault:
    if isinstance(exc, aiohttp.InvalidURL):
        return Permanent(f"the configured address of {peer} is no valid URL", FaultKind.CLIENT)
    if isinstance(exc, aiohttp.TooManyRedirects):
        return Permanent(f"{peer} redirects without end", FaultKind.CLIENT)
    return Transient(None, f"{peer} broke off in the middle of its answer", FaultKind.NETWORK)


def _tls_reason(exc: Exception) -> str:
    inner = exc
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        inner = exc.certificate_error
    elif isinstance(exc, aiohttp.ClientConnectorError):
        inner = exc.os_error
    # OpenSSL sets these words; an exception made by anyone else lacks them.
    word = getattr(inner, "verify_message", None) or getattr(inner, "reason", None)
    return word if isinstance(word, str) else type(inner).__name__
