"""`kill -9` at an exact moment of the error-spike incident, then a restart: still one rollback, one page, one thread.

Each moment is brought about, not slept for: a gate holds the request that marks it, or the journal shows the fact.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import until
from tests.e2e.gate import Wanted, asks
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]

DRY_RUN = asks("PATCH", r"/deployments/.*dryRun=All", "/check/")
PATCH: Wanted = lambda seen: asks("PATCH", r"/deployments/.*fieldManager=lastgood(&|$)")(seen) and not seen.dry_run  # noqa: E731
QUERY: Wanted = lambda seen: "/api/v1/query" in seen.path  # noqa: E731
ENQUEUE = asks("POST", "/v2/enqueue")
RESOLVE = asks("POST", "/v2/enqueue", '"resolve"')
POST_MESSAGE = asks("POST", "/chat.postMessage")
ONSET = asks("POST", "/api/v1/query", "ALERTS_FOR_STATE")
READ_DEPLOYMENT = asks("GET", rf"/deployments/{APP}")

Moment = Callable[[Rig], Awaitable[None]]


def held(gate: str, wanted: Wanted, *, after: bool) -> Moment:
    """The moment at which the gate holds this request, or its answer."""

    async def moment(rig: Rig) -> None:
        await rig.gates[gate].hold(wanted, after=after).caught()

    return moment


async def proposed(rig: Rig) -> None:
    """The countdown runs."""
    await rig.until_phase("proposed")


async def measuring(rig: Rig) -> None:
    """An incident is open and a query for its first measurement is out."""
    hold = rig.gates["prometheus"].hold(lambda seen: QUERY(seen) and bool(rig.facts("measure_began")))
    await hold.caught()


async def final_look(rig: Rig) -> None:
    """The countdown is over, the fresh look before acting is out."""
    hold = rig.gates["prometheus"].hold(
        lambda seen: QUERY(seen) and any(fact["final"] for fact in rig.facts("measure_began"))
    )
    await hold.caught()


async def settled(rig: Rig) -> None:
    """The journal knows the patch's outcome, and the pods are still being replaced."""
    await rig.until_fact("action_settled", lambda fact: fact["action_id"].endswith("/roll_back"))
    assert not rig.world.settled(APP)


async def verifying(rig: Rig) -> None:
    """The old version runs again; whether the symptom is gone is not known."""
    await rig.until_phase("verifying")


async def holding(rig: Rig) -> None:
    """The symptom is gone and has to stay away for the hold time."""
    await rig.until_fact("recovery_measured", lambda fact: fact["good_since"] is not None)


async def patched(rig: Rig) -> None:
    """The API server has accepted the patch, its answer is on the way, the journal knows nothing of it."""
    await held("kubernetes", PATCH, after=True)(rig)
    assert rig.world.version(APP) == "v1"
    assert not [fact for fact in rig.facts("action_settled") if fact["action_id"].endswith("/roll_back")]


MOMENTS: dict[str, Moment] = {
    "locating": held("prometheus", ONSET, after=False),
    "measuring": measuring,
    "proposed": proposed,
    "final-look": final_look,
    "dry-run-answer-lost": held("kubernetes", DRY_RUN, after=True),
    "patch-not-arrived": held("kubernetes", PATCH, after=False),
    "patched-not-journalled": patched,
    "patched-and-journalled": settled,
    "page-not-arrived": held("pagerduty", ENQUEUE, after=False),
    "page-answer-lost": held("pagerduty", ENQUEUE, after=True),
    "announced-answer-lost": held("slack", POST_MESSAGE, after=True),
    "verifying": verifying,
    "holding": holding,
    "resolve-answer-lost": held("pagerduty", RESOLVE, after=True),
}


async def kill(rig: Rig) -> None:
    """SIGKILL; whatever was held is cut."""
    await rig.daemon.kill()
    for gate in rig.gates.values():
        gate.forget()


@pytest.mark.parametrize("name", MOMENTS)
async def test_kill_and_restart(name: str, tmp_path: Path) -> None:
    """Killed at this moment and started again: recovered by one rollback, one page, resolved, one thread in Slack."""
    async with rig(tmp_path) as crash:
        await crash.verified_start()
        await crash.roll_out_bad()
        await MOMENTS[name](crash)
        await kill(crash)
        await crash.start()
        crash.assert_recovered_once(await crash.end())


async def test_webhook_accepted_and_not_yet_decided(tmp_path: Path) -> None:
    """Killed when a webhook was answered with 2xx and nothing decided yet: the alert is on disk and is not lost."""
    async with rig(tmp_path) as crash:
        await crash.verified_start()
        await kill(crash)
        crash.gates["kubernetes"].shut()
        crash.gates["alertmanager"].shut()  # only the webhook tells of the alert
        await crash.roll_out_bad()
        await crash.start(ready=False)
        waiting = "SELECT count(*) FROM intake WHERE seq > (SELECT intake_seq FROM cursor)"
        await until("the webhook is on disk", lambda: crash.sql(waiting)[0][0] > 0, 40.0)
        await kill(crash)
        assert not crash.facts("incident_opened")
        crash.gates["kubernetes"].open()
        await crash.start()
        await crash.until_fact("incident_opened")
        crash.gates["alertmanager"].open()
        crash.assert_recovered_once(await crash.end())


async def test_killed_twice_in_the_middle_of_a_rollback(tmp_path: Path) -> None:
    """Killed after the patch, and again while it asks what became of it: it still asks before it acts."""
    async with rig(tmp_path) as crash:
        await crash.verified_start()
        await crash.roll_out_bad()
        await patched(crash)
        await kill(crash)
        hold = crash.gates["kubernetes"].hold(READ_DEPLOYMENT)
        await crash.start()
        await hold.caught()
        await kill(crash)
        await crash.start()
        crash.assert_recovered_once(await crash.end())
        patches = [request for request in crash.gates["kubernetes"].seen if PATCH(request)]
        assert len(patches) == 1
