"""When a controller that a rollback suspended goes on again, and what is told of it.

At the end that the policy gives (`suspend_for`), and at once where the rollback did not happen. It is owed like any other
action, so it survives a restart; it is tried again until it is done. No pause stops it: a suspension that outlives its end is a
fleet that silently deploys nothing.
"""

from __future__ import annotations

from datetime import timedelta

from daemon.core.actions import EndSuspension, Outcome, OutcomeKind
from daemon.core.draft import Draft
from daemon.core.model import ActionId
from daemon.core.notices import first
from daemon.core.reverts import reverts
from daemon.core.suspensions import Suspension
from daemon.core.telling import announce

END_FOR = timedelta(hours=1)
"""How long one end is retried before people are told that it does not work."""


def due(draft: Draft) -> None:
    """Owe the end of each suspension whose moment has come."""
    for suspension in tuple(draft.state.suspensions.values()):
        if suspension.due is not None and suspension.due <= draft.now:
            _end(draft, suspension)


def _end(draft: Draft, suspension: Suspension) -> None:
    latest = suspension.latest
    draft.owe(
        EndSuspension(
            id=ActionId(f"{latest.incident}/end_suspension/{suspension.tries + 1}"),
            deadline=draft.now + END_FOR,
            incident=latest.incident,
            workload=latest.workload,
            owner=suspension.owner,
            way=suspension.way,
        )
    )


def finished(draft: Draft, action: EndSuspension, outcome: Outcome) -> None:
    """Tell how it ended; nothing where there was nothing to end."""
    incident = draft.state.incidents.get(action.incident)
    if incident is None or not outcome.message:
        return
    if outcome.kind is OutcomeKind.DONE:
        back = [command for command in reverts(action.owner, first(incident.notices, "commit")) if "revert" in command]
        how = f" `{back[0]}` takes it back." if back else ""
        announce(
            draft, incident, f"{outcome.message} A source that still names the bad revision brings it back now.{how}"
        )
    else:
        announce(draft, incident, outcome.message)
