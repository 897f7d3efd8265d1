"""The history of a workload: which rollouts, whose, what pipelines said of them, and what became of each revision."""

from __future__ import annotations

import json
from typing import Any

from daemon.core.events import Noticed
from daemon.core.model import DeclaredCause
from daemon.core.notices import Notice, NoticeStatus, Origin, Vendor
from handlers import explain, history
from tests.core.builders import MINUTE, NOON, SECOND, SHOP, STEP, V1, V2, V3, a_policy, a_view
from tests.core.story import Story
from tests.handlers.people import recovered

ROWS = "revision current standing why_not proof quarantined_by replaced started_at completed_at changed_by rollback notices"
NOTICE = (
    "source id status at images digests version commit author environment description pipeline_url change_url"
    " irreversible vendor deployment"
)


def a_notice(**changes: Any) -> Notice:
    """The pipeline that brought v2 to production."""
    values: dict[str, Any] = {
        "source": "github",
        "id": "1",
        "status": NoticeStatus.SUCCEEDED,
        "at": NOON + STEP,
        "workload": SHOP,
        "digests": ("sha256:2",),
        "commit": "4f1c2d9",
        "author": "Ann",
        "environment": "production",
        "change_url": "https://git.example/shop/checkout/pull/7",
        "pipeline_url": "https://ci.example/jobs/1",
    }
    return Notice(**(values | changes))


def noticed(*notices: Notice) -> Story:
    """v1 was proven, v2 is out, and pipelines told of it."""
    story = Story(policy=a_policy())
    story.proves_v1()
    story.rolls_out()
    for notice in notices:
        story.plays(Noticed(at=story.now, notice=notice))
    return story


