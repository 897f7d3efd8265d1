"""After a rollback its fields are nobody's: given up once, guarded, and never at the price of the rollback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RolledBack
from deploy.sandbox.kube.faults import RequestRecord
from deploy.sandbox.kube.registry import Write
from deploy.sandbox.kube.resources import DEPLOYMENTS
from handlers import revisions, store, workload_objects
from handlers.outbound.rollback.template import TemplateRollback
from tests.handlers.rollback_world import PATH, Json, WallClock, World, world

pytestmark = pytest.mark.real

HAND_BACK = "lastgood-hand-back"
KEPT: Json = {f"f:lastgood.dev/{key}": {} for key in ("action", "incident", "rolled-back-to")}


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as there:
        yield there


def runner(there: World) -> TemplateRollback:
    return TemplateRollback(there.client, WallClock())


def hand_backs(there: World) -> list[RequestRecord]:
    return [request for request in there.cluster.faults.log if request.field_manager == HAND_BACK]


def own(obj: Json) -> Json:
    (entry,) = [each for each in obj["metadata"]["managedFields"] if each["manager"] == "lastgood"]
    found: Json = entry
    return found


def warnings(outcome: Outcome) -> tuple[str, ...]:
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, RolledBack)
    return outcome.result.warnings


def note(there: World, number: int) -> None:
    """Somebody new writes an annotation: one more entry in managedFields, before all others."""
    obj = there.cluster.registry.copy(DEPLOYMENTS, "default", "web")
    obj["metadata"]["annotations"][f"note-{number}"] = "x"
    there.cluster.registry.update(DEPLOYMENTS, "default", "web", obj, Write(manager=f"notes-{number}"))
    obj = there.cluster.registry.copy(DEPLOYMENTS, "default", "web")
    obj["metadata"]["managedFields"].reverse()
    there.cluster.registry.update(DEPLOYMENTS, "default", "web", obj, Write(manager="nobody"))


def on_hand_back(there: World, *, times: int) -> None:
    """The entries move between our reading and our patch, so often."""
    done = 0

    def hook(record: RequestRecord) -> None:
        nonlocal done
        if record.field_manager == HAND_BACK and done < times:
            done += 1
            note(there, done)

    there.cluster.faults.on_request = hook


async def test_only_our_own_annotations_stay_ours(there: World) -> None:
    """Template and change cause have no owner; who rolled back, and when, is still told, and by the watch's cache too."""
    outcome = await runner(there).run(there.action())
    after = there.web()
    assert warnings(outcome) == ()
    assert own(after)["fieldsV1"] == {"f:metadata": {"f:annotations": KEPT}}
    assert isinstance(outcome.result, RolledBack)
    assert revisions.parse_time(own(after)["time"]) == outcome.result.patched_at
    assert after["metadata"]["generation"] == outcome.result.generation
    for seen in (after, store.whole(there.web())):
        assert revisions.changed_by(seen) == "lastgood"
        entry = revisions.template_writer(seen)
        assert entry is not None
        assert entry["time"] == own(after)["time"]


async def test_what_is_given_up_is_not_given_up_again(there: World) -> None:
    """A second run and a probe find nothing left to do."""
    await runner(there).run(there.action())
    await runner(there).run(there.action())
    await runner(there).probe(there.action())
    assert len(hand_backs(there)) == 1


async def test_cut_after_the_patch_the_probe_makes_it_good(there: World) -> None:
    """Killed between patch and hand-back: what became of the rollback is asked, and the fields are given up."""

    class CutError(Exception):
        pass

    class Cutting:
        def __getattr__(self, name: str) -> Any:
            return getattr(there.client, name)

        async def patch_json(self, path: str, ops: Any, **options: Any) -> Json:
            if options.get("field_manager") == HAND_BACK:
                raise CutError
            result: Json = await there.client.patch_json(path, ops, **options)
            return result

    with pytest.raises(CutError):
        await TemplateRollback(Cutting(), WallClock()).run(there.action())
    assert "f:spec" in own(there.web())["fieldsV1"]
    assert (await runner(there).probe(there.action())) is not None
    assert own(there.web())["fieldsV1"] == {"f:metadata": {"f:annotations": KEPT}}


async def test_entries_that_move_are_read_again(there: World) -> None:
    """Another write in between: the `test` fails, nobody else's entry is touched, and the next try has it right."""
    on_hand_back(there, times=2)
    assert warnings(await runner(there).run(there.action())) == ()
    assert own(there.web())["fieldsV1"] == {"f:metadata": {"f:annotations": KEPT}}
    managers = [each["manager"] for each in there.web()["metadata"]["managedFields"]]
    assert {"notes-1", "notes-2", "kubectl"} <= set(managers)
    assert HAND_BACK not in managers


async def test_entries_that_never_rest_are_left(there: World) -> None:
    """After so many tries it is a warning with the flag that helps; the rollback stands."""
    on_hand_back(there, times=workload_objects.HAND_BACK_TRIES)
    (warning,) = warnings(await runner(there).run(there.action()))
    assert "`--force-conflicts`" in warning
    assert there.images() == ["shop:v1"]
    assert len(hand_backs(there)) == workload_objects.HAND_BACK_TRIES


@pytest.mark.parametrize("status", [403, 422, 500])
async def test_a_server_that_refuses_is_a_warning(there: World, status: int) -> None:
    """Denied, invalid for ever or broken: the rollback is DONE all the same."""
    there.cluster.faults.on_request = lambda record: (
        there.cluster.faults.fail(1, status=status, method="PATCH", path=PATH)
        if record.field_manager == HAND_BACK
        else None
    )
    (warning,) = warnings(await runner(there).run(there.action()))
    assert str(status) in warning
    assert there.images() == ["shop:v1"]
