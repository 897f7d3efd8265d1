"""May and could a workload be rolled back right now? Asked by the metrics, by `status`, and last by the dispatcher."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from daemon.core import owners
from daemon.core.actions import Action, RevertCommit, RollBack
from daemon.core.mode import mode_of
from daemon.core.model import Mode
from daemon.core.policy import Policy
from daemon.core.soak import NO_SIGNALS
from daemon.core.state import State, Tracked


class Unprotected(StrEnum):
    """Why it could not; the value is the metric's label."""

    PAUSED = "paused"
    OWNED = "owned"
    NO_VERIFIED_REVISION = "no_verified_revision"
    NO_SIGNALS = "no_signals"

    @property
    def sentence(self) -> str:
        """What it means, as a clause for people."""
        return _SENTENCES[self]


_SENTENCES = {
    Unprotected.PAUSED: "a pause covers it",
    Unprotected.OWNED: "another controller owns it and would revert a rollback",
    Unprotected.NO_VERIFIED_REVISION: "no revision is verified yet, so there is nothing to go back to",
    Unprotected.NO_SIGNALS: "no signals are measured for it: only pods that cannot start would be seen",
}


def unprotected(tracked: Tracked, state: State, policy: Policy, now: datetime) -> Unprotected | None:
    """Why an armed workload could not be rolled back now; None where it could, or where it is only observed."""
    view = tracked.view
    if mode_of(policy, tracked) is Mode.OBSERVE:
        return None
    if state.paused_by(view.workload, now) is not None:
        return Unprotected.PAUSED
    if owners.is_in_the_way(policy, view):
        return Unprotected.OWNED
    if not any(entry.verified for entry in tracked.ledger.values()):
        return Unprotected.NO_VERIFIED_REVISION
    entry = tracked.entry(view.current.id)
    return Unprotected.NO_SIGNALS if entry is not None and entry.because == NO_SIGNALS else None


def veto(action: Action, state: State, policy: Policy, now: datetime) -> str | None:
    """What forbids an owed rollback, or the pull request in its place, in the moment before it is carried out; None: nothing.

    A decision has a shelf life: a pause, or a mode that was lowered since, stops a patch that was not sent yet (DESIGN:
    never act while paused). It can only forbid, never add.
    """
    if not isinstance(action, RollBack | RevertCommit):
        return None
    paused = state.paused_by(action.workload, now)
    if paused is not None:
        return paused
    tracked = state.workloads.get(action.workload.key)
    observed = tracked is not None and mode_of(policy, tracked) is Mode.OBSERVE
    return "its mode is observe now" if observed else None
