"""The scorecard over HTTP: its document, and the word that people give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.core.events import Reviewed
from daemon.core.incidents import VerdictKind, Word
from daemon.core.model import Mode
from handlers import scorecard
from handlers.consequences import decided
from tests.core.builders import CART, NOON, SHOP, V2, a_policy
from tests.core.story import Story
from tests.core.test_scorecard import a_decision, a_tally, judged
from tests.handlers.people import TOKEN, WEBHOOK_TOKEN, Daemon, listening

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)


class Client:
    """A daemon in observe that would have rolled v2 back, asked with a token."""

    def __init__(self, daemon: Daemon, address: str) -> None:
        self.daemon, self.address = daemon, address
        self.incident = daemon.story.incident.id

    async def asks(self, token: str = TOKEN, **query: str) -> tuple[int, Any]:
        return await self._sends("GET", "scorecard", token, params=query)

    async def judges(self, token: str = TOKEN, **fields: Any) -> tuple[int, Any]:
        return await self._sends("POST", "judge", token, json=fields)

    async def _sends(self, method: str, name: str, token: str, **how: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.address}/api/v1/{name}", **how) as response,
        ):
            return response.status, await response.json()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    story = Story(a_policy(default_mode=Mode.OBSERVE))
    story.spikes()
    daemon = Daemon(story)
    async with listening(daemon, tmp_path / "s") as address:
        yield Client(daemon, address)


async def test_the_word_is_journalled_with_its_actor_and_counted(client: Client) -> None:
    """The answer says what was judged; the scorecard has it; a second word takes the place of the first."""
    status, found = await client.judges(incident=client.incident, word="wrong", note="the database was down")
    assert (status, found["actor"]) == (200, "token:ann")
    said = f"{client.incident} is judged wrong: the decision to roll back {V2.label} of shop/checkout"
    assert found["changed"] == [said]
    assert found["incident"]["id"] == client.incident
    assert client.daemon.taken == [
        Reviewed(
            at=client.daemon.now(), incident=client.daemon.story.incident.id, word=Word.WRONG, actor="token:ann",
            note="the database was down",
        )
    ]  # fmt: skip
    await client.judges(incident=client.incident, word="right")
    _, document = await client.asks()
    assert document["total"]["decisions"]["roll_back"] == {"right": 1, "wrong": 0, "unjudged": 0}


async def test_one_workload_with_its_decisions(client: Client) -> None:
    """By its short name or its key, with each decision and who judged it."""
    await client.judges(incident=client.incident, word="right", note="yes")
    status, document = await client.asks(workload=SHOP.short)
    assert await client.asks(workload=SHOP.key) == (status, document)
    (row,) = document["workloads"]
    assert (status, row["workload"], row["mode"], row["enough"]) == (200, SHOP.key, "observe", False)
    (latest,) = row["latest"]
    assert (latest["incident"], latest["made"], latest["word"]) == (client.incident, "roll_back", "right")
    assert (latest["judged_by"], latest["note"], latest["label"]) == ("token:ann", "yes", V2.label)
    assert row["sentence"].startswith("Not enough history to arm it: 1 of 1 judged")
    assert row["modes"]["observe"] == {"right": 1, "wrong": 0, "unjudged": 0}
    assert row["precision"]["roll_back"]["value"] == 1.0


async def test_a_workload_without_any_decision_is_told_too(client: Client) -> None:
    """Known to the cluster, nothing counted yet: zeros, and what is missing; after it is gone its tally is still there."""
    story = client.daemon.story
    story.state = replace(story.state, scorecards={})
    status, document = await client.asks(workload=SHOP.short)
    (row,) = document["workloads"]
    assert (status, row["latest"], row["healthy"], row["days"]) == (200, [], 0, 0)
    story.state = replace(story.state, scorecards={SHOP.key: a_tally(a_decision(1, revision=None))}, workloads={})
    _, document = await client.asks(workload=SHOP.short)
    (row,) = document["workloads"]
    assert (row["mode"], row["latest"][0]["label"]) == (None, None)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"workload": "shop/nothing"}, 404, "no workload 'shop/nothing'"),
        ({"all": "true"}, 400, "all"),
        ({"workload": ""}, 400, "workload"),
    ],
)
async def test_questions_that_have_no_answer(client: Client, query: dict[str, str], status: int, said: str) -> None:
    """Unknown workloads and parameters."""
    found = await client.asks(**query)
    assert found[0] == status
    assert said in found[1]["error"]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"word": "maybe"}, 400, "word: must be right or wrong"),
        ({}, 400, "word: is missing"),
        ({"word": "right", "note": "n" * 501}, 400, "note"),
        ({"word": "right", "why": "x"}, 400, "why"),
        ({"word": "right", "incident": "inc-0"}, 404, "there is no incident inc-0"),
    ],
)
async def test_words_that_are_not_taken(client: Client, fields: dict[str, str], status: int, said: str) -> None:
    """Each names the field, or the incident, with a remedy."""
    found = await client.judges(**({"incident": client.incident} | fields))
    assert found[0] == status
    assert said in found[1]["error"]
    assert found[1]["remedy"]


async def test_only_operators_ask_and_judge(client: Client) -> None:
    """A webhook's sender may inform, never judge."""
    assert (await client.asks(token=WEBHOOK_TOKEN))[0] == 401
    assert (await client.judges(token=WEBHOOK_TOKEN, incident=client.incident, word="wrong"))[0] == 401
    assert client.daemon.taken == []


async def test_explain_tells_what_it_would_have_done_and_what_was_said(client: Client) -> None:
    """Both are steps of the incident's road."""
    await client.judges(incident=client.incident, word="wrong", note="the database")
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.get(f"{client.address}/api/v1/explain", params={"about": client.incident}) as response,
    ):
        document = await response.json()
    assert (document["decision"]["made"], document["decision"]["word"]) == ("roll_back", "wrong")
    steps = {step["what"]: step for step in document["road"]}
    assert steps["decided"]["text"] == f"In auto it would have rolled {V2.label} back by itself."
    assert steps["reviewed"]["text"] == "the decision was wrong, says token:ann: the database"


def test_what_waits_for_a_word_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then those with the most decisions; beyond the limit the rest is counted."""
    waiting = replace(a_tally(a_decision(1)), workload=replace(CART, name="waiting"))
    busy = replace(a_tally(*judged(3)), workload=replace(CART, name="busy"))
    quiet = replace(a_tally(healthy=2), workload=replace(CART, name="quiet"))
    state = replace(Story().state, scorecards={each.workload.key: each for each in (quiet, busy, waiting)})
    document = scorecard.scorecard(state, a_policy(), NOON)
    assert [row["workload"].rpartition("/")[2] for row in document["workloads"]] == ["waiting", "busy", "quiet"]
    assert document["workloads"][0]["unjudged"] == ["inc-1"]
    monkeypatch.setattr(scorecard, "WORKLOADS_MAX", 2)
    assert scorecard.scorecard(state, a_policy(), NOON)["left_out"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"made": "propose"}, "to propose a rollback of checkout:v1 of shop/checkout"),
        ({"made": "escalate"}, "to hand shop/checkout over to a person"),
    ],
)
def test_a_decision_in_words(changes: dict[str, Any], said: str) -> None:
    """What a person judged is told back to them."""
    assert decided(a_decision(1, made=VerdictKind(changes["made"]))) == f"the decision {said}"
