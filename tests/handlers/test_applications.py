"""Applications of Argo CD: which entry of the history is chosen, and auto-sync switched off and on again as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RolledBack
from handlers import applications, suspended
from handlers.faults import FaultKind, Permanent
from tests.handlers.argocd_world import (
    APP,
    AUTOMATED,
    BAD,
    GOOD,
    THEN,
    UNTIL,
    Argo,
    Json,
    add,
    application,
    argo_world,
    entry,
)

pytestmark = pytest.mark.real


@pytest.fixture
async def there() -> AsyncIterator[Argo]:
    async with argo_world() as found:
        yield found


def warnings(outcome: Outcome | None) -> tuple[str, ...]:
    assert outcome is not None
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert isinstance(outcome.result, RolledBack)
    return outcome.result.warnings


async def test_it_is_looked_for_once_by_its_name(there: Argo) -> None:
    """Thousands of Applications may be there: one search by name, then its address."""
    await there.run()
    asked = there.world.cluster.faults.requests("GET", "/applications")
    searches = [each for each in asked if each.path.endswith("/applications")]
    assert [each.query.get("fieldSelector") for each in searches] == ["metadata.name=shop"]
    assert {each.path for each in asked if each not in searches} == {APP}


async def test_an_api_server_without_the_switch(there: Argo) -> None:
    """An older Application has no `enabled`: auto-sync is taken away and put back as it was, by the command too."""
    there.keeps = False
    outcome = await there.run()
    assert there.automated() is None
    assert '{"automated":{"prune":true,"selfHeal":true}}' in warnings(outcome)[0]
    assert applications.is_ours(there.app())
    assert (await there.ends()).kind is OutcomeKind.DONE
    assert there.automated() == AUTOMATED
    assert there.app()["spec"]["syncPolicy"]["syncOptions"] == ["ServerSideApply=true"]


async def test_auto_sync_that_is_off_already_is_not_claimed(there: Argo) -> None:
    """A person switched it off: it is rolled back, no end is promised, and the end leaves it."""
    await there.person(automated={**AUTOMATED, "enabled": False})
    outcome = await there.run()
    assert "by somebody else" in warnings(outcome)[0]
    assert suspended.SUSPENDED_BY not in there.marks()
    assert await there.ends() == Outcome(kind=OutcomeKind.DONE)
    assert there.automated() == {**AUTOMATED, "enabled": False}


@pytest.mark.parametrize("again", [True, False])
async def test_what_a_person_changed_since_is_left(there: Argo, again: bool) -> None:
    """Switched on by hand it stays as they set it; switched off by hand again it stays off. Our marks go either way."""
    await there.run()
    theirs: Json = {"prune": False}
    await there.person(automated=theirs)
    if again:
        theirs = {"prune": False, "enabled": False}
        await there.person(automated=theirs)
    ended = await there.ends()
    assert ended.kind is OutcomeKind.REFUSED
    assert ("leaves it so" if again else "somebody has switched it on") in ended.message
    assert there.automated() == theirs
    assert there.marks() == {}


def test_of_several_entries_one_is_chosen_only_where_it_does_not_matter() -> None:
    """The same sources deployed twice are one; another source of the same commit is another, unless the time tells."""
    app = application(uid="a-1", resourceVersion="1")
    history: list[Json] = app["status"]["history"]
    history.append(entry(3, GOOD, THEN + timedelta(hours=2)))
    found = applications.entry_of(app, GOOD, None)
    assert isinstance(found, dict)
    assert found["id"] == 3
    history[-1]["source"]["path"] = "other"
    assert "more than one entry" in str(applications.entry_of(app, GOOD, None))
    told = applications.entry_of(app, GOOD, THEN)
    assert isinstance(told, dict)
    assert told["id"] == 1
    history.append(entry(4, BAD, THEN + timedelta(seconds=40)))
    assert "more than one entry" in str(applications.entry_of(app, None, THEN + timedelta(seconds=30)))


def test_several_sources_go_back_together() -> None:
    """An Application of several sources keeps their commits side by side."""
    app = application(uid="a-1", resourceVersion="1")
    sources = [{"repoURL": "https://git.example/a"}, {"repoURL": "https://git.example/b"}]
    several = {"id": 5, "source": {"repoURL": ""}, "sources": sources, "revisions": [BAD, GOOD]}
    app["status"]["history"] = [several, {"id": 0, "revision": GOOD}]
    found = applications.entry_of(app, GOOD, None)
    assert isinstance(found, dict)
    ops = applications.rollback_patch(app, found, action="a", until=UNTIL, switch=True)
    sync = ops[-1]["value"]["sync"]
    assert (sync["sources"], sync["revisions"], "source" in sync) == (sources, [BAD, GOOD], False)


async def test_a_right_that_is_missing_at_the_end_is_told(there: Argo) -> None:
    """FAILED with the command: auto-sync that nobody switches on again must not stay off in silence."""
    await there.run()

    def forbids(verb: str, path: str) -> None:
        if verb == "patch":
            raise Permanent("forbidden", FaultKind.AUTH, status=403)

    there.before = forbids
    ended = await there.ends()
    assert ended.kind is OutcomeKind.FAILED
    assert "kubectl patch applications.argoproj.io shop" in ended.message


@pytest.mark.parametrize("value", ["[]", "{"])
async def test_a_mark_that_is_broken_is_told(there: Argo, value: str) -> None:
    """Nobody knows how auto-sync was: a person is told, nothing is made up."""
    there.keeps = False
    await there.run()
    await there.writes([add("/metadata/annotations/lastgood.dev~1auto-sync", value)])
    ended = await there.ends()
    assert ended.kind is OutcomeKind.FAILED
    assert "argocd app set shop --sync-policy automated" in ended.message
    assert there.automated() is None


async def test_another_one_of_the_same_name_is_not_ended(there: Argo) -> None:
    """Somebody else's suspension of an Application that is called so stays; one that lists the workload no more is ended."""
    await there.run()
    team = there.app()
    team["metadata"] = {"name": "shop", "namespace": "team", "annotations": team["metadata"]["annotations"]}
    team["metadata"]["annotations"][suspended.SUSPENDED_BY] = "inc-9/roll_back"
    team["status"]["resources"] = []
    there.world.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    there.world.cluster.create(team)
    await there.writes([add("/status/resources", [])])
    assert (await there.ends()).message == "Auto-sync of Application argocd/shop is on again."
    assert await there.ends() == Outcome(kind=OutcomeKind.DONE)
    left = there.world.cluster.object("argoproj.io/v1alpha1", "applications", "shop", "team")
    assert left is not None
    assert applications.marked_by(left) == "inc-9/roll_back"
