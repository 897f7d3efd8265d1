"""Deployment events over HTTP: POST /api/v1/events/{source}, one address per configured source, whose kind decides how it is
read.

A 2xx promises that what the event said is on disk (202), or that it says nothing about a workload here (200). Signatures
cover the raw body, so that is read first, but not before the headers show a credential at all: a stranger shall not cost
us a body. Pipelines inform; whether a failure may also open an incident is a permission of its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.events import Noticed
from daemon.core.notices import Notice
from daemon.ports import Clock, InboxFullError, Intake, JournalUnavailableError, Telemetry
from handlers.alerts import MalformedError
from handlers.auth import Authenticator
from handlers.cloudevents import header_attributes, notices_of
from handlers.door import RETRY_AFTER_SECONDS
from handlers.notice_fields import ForgedError, UnsupportedError
from handlers.notice_input import check_fresh
from handlers.notice_mapping import Sender
from handlers.server import BodyRefusedError, line
from handlers.stranger_bodies import BodyShare

PATH = "/api/v1/events/{source}"

BODY_BYTES_MAX = 2 * 2**20
"""Largest event. A GitLab pipeline of 1,000 jobs has about 1.2 MB; reading 2 MiB of JSON takes some 25 ms of the loop."""

READING_MAX = 8
"""Most bodies of one source that are read at one time, 16 MiB in all. Who signs is known only after the body; so strangers
must neither use up what Alertmanager's webhooks share (ServerLimits.bodies_bytes_max), nor another source's turn."""

BODY_SECONDS_MAX = 10.0
"""Within this a body must have arrived; senders have it at hand."""

AGE_MAX = timedelta(hours=24)
"""How old an event of kind `events` may be: a sender that was cut off for a day tells news; later it is a replay."""

_REFUSED = {400: "malformed", 413: "too_large", 503: "busy"}

Headers = CIMultiDictProxy[str]

_log = structlog.get_logger(__name__)


class SourceReader(Protocol):
    """One configured source: who may send, and what its events say."""

    def greet(self, headers: Headers) -> None:
        """Before the body is read. Raises ForgedError where the headers cannot be those of the sender."""
        ...

    def read(self, headers: Headers, body: bytes, now: datetime) -> tuple[Notice, ...]:
        """The notices, none where the event says nothing about a workload here. Raises ForgedError, MalformedError."""
        ...

    def challenge(self) -> CIMultiDict[str]:
        """Headers of the 401."""
        ...


class EventsReader:
    """Kind `events`: CloudEvents, CDEvents and plain JSON, with a bearer token; without `auth` everybody may send."""

    def __init__(self, sender: Sender, auth: Authenticator | None) -> None:
        self._sender = sender
        self._auth = auth

    def greet(self, headers: Headers) -> None:
        """The token is all that proves the sender."""
        if self._auth is not None and self._auth.who(headers) is None:
            raise ForgedError("no credentials that are known here")

    def read(self, headers: Headers, body: bytes, now: datetime) -> tuple[Notice, ...]:
        """What the events say; none of them may be older than a day."""
        notices = notices_of(headers.get("Content-Type"), header_attributes(headers.items()), body, self._sender)
        for notice in notices:
            check_fresh(notice.at, now, AGE_MAX, "time")
        return notices

    def challenge(self) -> CIMultiDict[str]:
        """Which scheme could succeed."""
        return CIMultiDict() if self._auth is None else self._auth.challenge()


class DeploymentEvents:
    """Answers the sources' address."""

    def __init__(
        self, *, intake: Intake, clock: Clock, telemetry: Telemetry, sources: Mapping[str, SourceReader]
    ) -> None:
        self._intake = intake
        self._clock = clock
        self._telemetry = telemetry
        self._sources = sources
        self._shares = {
            name: BodyShare(bodies_max=READING_MAX, bytes_max=BODY_BYTES_MAX, seconds_max=BODY_SECONDS_MAX)
            for name in sources
        }

    def routes(self) -> list[web.RouteDef]:
        """The route, with and without a slash at its end."""
        return [web.post(PATH, self.receive), web.post(f"{PATH}/", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Take one event or batch: 202 on disk, 200 of no interest; 400, 401, 404, 413, 415 or 503 with the reason."""
        name = request.match_info["source"]
        reader = self._sources.get(name)
        if reader is None:
            # Not counted by name: names of strangers would become labels without end.
            _log.warning("event_refused", status=404, source=name[:64])
            return line(404, "no source of this name is configured (events.sources)")
        try:
            reader.greet(request.headers)
            notices = reader.read(request.headers, await self._shares[name].read(request), self._clock.now())
            await self._accept(notices)
        except ForgedError as error:
            return self._unauthorized(name, reader, str(error))
        except BodyRefusedError as error:
            return self._refuse(name, error.status, _REFUSED[error.status], str(error))
        except UnsupportedError as error:
            return self._refuse(name, 415, "malformed", str(error))
        except MalformedError as error:
            return self._refuse(name, 400, "malformed", str(error))
        except JournalUnavailableError:
            return self._refuse(name, 503, "unavailable", "the journal cannot write now, try again")
        except InboxFullError:
            return self._refuse(name, 503, "full", "the inbox is full, try again")
        return self._taken(name, notices)

    async def _accept(self, notices: tuple[Notice, ...]) -> None:
        """One after the other. When one fails the sender repeats all, and the core drops those that it has."""
        for notice in notices:
            await self._intake.accept(Noticed(at=self._clock.now(), notice=notice))

    def _taken(self, name: str, notices: tuple[Notice, ...]) -> web.Response:
        if notices:
            self._telemetry.intake(name, "accepted")
            return line(202, "accepted")
        self._telemetry.intake(name, "ignored")
        _log.info("event_ignored", source=name)
        return line(200, "ignored: it says nothing about a rollout of a workload that is named or mapped here")

    def _unauthorized(self, name: str, reader: SourceReader, reason: str) -> web.Response:
        answer = self._refuse(name, 401, "unauthorized", reason)
        answer.headers.extend(reader.challenge())
        return answer

    def _refuse(self, name: str, status: int, result: str, reason: str) -> web.Response:
        self._telemetry.intake(name, result)
        _log.warning("event_refused", source=name, status=status, result=result, reason=reason)
        answer = line(status, reason)
        if status == 503:
            answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return answer
