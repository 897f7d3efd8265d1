"""`lastgood rollback --direct`: the guarded rollback without the daemon, for the night on which the daemon is what is broken.

It holds the daemon's state folder while it works, so the daemon cannot act beside it; it reads the journal for proof, mode,
pauses and quarantine, and asks the same guards; and it sends the same guarded patch. It writes no facts: the patch carries who
did it, and the daemon, once it runs again, sees an undo by hand and quarantines what was left.
"""

from __future__ import annotations

import argparse
import getpass
from dataclasses import replace
from datetime import datetime, timedelta

from config import Settings
from daemon import assembly
from daemon.cli import rollback as shown
from daemon.cli.configured import daemon_settings
from daemon.cli.exits import CliError, Exit
from daemon.cli.terminal import Screen, safe
from daemon.core.actions import Checked, CheckTarget, OutcomeKind, RollBack, RolledBack
from daemon.core.events import PauseAsked
from daemon.core.incidents import Ask
from daemon.core.model import ActionId, IncidentId, Revision, Rollout, Workload
from daemon.core.preview import preview
from daemon.core.state import State, Tracked
from daemon.ports import JournalUnavailableError
from daemon.runtime.clock import SystemClock
from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.journal_postgres_link import Server
from daemon.runtime.journal_postgres_rows import PostgresStore
from daemon.state_folder import StartError, only_one
from handlers import revisions, views, workload_objects
from handlers.alerts import MalformedError
from handlers.answers import Refused, the_workload
from handlers.faults import Fault
from handlers.inbound.rollbacks import document, one_target, reason
from handlers.kinds import SERVICE
from handlers.kube import KubeClient
from handlers.outbound.targets import TargetChecker
from handlers.ownership import owner_of
from handlers.template_diff import template_diff
from handlers.workload_objects import Fresh

WAITING_READ_MAX = 1000
"""Accepted events that are looked through for a pause which the daemon did not live to carry out."""

PATCH_FOR = timedelta(minutes=2)
"""How long checking and patching may take; the API's own limit is 30 s a request."""


async def rollback(options: argparse.Namespace, screen: Screen) -> int:
    """Show, ask, patch; the exit code. Raises CliError."""
    settings = daemon_settings(options)
    try:
        with only_one(settings.state_dir):
            state = await _journalled(settings)
            async with await assembly.kube_client(settings) as kube:
                return await _guarded(options, settings, state, kube, screen)
    except StartError as error:
        raise CliError(Exit.REFUSED, str(error), "a daemon that runs does this itself: leave out --direct") from None
    except Refused as refused:
        raise CliError(Exit.REFUSED, refused.error, refused.remedy) from None
    except MalformedError as malformed:
        raise CliError(Exit.USAGE, str(malformed), "correct it and try again") from None
    except Fault as fault:
        raise CliError(
            Exit.UNREACHABLE, f"the cluster: {fault.reason}", "check `kubernetes` in the configuration"
        ) from None


async def _journalled(settings: Settings) -> State:
    """What the daemon knew. Without it nothing is proven, so nothing may be a target."""
    remedy = (
        "--direct needs the daemon's state folder; without it only `kubectl rollout undo` is left, which checks nothing"
    )
    if settings.journal.url is None and not settings.journal_path.exists():
        raise CliError(Exit.REFUSED, f"there is no journal {settings.journal_path}", remedy)
    try:
        await _nobody_else(settings)
        journal = await assembly.journal(settings)
        try:
            loaded = await journal.load()
            waiting = await journal.unread(loaded.cursor, WAITING_READ_MAX)
            if any(isinstance(event, PauseAsked) for _, event in waiting):
                why = "somebody paused Lastgood, and the daemon died before it could obey"
                raise CliError(Exit.REFUSED, why, "ask them; only the daemon can lift it")
            return loaded.state
        finally:
            await journal.close()
    except (JournalUnavailableError, JournalUnusableError) as error:
        raise CliError(Exit.REFUSED, f"the journal cannot be read: {error}", remedy) from None


async def _nobody_else(settings: Settings) -> None:
    """The state folder's lock says nothing of daemons elsewhere that share a database. Raises StartError."""
    if settings.journal.url is not None:
        server = Server(settings.journal.url.get_secret_value(), settings.journal.schema_name)
        if places := await PostgresStore(server, settings.cluster).daemons():
            raise StartError(f"a daemon is connected to {server.where} from {', '.join(places)}")


