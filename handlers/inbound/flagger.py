"""Flagger's webhooks: what becomes of a canary (`event`, `post-rollout`), and whether to roll it back now (`rollback`).

Flagger sends no header of the user's and signs nothing. It passes on the hook's `metadata`, so the token stands there, and not in
the address: Flagger writes the address of a hook that fails into its log and into the Canary's events. An answer counts as yes up
to status 202 and as no above it, 204 included; so nothing here ever answers 204.

The two addresses are apart because a yes means different things. To an event it is "taken"; to the rollback hook it is "roll
back now". Hence events are told by what only they carry (`eventMessage`; a phase in which nothing can be rolled back any more),
and a rollback hook that is sent to the events' address gets 400, which Flagger reads as no. At the hook's own address every
failure is a 4xx: after a 5xx Flagger repeats a hook with `retries` within seconds, and it will ask again at its next interval
anyway. What a yes needs is decided in `daemon.core.canary`. Source: Flagger's "Webhooks" and pkg/controller/webhook.go
(protocols §2.5).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from config import workload_names
from daemon.core.canary import CanaryAnswer, must_roll_back
from daemon.core.events import Noticed
from daemon.core.model import Workload
from daemon.core.notices import Notice, NoticeStatus, digests_of
from daemon.core.policy import Policy
from daemon.ports import Clock, InboxFullError, Intake, JournalUnavailableError, Reader, Telemetry
from handlers.alerts import MalformedError, object_of, parse_json
from handlers.notice_fields import DESCRIPTION_CHARS_MAX, Fields, ForgedError, UnsupportedError
from handlers.notice_input import Claim, Stamp, Story, check_fresh, identity, told
from handlers.notice_mapping import Sender, Whereabouts, workload_of
from handlers.overview import cut, moment
from handlers.server import BodyRefusedError
from handlers.stranger_bodies import BodyShare

PATH = "/api/v1/flagger/{source}/rollback"

BODY_BYTES_MAX = 64 * 2**10
"""Largest body. A Canary's names and a hook's metadata take some hundred bytes; a stranger's is parsed to find its token."""

READING_MAX = 8
"""Most bodies of one source that are read at one time."""

BODY_SECONDS_MAX = 5.0
"""Within this a body must have arrived: Flagger waits 10 s for an answer."""

AGE_MAX = timedelta(hours=1)
"""How old an event may be: Flagger sends at once, and again only within its few retries."""

_PHASES = {
    "Progressing": NoticeStatus.STARTED,
    "Finalising": NoticeStatus.SUCCEEDED,
    "Succeeded": NoticeStatus.SUCCEEDED,
    "Failed": NoticeStatus.ROLLED_BACK,
}
"""What a phase says. "Promotion completed" is told while still finalising. A canary that failed takes no traffic any more."""

_ENDED = ("Succeeded", "Failed")
"""Phases of a `post-rollout` hook, and of no rollback hook."""

_MILLISECONDS = re.compile(r"[0-9]{12,14}")

_log = structlog.get_logger(__name__)


class CanaryHook:
    """One Flagger: reads what its hooks say, once their token is right; without a `token` (only for trying out) all are."""

    def __init__(self, sender: Sender, token: str | None) -> None:
        self.sender = sender
        self._token = None if token is None else _digest(token)

    def payload(self, headers: CIMultiDictProxy[str], body: bytes) -> Fields:
        """The hook's payload. Raises ForgedError, MalformedError, and BodyRefusedError for one that no hook has."""
        if len(body) > BODY_BYTES_MAX:
            raise BodyRefusedError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
        media = headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedError("content-type", "must be application/json")
        payload = Fields(object_of(parse_json(body, "body"), "body"))
        if self._token is not None:
            sent = payload.inner("metadata").entry.get("token")
            if not hmac.compare_digest(_digest(sent if isinstance(sent, str) else ""), self._token):
                raise ForgedError(
                    "metadata.token is missing or wrong: give the Canary's webhook the token of this source"
                )
        return payload

    def target(self, payload: Fields) -> Workload:
        """The workload that the Canary's targetRef names: as `metadata.workload` or a rule says, else of the Canary's name."""
        canary = _named(payload)
        said = payload.inner("metadata").string("workload")
        if said is None:
            rule = Whereabouts(service=f"Canary {canary.short}")
            return workload_of(self.sender, rule) or canary
        try:
            found = workload_names.parse(said)
        except ValueError as error:
            raise MalformedError("metadata.workload", str(error)) from None
        if found.namespace != canary.namespace:
            raise MalformedError("metadata.workload", "is in another namespace than the Canary")
        return found


class FlaggerEvents:
    """Reads hooks of type `event` and `post-rollout`, at the events' address."""

    def __init__(self, hook: CanaryHook) -> None:
        self._hook = hook

    def greet(self, headers: CIMultiDictProxy[str]) -> None:
        """Nothing in the headers tells who sends: the token is in the body."""

    def read(self, headers: CIMultiDictProxy[str], body: bytes, now: datetime) -> tuple[Notice, ...]:
        """The notice of one hook, none for a phase between. Raises ForgedError, MalformedError, BodyRefusedError."""
        payload = self._hook.payload(headers, body)
        metadata = payload.inner("metadata")
        phase = payload.name("phase")
        at, message = _event(metadata, now) if "eventMessage" in metadata.entry else (_ended(phase, now), None)
        status, target, canary = _PHASES.get(phase), self._hook.target(payload), _named(payload)
        # In these phases a warning is of something that Flagger tries again; that it is done it tells as Normal.
        warns = "eventMessage" in metadata.entry and metadata.string("eventType") != "Normal"
        if status is None or (warns and status is NoticeStatus.SUCCEEDED):
            return ()
        # Flagger tells of each step: one notice per revision and outcome. The first event of an analysis still has the
        # checksum of the revision before.
        id_ = identity(canary.namespace, canary.name, payload.string("checksum") or at.isoformat(), status.value)
        return told(
            self._hook.sender,
            Stamp(id=id_, at=at, status=status),
            Claim(workload=target),
            Story(description=message or f"Flagger: canary {canary.short} {phase.lower()}"),
        )

    def challenge(self) -> CIMultiDict[str]:
        """Flagger answers no challenge."""
        return CIMultiDict()


