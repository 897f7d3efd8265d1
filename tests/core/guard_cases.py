"""What makes each guard refuse: a story per circumstance, played up to the first verdict that knows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from daemon.core.incidents import Phase
from daemon.core.measurement import ConfigChange, Peer
from daemon.core.model import Exchange, Mode, OnsetSource, Owner, OwnerKind, Rung
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason
from daemon.core.state import RollbackDone
from tests.core.builders import (
    CART,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    a_rollout_view,
    a_sample,
    a_soak,
    a_view,
    an_alert,
)
from tests.core.story import Story

HOLD, PROPOSE, ESCALATE = Consequence.HOLD, Consequence.PROPOSE, Consequence.ESCALATE
Play = Callable[[], Story]
DRIVER = Owner(kind=OwnerKind.OPERATOR, name="Rollout/checkout", drives=True)


def spike(story: Story | None = None, **rollout: Any) -> Story:
    """The plain spike, up to the first verdict."""
    story = story or Story()
    story.spikes(**rollout)
    return story


def in_mode(mode: Mode) -> Play:
    return lambda: spike(Story(a_policy(default_mode=mode)))


def seen(**rollout: Any) -> Play:
    return lambda: spike(**rollout)


def annotated(**view: Any) -> Play:
    return seen(**view)


def paused() -> Story:
    story = Story()
    story.pauses("shop")
    return spike(story)


def own_workload() -> Story:
    return spike(Story(a_policy(own_workload=SHOP.short)))


def in_kube_system(policy: Policy | None = None) -> Story:
    workload = replace(SHOP, namespace="kube-system")
    story = Story(policy)
    story.starts()
    story.sees(a_view(workload=workload))
    story.waits(SECOND)
    story.now = NOON
    story.sees(a_rollout_view(workload=workload))
    story.where["f1"] = a_location(workload)
    story.fires()
    return story


def unverified() -> Story:
    story = Story()
    story.soaks = lambda action: None
    return spike(story)


def checked(**check: Any) -> Play:
    def play() -> Story:
        story = Story()
        story.checks = lambda action: a_check(action.target, **check)
        return spike(story)

    return play


def unchecked() -> Story:
    story = Story()
    story.checks = lambda action: None
    return spike(story)


def restarted_only() -> Story:
    same = replace(V2, content=V1.content, digests=V1.digests)
    return spike(new=same)


def rolled_back_by_hand() -> Story:
    return spike(new=replace(V2, created_at=V1.created_at and V1.created_at - DAY))


def rolled_back_by_us() -> Story:
    return spike(action_id="inc-0/roll_back")


def too_old() -> Story:
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.now = NOON + 3 * HOUR
    onset = story.now - MINUTE
    story.where["f1"] = a_location(onset=onset)
    story.fires(an_alert(starts_at=story.now))
    return story


def alike() -> Story:
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.3, old=0.3)
    return spike(story)


def bad_neighbours() -> Story:
    story = Story()
    peer = Peer(workload=CART, before=a_sample(NOON - MINUTE), now=a_sample(NOON + MINUTE, errors=0.5))
    story.measures = lambda action: a_measurement(story.now, old=None, peers=(peer,))
    return spike(story)


def bad_node() -> Story:
    story = Story()
    story.measures = lambda action: a_measurement(story.now, failed_nodes=("node-7",))
    return spike(story)


def hardly_any_traffic() -> Story:
    story = Story()
    story.measures = lambda action: a_measurement(story.now, traffic=0.2)
    return spike(story)


def nothing_to_compare_yet() -> Story:
    story = Story()
    story.measures = lambda action: a_measurement(story.now, old=None)
    return spike(story)


def nothing_to_compare_ever() -> Story:
    story = Story()
    story.measures = lambda action: a_measurement(story.now, old=None)
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.now = NOON + 3 * MINUTE
    story.fires()
    return story


def onset_assumed() -> Story:
    story = Story()
    story.where["f1"] = a_location(onset=NOON - MINUTE, onset_source=OnsetSource.ASSUMED)
    return spike(story)


def rollbacks_before(count: int, namespace: str) -> Play:
    def play() -> Story:
        story = Story()
        past = RollbackDone(at=NOON - MINUTE, namespace=namespace, workload=CART.key)
        story.state = replace(story.state, rollbacks=(past,) * count)
        return spike(story)

    return play


def cooling_down() -> Story:
    story = spike()
    story.waits(30 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    story.resolves()
    story.measures = lambda action: a_measurement(story.now)
    story.rolls_out(V3, V1, history=(V1, V2, V3))
    onset = story.now + STEP
    story.where["f1"] = a_location(onset=onset)
    story.fires(an_alert(starts_at=onset + STEP))
    return story


def skipping() -> Story:
    story = Story()
    story.proves_v1()
    story.soaks = lambda action: None
    story.now = NOON - 5 * MINUTE
    story.sees(a_view(V2, started_at=story.now, available_since=story.now))
    story.rolls_out(V3, V2)
    story.fires()
    return story


def proof_old() -> Story:
    story = Story(now=NOON - 20 * DAY)
    story.sees(a_view(started_at=NOON - 30 * DAY, available_since=NOON - 30 * DAY))
    story.starts()
    story.waits(SECOND)
    story.soaks = lambda action: None
    story.rolls_out()
    story.fires()
    return story


def health_only() -> Story:
    story = Story()
    story.soaks = lambda action: a_soak(action.since, story.now, 0 * MINUTE, quiet=DAY)
    return spike(story)


def by_namespace() -> Story:
    story = Story()
    story.where["f1"] = a_location(SHOP, rung=Rung.NAMESPACE)
    return spike(story)


def ambiguous() -> Story:
    story = Story(a_policy(act_without_control=True))
    story.starts()
    story.sees(a_view())
    story.sees(a_view(workload=CART, uid="uid-2"))
    story.waits(SECOND)
    story.measures = lambda action: a_measurement(story.now, old=None, new=0.0)
    story.now = NOON
    for workload, uid in ((SHOP, "uid-1"), (CART, "uid-2")):
        story.sees(a_view(V2, workload=workload, uid=uid, started_at=NOON, available_since=NOON))
    story.now = NOON + 3 * MINUTE
    story.where["f1"] = a_location(SHOP, CART)
    story.fires()
    story.waits(MINUTE + STEP)  # timing alone is no blame before
    return story


CASES: list[tuple[Reason, Consequence, bool, Play]] = [
    (Reason.MODE_OBSERVE, ESCALATE, False, in_mode(Mode.OBSERVE)),
    (Reason.MODE_OBSERVE, ESCALATE, False, annotated(mode=Mode.OBSERVE)),
    (Reason.MODE_OBSERVE, ESCALATE, False, annotated(mode_invalid="yolo")),
    (Reason.MODE_APPROVE, PROPOSE, True, in_mode(Mode.APPROVE)),
    (Reason.PAUSED, ESCALATE, False, paused),
    (Reason.PAUSED, ESCALATE, False, annotated(namespace_paused=True)),
    (Reason.PROTECTED, ESCALATE, False, own_workload),
    (Reason.PROTECTED, ESCALATE, False, in_kube_system),
    (Reason.TARGET_NOT_VERIFIED, ESCALATE, False, unverified),
    (Reason.TARGET_GONE, ESCALATE, False, checked(exists=False)),
    (Reason.TARGET_GONE, ESCALATE, False, checked(missing=("ConfigMap/settings",))),
    (Reason.TARGET_GONE, ESCALATE, False, checked(dry_run_error="denied by a webhook")),
    (Reason.OUT_OF_REACH, ESCALATE, False, checked(no_way="its template is that of Deployment/checkout")),
    (Reason.NO_PERMISSION, ESCALATE, False, checked(may_patch=False)),
    (Reason.TARGET_UNCHECKED, HOLD, True, unchecked),
    (Reason.ROLLOUT_PAUSED, ESCALATE, True, annotated(paused=True)),
    (Reason.ON_DELETE, ESCALATE, True, annotated(exchange=Exchange.ON_DELETE)),
    (Reason.RESTART_ONLY, ESCALATE, True, restarted_only),
    (Reason.OWNED_BY_GITOPS, ESCALATE, True, annotated(owner=Owner(kind=OwnerKind.ARGO_CD, name="shop"))),
    (Reason.OWNED_BY_GITOPS, ESCALATE, True, annotated(owner=Owner(kind=OwnerKind.FLUX, name="shop"))),
    (Reason.OWNED_BY_OPERATOR, ESCALATE, True, annotated(owner=Owner(kind=OwnerKind.OPERATOR, name="Shop/a"))),
    (Reason.OWNED_BY_OPERATOR, ESCALATE, False, annotated(owner=DRIVER)),
    (Reason.IRREVERSIBLE, ESCALATE, True, annotated(irreversible=True)),
    (Reason.ROLLBACK_OF_ROLLBACK, ESCALATE, False, rolled_back_by_hand),
    (Reason.ROLLBACK_OF_ROLLBACK, ESCALATE, False, rolled_back_by_us),
    (Reason.TOO_OLD, ESCALATE, True, too_old),
    (Reason.COMMON_CAUSE, ESCALATE, True, alike),
    (Reason.COMMON_CAUSE, ESCALATE, True, bad_neighbours),
    (Reason.COMMON_CAUSE, ESCALATE, True, bad_node),
    (Reason.LOW_TRAFFIC, HOLD, True, hardly_any_traffic),
    (Reason.NO_CONTRAST, HOLD, True, nothing_to_compare_yet),
    (Reason.NO_CONTRAST, PROPOSE, True, nothing_to_compare_ever),
    (Reason.ONSET_ASSUMED, HOLD, True, onset_assumed),
    (Reason.CONFIG_CHANGED, PROPOSE, True, checked(configs=(ConfigChange(name="settings", changed_at=NOON - SECOND),))),
    (Reason.BLAST_RADIUS, PROPOSE, True, rollbacks_before(3, "shop")),
    (Reason.BLAST_RADIUS, PROPOSE, True, rollbacks_before(10, "elsewhere")),
    (Reason.COOLING_DOWN, PROPOSE, True, cooling_down),
    (Reason.TARGET_SKIPS, PROPOSE, True, skipping),
    (Reason.PROOF_OLD, PROPOSE, True, proof_old),
    (Reason.PROOF_HEALTH_ONLY, PROPOSE, True, health_only),
    (Reason.MAPPED_BY_NAMESPACE, PROPOSE, True, by_namespace),
    (Reason.AMBIGUOUS, PROPOSE, True, ambiguous),
]  # fmt: skip
