"""check-access: each right that is missing, optional or too much is named, with what to do about it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daemon.core.model import Mode
from daemon.core.policy import GitOps, GitOpsRule, ModeRule, Policy
from handlers import access_check
from handlers.access_check import Answer, AskedLease, Finding, Report
from handlers.access_reviews import AT_ONCE
from handlers.faults import FaultKind, Permanent, Transient
from handlers.rights import NEVER_NEEDED, RIGHTS, Feature, Grant, Right, triples
from tests.handlers.access_world import READING, Authorizer, refused

OBSERVE = Policy(cluster="c")
PATCH = ("patch", "apps", "deployments")
ACTING = triples(Grant.ACT)
ROLLOUTS = {triple for triple in ACTING if triple[1] == "argoproj.io"}
"""Of these, what nobody needs without Argo Rollouts."""
PODS = ("delete", "", "pods")
SERVICES = ("patch", "", "services")
GITOPS = triples(Grant.GITOPS)
WAYS = (GitOpsRule(do=GitOps.ARGOCD_ROLLBACK), GitOpsRule(do=GitOps.FLUX_SUSPEND))
(SECRETS,) = triples(Grant.SECRETS)
LEASE = AskedLease(namespace="locks", name="web")
LEASES = triples(Grant.LEASE)
ONE_LEASE = {triple for triple in LEASES if triple[0] != "create"}


def arms(*namespaces: str, **policy: Any) -> Policy:
    return Policy(cluster="c", modes=(ModeRule(mode=Mode.APPROVE, namespaces=namespaces),), **policy)


def those(report: Report, answer: Answer) -> list[Finding]:
    return [each for each in report.findings if each.answer is answer]


def named(found: list[Finding]) -> set[tuple[str, str, str]]:
    return {(verb, each.group, each.resource) for each in found for verb in each.verbs}


async def test_observe_is_content_with_reading() -> None:
    """Where nothing is armed, the read role is all that is needed, and Secrets are optional."""
    report = await access_check.check(Authorizer(), OBSERVE)
    assert report.complete
    assert named(those(report, Answer.YES)) == READING | triples(Grant.EVERYBODY)
    assert named(those(report, Answer.OPTIONAL)) == {SECRETS}
    assert named(those(report, Answer.MORE)) == set()
    assert report.notes == ()


@pytest.mark.parametrize("right", [each for each in RIGHTS if each.grant is not Grant.EVERYBODY], ids=str)
async def test_each_right_that_is_missing_is_named(right: Right) -> None:
    """Without it, exactly it is named, with the chart's value and, unless it is optional, a command that grants it."""
    held = triples(*Grant) - triples(Grant.EVERYBODY) - {right.triple}
    report = await access_check.check(Authorizer(held), arms("*", delete_stuck_pods=True, gitops=WAYS), LEASE)
    found = those(report, Answer.OPTIONAL if right.optional else Answer.NO)
    assert named(found) == {right.triple}
    assert report.complete is right.optional
    for each in found:
        assert "rbac." in each.remedy
        assert bool(each.commands) is not right.optional
        assert all("ops:lastgood" in command or right.verb in command for command in each.commands)


async def test_an_old_role_is_enough_without_the_tools() -> None:
    """Roles from before Lastgood read Rollouts and Canaries: complete, and each tool named that it would be needed for."""
    apart = {right.triple: str(right.tool) for right in RIGHTS if right.tool is not None and right.optional}
    old = Authorizer((READING | ACTING) - set(apart))
    report = await access_check.check(old, arms("shop"))
    assert report.complete
    found = [each for each in those(report, Answer.OPTIONAL) if each.resource not in ("secrets", "services")]
    assert named(found) == set(apart)
    for each in found:
        tool = apart[each.verbs[0], each.group, each.resource]
        assert each.remedy.startswith(f"fine where {tool} is not installed; where it is, ")
    acting = {each.resource: each.remedy for each in found if each.verbs == ("patch",)}
    assert {name: "rbac.mode=act" in remedy for name, remedy in acting.items()} == {
        "rollouts": True,
        "rollouts/status": True,
    }


async def test_acting_is_needed_where_the_policy_arms() -> None:
    """The right to patch is asked for in each armed namespace; one without it is named, with its commands."""
    api = Authorizer(shop=ACTING, pay=ACTING - {PATCH})
    report = await access_check.check(api, arms("shop", "pay"))
    (lacks,) = those(report, Answer.NO)
    assert (lacks.verbs, lacks.resource, lacks.namespaces) == (("patch",), "deployments", ("pay",))
    assert (
        lacks.commands[0]
        == "kubectl -n pay create role lastgood-act-deployments --verb=patch --resource=deployments.apps"
    )
    assert lacks.commands[1].endswith("--role=lastgood-act-deployments --serviceaccount=ops:lastgood")
    (acts,) = [each for each in those(report, Answer.YES) if (each.verbs[0], each.group, each.resource) == PATCH]
    assert acts.namespaces == ("shop",)


