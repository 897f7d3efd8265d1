"""Preflight: every check is green where everything is there, and each turns with what is missing, naming the remedy."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from daemon.core.model import Exchange, Mode, Owner, OwnerKind
from daemon.core.policy import ApproverRule, GitOpsRule, ModeRule, Routes
from handlers.alertmanager_api import Reading
from handlers.faults import FaultKind, Permanent, Transient
from handlers.kinds import SERVICE, WATCHED
from tests import documents
from tests.core.builders import DAY, MINUTE, SECOND, SHOP, V1, V2, a_check, a_policy, a_soak, a_view
from tests.core.story import Story
from tests.handlers.preflight_world import CONFIGURED, World, proven, seen
from tests.handlers.test_preflight_kinds import AROUND, looks

DOWN = Transient(None, "it answered 503: shutting down", FaultKind.SERVER)


async def test_everything_is_there() -> None:
    """Nothing failed, and the only warning is that no alert has come yet; nothing was journalled."""
    world = World()
    facts = len(world.story.facts)
    looked = await world.looks()
    assert looked.document["ok"] is True
    assert looked.of("failed") == []
    assert looked.of("warning") == ["alerts seen"]
    assert looked.document["counts"]["ok"] == len(looked.document["lines"]) - 1
    assert (looked.document["workload"], looked.document["mode"]) == (SHOP.key, "auto")
    assert len(world.story.facts) == facts


async def test_every_line_but_ok_has_a_remedy() -> None:
    """Whatever is wrong, the line says what to do."""
    world = World(Story(policy=a_policy()))
    world.story.starts()
    world.story.sees(a_view(V1, paused=True, owner=Owner(kind=OwnerKind.ARGO_CD, name="shop")))
    world.prometheus.instant = lambda query, at: []
    world.prometheus.value = lambda query, at: None
    world.prometheus.alerting = ()
    world.rights.lacks = {"patch deployments", "watch pods", "get secrets", "get configmaps"}
    world.alertmanager, world.webhooks, world.ready, world.age, world.free = None, 0, "disk full", inf, 10
    world.configured = replace(CONFIGURED, pagerduty=False, slack=False, buttons=False)
    looked = await world.looks()
    assert not looked.document["ok"]
    bad = [line for line in looked.document["lines"] if line["level"] != "ok"]
    assert len(bad) > 15
    assert all(line["remedy"] for line in bad)


def set_to(**changes: Any) -> Callable[[World], None]:
    """Attributes of the world."""

    def apply(world: World) -> None:
        for name, value in changes.items():
            setattr(world, name, value)

    return apply


def lacks(*rights: str) -> Callable[[World], None]:
    return lambda world: world.rights.lacks.update(rights)


def configured(**changes: Any) -> Callable[[World], None]:
    return set_to(configured=replace(CONFIGURED, **changes))


ONE_PART = [
    pytest.param(set_to(ready="the journal: disk full"), "daemon ready", "failed", "disk full", id="not-ready"),
    pytest.param(set_to(free=10**6), "journal", "failed", "0 MB are free", id="disk-full"),
    pytest.param(set_to(free=OSError(errno.EIO, "I/O error")), "journal", "failed", "I/O error", id="disk-gone"),
    pytest.param(set_to(age=300.0), "watch fresh", "failed", "heard nothing for 300s", id="watch-old"),
    pytest.param(set_to(age=inf), "watch fresh", "failed", "never heard", id="watch-never"),
    pytest.param(lacks("patch deployments"), "patch deployments", "failed", "would be refused", id="no-patch"),
    pytest.param(lacks("watch pods"), "watch the cluster", "failed", "watch pods", id="no-watch"),
    pytest.param(lacks("get serviceaccounts"), "check a target", "failed", "get serviceaccounts", id="no-reading"),
    pytest.param(lacks("get secrets"), "get secrets", "ok", "rbac.secretsMetadata", id="no-secrets"),
    pytest.param(configured(pagerduty=False), "paging", "warning", "nobody is paged", id="no-pagerduty"),
    pytest.param(configured(pagerduty=False, slack=False), "paging", "failed", "nobody is paged", id="nobody-told"),
    pytest.param(configured(slack=False), "announcing", "warning", "nothing is announced", id="no-slack"),
    pytest.param(set_to(alertmanager=None), "alertmanager API", "failed", "no recovery", id="no-alertmanager"),
    pytest.param(set_to(webhooks=0), "alerts by webhook", "warning", "none accepted", id="no-webhook"),
    pytest.param(set_to(target=a_check(V1, exists=False)), "dry run", "failed", "is gone", id="target-gone"),
    pytest.param(
        set_to(target=a_check(V1, dry_run_error="denied by policy")),
        "dry run",
        "failed",
        "denied by policy",
        id="refused",
    ),
    pytest.param(set_to(target=a_check(V1, may_patch=False)), "dry run", "failed", "no patch verb", id="may-not-try"),
    pytest.param(
        set_to(target=a_check(V1, missing=("ConfigMap a",))), "references", "failed", "ConfigMap a", id="missing"
    ),
    pytest.param(
        set_to(target=a_check(V1, unchecked=("Secret b",))), "references", "warning", "Secret b", id="unchecked"
    ),
    pytest.param(set_to(target=DOWN), "dry run", "failed", "503", id="api-server-down"),
]


@pytest.mark.parametrize(("breaks", "check", "level", "says"), ONE_PART)
async def test_one_thing_is_missing(breaks: Callable[[World], None], check: str, level: str, says: str) -> None:
    """Its line turns and says so; no other line fails with it."""
    world = World()
    breaks(world)
    looked = await world.looks()
    line = looked.line(check)
    assert (line["level"], says in line["says"]) == (level, True), line
    assert looked.of("failed") == ([check] if level == "failed" else [])
    assert looked.document["ok"] is (level != "failed")
    assert level == "ok" or line["remedy"]


async def test_alertmanager_cannot_be_read() -> None:
    """Out of reach fails, not settled yet only warns."""
    world = World()
    assert world.alertmanager is not None
    world.alertmanager.answer = DOWN
    assert (await world.looks()).line("alertmanager API")["level"] == "failed"
    world.alertmanager.answer = Reading(alerts=(), complete=False)
    assert (await world.looks()).line("alertmanager API")["level"] == "warning"


async def test_rights_cannot_be_asked() -> None:
    """The part is named with the fault; the others answer all the same."""
    world = World()
    world.rights.fault = Permanent("Kubernetes answered 403", FaultKind.AUTH)
    looked = await world.looks()
    assert looked.of("failed") == ["access"]
    assert "403" in looked.line("access")["says"]


async def test_observe_needs_no_patch() -> None:
    """Without the right to patch, mode observe is only warned of what arming will need."""
    world = World(default_mode=Mode.OBSERVE)
    world.rights.lacks = {"patch deployments"}
    world.target = a_check(V1, may_patch=False)
    looked = await world.looks()
    assert looked.document["ok"] is True
    assert "rbac.mode=act" in looked.line("patch deployments")["remedy"]
    assert looked.line("dry run")["level"] == "warning"


# --------------------------------------------------------------------------------------------------------- the workload


async def test_the_mode_and_the_rule_that_gives_it() -> None:
    """The first rule that matches is named; an annotation that lowers it, too; a word that is no mode fails."""
    rules = (ModeRule(mode=Mode.AUTO, names=("cart",)), ModeRule(mode=Mode.AUTO, namespaces=("shop",)))
    policy = a_policy(default_mode=Mode.OBSERVE, modes=rules)
    assert "auto (policy.modes[1] namespaces shop)" in (await World(seen(policy)).looks()).line("mode")["says"]
    lowered = (await World(seen(policy, mode=Mode.APPROVE)).looks()).line("mode")["says"]
    assert lowered.startswith("approve (policy.modes[1] namespaces shop says auto, lowered by the annotation")
    assert (await World(seen()).looks()).line("mode")["says"].startswith("auto (policy.default_mode)")
    wrong = (await World(seen(policy, mode_invalid="atuo")).looks()).line("mode")
    assert (wrong["level"], wrong["commands"]) == (
        "failed",
        ["kubectl -n shop annotate deployment/checkout lastgood.dev/mode-"],
    )


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (OwnerKind.HELM, "ok"),
        (OwnerKind.ARGO_CD, "failed"),
        (OwnerKind.FLUX, "failed"),
        (OwnerKind.OPERATOR, "failed"),
    ],
)
async def test_owners(kind: OwnerKind, level: str) -> None:
    """Helm alone does not fight back."""
    owner = Owner(kind=kind, name="shop")
    assert (await World(seen(owner=owner)).looks()).line("owner")["level"] == level
    observed = seen(a_policy(default_mode=Mode.OBSERVE), owner=owner)
    assert (await World(observed).looks()).line("owner")["level"] == ("ok" if level == "ok" else "warning")


async def test_an_owner_that_yields() -> None:
    """Without self-heal it is rolled back; the line says what was read, and so does that of an owner in the way."""
    owner = Owner(kind=OwnerKind.ARGO_CD, name="shop")
    line = (await World(seen(owner=owner, owner_yields=True, owner_note="self-heal is off")).looks()).line("owner")
    assert line["level"] == "ok"
    assert "Argo CD application shop (self-heal is off): it is rolled back" in str(line)
    line = (await World(seen(owner=owner, owner_note="self-heal is on")).looks()).line("owner")
    assert "(self-heal is on)" in str(line)


@pytest.mark.parametrize(
    ("scope", "command"),
    [("", "lastgood resume"), ("shop", "lastgood resume shop"), ("shop/checkout", "lastgood resume shop/checkout")],
)
async def test_pauses(scope: str, command: str) -> None:
    """The command ends exactly the pause that covers the workload."""
    world = World()
    world.story.pauses(scope)
    looked = await world.looks()
    assert (looked.line("pause")["level"], looked.line("pause")["commands"]) == ("failed", [command])
    assert looked.line("protected")["level"] == "failed"


async def test_pauses_of_the_cluster() -> None:
    """The namespace's annotation and the Deployment's own pause are ended by kubectl."""
    looked = await World(seen(namespace_paused=True, paused=True, irreversible=True)).looks()
    assert looked.line("pause")["commands"] == ["kubectl annotate namespace shop lastgood.dev/paused-"]
    assert looked.line("rollouts")["commands"] == ["kubectl -n shop rollout resume deployment/checkout"]
    assert looked.line("irreversible")["level"] == "warning"


# ----------------------------------------------------------------------------------------------------------- the target


async def test_nothing_is_verified_yet() -> None:
    """How much of the soak is there, and how much is missing; nothing is tried."""
    story = Story(policy=a_policy(soak=15 * MINUTE))
    story.soaks = lambda action: a_soak(story.now - 4 * MINUTE, story.now, healthy=4 * MINUTE)
    story.proves_v1()
    world = World(story)
    looked = await world.looks()
    line = looked.line("verified target")
    assert line["level"] == "failed"
    assert "4m00s of 15m00s healthy soak" in line["says"]
    assert line["remedy"].startswith("wait: 11m of healthy traffic")
    assert world.checked == []
    assert not any(each["check"] == "dry run" for each in looked.document["lines"])


async def test_the_current_revision_is_the_target_of_tomorrow() -> None:
    """What runs now and is verified is what a bad rollout will be rolled back to: that is tried."""
    world = World()
    await world.looks()
    assert [action.target for action in world.checked] == [V1]


async def test_an_older_revision_is_the_target() -> None:
    """While v2 soaks, v1 is the target, and the warning says that v2 is not verified itself."""
    story = proven()
    story.rolls_out()
    story.soaks = lambda action: a_soak(story.now - MINUTE, story.now, healthy=MINUTE)
    story.completes(V2)
    story.waits(0 * SECOND)
    world = World(story)
    looked = await world.looks()
    assert V1.label in looked.line("verified target")["says"]
    assert looked.line("current revision")["level"] == "warning"
    assert [(action.blamed, action.target) for action in world.checked] == [(V2, V1)]


async def test_an_old_proof_only_proposes() -> None:
    """Proof older than proof_age_max is a warning that names the setting."""
    world = World()
    world.story.now += 15 * DAY
    line = (await world.looks()).line("verified target")
    assert (line["level"], "policy.proof_age_max" in line["remedy"]) == ("warning", True)


async def test_a_proof_by_health_only_proposes() -> None:
    """A day without traffic is a thinner proof, and told as one."""
    story = Story(policy=a_policy())
    nothing = 0 * SECOND
    story.soaks = lambda action: a_soak(story.now - DAY, story.now, healthy=nothing, quiet=DAY, inconclusive=nothing)
    story.proves_v1()
    line = (await World(story).looks()).line("verified target")
    assert (line["level"], "min_traffic_rate" in line["remedy"]) == ("warning", True)


# -------------------------------------------------------------------------------------------------------------- people


async def test_approvers() -> None:
    """Mode approve wants somebody who covers this workload, and buttons; other modes do not ask."""
    approve = {"default_mode": Mode.APPROVE}
    assert (await World(**approve).looks()).line("approvers")["level"] == "warning"
    elsewhere = ApproverRule(actors=("slack:U1",), namespaces=("pay",))
    assert (await World(**approve, approvers=(elsewhere,)).looks()).line("approvers")["level"] == "warning"
    here = ApproverRule(actors=("slack:U1",), namespaces=("sh*",), names=("check*",))
    world = World(**approve, approvers=(elsewhere, here))
    assert "slack:U1" in (await world.looks()).line("approvers")["says"]
    world.configured = replace(CONFIGURED, buttons=False)
    assert (await world.looks()).line("approvers")["level"] == "warning"
    assert not any(line["check"] == "approvers" for line in (await World().looks()).document["lines"])


async def test_routes_that_lead_nowhere() -> None:
    """A key alone does not page: the policy must route a severity there."""
    looked = await World(routes=Routes(critical=(), high=(), low=())).looks()
    assert looked.of("warning")[-2:] == ["paging", "announcing"]


async def test_observe_never_pages() -> None:
    """Without a key, mode observe is still fine."""
    world = World(default_mode=Mode.OBSERVE)
    world.configured = replace(CONFIGURED, pagerduty=False, slack=False)
    assert (await world.looks()).line("paging")["level"] == "ok"


async def test_the_page_tells_every_check() -> None:
    """Each check that can be shown has its row in deploy/docs/preflight.md, and no row tells of one that is gone."""
    rows = documents.table(documents.read("deploy/docs/preflight.md"), "check")
    told = {name for row in rows for name in row[0].split(", ")}
    soaking = proven(default_mode=Mode.APPROVE)
    soaking.rolls_out()
    soaking.soaks = lambda action: a_soak(soaking.now - MINUTE, soaking.now, healthy=MINUTE)
    soaking.completes(V2, paused=True, irreversible=True)
    soaking.waits(0 * SECOND)
    shown = {line["check"] for line in (await World(soaking).looks()).document["lines"]}
    for kind in (*WATCHED, SERVICE):
        shown |= set(await looks(World(soaking), kind.name, Exchange.ORDERED))
    for owner, way, *_ in AROUND:
        around = World(default_mode=Mode.APPROVE, gitops=(GitOpsRule(do=way),))
        shown |= set(await looks(around, "Deployment", owner=owner))
    assert {"signal …" if name.startswith("signal ") else name for name in shown} == told
