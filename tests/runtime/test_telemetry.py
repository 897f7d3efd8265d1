"""Our own metrics: complete from the first scrape, counted from facts, measured from the state."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any, get_args, get_type_hints

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon.core.actions import Action, OutcomeKind
from daemon.core.events import Event
from daemon.core.incidents import Phase, VerdictKind
from daemon.core.model import Mode
from daemon.core.reasons import Reason
from daemon.runtime.telemetry import FAILURES, PARTS, RESULTS, SOURCES, Metrics
from handlers.faults import FaultKind
from handlers.inbound import alertmanager
from tests.core.builders import HOUR, MINUTE, NOON, a_policy
from tests.core.story import Story

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(metrics: Metrics) -> Samples:
    """What `/metrics` says, by name and label values in the order of the labels' names."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def kinds_of(union: Any) -> list[str]:
    return [get_args(get_type_hints(each)["kind"])[0] for each in get_args(union)]


ALL: list[tuple[str, tuple[list[str], ...]]] = [
    ("intake_total", (list(RESULTS), list(SOURCES))),
    ("verdicts_total", ([each.value for each in VerdictKind], [each.value for each in Reason])),
    ("refusals_total", ([each.value for each in Reason],)),
    ("rollbacks_total", ([each.value for each in OutcomeKind],)),
    ("incident_moves_total", ([each.value for each in Phase],)),
    ("incidents", ([each.value for each in Phase],)),
    ("actions_owed", (kinds_of(Action),)),
    ("action_attempts_total", (kinds_of(Action), [each.value for each in OutcomeKind])),
    ("action_failures_total", (kinds_of(Action), [*(each.value for each in FaultKind), "bug"])),
    ("contacts_total", (list(PARTS), ["ok", "failed"])),
    ("revisions", (["verified", "quarantined", "soaking"],)),
    ("events_failed_total", (kinds_of(Event),)),
    ("config_reloads_total", (["ok", "failed"],)),
    ("alerts_unmapped_total", ()),
]


STAGES = ("onset_to_alert", "alert_to_verdict", "verdict_to_patch", "patch_to_converged", "converged_to_recovered")


@pytest.mark.parametrize(("name", "labels"), ALL, ids=[name for name, _ in ALL])
def test_every_combination_starts_at_0(name: str, labels: tuple[list[str], ...]) -> None:
    """Each combination of labels that can ever occur is there with 0, and no other."""
    found = {values: value for (each, values), value in samples(Metrics()).items() if each == f"lastgood_{name}"}
    assert found == dict.fromkeys(itertools.product(*labels), 0.0)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_start_empty(stage: str) -> None:
    """The stages are there from the start, too."""
    assert samples(Metrics())[f"lastgood_{stage}_seconds_count", ()] == 0


def test_labels_do_not_drift() -> None:
    """What the handlers report has a label that starts at 0."""
    assert {each.value for each in FaultKind} | {"bug"} == set(FAILURES)
    assert {alertmanager.SOURCE} <= set(SOURCES)
    assert {*alertmanager._REFUSED.values(), "accepted", "truncated", "unavailable", "full"} <= set(RESULTS)
    assert not set(FAILURES) & {each.value for each in OutcomeKind}


def told(story: Story) -> Samples:
    """The metrics of a story, told fact by fact as the engine does."""
    metrics = Metrics()
    metrics.journalled(story.facts, story.state)
    metrics.recompute(story.state, story.policy, story.now)
    return samples(metrics)


def a_recovered_story() -> Story:
    story = Story()
    story.spikes()
    story.waits(MINUTE)
    story.is_back()
    story.waits(10 * MINUTE)
    story.expect(Phase.RECOVERED)
    return story


def test_a_whole_incident() -> None:
    """Counters follow the facts, histograms the stages, gauges the state."""
    story = a_recovered_story()
    found = told(story)
    assert found["lastgood_rollbacks_total", ("done",)] == 1
    assert found["lastgood_incidents", ("recovered",)] == 1
    assert found["lastgood_revisions", ("quarantined",)] == 1
    assert found["lastgood_revisions", ("verified",)] == 1
    for phase in ("proposed", "rolling_back", "verifying", "recovered"):
        assert found["lastgood_incident_moves_total", (phase,)] == 1
    for stage in STAGES:
        assert found[f"lastgood_{stage}_seconds_count", ()] == 1
    assert found["lastgood_converged_to_recovered_seconds_sum", ()] >= 120
    verdicts = sum(value for (name, _), value in found.items() if name == "lastgood_verdicts_total")
    assert verdicts == sum(1 for fact in story.facts if fact.kind == "judged")


def test_refusals_are_counted() -> None:
    """Each refusal of each verdict is counted by its reason."""
    story = Story(policy=a_policy(default_mode=Mode.OBSERVE))
    story.spikes()
    assert told(story)["lastgood_refusals_total", (Reason.MODE_OBSERVE.value,)] >= 1


def test_gauges_follow_the_state() -> None:
    """Pauses, and armed workloads that could not be rolled back, by reason; what ended is 0 again."""
    story = Story()
    story.proves_v1()
    assert told(story)["lastgood_unprotected_workloads", ("paused",)] == 0
    story.pauses("shop", HOUR)
    metrics = Metrics()
    metrics.recompute(story.state, story.policy, NOON - HOUR)
    found = samples(metrics)
    assert found["lastgood_paused_scopes", ()] == 1
    assert found["lastgood_unprotected_workloads", ("paused",)] == 1
    story.waits(2 * HOUR)
    metrics.recompute(story.state, story.policy, story.now)
    found = samples(metrics)
    assert found["lastgood_paused_scopes", ()] == 0
    assert found["lastgood_unprotected_workloads", ("paused",)] == 0


def test_reports() -> None:
    """What handlers and the app report is counted where it belongs; a bad reload keeps the time of the last good one."""
    metrics = Metrics()
    metrics.intake("alertmanager", "accepted")
    metrics.contact("prometheus", ok=False)
    metrics.attempted("page", "rate_limited")
    metrics.attempted("page", "done")
    metrics.stumbled("alerts_reported")
    metrics.reloaded(NOON, ok=True)
    metrics.reloaded(NOON + timedelta(hours=1), ok=False)
    metrics.watched(3.5, ready=True, leads=True, leased=False)
    found = samples(metrics)
    assert found["lastgood_intake_total", ("accepted", "alertmanager")] == 1
    assert found["lastgood_contacts_total", ("prometheus", "failed")] == 1
    assert found["lastgood_action_failures_total", ("page", "rate_limited")] == 1
    assert found["lastgood_action_attempts_total", ("page", "done")] == 1
    assert found["lastgood_events_failed_total", ("alerts_reported",)] == 1
    assert found["lastgood_config_last_reload_successful", ()] == 0
    assert found["lastgood_config_last_reload_success_timestamp_seconds", ()] == NOON.timestamp()
    assert (found["lastgood_reflector_freshness_seconds", ()], found["lastgood_ready", ()]) == (3.5, 1)
    assert (found["lastgood_leader", ()], found["lastgood_lease_enabled", ()]) == (1, 0)