async def test_a_pattern_is_looked_up_in_the_cluster() -> None:
    """A pattern means the namespaces that are there."""
    api = Authorizer()
    api.namespaces = ["shop-eu", "shop-us", "pay"]
    report = await access_check.check(api, arms("shop-*"))
    lacks = those(report, Answer.NO)
    assert named(lacks) == ACTING - ROLLOUTS
    assert named(those(report, Answer.OPTIONAL)) == ROLLOUTS | {SECRETS, SERVICES}
    assert {each.namespaces for each in lacks} == {("shop-eu", "shop-us")}


async def test_more_than_observe_needs_is_named() -> None:
    """A right to write that nothing needs does not fail, but is named: in one namespace, in all, and for other workloads."""
    somewhere = await access_check.check(Authorizer(shop={PATCH}), OBSERVE)
    (more,) = those(somewhere, Answer.MORE)
    assert (named([more]), more.namespaces, somewhere.complete) == ({PATCH}, ("shop",), True)
    assert "rbac.mode=observe" in more.remedy

    everywhere = await access_check.check(Authorizer(READING | {PATCH, ("create", "", "pods")}), OBSERVE)
    assert named(those(everywhere, Answer.MORE)) == {PATCH, ("create", "", "pods")}
    assert everywhere.complete


async def test_a_right_in_all_namespaces_is_more_than_one_needs() -> None:
    """Where the policy names its namespaces, a right in all of them can be narrowed; where it arms all, it cannot."""
    wide = READING | ACTING
    report = await access_check.check(Authorizer(wide), arms("shop"))
    for more in those(report, Answer.MORE):
        assert (more.namespaces, "rbac.namespaces={shop}" in more.remedy) == ((), True)
    assert named(those(report, Answer.MORE)) == ACTING
    report = await access_check.check(Authorizer(wide), arms(default_mode=Mode.AUTO))
    assert those(report, Answer.MORE) == []


async def test_acting_elsewhere_than_armed_is_more_than_needed() -> None:
    """A binding that is left of a namespace no longer armed is named, with those that stay."""
    report = await access_check.check(Authorizer(shop={PATCH}, pay={PATCH}), arms("shop"))
    (more,) = those(report, Answer.MORE)
    assert more.namespaces == ("pay",)
    assert "rbac.namespaces={shop}" in more.remedy


async def test_deleting_pods_is_needed_where_the_policy_frees() -> None:
    """With `delete_stuck_pods` and something armed the right is needed, there; else it is more than needed, held or not."""
    freeing = arms("shop", delete_stuck_pods=True)
    (lacks,) = those(await access_check.check(Authorizer(shop=ACTING), freeing), Answer.NO)
    assert (named([lacks]), lacks.namespaces) == ({PODS}, ("shop",))
    assert "rbac.deletePods=true, rbac.namespaces={shop}" in lacks.remedy
    assert lacks.commands[0] == "kubectl -n shop create role lastgood-free-pods --verb=delete --resource=pods"
    assert (await access_check.check(Authorizer(shop=ACTING | {PODS}), freeing)).complete

    assert (await access_check.check(Authorizer(shop=ACTING), arms("shop"))).complete
    for policy in (arms("shop"), Policy(cluster="c", delete_stuck_pods=True)):
        for api in (Authorizer(READING | ACTING | {PODS}), Authorizer(shop=ACTING | {PODS})):
            (more,) = [
                each for each in those(await access_check.check(api, policy), Answer.MORE) if each.resource == "pods"
            ]
            assert (more.verbs, "rbac.deletePods=false" in more.remedy) == (("delete",), True)


async def test_switching_services_is_optional_where_something_is_armed() -> None:
    """Nobody but the cluster knows whether a Service is blue/green: armed, the right is fine with and without; else too much."""
    report = await access_check.check(Authorizer(shop=ACTING), arms("shop"))
    (lacks,) = [each for each in those(report, Answer.OPTIONAL) if each.resource == "services"]
    assert (named([lacks]), lacks.namespaces, report.complete) == ({SERVICES}, ("shop",), True)
    assert "rbac.switchServices=true" in lacks.remedy
    report = await access_check.check(Authorizer(shop=ACTING | {SERVICES}), arms("shop"))
    assert SERVICES in named(those(report, Answer.YES))
    (more,) = those(await access_check.check(Authorizer(shop={SERVICES}), OBSERVE), Answer.MORE)
    assert (named([more]), "rbac.switchServices=false" in more.remedy) == ({SERVICES}, True)


