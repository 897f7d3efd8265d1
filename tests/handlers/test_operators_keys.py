"""The keys of the documents: programs rely on them, so none may go or change its name unseen."""

from __future__ import annotations

import asyncio
from typing import Any

from handlers import explain, overview
from tests.core.builders import SHOP
from tests.handlers.people import Daemon, recovered

STATUS = "ready why_not cluster now since default_mode modes incidents pauses workloads alerts owed"
EXPLAIN = (
    "kind now cluster incident headline changed wide done mode road road_left_out alerts alerts_left_out verdict"
    " candidates target measured told commands unmapped_alerts declared judged decision notices"
)
ROW = (
    "id phase ended since opened_at onset severity workload symptom reason alerts blamed target countdown_until"
    " deadline rolled_back_at"
)
TERM = "name value threshold weight sentence"
REVISION = "id label number images created_at change_cause"
PROOF = "kind verified_at age soaked since backwards sentence"


def test_the_documents_keep_their_keys() -> None:
    """Keys may be added (here too), never taken away."""
    story = recovered()
    daemon, incident = Daemon(story), story.incident

    async def history() -> list[Any]:
        return [entry async for entry in daemon.history(incident=incident.id)]

    told = explain.incident_document(incident, asyncio.run(history()), story.state, story.policy, story.now)
    status = overview.status(story.state, story.policy, story.now, None)
    ledger = overview.ledger(story.state.workloads[SHOP.key], story.state, story.policy, story.now)
    row = overview.incident_row(incident)
    (candidate,) = told["candidates"]
    found = {
        STATUS: status,
        EXPLAIN: told,
        ROW: row,
        TERM: candidate["terms"][0],
        REVISION: row["target"],
        PROOF: ledger["revisions"][1]["proof"],
    }
    assert {names: " ".join(document) for names, document in found.items()} == {names: names for names in found}
