"""Reading and trying take a while: what forbids a rollback by then stops it in the moment before it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from daemon.core.actions import OutcomeKind
from deploy.sandbox.kube.faults import RequestRecord
from handlers.just_checked import JustChecked
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.targets import TargetChecker
from tests.handlers.rollback_world import WallClock, World, world

pytestmark = pytest.mark.real

PAUSED = "everything paused by ann"


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as there:
        yield there


async def test_a_pause_while_it_is_tried(there: World) -> None:
    """The dry run is still accepted; then somebody has paused, and nothing is written."""
    said: list[str] = []

    def pauses(record: RequestRecord) -> None:
        if record.method == "PATCH" and record.dry_run:
            said.append(PAUSED)

    there.cluster.faults.on_request = pauses
    rollback = TemplateRollback(there.client, WallClock(), forbids=lambda action: said[0] if said else None)
    outcome = await rollback.run(there.action())
    assert (outcome.kind, outcome.message) == (OutcomeKind.REFUSED, PAUSED)
    assert said
    assert there.writes() == []
    assert there.images() == ["shop:v2"]


async def test_a_pause_after_the_check(there: World) -> None:
    """What was just checked would be sent at once: it is not, either."""
    checked = JustChecked()
    await TargetChecker(there.client, checked).run(there.check())
    rollback = TemplateRollback(there.client, WallClock(), checked, forbids=lambda action: PAUSED)
    outcome = await rollback.run(there.action())
    assert (outcome.kind, outcome.message) == (OutcomeKind.REFUSED, PAUSED)
    assert there.writes() == []


async def test_what_is_written_is_done(there: World) -> None:
    """A pause after the patch stops nothing: the next run finds it done, and asks nobody for leave."""
    first = await TemplateRollback(there.client, WallClock()).run(there.action())
    again = await TemplateRollback(there.client, WallClock(), forbids=lambda action: PAUSED).run(there.action())
    assert first.kind is again.kind is OutcomeKind.DONE
