"""Flagger's rollback hook: 200 only when we mean it, 403 with the reason when not, and no failure that could pass for a yes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer

from daemon.core.events import Noticed
from daemon.core.model import Mode
from daemon.core.notices import NoticeStatus
from daemon.ports import InboxFullError, JournalUnavailableError
from handlers.inbound.flagger import BODY_BYTES_MAX, READING_MAX, CanaryHook, FlaggerRollback
from handlers.server import ServerLimits, build_app
from tests.core.builders import V2, V3, a_policy
from tests.core.story import Story
from tests.handlers.events_world import raw, sender
from tests.handlers.intake_fakes import Counted, Kept
from tests.handlers.people import Daemon, recovered

pytestmark = pytest.mark.looptime(False)

TOKEN = "the-token-of-the-canaries"


class Asked:
    """The hook's address, with what stands behind it."""

    def __init__(self, client: TestClient[Any, Any], daemon: Daemon, counted: Counted, kept: Kept) -> None:
        self.client = client
        self.kept = kept
        self.daemon = daemon
        self.counted = counted

    async def __call__(self, content: object, source: str = "canaries", **headers: str) -> tuple[int, dict[str, Any]]:
        body = content if isinstance(content, bytes | AsyncIterator) else raw(content)
        given = {"Content-Type": "application/json", **headers}
        path = f"/api/v1/flagger/{source}/rollback"
        async with self.client.post(path, data=body, headers=given) as answer:
            return answer.status, await answer.json()


@pytest.fixture
def daemon() -> Daemon:
    """A daemon that rolled v2 back; then somebody rolled it out again."""
    story = recovered()
    story.resolves()
    story.rolls_out()
    return Daemon(story)


@pytest.fixture
async def ask(daemon: Daemon) -> AsyncIterator[Asked]:
    counted, kept = Counted(), Kept()
    hook = FlaggerRollback(
        intake=kept,
        reader=daemon,
        policy=lambda: daemon.story.policy,
        clock=daemon,
        telemetry=counted,
        hooks={
            "canaries": CanaryHook(sender("canaries"), TOKEN),
            "mapped": CanaryHook(sender("mapped", service="Canary shop/checkout"), TOKEN),
        },
    )
    async with TestClient(TestServer(build_app(routes=hook.routes(), limits=ServerLimits()))) as client:
        yield Asked(client, daemon, counted, kept)


def hook(name: str = "checkout", phase: str = "Progressing", **metadata: Any) -> dict[str, Any]:
    """What Flagger sends at each interval of an analysis."""
    said = {"token": TOKEN, **metadata}
    return {"name": name, "namespace": "shop", "phase": phase, "checksum": "85d557f47b", "metadata": said}


async def test_yes(ask: Asked) -> None:
    """Exactly 200, with the reason, and a line in the log, which never holds the token."""
    with structlog.testing.capture_logs() as logged:
        status, document = await ask(hook())
    assert (status, document["rollback"], document["workload"]) == (200, True, "shop/Deployment/checkout")
    assert "is quarantined by" in document["reason"]
    (entry,) = logged
    assert (entry["event"], entry["source"]) == ("flagger_told_to_roll_back", "canaries")
    assert TOKEN not in repr(logged)


async def test_a_yes_is_on_disk_before_it_is_said(ask: Asked) -> None:
    """One notice per revision, however often Flagger asks; the story of the rollout tells of it."""
    assert (await ask(hook()))[0] == 200
    (event,) = ask.kept.events
    assert isinstance(event, Noticed)
    ask.daemon.story.plays(event)
    assert (await ask(hook()))[0] == 200
    assert len(ask.kept.events) == 1
    tracked = ask.daemon.state.workloads["shop/Deployment/checkout"]
    (notice,) = tracked.notices
    assert (notice.source, notice.status) == ("canaries", NoticeStatus.ROLLED_BACK)
    assert str(notice.description).startswith(
        "Lastgood told Flagger to roll it back: checkout:v2 (22hash) is quarantined"
    )
    ask.daemon.story.rolls_out(V3, V2)
    assert ask.daemon.state.workloads["shop/Deployment/checkout"].past[-1].notices == (notice,), "history shows it"


@pytest.mark.parametrize("fault", [JournalUnavailableError("disk full"), InboxFullError("full")])
async def test_a_yes_that_cannot_be_journalled_is_a_no(ask: Asked, fault: Exception) -> None:
    """403: another controller does not act on what nobody would find again."""
    ask.kept.fault = fault
    status, document = await ask(hook())
    assert (status, document["rollback"]) == (403, False)
    assert "on disk before it is said" in document["error"]


