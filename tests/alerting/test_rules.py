"""The alerts about Lastgood itself: each fires when it should and not otherwise, by the real promtool."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.runtime.telemetry import RESULTS
from tests import documents
from tests.alerting.registry import RULES, faults_of, ours
from tests.parts import require
from tests.repository import ROOT

GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALL: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
PROMETHEUS = ROOT / "deploy/alerting/prometheus.yaml"
SEVERITIES = {"critical", "warning", "info", "none"}

NEEDS_NO_ALERT = {
    "accepted",
    "ignored",  # news of no interest here: another repository's, a workload that is not watched
    "replayed",  # the same request again, as Slack sends it when our answer was late
    "late",  # a button was pressed after the decision, and the presser was told so
    "unknown",  # the same for an incident that is forgotten
    "forbidden",  # somebody who is no approver pressed a button, and was told so
}
"""Results of an intake that nobody has to look after."""

AT = 'job="lastgood",instance="10.0.0.7:9095"'
QUIET = "0+0x200"


def lastgood(name: str, labels: str = "") -> str:
    """One of the daemon's series as Prometheus stores it."""
    return f"lastgood_{name}{{{AT}{',' if labels else ''}{labels}}}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Series (one value a minute) after which, at `at` minutes, so many alerts of the name fire."""

    alert: str
    says: str
    series: dict[str, str]
    at: int
    firing: int


def case(alert: str, says: str, at: int, firing: int, **series: str) -> Case:
    """A case with one daemon's series: `intake_total="0+1x60"`; further labels after `__`, as in CASES."""
    return Case(alert=alert, says=says, at=at, firing=firing, series={lastgood(k): v for k, v in series.items()})


def intake(alert: str, says: str, at: int, firing: int, result: str, values: str) -> Case:
    """A case about what a sender is answered."""
    series = {lastgood("intake_total", f'source="alertmanager",result="{result}"'): values}
    return Case(alert=alert, says=says, at=at, firing=firing, series=series)


def shed(alert: str, says: str, at: int, firing: int, refused: str, accepted: str) -> Case:
    """A case about how many webhooks are turned away, and how many are taken."""
    source = 'source="alertmanager"'
    series = {lastgood("intake_total", f'{source},result="full"'): refused}
    series |= {lastgood("intake_total", f'{source},result="accepted"'): accepted}
    return Case(alert=alert, says=says, at=at, firing=firing, series=series)


def labelled(alert: str, says: str, at: int, firing: int, *series: tuple[str, str, str]) -> Case:
    """A case with series of given labels: (name, labels, values)."""
    found = {lastgood(name, labels): values for name, labels, values in series}
    return Case(alert=alert, says=says, at=at, firing=firing, series=found)


def scraped(alert: str, says: str, at: int, firing: int, *, up: str | None, ready: str | None) -> Case:
    """A case about whether the daemon is there."""
    series = {} if up is None else {f"up{{{AT}}}": up}
    series |= {} if ready is None else {lastgood("ready"): ready}
    return Case(alert=alert, says=says, at=at, firing=firing, series=series)


IN, SEEN = "cluster", "reflector_freshness_seconds"
WELL = {"ready": "1x20", SEEN: "20x20"}
LEADS = {"leader": "1x20", "lease_enabled": "1x20", **WELL}
STANDS_BY = {"leader": "0x20", "lease_enabled": "1x20", **WELL}
ALONE = {"leader": "1x20", "lease_enabled": "0x20", **WELL}
"""What a daemon of several shows; `up` and the label IN beside them."""


def several(alert: str, says: str, at: int, firing: int, *, A: dict[str, str], B: dict[str, str]) -> Case:  # noqa: N803
    """A case with two daemons, A and B."""
    series = {}
    for name, shows in {"a": A, "b": B}.items():
        where = f'job="lastgood",namespace="ops",pod="{name}",instance="{name}:9095"'
        where += f',{IN}="{shows[IN]}"' if IN in shows else ""
        for metric, values in shows.items():
            if metric != IN:
                series[f"{'up' if metric == 'up' else f'lastgood_{metric}'}{{{where}}}"] = values
    return Case(alert=alert, says=says, at=at, firing=firing, series=series)