class FlaggerRollback:
    """Answers hooks of type `rollback`: 200 only when we mean it, 403 with the reason when not, and for every failure a 4xx."""

    def __init__(
        self,
        *,
        intake: Intake,
        reader: Reader,
        policy: Callable[[], Policy],
        clock: Clock,
        telemetry: Telemetry,
        hooks: Mapping[str, CanaryHook],
    ) -> None:
        self._intake = intake
        self._reader = reader
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry
        self._hooks = hooks
        self._shares = {
            name: BodyShare(bodies_max=READING_MAX, bytes_max=BODY_BYTES_MAX, seconds_max=BODY_SECONDS_MAX)
            for name in hooks
        }

    def routes(self) -> list[web.RouteDef]:
        """The route; none without a source of kind `flagger`."""
        return [web.post(PATH, self.asked)] if self._hooks else []

    async def asked(self, request: web.Request) -> web.Response:
        """Roll this canary back now? 200 yes; 403 no; 400, 401, 404, 413, 415 where it is not clear what is asked, or by whom."""
        name = request.match_info["source"]
        hook = self._hooks.get(name)
        if hook is None:
            return _answer(
                404, {"rollback": False, "error": "no source of kind flagger has this name (events.sources)"}
            )
        try:
            payload = hook.payload(request.headers, await self._shares[name].read(request))
            target = hook.target(payload)
        except ForgedError as error:
            return self._refuse(name, 401, "unauthorized", str(error))
        except BodyRefusedError as error:
            # Too many or too slow is a 503 elsewhere.
            return self._refuse(name, 403 if error.status >= 500 else error.status, "malformed", str(error))
        except UnsupportedError as error:
            return self._refuse(name, 415, "malformed", str(error))
        except MalformedError as error:
            return self._refuse(name, 400, "malformed", str(error))
        return await self._answered(name, target)

    async def _answered(self, name: str, target: Workload) -> web.Response:
        now, waits_for = self._clock.now(), self._reader.ready
        found = CanaryAnswer(roll_back=False, reason=f"the daemon is not ready to say yes: {waits_for}")
        if waits_for is None:
            found = must_roll_back(self._reader.state, self._policy(), target, now)
        if found.roll_back:
            try:
                await self._noted(name, target, found, now)
            except (JournalUnavailableError, InboxFullError):
                return self._refuse(
                    name, 403, "unavailable", "a yes is on disk before it is said: the journal cannot take it now"
                )
            _log.warning("flagger_told_to_roll_back", source=name, workload=target.key, reason=found.reason)
        document = {
            "now": moment(now),
            "workload": target.key,
            "rollback": found.roll_back,
            "reason": cut(found.reason),
        }
        return _answer(200 if found.roll_back else 403, document)

    async def _noted(self, name: str, target: Workload, found: CanaryAnswer, now: datetime) -> None:
        """On disk, once per revision, before another controller acts on it; it belongs to the rollout that Flagger analyses."""
        current = self._reader.state.workloads[target.key].view.current
        notice = Notice(
            source=name,
            id=identity("told to roll back", target.key, current.id),
            status=NoticeStatus.ROLLED_BACK,
            at=now,
            workload=target,
            digests=tuple(sorted(digests_of(current))),
            description=f"Lastgood told Flagger to roll it back: {found.reason}"[:DESCRIPTION_CHARS_MAX],
        )
        if notice.key not in self._reader.state.notices:
            await self._intake.accept(Noticed(at=now, notice=notice))

    def _refuse(self, name: str, status: int, result: str, reason: str) -> web.Response:
        self._telemetry.intake(name, result)
        _log.warning("flagger_refused", source=name, status=status, reason=reason)
        return _answer(status, {"rollback": False, "error": reason})


def _named(payload: Fields) -> Workload:
    """The Canary, as the workload of its name."""
    try:
        # With the kind between them neither can smuggle in another one.
        return workload_names.parse(f"{payload.name('namespace')}/{workload_names.KIND}/{payload.name('name')}")
    except ValueError:
        raise MalformedError("name", "and namespace are no names of a Kubernetes object") from None


def _event(metadata: Fields, now: datetime) -> tuple[datetime, str | None]:
    """When the event happened, and what it says."""
    text = metadata.name("timestamp")
    if not _MILLISECONDS.fullmatch(text):
        raise MalformedError(metadata.at("timestamp"), "must be a Unix time in milliseconds")
    at = datetime.fromtimestamp(int(text) / 1000, UTC)
    check_fresh(at, now, AGE_MAX, metadata.at("timestamp"))
    return at, metadata.text("eventMessage", DESCRIPTION_CHARS_MAX)


def _ended(phase: str, now: datetime) -> datetime:
    """A `post-rollout` hook says no time: it is told as it happens."""
    if phase not in _ENDED:
        raise MalformedError(
            "metadata.eventMessage", "is missing: this address is for hooks of type event and post-rollout"
        )
    return now


def _answer(status: int, document: Mapping[str, object]) -> web.Response:
    # ASCII only: half a surrogate pair must not make the answer fail.
    return web.json_response(document, status=status, dumps=lambda value: json.dumps(value, allow_nan=False))


def _digest(token: str) -> bytes:
    # Equal lengths: compare_digest tells by its duration when the lengths differ.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
