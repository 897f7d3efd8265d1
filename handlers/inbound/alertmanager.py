"""Alertmanager's webhook, payload version 4: POST /api/v1/alertmanager.

A 2xx promises that the alerts are on disk, so it is sent after `Intake.accept` and never before. Alertmanager repeats
after 5xx and drops after 4xx: therefore 503 when we cannot keep it, 400 only for nonsense, never 429 (protocols §1.2).
Each payload lists all alerts of its group (level-triggered); the core de-duplicates over payloads and peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
import structlog
from aiohttp import web

from daemon.core.events import AlertSource, AlertsReported
from daemon.core.model import Alert, AlertStatus
from daemon.ports import Clock, InboxFullError, Intake, JournalUnavailableError, Telemetry
from handlers.alerts import (
    ANNOTATION_CHARS_MAX,
    FINGERPRINT,
    LABEL_CHARS_MAX,
    NAME_CHARS_MAX,
    PAIRS_MAX,
    URL_CHARS_MAX,
    MalformedError,
    alert_of,
    distinct,
    kind_of,
    moment,
    object_of,
    parse_json,
)
from handlers.auth import Authenticator
from handlers.door import RETRY_AFTER_SECONDS, BusyError, Door, DoorLimits
from handlers.server import BodyRefusedError, line, read_body

PATH = "/api/v1/alertmanager"
SOURCE = "alertmanager"

ALERTS_MAX = 10_000
"""Most alerts in one payload. A larger group says nothing that its first 10,000 do not; `max_alerts` cuts it."""

VALUES_MAX = 1_000_000
"""Most values in one payload, counted by commas and opening brackets before it is read. 16 MiB of real alerts with the shortest
usual labels have 700,000; of `{}` they have five million, which take half a gigabyte and the loop for seconds to be refused."""

ALERTS_REMEMBERED = 2048
REMEMBERED_BYTES_MAX = 4096
"""Alerts that are not read again when they come again in the same bytes: Alertmanager repeats a whole group whenever one of
its alerts changes. A thousand usual ones take about 3 MB; larger ones (bytes) are read each time."""

ALERTS_EACH = 100
"""Alerts in one event: it is decided without a pause, some 0.5 ms for each new one."""

LARGE_BYTES = 256 * 1024
"""Bodies above this are read one at a time beside the loop, which reading 16 MiB would stop for half a second."""

QUIET_SECONDS = 10.0
"""At most one log line in this time tells that senders are turned away; a flood of them would cost more than its answers."""

_STATUSES = {"firing": AlertStatus.FIRING, "resolved": AlertStatus.RESOLVED}
_REFUSED = {400: "malformed", 413: "too_large", 503: "busy"}
_QUIETLY = frozenset({"busy", "full"})

_log = structlog.get_logger(__name__)


class AlertmanagerWebhook:
    """Answers the webhook. Without `auth` everybody may send.

    `on_accepted` is called when something is on disk, `on_truncated` when a payload was cut: for the poll of the API.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        clock: Clock,
        telemetry: Telemetry,
        auth: Authenticator | None,
        on_accepted: Callable[[], None],
        on_truncated: Callable[[], None],
        door: Door | None = None,
    ) -> None:
        self._intake = intake
        self._clock = clock
        self._telemetry = telemetry
        self._auth = auth
        self._on_accepted = on_accepted
        self._on_truncated = on_truncated
        self._door = door or Door(DoorLimits())
        self._large = asyncio.Lock()
        self._turned_away = 0
        self._quiet_until = 0.0

    def routes(self) -> list[web.RouteDef]:
        """The route, with and without a slash at its end."""
        return [web.post(PATH, self.receive), web.post(f"{PATH}/", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Take one payload: 200 once it is on disk; 400, 401, 413 or 503 with one line that says why not."""
        # Before the body: a stranger shall not cost us 16 MiB.
        if self._auth is not None and self._auth.who(request.headers) is None:
            return self._unauthorized(self._auth)
        try:
            leave = await self._door.enter(request)
        except BusyError as exc:
            return self._refuse(503, "busy", str(exc))
        try:
            alerts, truncated = await self._read(await read_body(request))
            await self._accept(alerts)
        except BodyRefusedError as exc:
            return self._refuse(exc.status, _REFUSED[exc.status], str(exc))
        except MalformedError as exc:
            return self._refuse(400, "malformed", str(exc))
        except JournalUnavailableError:
            return self._refuse(503, "unavailable", "the journal cannot write now, try again")
        except InboxFullError as exc:
            return self._refuse(503, "full", f"the inbox is full ({exc}), try again")
        finally:
            leave()
        self._telemetry.intake(SOURCE, "accepted")
        if truncated:
            self._notice_truncated(truncated)
        return line(200, "accepted")

    async def _read(self, body: bytes) -> tuple[tuple[Alert, ...], int]:
        if len(body) <= LARGE_BYTES:
            return alerts_of(body)
        async with self._large:
            return await asyncio.to_thread(alerts_of, body)

    async def _accept(self, alerts: tuple[Alert, ...]) -> None:
        """All of them, or an error: the sender sends them again, and those that were kept are known then."""
        refused: InboxFullError | None = None
        for first in range(0, len(alerts), ALERTS_EACH):
            some = alerts[first : first + ALERTS_EACH]
            try:
                await self._intake.accept(AlertsReported(at=self._clock.now(), source=AlertSource.WEBHOOK, alerts=some))
            except InboxFullError as exc:
                refused = exc  # others of them may be such as need no room: that they ended, say
        if alerts:
            self._on_accepted()
        if refused is not None:
            raise refused

    def _notice_truncated(self, truncated: int) -> None:
        """Some alerts were left out of the payload (`max_alerts`): only the API tells which."""
        self._telemetry.intake(SOURCE, "truncated")
        _log.warning("webhook_truncated", left_out=truncated, remedy="set max_alerts: 0 in the webhook_config")
        self._on_truncated()

    def _unauthorized(self, auth: Authenticator) -> web.Response:
        answer = self._refuse(401, "unauthorized", "no credentials that are known here")
        answer.headers.extend(auth.challenge())
        return answer

    def _refuse(self, status: int, result: str, reason: str) -> web.Response:
        self._telemetry.intake(SOURCE, result)
        if result in _QUIETLY:
            self._tell_quietly(result, reason)
        else:
            _log.warning("webhook_refused", status=status, result=result, reason=reason)
        answer = line(status, reason)
        if status == 503:
            answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return answer

    def _tell_quietly(self, result: str, reason: str) -> None:
        self._turned_away += 1
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            return
        _log.warning("webhook_shed", result=result, reason=reason, since_last_line=self._turned_away)
        self._turned_away = 0
        self._quiet_until = now + QUIET_SECONDS


_Name = Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)]
_Labels = Annotated[
    dict[_Name, Annotated[str, msgspec.Meta(max_length=LABEL_CHARS_MAX)]], msgspec.Meta(max_length=PAIRS_MAX)
]
_Annotations = Annotated[
    dict[_Name, Annotated[str, msgspec.Meta(max_length=ANNOTATION_CHARS_MAX)]], msgspec.Meta(max_length=PAIRS_MAX)
]


class _PlainAlert(msgspec.Struct, rename="camel"):
    """An alert as nearly all are: everything there, nothing too long."""

    status: Literal["firing", "resolved"]
    labels: _Labels
    starts_at: str
    fingerprint: str
    annotations: _Annotations | None = None
    generator_url: Annotated[str, msgspec.Meta(max_length=URL_CHARS_MAX)] = msgspec.field(
        default="", name="generatorURL"
    )


class _PlainPayload(msgspec.Struct, rename="camel"):
    version: Literal["4"]
    alerts: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=ALERTS_MAX)]
    truncated_alerts: Annotated[int, msgspec.Meta(ge=0)] | None = None


_PLAIN = msgspec.json.Decoder(_PlainPayload)
_PLAIN_ALERT = msgspec.json.Decoder(_PlainAlert)


def schemas() -> dict[str, Any]:
    """JSON Schemas of the payload and of an alert, by name: what the structs above take."""
    names = {_PlainPayload.__name__: "AlertmanagerPayload", _PlainAlert.__name__: "AlertmanagerAlert"}
    _, found = msgspec.json.schema_components([_PlainPayload, _PlainAlert])
    named: dict[str, Any] = {name: {**found[struct], "title": name} for struct, name in names.items()}
    named["AlertmanagerPayload"]["properties"]["alerts"]["items"] = {"$ref": "#/components/schemas/AlertmanagerAlert"}
    told = named["AlertmanagerAlert"]["properties"]
    told["fingerprint"]["pattern"] = f"^{FINGERPRINT.pattern}$"
    told["startsAt"]["format"] = "date-time"
    return named


def alerts_of(body: bytes) -> tuple[tuple[Alert, ...], int]:
    """The alerts of a webhook payload, and how many Alertmanager left out of it. Raises MalformedError.

    Only the fields that are needed are read: every release so far added some and changed none (protocols §1.1). What is
    unusual in any way is read a second time, slowly: that road knows what may be cut and can say what is wrong.
    """
    values = sum(map(body.count, (b",", b"{", b"[")))
    if values > VALUES_MAX:
        raise MalformedError("body", f"holds {values} values, at most {VALUES_MAX} are read: set max_alerts")
    try:
        body.decode()  # also in the fields that nobody reads
        payload = _PLAIN.decode(body)
        return distinct(_known_alert(bytes(entry)) for entry in payload.alerts), payload.truncated_alerts or 0
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MalformedError):
        return _read_slowly(body)


def _known_alert(raw: bytes) -> Alert:
    return _remembered(raw) if len(raw) <= REMEMBERED_BYTES_MAX else _plain_alert(raw)


@lru_cache(maxsize=ALERTS_REMEMBERED)
def _remembered(raw: bytes) -> Alert:
    return _plain_alert(raw)


def _plain_alert(raw: bytes) -> Alert:
    entry = _PLAIN_ALERT.decode(raw)
    if not FINGERPRINT.fullmatch(entry.fingerprint):
        raise MalformedError("fingerprint", "is told of by the slow road")
    return Alert(
        fingerprint=entry.fingerprint,
        status=_STATUSES[entry.status],
        labels=tuple(sorted(entry.labels.items())),
        annotations=tuple(sorted(entry.annotations.items())) if entry.annotations else (),
        starts_at=moment(entry.starts_at, "startsAt"),
        generator_url=entry.generator_url,
    )


def _read_slowly(body: bytes) -> tuple[tuple[Alert, ...], int]:
    payload = object_of(parse_json(body, "body"), "body")
    version = payload.get("version")
    if version != "4":
        raise MalformedError("version", _version_problem(version))
    entries = payload.get("alerts")
    if not isinstance(entries, list):
        raise MalformedError("alerts", "is missing" if entries is None else f"must be an array, is {kind_of(entries)}")
    if len(entries) > ALERTS_MAX:
        raise MalformedError("alerts", f"has {len(entries)} entries, at most {ALERTS_MAX} are taken: set max_alerts")
    alerts = distinct(_alert(entry, f"alerts[{index}]") for index, entry in enumerate(entries))
    return alerts, _truncated(payload.get("truncatedAlerts"))


def _version_problem(version: object) -> str:
    if version is None:
        return 'is missing, only "4" is understood (is this Alertmanager\'s own payload?)'
    shown = f"{version[:20]!a}" if isinstance(version, str) else kind_of(version)
    return f'must be "4" (a string), is {shown}'


def _alert(entry: object, path: str) -> Alert:
    status = object_of(entry, path).get("status")
    if not isinstance(status, str) or status not in _STATUSES:
        raise MalformedError(f"{path}.status", 'must be "firing" or "resolved"')
    return alert_of(entry, path, _STATUSES[status])


def _truncated(raw: object) -> int:
    if raw is None:
        return 0
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise MalformedError("truncatedAlerts", "must be a whole number, 0 or more")
    return raw