def buckets(slow: bool) -> tuple[tuple[str, str, str], ...]:
    """Commits whose slowest half took up to 0.5 s, or all of which were done within 5 ms."""
    fast = "0+30x60" if slow else "0+60x60"
    inner = tuple(("journal_commit_seconds_bucket", f'le="{le}"', fast) for le in ("0.005", "0.1"))
    outer = tuple(("journal_commit_seconds_bucket", f'le="{le}"', "0+60x60") for le in ("0.5", "+Inf"))
    return (*inner, *outer)


FAILED, OK = 'part="prometheus",result="failed"', 'part="prometheus",result="ok"'
KUBE_FAILED, KUBE_OK = 'part="kubernetes",result="failed"', 'part="kubernetes",result="ok"'
PAGE, ANNOUNCE = 'action="page"', 'action="announce"'
STARTED = "config_last_reload_success_timestamp_seconds"

CASES = [
    scraped("LastgoodWatchdog", "always", 0, 1, up=None, ready=None),
    scraped("LastgoodDown", "the target is down", 3, 1, up="0x10", ready="_x10"),
    scraped("LastgoodDown", "only for a moment", 1, 0, up="0x10", ready="_x10"),
    scraped("LastgoodDown", "it answers", 5, 0, up="1x10", ready="1x10"),
    scraped("LastgoodAbsent", "nobody scrapes it", 6, 1, up=None, ready=None),
    scraped("LastgoodAbsent", "not after a short gap", 4, 0, up=None, ready=None),
    scraped("LastgoodAbsent", "LastgoodDown says it better", 9, 0, up="0x10", ready="_x10"),
    scraped("LastgoodAbsent", "it is scraped", 9, 0, up="1x10", ready="1x10"),
    scraped("LastgoodAbsent", "not ready is not absent", 9, 0, up="1x10", ready="0x10"),
    several("LastgoodDown", "another one leads", 9, 0, A={"up": "0x10"}, B={"up": "1x10", **LEADS}),
    several("LastgoodDown", "the other does not lead", 9, 1, A={"up": "0x10"}, B={"up": "1x10", **STANDS_BY}),
    several("LastgoodDown", "the other is alone, of another cluster", 9, 1, A={"up": "0x10"}, B={"up": "1x10", **ALONE}),
    several("LastgoodDown", "the other leads elsewhere", 9, 1, A={"up": "0x10"}, B={"up": "1x10", **LEADS, IN: "west"}),
    several("LastgoodNobodyLeads", "two stand by", 4, 1, A=STANDS_BY, B=STANDS_BY),
    several("LastgoodNobodyLeads", "the only one that answers stands by", 4, 1, A={"up": "0x10"}, B=STANDS_BY),
    several("LastgoodNobodyLeads", "in one of two clusters", 4, 1, A={**STANDS_BY, IN: "west"}, B={**LEADS, IN: "east"}),
    several("LastgoodNobodyLeads", "a single daemon beside them leads for itself", 4, 1, A=STANDS_BY, B=ALONE),
    several("LastgoodNobodyLeads", "a failover", 3, 0, A={**STANDS_BY, "leader": "1 0x10"}, B={**LEADS, "leader": "0 0 1x10"}),
    several("LastgoodNobodyLeads", "one leads", 9, 0, A=STANDS_BY, B=LEADS),
    several("LastgoodNobodyLeads", "there is no Lease", 9, 0, A=ALONE, B={}),
    several("LastgoodReplicaDown", "its node is gone", 12, 1, A={"up": "0x20"}, B=LEADS),
    several("LastgoodReplicaDown", "it is not ready", 12, 1, A={**STANDS_BY, "ready": "0x20"}, B=LEADS),
    several("LastgoodReplicaDown", "it is blind", 12, 1, A={**STANDS_BY, SEEN: "400x20"}, B=LEADS),
    several("LastgoodReplicaDown", "it is being moved", 9, 0, A={"up": "0x20"}, B=LEADS),
    several("LastgoodReplicaDown", "nobody leads: worse", 12, 0, A={"up": "0x20"}, B=STANDS_BY),
    several("LastgoodReplicaDown", "who leads is blind: worse", 12, 0, A={"up": "0x20"}, B={**LEADS, SEEN: "400x20"}),
    several("LastgoodReplicaDown", "all are well", 12, 0, A={"up": "1x20", **STANDS_BY}, B={"up": "1x20", **LEADS}),
    several("LastgoodNotReady", "another one leads", 9, 0, A={**STANDS_BY, "ready": "0x10"}, B=LEADS),
    several("LastgoodNotReady", "who leads is not ready either", 9, 2, A={**STANDS_BY, "ready": "0x10"},
            B={**LEADS, "ready": "0x10"}),
    several("LastgoodWatchStale", "another one leads and sees", 9, 0, A={**STANDS_BY, SEEN: "400x20"}, B=LEADS),
    several("LastgoodWatchStale", "who leads is blind", 9, 1, A=STANDS_BY, B={**LEADS, SEEN: "400x20"}),
    scraped("LastgoodNotReady", "its journal cannot be written", 4, 1, up="1x10", ready="0x10"),
    scraped("LastgoodNotReady", "it is starting", 2, 0, up="1x10", ready="0x10"),
    scraped("LastgoodNotReady", "it is ready", 9, 0, up="1x10", ready="1x10"),
    case("LastgoodRestarting", "five starts", 50, 1, **{STARTED: "1x9 2x9 3x9 4x9 5x30"}),
    case("LastgoodRestarting", "one upgrade", 50, 0, **{STARTED: "1x9 2x60"}),
    case("LastgoodReloadRefused", "a bad reload", 2, 1, config_last_reload_successful="1 0x9"),
    case("LastgoodReloadRefused", "not yet", 1, 0, config_last_reload_successful="1 0x9"),
    case("LastgoodReloadRefused", "a good one", 9, 0, config_last_reload_successful="1x10"),
    intake("LastgoodJournalNotWritable", "503 again and again", 9, 1, "unavailable", "0 0 0+2x20"),
    intake("LastgoodJournalNotWritable", "503 once", 5, 1, "unavailable", "0 0 1x20"),
    intake("LastgoodJournalNotWritable", "not yet", 3, 0, "unavailable", "0 0 1x20"),
    intake("LastgoodJournalNotWritable", "it was long ago", 30, 0, "unavailable", "0 0 1x40"),
    intake("LastgoodJournalNotWritable", "all is accepted", 9, 0, "accepted", "0+5x20"),
    labelled("LastgoodJournalSlow", "half a second each", 40, 1, *buckets(slow=True)),
    labelled("LastgoodJournalSlow", "not yet", 9, 0, *buckets(slow=True)),
    labelled("LastgoodJournalSlow", "milliseconds", 40, 0, *buckets(slow=False)),
    labelled("LastgoodJournalSlow", "nothing is written", 40, 0, ("journal_commit_seconds_bucket", 'le="+Inf"', QUIET)),
    intake("LastgoodInboxFull", "a storm", 4, 1, "full", "0 0 5x20"),
    intake("LastgoodInboxFull", "all is accepted", 4, 0, "accepted", "0+5x20"),
    intake("LastgoodInboxFull", "turned away unread", 3, 1, "busy", "0 0 2x20"),
    shed("LastgoodShedsLong", "most of it, for long", 16, 1, "0+50x40", "0+10x40"),
    shed("LastgoodShedsLong", "not yet", 9, 0, "0+50x40", "0+10x40"),
    shed("LastgoodShedsLong", "most of it was taken", 30, 0, "0+10x40", "0+50x40"),
    shed("LastgoodShedsLong", "a short storm", 20, 0, "0 50 100x40", "0+1x40"),
    case("LastgoodCrowded", "a crowd", 12, 1, connections_closed_total="0+120x30"),
    case("LastgoodCrowded", "now and then", 12, 0, connections_closed_total="0+10x30"),
    intake("LastgoodIntakeRefused", "a wrong token", 4, 1, "unauthorized", "0 0 1x20"),
    intake("LastgoodIntakeRefused", "nonsense", 4, 1, "malformed", "0 0 1x20"),
    intake("LastgoodIntakeRefused", "a giant", 4, 1, "too_large", "0 0 1x20"),
    intake("LastgoodIntakeRefused", "it was long ago", 30, 0, "unauthorized", "0 0 1x40"),
    intake("LastgoodIntakeRefused", "503 is no refusal", 4, 0, "unavailable", "0 0 1x20"),
    intake("LastgoodWebhookTruncated", "max_alerts cut a group", 4, 1, "truncated", "0 0 1x20"),
    intake("LastgoodWebhookTruncated", "nothing was cut", 4, 0, "accepted", "0+5x20"),
    labelled("LastgoodEventsFailed", "a bug", 4, 1, ("events_failed_total", 'event="alerts_reported"', "0 1x20")),
    labelled("LastgoodEventsFailed", "none", 4, 0, ("events_failed_total", 'event="alerts_reported"', QUIET)),
    case("LastgoodWatchStale", "the API server is gone", 8, 1, reflector_freshness_seconds="0+60x20"),
    case("LastgoodWatchStale", "not yet", 4, 0, reflector_freshness_seconds="0+60x20"),
    case("LastgoodWatchStale", "a quiet cluster", 8, 0, reflector_freshness_seconds="80x20"),
    case("LastgoodWatchStale", "it never synced: LastgoodNotReady", 8, 0, reflector_freshness_seconds="Inf " * 20),
    labelled("LastgoodContactFailing", "only failures", 20, 1,
             ("contacts_total", FAILED, "0+2x30"), ("contacts_total", OK, "7x30")),
    labelled("LastgoodContactFailing", "not yet", 5, 0,
             ("contacts_total", FAILED, "0+2x30"), ("contacts_total", OK, "7x30")),
    labelled("LastgoodContactFailing", "one of many", 20, 0,
             ("contacts_total", FAILED, "0+2x30"), ("contacts_total", OK, "0+1x30")),
    labelled("LastgoodContactFailing", "nothing is asked", 20, 0,
             ("contacts_total", FAILED, QUIET), ("contacts_total", OK, QUIET)),
    labelled("LastgoodContactFailing", "Kubernetes has its own", 20, 0,
             ("contacts_total", KUBE_FAILED, "0+2x30"), ("contacts_total", KUBE_OK, "1x30")),
    labelled("LastgoodPageLost", "PagerDuty refuses the key", 5, 1,
             ("action_attempts_total", PAGE + ',result="failed"', "0 0 1x20")),
    labelled("LastgoodPageLost", "no key is configured", 5, 1,
             ("action_attempts_total", PAGE + ',result="refused"', "0 0 1x20")),
    labelled("LastgoodPageLost", "pages arrive", 5, 0, ("action_attempts_total", PAGE + ',result="done"', "0 0 1x20")),
    labelled("LastgoodPageLost", "an announcement is no page", 5, 0,
             ("action_attempts_total", ANNOUNCE + ',result="failed"', "0 0 1x20")),
    labelled("LastgoodPageLate", "PagerDuty is out of reach", 7, 1, ("actions_owed", PAGE, "0 1x20")),
    labelled("LastgoodPageLate", "not yet", 5, 0, ("actions_owed", PAGE, "0 1x20")),
    labelled("LastgoodPageLate", "it took two tries", 7, 0, ("actions_owed", PAGE, "0 1 1 0x20")),
    labelled("LastgoodMessageLost", "the token was revoked", 5, 1,
             ("action_attempts_total", ANNOUNCE + ',result="failed"', "0 0 1x20")),
    labelled("LastgoodMessageLost", "Slack is not configured", 5, 0,
             ("action_attempts_total", ANNOUNCE + ',result="refused"', "0 0 1x20")),
    labelled("LastgoodMessageLost", "GitHub refuses the token", 5, 1,
             ("action_attempts_total", 'action="answer_pipeline",result="failed"', "0 0 1x20")),
    labelled("LastgoodMessageLost", "no pull request could be opened", 5, 1,
             ("action_attempts_total", 'action="revert_commit",result="failed"', "0 0 1x20")),
    labelled("LastgoodMessageLost", "the commit cannot be reverted cleanly", 5, 0,
             ("action_attempts_total", 'action="revert_commit",result="refused"', "0 0 1x20")),
    labelled("LastgoodMessageLate", "Slack is out of reach", 17, 1, ("actions_owed", ANNOUNCE, "0 1x20")),
    labelled("LastgoodMessageLate", "not yet", 15, 0, ("actions_owed", ANNOUNCE, "0 1x20")),
    labelled("LastgoodMessageLate", "it waits its turn", 17, 0, ("actions_owed", ANNOUNCE, "0 1x5 0x20")),
    labelled("LastgoodActionBug", "a runner broke", 5, 1,
             ("action_failures_total", 'action="measure",class="bug"', "0 0 1x20")),
    labelled("LastgoodActionBug", "Prometheus was slow", 5, 0,
             ("action_failures_total", 'action="measure",class="timeout"', "0 0 1x20")),
    labelled("LastgoodActionOwed", "a rollback hangs", 17, 1, ("actions_owed", 'action="roll_back"', "0 1x20")),
    labelled("LastgoodActionOwed", "not yet", 15, 0, ("actions_owed", 'action="roll_back"', "0 1x20")),
    labelled("LastgoodActionOwed", "it converged", 17, 0, ("actions_owed", 'action="roll_back"', "0 1x5 0x20")),
    labelled("LastgoodActionOwed", "there is always one soaking", 17, 0,
             ("actions_owed", 'action="prove_soak"', "3x20"), ("actions_owed", 'action="measure"', "1x20")),
    labelled("LastgoodApprovalDue", "nobody answers", 12, 1, ("incidents", 'phase="proposed"', "0 1x20")),
    labelled("LastgoodApprovalDue", "not yet", 10, 0, ("incidents", 'phase="proposed"', "0 1x20")),
    labelled("LastgoodApprovalDue", "a countdown", 12, 0, ("incidents", 'phase="proposed"', "0 1 0x20")),
    labelled("LastgoodApprovalDue", "handed over already", 12, 0, ("incidents", 'phase="escalated"', "0 1x20")),
    labelled("LastgoodWorkloadsUnprotected", "no proof for an hour", 70, 1,
             ("unprotected_workloads", 'reason="no_verified_revision"', "2x100")),
    labelled("LastgoodWorkloadsUnprotected", "not yet", 59, 0,
             ("unprotected_workloads", 'reason="no_verified_revision"', "2x100")),
    labelled("LastgoodWorkloadsUnprotected", "freshly armed", 40, 0,
             ("unprotected_workloads", 'reason="no_verified_revision"', "2x30 0x60")),
    labelled("LastgoodWorkloadsUnprotected", "a pause is meant", 70, 0,
             ("unprotected_workloads", 'reason="paused"', "2x100")),
    case("LastgoodPausedLong", "forgotten", 1500, 1, paused_scopes="1x1600"),
    case("LastgoodPausedLong", "not yet", 1439, 0, paused_scopes="1x1600"),
    case("LastgoodPausedLong", "over the night", 1500, 0, paused_scopes="1x700 0x900"),
]  # fmt: skip


