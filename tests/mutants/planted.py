"""Planted bugs: each is one small change that breaks one promise, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """In `file`, `old` (found exactly once) becomes `new`; then some of `tests` must fail. `why`: the broken promise."""

    name: str
    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        name="guard-not-verified",
        why="rolls back to a revision without recorded proof",
        file="daemon/core/target_guards.py",
        old="    if case.choice.target is not None:\n        return None\n    seen =",
        new="    return None\n    seen =",
        tests=("tests/core/test_guards.py",),
    ),
    Mutant(
        name="guard-paused",
        why="acts while paused",
        file="daemon/core/guards.py",
        old="    paused,\n    protected,",
        new="    protected,",
        tests=("tests/core/test_guards.py",),
    ),
    Mutant(
        name="guard-rollback-of-rollback",
        why="rolls back a rollback",
        file="daemon/core/guards.py",
        old="    rollback_of_rollback,\n    too_old,",
        new="    too_old,",
        tests=("tests/core/test_guards.py",),
    ),
    Mutant(
        name="precondition-template",
        why="overwrites a newer rollout that lands between reading and patching",
        file="handlers/workload_objects.py",
        old="""        {"op": "test", "path": "/spec/template", "value": fresh.workload["spec"]["template"]},\n""",
        new="",
        tests=("tests/handlers/test_rollback_template.py::test_a_newer_rollout_wins_the_race",),
    ),
    Mutant(
        name="precondition-uid",
        why="patches another object that was made under the same name",
        file="handlers/workload_objects.py",
        old="""        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},\n""",
        new="",
        tests=("tests/handlers/test_rollback_template.py::test_recreated_between_reading_and_patch",),
    ),
    Mutant(
        name="no-dry-run",
        why="sends a patch that the server has not tried",
        file="handlers/outbound/rollback/template.py",
        old="await self._patch(step, dry_run=True)",
        new="pass",
        tests=("tests/handlers/test_rollback_template.py",),
    ),
    Mutant(
        name="page-before-journal",
        why="acts on what is not on disk: after a crash it knows nothing of it",
        file="daemon/runtime/engine.py",
        old="""        if facts or cursor - self._saved >= WRITE_MAX:
            await self._commit(facts, cursor, now)
        self._state, self._cursor = state, cursor
""",
        new="""        self._state = state
        self._release(facts)
        if facts or cursor - self._saved >= WRITE_MAX:
            await self._commit(facts, cursor, now)
        self._state, self._cursor = state, cursor
""",
        tests=("tests/runtime/test_engine.py",),  # its desk looks for the intent on disk at every dispatch
    ),
    Mutant(
        name="no-probe-on-restart",
        why="does again what may have happened, without asking",
        file="daemon/runtime/engine.py",
        old="self._dispatch(action, True)",
        new="self._dispatch(action, False)",
        tests=("tests/runtime/test_engine.py",),
    ),
    Mutant(
        name="no-probe-after-lost-answer",
        why="sends again what may have arrived, without asking",
        file="daemon/runtime/dispatch.py",
        old="state.uncertain = _acts(action)",
        new="state.uncertain = False",
        tests=("tests/runtime/test_dispatch.py",),
    ),
    Mutant(
        name="no-fresh-look",
        why="acts at the end of the countdown on a measurement from before it",
        file="daemon/core/progress.py",
        old="""    elif incident.countdown_until is not None and incident.countdown_until <= draft.now:
        begin_measure(draft, incident.id, final=True)
""",
        new="""    elif incident.countdown_until is not None and incident.countdown_until <= draft.now:
        _go(draft, incident.id)
