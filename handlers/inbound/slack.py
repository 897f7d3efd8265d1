"""Presses of buttons by Slack's request: POST /api/v1/slack/interactions, for who has a public URL.

Slack signs each request: `X-Slack-Signature: v0=hex(HMAC-SHA256(signing secret, "v0:" + X-Slack-Request-Timestamp + ":" +
raw body))`, and nothing of the body is looked at before that holds (protocols.md §5.2; Slack documentation, "Verifying
requests from Slack"). A request older than five minutes is refused, the same one within them is answered and not followed
again. Slack shows the presser a failure after 3 s, so the answer comes within two, whatever the journal does meanwhile;
what came of the press is told through the press' own response_url.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from urllib.parse import parse_qs

import structlog
from aiohttp import web

from daemon.ports import Clock, Telemetry
from handlers.alerts import MalformedError, parse_json
from handlers.server import BodyRefusedError, line
from handlers.slack_presses import SOURCE, PressesFullError, SlackPresses
from handlers.stranger_bodies import BodyShare

PATH = "/api/v1/slack/interactions"

WINDOW_SECONDS = 300
"""How far a request's timestamp may lie from our clock, to either side."""

BODY_BYTES_MAX = 512 * 1024
"""Largest body: a press comes with its whole message, whose 12,000 characters take up to nine bytes each in a form."""

READING_MAX = 16
"""Most bodies that are read at one time, 8 MiB in all. This address is meant to be public: bodies of strangers, read before
their signature can be checked, must not use up what Alertmanager's webhooks share (ServerLimits.bodies_bytes_max)."""

BODY_SECONDS_MAX = 10.0
"""Within this a body must have arrived; Slack sends it at once."""

FIELDS_MAX = 8
"""Most form fields; Slack sends one."""

REPLAYS_MAX = 4_096
"""Most signatures that are remembered; only Slack can make new ones, and people press far less in five minutes."""

SIGNATURE_HEADER = "X-Slack-Signature"
TIMESTAMP_HEADER = "X-Slack-Request-Timestamp"

_TIMESTAMP = re.compile(r"[0-9]{1,11}")
_RESULTS = {400: "malformed", 413: "too_large", 503: "busy"}

_log = structlog.get_logger(__name__)


class _UnsignedError(Exception):
    """The request is not Slack's, or too old; the text says which."""


class SlackInteractions:
    """Answers Slack's interactivity request URL."""

    def __init__(self, *, presses: SlackPresses, signing_secret: str, clock: Clock, telemetry: Telemetry) -> None:
        self._presses = presses
        self._key = signing_secret.encode()
        self._clock = clock
        self._telemetry = telemetry
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._share = BodyShare(bodies_max=READING_MAX, bytes_max=BODY_BYTES_MAX, seconds_max=BODY_SECONDS_MAX)

    def routes(self) -> list[web.RouteDef]:
        """The route, with and without a slash at its end."""
        return [web.post(PATH, self.receive), web.post(f"{PATH}/", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Take one interaction: 200 when it is kept, 400, 401, 413 or 503 with one line that says why not."""
        try:
            moment, given = self._signed_at(request), _only_header(request, SIGNATURE_HEADER)
            body = await self._share.read(request)
            signature = self._verified(moment, given, body)
            return await self._taken(request.content_type, body, signature, int(moment))
        except _UnsignedError as unsigned:
            return self._refuse(401, "unauthorized", str(unsigned))
        except BodyRefusedError as refused:
            return self._refuse(refused.status, _RESULTS[refused.status], str(refused))
        except MalformedError as malformed:
            return self._refuse(400, "malformed", str(malformed))
        except PressesFullError as full:
            return self._refuse(503, "full", str(full))

    async def _taken(self, content_type: str, body: bytes, signature: bytes, moment: int) -> web.Response:
        if signature in self._seen:
            self._telemetry.intake(SOURCE, "replayed")
            _log.warning("slack_request_replayed")
            return web.Response(status=200)
        payload = _payload(content_type, body)
        # Before the press is carried out: the same request may come again while it is.
        self._remember(signature, moment)
        try:
            await self._presses.take(payload)
        except (MalformedError, PressesFullError):
            self._seen.pop(signature, None)  # nothing was done: the same request may try again
            raise
        # Empty: a body would be shown to everybody in the channel by older kinds of messages.
        return web.Response(status=200)

    def _signed_at(self, request: web.Request) -> str:
        """The timestamp, as it was signed. Before the body: a stranger shall not cost us its memory."""
        text = _only_header(request, TIMESTAMP_HEADER)
        if _TIMESTAMP.fullmatch(text) is None:
            raise _UnsignedError(f"{TIMESTAMP_HEADER} is missing or is no time in seconds")
        if abs(self._clock.now().timestamp() - int(text)) > WINDOW_SECONDS:
            raise _UnsignedError(f"{TIMESTAMP_HEADER} is more than {WINDOW_SECONDS} s away from the clock here")
        return text

    def _verified(self, moment: str, given: str, body: bytes) -> bytes:
        """The signature's bytes, where it is Slack's."""
        digest = hmac.new(self._key, b"v0:" + moment.encode() + b":" + body, hashlib.sha256)
        expected = b"v0=" + digest.hexdigest().encode()
        # aiohttp decodes headers with surrogateescape: this gives back the bytes as they were sent.
        if not hmac.compare_digest(expected, given.encode("utf-8", "surrogateescape")):
            raise _UnsignedError(f"{SIGNATURE_HEADER} is missing or wrong: is slack.signing_secret that of this app?")
        return digest.digest()

    def _remember(self, signature: bytes, moment: int) -> None:
        oldest = self._clock.now().timestamp() - WINDOW_SECONDS
        # By arrival, not by moment: one that lies further in the future is merely kept longer.
        while self._seen and (next(iter(self._seen.values())) < oldest or len(self._seen) >= REPLAYS_MAX):
            self._seen.popitem(last=False)
        self._seen[signature] = moment

    def _refuse(self, status: int, result: str, reason: str) -> web.Response:
        self._telemetry.intake(SOURCE, result)
        _log.warning("slack_request_refused", status=status, result=result, reason=reason)
        return line(status, reason)


def _only_header(request: web.Request, name: str) -> str:
    """The header's value; empty where it is missing or given twice."""
    values = request.headers.getall(name, [])
    return values[0] if len(values) == 1 else ""


def _payload(content_type: str, body: bytes) -> object:
    """The JSON value in the form field `payload`. Raises MalformedError."""
    if content_type != "application/x-www-form-urlencoded":
        raise MalformedError("body", "must be a form (application/x-www-form-urlencoded), as Slack sends it")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict",
                          max_num_fields=FIELDS_MAX)  # fmt: skip
    except ValueError:
        raise MalformedError("body", "is no form that can be read") from None
    values = fields.get("payload", [])
    if len(values) != 1:
        raise MalformedError("payload", "is missing" if not values else "is given twice")
    return parse_json(values[0].encode(), "payload")
