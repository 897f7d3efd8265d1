"""What a daemon adds to a recording, from the very documents that its API answers."""

from __future__ import annotations

from dataclasses import replace

from daemon.core.incidents import Word
from daemon.core.model import Mode
from handlers import history, overview, scorecard
from handlers.backtest import daemon_history
from tests.core.builders import DAY, SHOP, V1, V2, a_policy
from tests.core.story import Story
from tests.core.test_scorecard import a_tally, judged


def story() -> Story:
    told = Story(a_policy(default_mode=Mode.OBSERVE))
    told.spikes()
    return told


def test_rollouts_are_those_of_its_history() -> None:
    """The rollout that the daemon saw, with the revision that it replaced and when it began."""
    told = story()
    document = history.history(told.state.workloads[SHOP.key], told.state, told.policy, told.now)
    (found,) = (each for each in daemon_history.rollouts(document) if each.phase == "started")
    rollout = told.state.workloads[SHOP.key].rollout
    assert rollout is not None
    assert (found.workload, found.revision, found.replaces) == (SHOP.key, V2.id, V1.id)
    assert abs((found.at - rollout.started_at).total_seconds()) < 0.001


def test_only_what_metrics_do_not_tell_is_asked_for() -> None:
    """Of Deployments kube-state-metrics tells more; DaemonSets are the daemon's to tell."""
    told = story()
    status = overview.status(told.state, told.policy, told.now, None)
    assert daemon_history.untold(status) == []
    (row,) = status["workloads"]["rows"]
    assert row["workload"] == SHOP.key
    names = ("a/Deployment/b", "a/StatefulSet/b", "a/DaemonSet/b", "a/Service/b", 7)
    status["workloads"]["rows"] = [{**row, "workload": name} for name in names]
    assert daemon_history.untold(status) == ["a/DaemonSet/b", "a/Service/b"]


def test_what_was_called_right_is_true_and_what_was_called_wrong_is_not() -> None:
    """A decision that a person called right names its workload; of a wrong one nobody knows who it was."""
    told = story()
    tally = a_tally(*judged(3, 2), since=told.now - 20 * DAY)
    state = replace(told.state, scorecards={SHOP.key: tally})
    assert daemon_history.judged(scorecard.scorecard(state, told.policy, told.now)) == [SHOP.key]
    document = scorecard.of(SHOP.key, state, told.policy, told.now)
    assert document is not None
    found = list(daemon_history.truths(document))
    assert {each.culprit for each in found} == {SHOP.key}
    right = [each.at for each in tally.decisions if each.word is Word.RIGHT]
    assert sorted(round(each.at.timestamp(), 3) for each in found) == sorted(round(at.timestamp(), 3) for at in right)


def test_an_answer_that_is_not_understood_adds_nothing() -> None:
    """Whatever an older or newer daemon says, a recording does not fail because of it."""
    for strange in (
        {},
        {"workloads": 3},
        {"workload": "x", "rollouts": [7]},
        {"workloads": [{"workload": 1, "latest": [0]}]},
    ):
        assert list(daemon_history.rollouts(strange)) == []
        assert list(daemon_history.truths(strange)) == []
        assert list(daemon_history.judged(strange)) == []
        assert list(daemon_history.untold(strange)) == []
    row = {"revision": {"id": "b"}, "replaced": {"id": "a"}, "started_at": "soon", "completed_at": None}
    assert list(daemon_history.rollouts({"workload": "a/DaemonSet/b", "rollouts": [row]})) == []
