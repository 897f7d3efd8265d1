"""`GET /api/v1/gate/…`: who may ask, what is answered, and that "no" and "cannot say" are never the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.core.model import Mode
from tests.core.builders import a_policy
from tests.core.story import Story
from tests.handlers.people import TOKEN, WEBHOOK_TOKEN, Daemon, listening, recovered

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def daemon() -> Daemon:
    """A daemon that rolled v2 back to v1."""
    return Daemon(recovered())


@pytest.fixture
async def address(daemon: Daemon, tmp_path: Path) -> AsyncIterator[str]:
    async with listening(daemon, tmp_path / "s") as found:
        yield found


async def ask(address: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession(headers=BEARER if headers is None else headers) as session,
        session.get(f"{address}/api/v1/gate/{path}") as response,
    ):
        return response.status, await response.json()


async def test_no_is_an_answer_with_its_reasons(address: str, daemon: Daemon) -> None:
    """200 both ways; `open` is true or false, each reason one sentence."""
    status, document = await ask(address, "shop/checkout?image=sha256:2")
    assert (status, document["open"], document["notes"]) == (200, False, [])
    assert daemon.story.incident.id in document["reasons"][0]
    status, document = await ask(address, "shop/checkout?image=sha256:1")
    assert (status, document["open"], document["reasons"]) == (200, True, [])
    assert sorted(document) == ["image", "notes", "now", "open", "reasons", "workload"]


async def test_the_kind_may_be_named(address: str) -> None:
    """`namespace/Kind/name` asks that workload; one that is not known is a first deployment."""
    assert (await ask(address, "shop/Deployment/checkout?image=v2"))[1]["open"] is False
    status, document = await ask(address, "shop/StatefulSet/checkout?image=v2")
    assert (status, document["open"]) == (200, True)
    assert document["notes"] == ["shop/StatefulSet/checkout is not known here: first deployment?"]


async def test_a_sender_of_webhooks_may_ask(address: str) -> None:
    """A token that may only inform is enough, and still commands nothing."""
    sender = {"Authorization": f"Bearer {WEBHOOK_TOKEN}"}
    status, _ = await ask(address, "shop/checkout", sender)
    assert status == 200
    async with (
        aiohttp.ClientSession(headers=sender) as session,
        session.get(f"{address}/api/v1/history?workload=shop/checkout") as refused,
    ):
        assert refused.status == 401


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer forged"}, {"Authorization": "Basic YTpi"}])
async def test_strangers_learn_nothing(address: str, headers: dict[str, str]) -> None:
    """401 with a challenge and the remedy, the same for a workload that exists and one that does not."""
    answers = [await ask(address, path, headers) for path in ("shop/checkout", "shop/nothing")]
    assert answers[0] == answers[1]
    status, document = answers[0]
    assert status == 401
    assert "an operator's, a webhook sender's or an event source's" in document["remedy"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("shop/checkout?image=", "image"),
        ("shop/checkout?image=" + "v" * 513, "image"),
        ("shop/checkout?image=a%20b", "image"),
        ("shop/checkout?image=a%0Ab", "image"),
        ("shop/checkout?image=v1&image=v2", "image"),
        ("shop/checkout?digest=sha256:1", "digest"),
        ("Shop/checkout", "namespace"),
        ("shop/check_out", "name"),
        ("shop/deployment/checkout", "kind"),
        ("shop/%2e%2e%2f", "name"),
    ],
)
async def test_a_wrong_question_is_named(address: str, path: str, field: str) -> None:
    """400 with the field and the remedy: an empty variable of a pipeline must not read as "open"."""
    status, document = await ask(address, path)
    assert status == 400
    assert field in document["error"]
    assert document["remedy"]


async def test_a_daemon_that_is_not_ready_says_no_but_never_yes(address: str, daemon: Daemon) -> None:
    """Its journal may lack what closes the gate: 503 in place of yes; a no stands."""
    daemon.ready = "caches are not synced"
    status, document = await ask(address, "shop/checkout?image=v1")
    assert status == 503
    assert "caches are not synced" in document["error"]
    assert (await ask(address, "shop/checkout?image=v2"))[1]["open"] is False


async def test_the_unix_socket_has_a_gate_too(tmp_path: Path) -> None:
    """Beside the daemon no token is needed."""
    story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    async with (
        listening(Daemon(story), tmp_path / "s"),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "s"))) as session,
        session.get("http://lastgood/api/v1/gate/shop/checkout") as response,
    ):
        document = await response.json()
    assert (response.status, document["open"]) == (200, False)
    assert "is open (proposed" in document["reasons"][0]