async def test_no(ask: Asked) -> None:
    """403 with the reason, and nothing in the log: it is asked every minute."""
    ask.daemon.story.releases()
    with structlog.testing.capture_logs() as logged:
        status, document = await ask(hook())
    assert (status, document["rollback"], logged, ask.kept.events) == (403, False, [], [])
    assert document["reason"].startswith("no open incident blames checkout:v2")


@pytest.mark.parametrize("phase", ["Progressing", "Waiting", "WaitingPromotion", "InventedLater"])
async def test_in_every_phase(ask: Asked, phase: str) -> None:
    """When Flagger asks is its own affair."""
    assert (await ask(hook(phase=phase)))[0] == 200


async def test_a_proposal_that_nobody_approved(ask: Asked) -> None:
    """No while a person has to decide."""
    ask.daemon.story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    ask.daemon.story.spikes()
    status, document = await ask(hook())
    assert (status, "is not decided" in document["reason"]) == (403, True)


async def test_paused_or_observed(ask: Asked) -> None:
    """Never, whatever is known."""
    ask.daemon.story.pauses("shop")
    assert (await ask(hook()))[0] == 403
    ask.daemon.story.resumes("shop")
    assert (await ask(hook()))[0] == 200
    ask.daemon.story.policy = a_policy(default_mode=Mode.OBSERVE)
    assert (await ask(hook()))[1]["reason"] == "its mode is observe"


async def test_a_daemon_that_is_not_ready_says_no(ask: Asked) -> None:
    """Its view may be of yesterday: 403, not a 503 that Flagger would repeat."""
    ask.daemon.ready = "caches are not synced"
    status, document = await ask(hook())
    assert (status, document["reason"]) == (403, "the daemon is not ready to say yes: caches are not synced")


async def test_the_target(ask: Asked) -> None:
    """By the Canary's name, `metadata.workload`, or a rule; what is not known is never rolled back."""
    assert (await ask(hook("front", workload="shop/checkout")))[0] == 200
    assert (await ask(hook("front")))[1]["reason"] == "shop/Deployment/front is not known here"
    status, document = await ask(hook(), "mapped")
    assert (status, document["workload"]) == (403, "shop/Deployment/web")
    assert (await ask({**hook("front", workload="shop/checkout"), "namespace": "bank"}))[0] == 400


@pytest.mark.parametrize("token", [None, "", "forged", TOKEN.upper(), 5, [TOKEN]])
async def test_forged(ask: Asked, token: object) -> None:
    """401 for every token but the right one, and the same for a workload that exists and one that does not."""
    answers = [await ask(hook(name, token=token)) for name in ("checkout", "nothing")]
    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][1]["rollback"]) == (401, False)
    assert ask.counted.intakes == [("canaries", "unauthorized")] * 2


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (raw(hook())[:-9], {}, 400),
        ({**hook(), "name": None}, {}, 400),
        ({**hook(), "namespace": "Shop"}, {}, 400),
        (hook(workload="checkout"), {}, 400),
        (hook(more="x" * BODY_BYTES_MAX), {}, 413),
        (hook(), {"Content-Type": "text/plain"}, 415),
        (raw(hook()), {"Content-Encoding": "gzip"}, 400),
    ],
)
async def test_what_is_wrong_is_no_yes(ask: Asked, content: object, headers: dict[str, str], status: int) -> None:
    """Truncated, oversized, misnamed: a 4xx with its reason, though the canary in question is quarantined."""
    found, document = await ask(content, **headers)
    assert (found, document["rollback"], bool(document["error"])) == (status, False, True)
    assert ask.counted.intakes == [("canaries", "malformed")]


async def test_an_unknown_source(ask: Asked) -> None:
    """404, and not counted: strangers' names are no labels."""
    status, document = await ask(hook(), "other")
    assert (status, document["rollback"], ask.counted.intakes) == (404, False, [])


async def test_too_many_at_one_time(ask: Asked) -> None:
    """403 where others get 503: Flagger repeats a 5xx, and asks again at its next interval anyway. The slow ones get theirs."""
    rest = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        body = raw(hook())
        yield body[:9]
        await rest.wait()
        yield body[9:]

    slow = [asyncio.get_running_loop().create_task(ask(slowly())) for _ in range(READING_MAX)]
    async with asyncio.timeout(10):
        while (await ask(hook()))[0] != 403:
            await asyncio.sleep(0)
    assert (await ask(hook()))[1] == {"rollback": False, "error": "too many requests at one time"}
    rest.set()
    assert [status for status, _ in await asyncio.gather(*slow)] == [200] * READING_MAX


async def test_without_a_source_there_is_no_address(daemon: Daemon) -> None:
    """Nobody is answered whom nobody configured."""
    none = FlaggerRollback(
        intake=Kept(), reader=daemon, policy=lambda: daemon.story.policy, clock=daemon, telemetry=Counted(), hooks={}
    )
    assert none.routes() == []