""",
        tests=("tests/core/test_phases.py", "tests/core/test_holding.py", "tests/core/test_people.py"),
    ),
    Mutant(
        name="silenced-read-as-gone",
        why="takes a silence for recovery (the reading of Alertmanager's API)",
        file="handlers/alertmanager_api.py",
        old="    return AlertStatus.SUPPRESSED",
        new="    return AlertStatus.RESOLVED",
        tests=("tests/handlers/test_alerts_poll_api.py",),
    ),
    Mutant(
        name="silenced-judged-as-gone",
        why="takes a silence for recovery (the judgement)",
        file="daemon/core/recovery.py",
        old="statuses <= {AlertStatus.RESOLVED}",
        new="statuses <= {AlertStatus.RESOLVED, AlertStatus.SUPPRESSED}",
        tests=("tests/core/test_holding.py", "tests/core/test_verifying.py"),
    ),
    Mutant(
        name="webhook-before-journal",
        why="answers 2xx for what is not on disk",
        file="handlers/inbound/alertmanager.py",
        old="            await self._accept(alerts)",
        new='            __import__("asyncio").ensure_future(self._accept(alerts))',
        tests=("tests/handlers/test_alertmanager.py",),
    ),
    Mutant(
        name="dedup-key-varies",
        why="opens a second PagerDuty incident for the same bad revision",
        file="daemon/core/telling.py",
        old="key=incident.page.key if incident.page else page_key(draft, incident)",
        new="key=f'{page_key(draft, incident)}/{incident.phase}'",
        tests=("tests/core/test_telling.py", "tests/core/test_scenarios.py"),
    ),
    Mutant(
        name="dedup-key-by-incident",
        why="pages once per incident, not once per bad revision",
        file="daemon/core/telling.py",
        old='return f"{cluster}/{incident.suspect.key}/{incident.blamed.id}"',
        new='return f"{cluster}/{incident.id}"',
        tests=("tests/core/test_scenarios.py",),
    ),
    Mutant(
        name="no-hold",
        why="calls the first good look a recovery",
        file="daemon/core/progress.py",
        old="if good_since is None or draft.now - good_since < draft.policy.hold:",
        new="if good_since is None:",
        tests=("tests/core/test_verifying.py",),
    ),
    Mutant(
        name="durability-off",
        why="a power cut takes what was acknowledged",
        file="daemon/runtime/journal_file.py",
        old="PRAGMA synchronous = FULL",
        new="PRAGMA synchronous = OFF",
        tests=("tests/runtime/test_journal_sqlite.py",),
    ),
    Mutant(
        name="mqtt-ack-first",
        why="acknowledges a broker's message before the journal has it",
        file="handlers/inbound/mqtt.py",
        old="        try:\n            notices = self._read(delivery)\n",
        new="        link.acknowledge(delivery)\n        try:\n            notices = self._read(delivery)\n",
        tests=("tests/handlers/test_mqtt.py",),
    ),
    Mutant(
        name="github-unsigned",
        why="takes a forged webhook",
        file="handlers/inbound/github.py",
        old="if not hmac.compare_digest(",
        new="if False and not hmac.compare_digest(",
        tests=("tests/handlers/test_events_github.py",),
    ),
    Mutant(
        name="informing-causes",
        why="lets a sender open incidents that may only inform",
        file="daemon/core/attaching.py",
        old="notice.status is NoticeStatus.FAILED and notice.may_cause and",
        new="notice.status is NoticeStatus.FAILED and",
        tests=("tests/core/test_notices.py",),
    ),
    Mutant(
        name="any-presser",
        why="lets anybody in the channel approve",
        file="handlers/slack_presses.py",
        old="if press.guest or not policy.may_approve(press.actor, workload):",
        new="if press.guest:",
        tests=("tests/handlers/test_slack_presses.py",),
    ),
    Mutant(
        name="stale-consent",
        why="takes a press on an old message for consent to a changed proposal",
        file="daemon/core/people.py",
        old="elif not _covered(event, incident):",
        new="elif False:",
        tests=("tests/core/test_people.py",),
    ),
    Mutant(
        name="data-acts-alone",
        why="rolls back by itself where data is declared to be at risk",
        file="daemon/core/guards.py",
        old="    data_at_risk,\n)",
        new=")",
        tests=("tests/core/test_declared.py",),
    ),
    Mutant(
        name="declared-dismissed",
        why="ends what a person declared because the metrics look good",
        file="daemon/core/recovery.py",
        old="return Health.INCONCLUSIVE if _said_by_people(incident) else Health.HEALTHY",
        new="return Health.HEALTHY",
        tests=("tests/core/test_declared.py",),
    ),
    Mutant(
        name="asked-unproven",
        why="rolls back to an unproven revision because a person asks",
        file="daemon/core/asked.py",
        old="if entry is not None and entry.verified:",
        new="if entry is not None:",
        tests=("tests/core/test_asked.py",),
    ),
    Mutant(
        name="override-all",
        why="takes one override for all",
        file="daemon/core/asked.py",
        old="return not (refusal.overridable and refusal.reason in ask.overrides)",
        new="return not (refusal.overridable and bool(ask.overrides))",
        tests=("tests/core/test_asked.py",),
    ),
    Mutant(
        name="undo-unnoticed",
        why="would roll back to what somebody went away from by hand",
        file="daemon/core/rollouts.py",
        old="        soaking.undone(draft, rollout)\n",
        new="",
        tests=("tests/core/test_undone.py",),
    ),
    Mutant(
        name="gate-open",
        why="lets a pipeline roll out a quarantined image again",
        file="daemon/core/gate.py",
        old="        if entry.quarantined_by is not None:\n",
        new="        if entry.quarantined_by is None:\n",
        tests=("tests/core/test_gate.py",),
    ),
    Mutant(
        name="observe-is-no-preview",
        why="tells that observe would have acted where auto would wait for data",
        file="daemon/core/would.py",
        old="    if unaccused or Consequence.HOLD in consequences or",
        new="    if unaccused or",
        tests=("tests/core/test_would.py",),
    ),
    Mutant(
        name="judged-wrong-kept-out",
        why="keeps a revision in quarantine that a person judged innocent",
        file="daemon/core/reviewing.py",
        old='        soaking.acquit(draft, about, f"judged wrong by {event.actor}")\n',
        new="        pass\n",
        tests=("tests/core/test_reviewing.py",),
    ),
    Mutant(
        name="counts-every-flap",
        why="counts a revision as often as its alert comes back, and arms by it",
        file="daemon/core/scorecard.py",
        old="(one.revision, one.made) == (other.revision, other.made)",
        new="one.incident == other.incident",
        tests=("tests/core/test_scorecard.py", "tests/core/test_tallies.py"),
    ),
    Mutant(
        name="sure-after-three",
        why="arms after three lucky decisions",
        file="daemon/core/scorecard.py",
        old="return min(max(0.0, low), share), max(min(1.0, high), share)",
        new="return share, share",
        tests=("tests/core/test_scorecard.py",),
    ),
)