def unit_test(each: Case) -> dict[str, Any]:
    """The case as promtool reads it: at the minute, so many alerts of the name fire."""
    firing = f'count(ALERTS{{alertname="{each.alert}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"{each.alert}: {each.says}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in each.series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{each.at}m", "exp_samples": [{"labels": "{}", "value": each.firing}]}
        ],
    }


def told(tmp_path: Path, alert: str, tests: list[dict[str, Any]]) -> str:
    """What `promtool test rules` says of one rule as it is in the file; empty when every test passes.

    Of one: all of them over a day, minute by minute, take a busy machine longer than a test may.
    """
    rules, path = tmp_path / "rule.yaml", tmp_path / "rules_test.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [ALL[alert]]}]}))
    content = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    path.write_text(yaml.safe_dump(content))
    tool = require("promtool")
    done = subprocess.run([tool, "test", "rules", path], capture_output=True, text=True, timeout=50, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.real
def test_the_rules_are_well_written() -> None:
    """Promtool reads every rule, its expression and its templates."""
    tool = require("promtool")
    done = subprocess.run([tool, "check", "rules", RULES], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALL)} rules found" in done.stdout


@pytest.mark.real
def test_plain_prometheus_takes_the_example() -> None:
    """The example for a Prometheus without operator passes `promtool check config`, with these rules in it."""
    command = [str(require("promtool")), "check", "config", str(PROMETHEUS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALL)} rules found" in done.stdout
    (job,) = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))["scrape_configs"]
    assert "lastgood" in job["job_name"], "LastgoodDown looks for it"