ARGO_CD = {triple for triple in GITOPS if triple[2] == "applications"}


async def test_a_way_around_a_controller_needs_its_rights() -> None:
    """Where the policy names it and arms something, the right is needed, in any namespace; else it is more than needed."""
    policy = arms("shop", gitops=WAYS[:1])
    lacks = those(await access_check.check(Authorizer(shop=ACTING), policy), Answer.NO)
    assert named(lacks) == ARGO_CD
    assert all("rbac.gitops=true" in each.remedy for each in lacks)
    assert lacks[0].commands[0].startswith("kubectl create clusterrole lastgood-around-applications --verb=get ")

    api = Authorizer(shop=ACTING, argocd=GITOPS)
    api.namespaces.append("argocd")
    report = await access_check.check(api, policy)
    assert report.complete
    there = [each for each in those(report, Answer.YES) if each.namespaces == ("argocd",)]
    assert named(there) == ARGO_CD
    assert named(those(report, Answer.MORE)) == GITOPS - ARGO_CD

    for nothing in (arms("shop"), Policy(cluster="c", gitops=WAYS)):
        report = await access_check.check(Authorizer(READING | ACTING | GITOPS), nothing)
        too_much = [each for each in those(report, Answer.MORE) if "rbac.gitops=false" in each.remedy]
        assert named(too_much) == GITOPS


def holds_lease(*missing: str, name: str = "web") -> Authorizer:
    """Who may read, and what the chart gives for the Lease of that name in `locks`, but for some verbs."""
    api = Authorizer(locks={triple for triple in LEASES if triple[0] not in missing})
    api.named = dict.fromkeys(ONE_LEASE, name)
    return api


async def test_the_lease_is_asked_for_where_it_is_enabled() -> None:
    """With a lease its rights are asked for in its namespace, this one Lease by its name; without one nobody asks."""
    report = await access_check.check(holds_lease(), OBSERVE, LEASE)
    assert (report.complete, report.notes) == (True, ())
    found = [each for each in report.findings if each.resource == "leases"]
    assert {(each.answer, each.verbs, each.namespaces, each.name) for each in found} == {
        (Answer.YES, ("create",), ("locks",), ""),
        (Answer.YES, ("get", "update"), ("locks",), "web"),
    }
    without = holds_lease()
    report = await access_check.check(without, OBSERVE)
    assert "leases" not in {*(each.resource for each in report.findings), *(asked[2] for asked in without.asked)}


async def test_what_is_missing_of_the_lease_can_be_granted() -> None:
    """A verb that is missing is named with the chart's value and a role that is no wider than the need."""
    (lacks,) = those(await access_check.check(holds_lease("update"), OBSERVE, LEASE), Answer.NO)
    assert (lacks.verbs, lacks.namespaces, lacks.name) == (("update",), ("locks",), "web")
    assert "rbac.create=true" in lacks.remedy
    role = "lastgood-lead-leases-web"
    holds = "--verb=update --resource=leases.coordination.k8s.io --resource-name=web"
    assert lacks.commands == (
        f"kubectl -n locks create role {role} {holds}",
        f"kubectl -n locks create rolebinding {role} --role={role} --serviceaccount=ops:lastgood",
    )
    both = those(await access_check.check(Authorizer(), OBSERVE, LEASE), Answer.NO)
    assert named(both) == LEASES
    assert len({command for each in both for command in each.commands}) == 4, "no role is made twice"
    (made,) = [each for each in both if each.verbs == ("create",)]
    assert "--resource-name" not in made.commands[0]


async def test_a_role_for_another_lease_is_not_enough() -> None:
    """Who renamed the Lease and not the role is told before the first renewal is refused."""
    (lacks,) = those(await access_check.check(holds_lease(name="lastgood"), OBSERVE, LEASE), Answer.NO)
    assert (named([lacks]), lacks.name) == (ONE_LEASE, "web")


async def test_a_lease_that_is_nowhere_is_a_note() -> None:
    """Outside a pod, and with no namespace set, nothing can be asked about the Lease: it is said, and all else is answered."""
    report = await access_check.check(Authorizer(), OBSERVE, AskedLease(namespace=None, name="web"))
    assert report.complete
    (note,) = report.notes
    assert note.startswith("lease.namespace is not set")
    assert "exec deploy/lastgood" in note