async def _guarded(
    options: argparse.Namespace, settings: Settings, state: State, kube: KubeClient, screen: Screen
) -> int:
    known = the_workload(state, options.workload)
    fresh = await workload_objects.read(kube, known.view.workload)
    if fresh is None:
        raise CliError(Exit.REFUSED, f"{known.view.workload.short} is gone", "")
    now = SystemClock().now()
    tracked = as_it_is(known, fresh, now)
    target = one_target(tracked, options.to or "previous")
    overrides = tuple(reason(name) for name in options.override)
    actor = f"direct:{getpass.getuser()}"
    ask = Ask(actor=actor, current=fresh.current, target=target.id, overrides=overrides, note=options.note or "")
    action = _action(tracked, target, ask, now)
    checked = await TargetChecker(kube).run(_check(action))
    check = checked.result.check if isinstance(checked.result, Checked) else None
    state = state.with_tracked(known.view.workload.key, view=tracked.view, rollout=tracked.rollout)
    found = preview(tracked, ask, check, state=state, policy=settings.policy, now=now)
    wanted = fresh.find(target.id)
    diff = template_diff(revisions.template_of(fresh.present), revisions.template_of(wanted)) if wanted else []
    told = document(tracked, target, found, diff, check)
    shown.show(told, screen)
    shown.refuse_what_stands(told, options.workload)
    shown.confirm(told, yes=options.yes)
    return await _patch(kube, action, screen)


def as_it_is(known: Tracked, fresh: Fresh, now: datetime) -> Tracked:
    """The workload as the cluster has it now: the daemon may have missed rollouts since it died."""
    view = known.view
    current = revisions.revision_of(fresh.present)
    history = tuple(revisions.revision_of(dict(each)) for each in fresh.history)
    mode, invalid = views.mode_of(fresh.workload)
    irreversible = views.is_irreversible(fresh.workload)
    seen = replace(
        view,
        uid=fresh.uid,
        generation=fresh.generation,
        paused=fresh.is_paused,
        history=history,
        labels=tuple(sorted((fresh.workload["metadata"].get("labels") or {}).items())),
        mode=mode,
        mode_invalid=invalid,
        owner=owner_of(fresh.workload),
        irreversible=irreversible,
    )
    if current.id == view.current.id:
        marked = known.rollout and replace(known.rollout, irreversible=known.rollout.irreversible or irreversible)
        return replace(known, view=seen, rollout=marked)
    began = revisions.started_at(fresh.workload, fresh.history, now)
    rollout = Rollout(
        workload=view.workload,
        replaced=view.current,
        revision=current,
        started_at=began,
        seen_at=now,
        ours=views.action_on(fresh.workload, current.id),
        changed_by=revisions.changed_by(fresh.workload),
        irreversible=irreversible,
    )
    return replace(known, view=replace(seen, current=current, started_at=began), rollout=rollout)


def _action(tracked: Tracked, target: Revision, ask: Ask, now: datetime) -> RollBack:
    incident = IncidentId(f"direct-{now:%Y%m%d-%H%M%S}")
    note = f": {ask.note}" if ask.note else ""
    return RollBack(
        id=ActionId(f"{incident}/roll_back"),
        deadline=now + PATCH_FOR,
        incident=incident,
        workload=tracked.view.workload,
        uid=tracked.view.uid,
        blamed=tracked.view.current,
        target=target,
        why=f"asked by {ask.actor}, without the daemon{note}",
    )


def _check(action: RollBack) -> CheckTarget:
    return CheckTarget(
        id=ActionId(f"{action.incident}/check"),
        deadline=action.deadline,
        incident=action.incident,
        attempt=1,
        workload=action.workload,
        uid=action.uid,
        blamed=action.blamed,
        target=action.target,
    )


def _watching(workload: Workload) -> str:
    """What shows how far it is; kubectl knows no rollout of a Service, but which pods get its traffic."""
    if workload.kind == SERVICE.name:
        return f"get endpointslices -l kubernetes.io/service-name={workload.name}"
    return f"rollout status {workload.kind.lower()}/{workload.name}"


async def _patch(kube: KubeClient, action: RollBack, screen: Screen) -> int:
    outcome = await assembly.rollbacks(kube, SystemClock()).run(action)
    if outcome.kind is not OutcomeKind.DONE or not isinstance(outcome.result, RolledBack):
        raise CliError(Exit.REFUSED, f"nothing was changed: {safe(outcome.message)}", "look again, then decide anew")
    screen.prose(f"{action.workload.short} is being rolled back to {safe(action.target.label)}; nobody watches it:")
    screen.line(f"  kubectl -n {action.workload.namespace} {_watching(action.workload)}")
    for warning in outcome.result.warnings:
        screen.prose(f"note: {safe(warning)}")
    return Exit.OK