@pytest.mark.real
@pytest.mark.parametrize("alert", ALL)
def test_each_alert_fires_when_it_should_and_not_otherwise(alert: str, tmp_path: Path) -> None:
    """In each case of the table as many alerts fire as told."""
    assert told(tmp_path, alert, [unit_test(each) for each in CASES if each.alert == alert]) == ""


@pytest.mark.real
def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    """Promtool says so when an alert does not fire as told: the tests above can fail."""
    (down, *_) = [each for each in CASES if each.alert == "LastgoodDown"]
    wrong = unit_test(down)
    wrong["promql_expr_test"][0]["exp_samples"][0]["value"] = 0
    assert "FAILED" in told(tmp_path, down.alert, [wrong])


@pytest.mark.real
def test_an_alert_arrives_with_its_words_filled_in(tmp_path: Path) -> None:
    """Labels and numbers stand in the sentence as a person would write them."""
    each = labelled("LastgoodWatchStale", "", 8, 1, ("reflector_freshness_seconds", "", "0+60x20"))
    labels = {"severity": "critical", "job": "lastgood", "instance": "10.0.0.7:9095"}
    annotations = dict(ALL[each.alert]["annotations"])
    annotations["description"] = annotations["description"].replace("{{ $value | humanizeDuration }}", "8m 0s")
    expected = [{"exp_labels": labels, "exp_annotations": annotations}]
    test = unit_test(each) | {
        "alert_rule_test": [{"eval_time": "8m", "alertname": each.alert, "exp_alerts": expected}],
    }
    assert told(tmp_path, each.alert, [test]) == ""