@pytest.mark.parametrize("triple", NEVER_NEEDED, ids="-".join)
async def test_each_right_that_no_mode_needs_is_named(triple: tuple[str, str, str]) -> None:
    """Each of them is asked for, and where it is held named with a way to find its binding."""
    report = await access_check.check(Authorizer(READING | {triple}), OBSERVE)
    (more,) = those(report, Answer.MORE)
    assert named([more]) == {triple}
    assert "grep -w lastgood" in more.remedy


async def test_an_administrator_is_told_in_one_row() -> None:
    """Whoever may do everything has all that is needed, and is told that the daemon should not run so."""
    api = Authorizer({("*", "*", "*")})
    api.user = "kubernetes-admin"
    report = await access_check.check(api, arms("shop"))
    assert report.complete
    assert ("*", "*", "*") in named(those(report, Answer.MORE))
    assert named(those(report, Answer.MORE)) == ACTING | GITOPS | {PODS, SERVICES, ("*", "*", "*")}
    assert any("exec deploy/lastgood" in note for note in report.notes)


async def test_namespaces_that_may_not_be_listed() -> None:
    """Those that the policy names are asked about all the same, and it is said that there may be others."""
    api = Authorizer(shop=ACTING)
    api.faults["namespaces"] = refused(403)
    report = await access_check.check(api, arms("shop"))
    assert report.complete
    assert "may not be listed" in report.notes[0]
    report = await access_check.check(api, arms("shop-*"))
    assert named(those(report, Answer.NO)) == ACTING - ROLLOUTS
    for lacks in those(report, Answer.NO):
        assert (lacks.namespaces, "create clusterrole " in lacks.commands[0]) == ((), True)


async def test_a_big_cluster_is_asked_within_bounds() -> None:
    """Five reviews at once, at most 200 namespaces, the armed ones first; what was left out is said."""
    api = Authorizer()
    api.namespaces = [f"n{number:04d}" for number in range(900)]
    report = await access_check.check(api, arms("n08*", "elsewhere"))
    assert named(those(report, Answer.NO)) == ACTING - ROLLOUTS
    for lacks in those(report, Answer.NO):
        assert len(lacks.namespaces) == 101
        assert len(lacks.commands) <= 10
    within = {namespace for *_, namespace in api.asked if namespace}
    assert len(within) == access_check.NAMESPACES_MAX
    assert api.most_at_once == AT_ONCE
    assert report.notes == ("701 more namespaces were not asked about (limit 200)",)


async def test_no_more_questions_than_rights() -> None:
    """In a small cluster each right is asked for once, and each right to act once a namespace."""
    api = Authorizer()
    await access_check.check(api, OBSERVE)
    assert len(api.asked) == len(set(api.asked))
    distinct = len({right.triple for right in RIGHTS if right.feature not in (Feature.ASK, Feature.LEAD)})
    assert len(api.asked) == 1 + distinct + len(NEVER_NEEDED) + len(ACTING | GITOPS | {PODS, SERVICES}) * len(
        api.namespaces
    )


async def test_an_old_server_does_not_tell_who_we_are() -> None:
    """Before 1.28 (404) the user is not known, and the commands leave a place for it."""
    api = Authorizer(set())
    api.user = None
    report = await access_check.check(api, OBSERVE)
    assert report.asked_as is None
    assert "--serviceaccount=NAMESPACE:ACCOUNT" in those(report, Answer.NO)[0].commands[1]


async def test_a_person_is_granted_as_a_user() -> None:
    """Another name than a ServiceAccount's is granted as a user's, and cannot break out of the command."""
    api = Authorizer(set())
    api.user = "anna; rm"
    report = await access_check.check(api, OBSERVE)
    assert those(report, Answer.NO)[0].commands[1].endswith("--user='anna; rm'")


FAULTS = [
    pytest.param("review", Transient(None, "no answer", FaultKind.NETWORK), id="no-api-server"),
    pytest.param("review", refused(403), id="may-not-ask"),
    pytest.param("user", refused(401), id="bad-token"),
    pytest.param("namespaces", Transient(None, "503", FaultKind.SERVER), id="breaks-off"),
]


@pytest.mark.parametrize(("call", "fault"), FAULTS)
async def test_what_cannot_be_asked_is_raised(call: str, fault: Permanent | Transient) -> None:
    """A fault comes out as it is, and leaves no question under way."""
    api = Authorizer()
    api.faults[call] = fault
    with pytest.raises(type(fault)) as raised:
        await access_check.check(api, OBSERVE)
    assert raised.value is fault
    assert len(asyncio.all_tasks()) == 1
