"""A rollback in the moment after the API server's start, when it refuses those who may; and one that may not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from daemon.core.actions import OutcomeKind
from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.faults import RequestRecord
from handlers.faults import Permanent
from handlers.outbound.rollback import patience
from handlers.outbound.rollback.handing_back import HAND_BACK_SECONDS
from handlers.outbound.rollback.patience import DOUBT_SECONDS, Patient
from handlers.outbound.rollback.statefulset import StatefulSetRollback
from handlers.outbound.rollback.template import TemplateRollback
from tests.handlers.rollback_world import WallClock, World, world

pytestmark = pytest.mark.real

BY_ROLE = 'deployments.apps "web" is forbidden: User "x" cannot {verb} resource "deployments" in API group "apps"'
BY_ADMISSION = 'admission webhook "gate.example" denied the request: no v1 on Fridays'


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as there:
        yield there


class Refusing:
    """Answers 403 to the first `times` requests of a method, dry run or not."""

    def __init__(self, there: World, method: str, says: str, *, times: float, dry_run: bool | None = None) -> None:
        self._method, self._says, self._left, self._dry_run = method, says, times, dry_run
        self.refused = 0
        there.cluster.faults.on_request = self

    def __call__(self, record: RequestRecord) -> None:
        """The hook of the sandbox."""
        if record.method != self._method or self._dry_run not in (None, record.dry_run) or self.refused >= self._left:
            return
        self.refused += 1
        raise ApiError(403, "Forbidden", self._says.format(verb=record.method.lower()))


@pytest.mark.parametrize(
    ("method", "dry_run"), [("GET", None), ("PATCH", True), ("PATCH", False)], ids=["reading", "dry-run", "patch"]
)
async def test_a_refusal_of_a_moment_is_outlasted(there: World, method: str, dry_run: bool | None) -> None:
    """Two refusals, of whatever comes first: the same run rolls back, and writes once."""
    refusing = Refusing(there, method, BY_ROLE, times=2, dry_run=dry_run)
    outcome = await TemplateRollback(Patient(there.client), WallClock()).run(there.action())
    assert outcome.kind is OutcomeKind.DONE
    assert refusing.refused == 2
    assert there.images() == ["shop:v1"]
    assert len([each for each in there.writes() if each.status == 200]) == 1


async def test_lists_and_deletions_too(there: World) -> None:
    """Every call of a rollback: a list is begun again, a deletion is sent again."""
    client = Patient(there.client)
    Refusing(there, "GET", BY_ROLE, times=1)
    pages = [page async for page in client.list_pages("/apis/apps/v1/namespaces/default/replicasets")]
    assert [page.first for page in pages] == [True]
    Refusing(there, "DELETE", BY_ROLE, times=1)
    pod = there.cluster.objects("v1", "pods")[0]["metadata"]["name"]
    assert await client.delete(f"/api/v1/namespaces/default/pods/{pod}")


async def test_a_role_that_lacks_the_verb_is_named(there: World) -> None:
    """Refused for as long as we doubt it, and then for good, in the server's words; nothing was written."""
    refusing = Refusing(there, "PATCH", BY_ROLE, times=float("inf"))
    rollback = TemplateRollback(Patient(there.client, doubt_seconds=0.5), WallClock())
    outcome = await rollback.run(there.action())
    assert outcome.kind is OutcomeKind.FAILED
    assert "cannot patch resource" in outcome.message
    assert refusing.refused >= 2
    assert there.images() == ["shop:v2"]
    Refusing(there, "GET", BY_ROLE, times=float("inf"))
    with pytest.raises(Permanent, match="cannot get resource"):
        await rollback.run(there.action())


async def test_a_server_that_is_not_ready_is_not_believed(there: World) -> None:
    """Refused for longer than we doubt a server that is ready: while it says that it is not, or refuses to say, we wait."""
    refusing = Refusing(there, "PATCH", BY_ROLE, times=4)
    there.cluster.faults.on_request = Starting(refusing)
    outcome = await TemplateRollback(Patient(there.client, doubt_seconds=0.1), WallClock()).run(there.action())
    assert outcome.kind is OutcomeKind.DONE
    assert refusing.refused == 4
    assert there.images() == ["shop:v1"]


class Starting:
    """Not ready as long as it refuses: 403 at first, 500 then, as the real one."""

    def __init__(self, refusing: Refusing) -> None:
        self._refusing = refusing
        self._asked = 0

    def __call__(self, record: RequestRecord) -> None:
        """The hook of the sandbox."""
        if record.path != "/readyz":
            return self._refusing(record)
        self._asked += 1
        if self._refusing.refused < 4:
            raise ApiError(403 if self._asked == 1 else 500, "Forbidden", "not yet")
        return None


async def test_a_server_that_never_says_it_is_ready(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we may not ask, a refusal is believed in the end."""
    monkeypatch.setattr(patience, "DOUBT_SECONDS_MAX", 1.0)
    refusing = Refusing(there, "GET", 'User "x" cannot get anything', times=float("inf"))
    with pytest.raises(Permanent, match="cannot get"):
        await TemplateRollback(Patient(there.client, doubt_seconds=0.1), WallClock()).run(there.action())
    assert refusing.refused >= 4


async def test_a_refusal_by_admission_is_believed_at_once(there: World) -> None:
    """It is about the target, and asking again would not change it."""
    refusing = Refusing(there, "PATCH", BY_ADMISSION, times=float("inf"))
    outcome = await TemplateRollback(Patient(there.client), WallClock()).run(there.action())
    assert outcome.kind is OutcomeKind.FAILED
    assert "no v1 on Fridays" in outcome.message
    assert refusing.refused == 1


async def test_it_serves_every_rollback(there: World) -> None:
    """It is all that a rollback needs of a client, and shorter than the time for giving up our fields."""
    assert DOUBT_SECONDS < HAND_BACK_SECONDS
    outcome = await StatefulSetRollback(Patient(there.client), WallClock()).run(there.action())
    assert outcome.kind is OutcomeKind.DONE
