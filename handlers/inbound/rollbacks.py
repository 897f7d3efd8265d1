"""`lastgood rollback`: what it would do (GET), and doing it (POST), under /api/v1/rollback.

The question resolves the target's name, checks it against the cluster (references, dry run) and asks every guard; it changes
nothing. The order names both revisions that the person was shown: if another one runs by then, it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from daemon.core import events
from daemon.core.actions import Checked, CheckTarget, Outcome
from daemon.core.events import Command
from daemon.core.incidents import Ask
from daemon.core.measurement import TargetCheck
from daemon.core.measuring import MEASURE_FOR
from daemon.core.model import ActionId, IncidentId, Revision, RevisionId, Workload
from daemon.core.policy import Policy
from daemon.core.preview import Preview, preview
from daemon.core.reasons import Reason, Refusal
from daemon.core.revision_names import named
from daemon.core.state import Tracked
from daemon.ports import Clock, Reader
from handlers import command_input
from handlers.alerts import MalformedError
from handlers.answers import Actor, Refused, answered, the_workload
from handlers.faults import Fault
from handlers.overview import Document
from handlers.revisions import template_of
from handlers.template_diff import template_diff
from handlers.workload_objects import Fresh

PATH = "/api/v1/rollback"

OVERRIDES_MAX = 10
"""Reasons in one request; there are fewer that may be overridden."""

Follow = Callable[[str, Command], Awaitable[Document]]
"""Hands a command over and tells what it led to."""


class Rollbacks:
    """Answers the two routes. `check` tries the target, `look` reads the workload fresh, `follow` hands the order over."""

    def __init__(
        self,
        *,
        reader: Reader,
        policy: Callable[[], Policy],
        clock: Clock,
        actor: Actor,
        check: Callable[[CheckTarget], Awaitable[Outcome]],
        look: Callable[[Workload], Awaitable[Fresh | None]],
        follow: Follow,
    ) -> None:
        self._reader = reader
        self._policy = policy
        self._clock = clock
        self._actor = actor
        self._check = check
        self._look = look
        self._follow = follow

    def routes(self) -> list[web.AbstractRouteDef]:
        """The question and the order."""
        return [web.get(PATH, self._asked), web.post(PATH, self._ordered)]

    async def _asked(self, request: web.Request) -> web.Response:
        return await answered(request, self._actor, lambda who: self._preview(request, who))

    async def _ordered(self, request: web.Request) -> web.Response:
        async def follow(who: str) -> Document:
            body = await command_input.body(request)
            return await self._follow("rollback", self._command(body, command_input.actor(body, who)))

        return await answered(request, self._actor, follow)

    async def _preview(self, request: web.Request, who: str) -> Document:
        query = command_input.query(request, "workload", "to", "override")
        tracked = self._tracked(command_input.text(query, "workload", command_input.ABOUT_MAX))
        target = one_target(tracked, query.get("to") or "previous")
        overrides = tuple(reason(name) for name in (query.get("override") or "").split(",") if name)
        ask = Ask(actor=who, current=tracked.view.current.id, target=target.id, overrides=overrides)
        diff, check = await self._try(tracked, target)
        found = preview(tracked, ask, check, state=self._reader.state, policy=self._policy(), now=self._clock.now())
        return document(tracked, target, found, diff, check)

    async def _try(self, tracked: Tracked, target: Revision) -> tuple[list[str], TargetCheck | None]:
        """The diff of the templates as they are now, and whether the target can be deployed (None: nobody could tell)."""
        view = tracked.view
        action = CheckTarget(
            id=ActionId("preview/check"),
            deadline=self._clock.now() + MEASURE_FOR,
            incident=IncidentId("preview"),
            attempt=1,
            workload=view.workload,
            uid=view.uid,
            blamed=view.current,
            target=target,
        )
        try:
            fresh, outcome = await self._look(view.workload), await self._check(action)
        except Fault as fault:
            raise Refused(503, f"the cluster cannot be asked now: {fault.reason}", "try again in a moment") from None
        found = fresh.find(target.id) if fresh is not None else None
        diff: list[str] = []
        if fresh and found:  # in a thread: a large template takes seconds, and the daemon has other things to do
            diff = await asyncio.to_thread(template_diff, template_of(fresh.present), template_of(found))
        return diff, outcome.result.check if isinstance(outcome.result, Checked) else None

    def _command(self, body: Mapping[str, Any], who: str) -> Command:
        command_input.only(body, "workload", "current", "target", "overrides", "note", "name")
        tracked = self._tracked(command_input.text(body, "workload", command_input.ABOUT_MAX))
        overrides = body.get("overrides") or []
        if not isinstance(overrides, list) or len(overrides) > OVERRIDES_MAX:
            raise MalformedError("overrides", f"must be an array of at most {OVERRIDES_MAX} reasons")
        note = command_input.text(body, "note", command_input.NOTE_MAX) if body.get("note") is not None else ""
        return events.RollbackAsked(
            at=self._clock.now(),
            workload=tracked.view.workload.key,
            current=RevisionId(command_input.text(body, "current", command_input.ID_MAX)),
            target=RevisionId(command_input.text(body, "target", command_input.ID_MAX)),
            actor=who,
            overrides=tuple(reason(name) for name in overrides),
            note=note,
        )

    def _tracked(self, name: str) -> Tracked:
        return the_workload(self._reader.state, name)


def reason(name: object) -> Reason:
    """The reason of that name, in any case. Raises MalformedError."""
    try:
        return Reason(str(name).strip().lower())
    except ValueError:
        raise MalformedError("override", "is no reason; the refusal names it, such as OWNED_BY_GITOPS") from None


def one_target(tracked: Tracked, text: str) -> Revision:
    """The one revision that is meant. Raises Refused (404, 409)."""
    found = named(tracked, text[: command_input.ABOUT_MAX])
    if len(found) == 1:
        return found[0]
    short = tracked.view.workload.short
    if not found:
        raise Refused(
            404, f"{short} has no revision {text[:80]!r} in its history", f"`lastgood history {short}` lists them"
        )
    labels = ", ".join(f"{revision.number}: {revision.label}" for revision in found[:5])
    raise Refused(409, f"{text[:80]!r} may be any of {labels}", "name it by its number or its hash")


def document(
    tracked: Tracked, target: Revision, found: Preview, diff: Sequence[str], check: TargetCheck | None
) -> Document:
    """What a person reads before saying yes."""
    view = tracked.view
    entry = found.target
    return {
        "workload": view.workload.key,
        "current": _revision(view.current),
        "target": _revision(target),
        "proof": entry.proof.sentence if entry is not None and entry.proof is not None else None,
        "rejected": list(found.rejected),
        "diff": list(diff),
        "standing": [_refusal(refusal) for refusal in found.standing],
        "answered": [_refusal(refusal) for refusal in found.answered],
        "unchecked": list(check.unchecked) if check is not None else [],
    }


def _revision(revision: Revision) -> Document:
    return {"id": revision.id, "number": revision.number, "label": revision.label, "images": list(revision.images)}


def _refusal(refusal: Refusal) -> Document:
    return {
        "reason": refusal.reason.value,
        "sentence": refusal.reason.sentence,
        "seen": refusal.seen,
        "needed": refusal.needed,
        "overridable": refusal.overridable,
    }