def rolled_back_by_lastgood() -> Story:
    """The same, then errors, the rollback, and recovery."""
    story = noticed(a_notice())
    story.fires()
    story.waits(30 * SECOND)
    story.waits(20 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    return story


def rows(story: Story) -> list[dict[str, Any]]:
    tracked = story.state.workloads[SHOP.key]
    document = history.history(tracked, story.state, story.policy, story.now)
    assert json.loads(json.dumps(document)) == document
    found: list[dict[str, Any]] = document["rollouts"]
    return found


def test_our_rollback_is_told_with_its_incident() -> None:
    """Newest first: the rollback with its incident, the quarantined revision with what the pipeline said, the first sight."""
    story = rolled_back_by_lastgood()
    back, bad, first = rows(story)
    assert [row["current"] for row in (back, bad, first)] == [True, False, False]
    assert [row["revision"]["id"] for row in (back, bad, first)] == [V1.id, V2.id, V1.id]
    assert back["rollback"] == {"by": "lastgood", "incident": story.incident.id}
    assert (bad["rollback"], first["rollback"]) == (None, None)
    assert (bad["standing"], bad["quarantined_by"]) == ("quarantined", story.incident.id)
    assert bad["why_not"] == f"quarantined by {story.incident.id}"
    assert bad["replaced"]["id"] == V1.id
    assert [row["standing"] for row in (back, first)] == ["verified", "verified"]
    (told,) = bad["notices"]
    assert (told["commit"], told["author"], told["change_url"]) == (
        "4f1c2d9",
        "Ann",
        "https://git.example/shop/checkout/pull/7",
    )


def test_an_undo_by_hand_is_told_as_such() -> None:
    """Back to the older revision without us: by hand, and what it went away from is quarantined by it."""
    story = noticed(a_notice())
    story.completes(V2)
    story.now += MINUTE
    story.rolls_out(V1, V2, history=(V1, V2), changed_by="kubectl-rollout")
    back, bad, _ = rows(story)
    assert back["rollback"] == {"by": "hand", "incident": None}
    assert back["changed_by"] == "kubectl-rollout"
    assert bad["quarantined_by"] == "the undo by kubectl-rollout"


def test_a_step_forward_is_no_rollback() -> None:
    """A third revision, and one whose age is not known: neither is called a rollback."""
    story = noticed()
    story.now += MINUTE
    story.rolls_out(V3, V2)
    assert [row["rollback"] for row in rows(story)] == [None, None, None]


def test_revisions_without_a_rollout_come_last() -> None:
    """What is only in the cluster's history is listed without moments, the highest number first."""
    story = Story()
    story.sees(a_view(V3, started_at=NOON, available_since=NOON))
    latest, *others = rows(story)
    assert (latest["revision"]["number"], latest["standing"]) == (3, "soaking")
    assert [row["revision"]["number"] for row in others] == [2, 1]
    assert all(row["started_at"] is None and row["notices"] == [] for row in others)
    assert {row["standing"] for row in others} == {"unknown"}


def test_the_rows_keep_their_keys() -> None:
    """Keys may be added (here too), never taken away."""
    origin = Origin(vendor=Vendor.GITHUB, project="shop/checkout", deployment="42")
    latest = rows(noticed(a_notice(origin=origin)))[0]
    assert " ".join(latest) == ROWS
    assert " ".join(latest["notices"][0]) == NOTICE
    assert (latest["notices"][0]["vendor"], latest["notices"][0]["deployment"]) == ("github", "42")


def test_a_pause_is_told() -> None:
    """Whoever looks at the history sees why nothing will be done."""
    story = noticed()
    story.pauses("shop")
    tracked = story.state.workloads[SHOP.key]
    found = history.history(tracked, story.state, story.policy, story.now)
    assert found["paused"] == "shop paused by ann"


def test_explain_shows_what_pipelines_said_of_the_blamed_rollout() -> None:
    """The incident keeps the notices of the rollout it blames, after the rollback too."""
    story = rolled_back_by_lastgood()
    document = explain.incident_document(story.incident, [], story.state, story.policy, story.now)
    assert [notice["commit"] for notice in document["notices"]] == ["4f1c2d9"]


def test_before_blame_explain_shows_those_of_the_latest_rollout() -> None:
    """An incident that blames nothing yet is told with what pipelines said of the latest rollout."""
    story = noticed(a_notice())
    story.measures = lambda _action: None
    story.fires()
    document = explain.incident_document(story.incident, [], story.state, story.policy, story.now)
    assert story.incident.blamed is None
    assert [notice["commit"] for notice in document["notices"]] == ["4f1c2d9"]


def test_explain_of_a_quiet_workload_shows_them_too() -> None:
    """Without an incident the workload's row carries the notices of its latest rollout; others leave nothing behind."""
    story = noticed(a_notice(), a_notice(id="2", at=NOON + MINUTE, commit=None))
    document = explain.without_incident(story.state, story.policy, story.now, SHOP.short)
    assert document is not None
    assert [notice["id"] for notice in document["workloads"][0]["notices"]] == ["1", "2"]


def test_explain_tells_a_declaration() -> None:
    """Who declared what, and that data is at risk, stands in the document and on the road."""
    story = noticed()
    story.declares(note="carts are empty")
    story.declares(DeclaredCause.DATA_CORRUPTION, note="totals are wrong")
    facts = [(fact.at, fact) for fact in story.facts if getattr(fact, "incident", None) is not None]
    document = explain.incident_document(story.incident, facts, story.state, story.policy, story.now)
    assert document["declared"] == {
        "cause": "data_corruption",
        "sentence": "data is being corrupted",
        "risks_data": True,
        "actor": "ann",
        "at": "2026-03-02T12:00:00.000Z",
        "note": "totals are wrong",
    }
    texts = [step["text"] for step in document["road"]]
    assert texts[0] == "opened for a declaration of ann: customers report a fault: carts are empty"
    assert "a declaration of ann: data is being corrupted: totals are wrong" in texts


def test_the_road_says_why_an_incident_without_alerts_was_opened() -> None:
    """A rollback that a person asked for, and pods that cannot start, are told apart from each other."""
    story = noticed()
    story.asks(note="we want it back")
    facts = [(fact.at, fact) for fact in story.facts]
    document = explain.incident_document(story.incident, facts, story.state, story.policy, story.now)
    assert document["road"][0]["text"] == "opened for a rollback that ann asks for: we want it back"
    assert explain.incident_document(recovered().incident, [], story.state, story.policy, story.now)["declared"] is None