def test_each_alert_is_tried_both_ways() -> None:
    """Every rule has a case in which it fires and one in which it does not; only the Watchdog always fires."""
    tried = {(each.alert, bool(each.firing)) for each in CASES}
    wanted = {(name, fires) for name in ALL for fires in (True, False)} - {("LastgoodWatchdog", False)}
    assert tried == wanted


@pytest.mark.parametrize("alert", ALL)
def test_each_rule_asks_for_what_exists(alert: str) -> None:
    """Series, labels and label values of a rule are those of the daemon's registry."""
    assert faults_of(ALL[alert]["expr"]) == []


def test_what_does_not_exist_is_noticed() -> None:
    """A misspelt series, label or value is a fault."""
    assert faults_of("lastgood_redy == 0") == ["no series lastgood_redy"]
    assert faults_of('lastgood_incidents{state="proposed"} > 0') == ["lastgood_incidents has no label state"]
    assert faults_of('lastgood_incidents{phase=~"proposd|open"} > 0') == [
        "lastgood_incidents: no phase is 'proposd|open'"
    ]
    assert faults_of('sum by (pod) (rate(lastgood_ready[5m])) / on (pod) up{job="x"}') == []


@pytest.mark.parametrize("alert", ALL)
def test_each_alert_tells_what_to_do(alert: str) -> None:
    """Each has a severity, a sentence, a description of two sentences at least, and a section in the runbook."""
    rule = ALL[alert]
    assert alert.startswith("Lastgood"), "the route of Lastgood's own alerts matches this beginning"
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(re.findall(r"[.:;] ", rule["annotations"]["description"])) >= 1
    assert rule["annotations"]["runbook_url"] == f"deploy/docs/runbook.md#{alert.lower()}"


def test_the_runbook_has_a_section_for_each_alert() -> None:
    """A link from a page at night leads to a heading, and no heading is left of an alert that is gone."""
    headings = re.findall(r"^### (Lastgood\w+)$", documents.read("deploy/docs/runbook.md"), re.MULTILINE)
    assert headings == list(ALL)


def test_no_answer_to_a_sender_goes_unnoticed() -> None:
    """Every result of an intake is in some rule, or is known to need none; decide about a new one here or in the rules."""
    expressions = " ".join(rule["expr"] for rule in ALL.values() if "lastgood_intake_total" in rule["expr"])
    named = {word for text in re.findall(r'result=~?"([^"]*)"', expressions) for word in text.split("|")}
    assert set(RESULTS) <= named | NEEDS_NO_ALERT
    assert named <= ours()["lastgood_intake_total"]["result"]
