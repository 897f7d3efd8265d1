"""`lastgood check-access`: what the credential may do, compared with what the policy needs.

Asked with the credential that the command runs with, so inside the pod these are the daemon's own rights. Reads and asks
only. The list of rights is `handlers.rights`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from daemon.core.policy import Policy
from handlers import access_remedies as remedies
from handlers import armed
from handlers.access_reviews import Question, Reviewer, allowed, question
from handlers.faults import Fault, FaultKind, Permanent
from handlers.kube import Page, resource_path
from handlers.kube_json import Obj
from handlers.rights import NEVER_NEEDED, RIGHTS, Feature, Place, Right, of

NAMESPACES_MAX = 200
"""Namespaces in which each right to act is asked for one by one, where it is not held in all: seconds of the API server's
time. Those that the policy names come first; how many were left out is said.
"""

NAMESPACES_READ_MAX = 5000
"""Names that are read at most; a cluster has hundreds."""

ANYTHING = Question(verb="*", group="*", resource="*")
"""An administrator's right; one question instead of one for each thing that is too much."""

LEASE_NOWHERE = (
    "lease.namespace is not set, and this is no pod that would say it: the rights to the Lease were not asked for; "
    f"ask in the pod: {remedies.IN_THE_POD}"
)


class Api(Reviewer, Protocol):
    """What is needed of a client; handlers.kube.KubeClient is one. Raises only Transient and Permanent."""

    def list_pages(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Page]:
        """The collection, page by page."""
        ...

    async def create(self, path: str, body: Obj) -> Obj:
        """What the API server makes of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLease:
    """The Lease that the configuration asks for; `namespace` is None where nobody says it."""

    namespace: str | None
    name: str


class Answer(StrEnum):
    """How a right stands; the values are shown to people."""

    YES = "yes"
    NO = "no"
    OPTIONAL = "no (optional)"
    MORE = "more than needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One or more verbs on a resource that stand alike. In the whole cluster where `namespaces` is empty, on all objects
    where `name` is.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    namespaces: tuple[str, ...] = ()
    name: str = ""
    needed_for: tuple[str, ...] = ()
    answer: Answer
    remedy: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found. `asked_as` is the user that the API server takes us for, None where it does not tell."""

    asked_as: str | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all that is needed is there."""
        return all(finding.answer is not Answer.NO for finding in self.findings)


async def check(api: Api, policy: Policy, lease: AskedLease | None = None) -> Report:
    """Ask for every right, and for what would be too much; for those to the Lease where one is asked for.

    Raises Transient or Permanent where nothing can be asked.
    """
    asked_as = await _asked_as(api)
    wide = [question(right) for right in RIGHTS if right.feature not in (Feature.ASK, Feature.LEAD)]
    too_much = [Question(verb=verb, group=group, resource=resource) for verb, group, resource in NEVER_NEEDED]
    held = await allowed(api, [ANYTHING, *wide, *too_much])
    read = [right for right in RIGHTS if right.place is Place.CLUSTER]
    findings = _reading(read, held, asked_as)
    acting, notes = await _acting(api, policy, held, asked_as)
    findings += acting
    if lease is not None and lease.namespace is not None:
        findings += await _leading(api, lease.namespace, lease.name, asked_as)
    elif lease is not None:
        notes.append(LEASE_NOWHERE)
    if ANYTHING in held:
        findings.append(_more("*", "*", ("*",), remedies.administrator()))
        notes.append(f"these are the rights of an administrator, hardly those of the daemon: {remedies.IN_THE_POD}")
    else:
        findings += _too_much(too_much, held, asked_as)
    return Report(asked_as=asked_as, findings=tuple(findings), notes=tuple(dict.fromkeys(notes)))


async def _asked_as(api: Api) -> str | None:
    """The user name (SelfSubjectReview, authentication.k8s.io/v1: Kubernetes 1.28); older servers do not tell."""
    api_version = "authentication.k8s.io/v1"
    review: Obj = {"apiVersion": api_version, "kind": "SelfSubjectReview"}
    try:
        answer = await api.create(resource_path(api_version, "selfsubjectreviews"), review)
    except Permanent as fault:
        if fault.status == 401:
            raise
        return None
    found = ((answer.get("status") or {}).get("userInfo") or {}).get("username")
    return found if isinstance(found, str) and found else None


def _reading(rights: Sequence[Right], held: frozenset[Question], asked_as: str | None) -> list[Finding]:
    """The rights that are needed in all namespaces, in every mode: a finding for each resource and answer."""
    groups: dict[tuple[str, str, Answer], list[Right]] = {}
    for right in rights:
        # That an answer came at all is the right to ask.
        there = right.feature is Feature.ASK or question(right) in held
        answer = Answer.YES if there else Answer.OPTIONAL if right.optional else Answer.NO
        groups.setdefault((right.group, right.resource, answer), []).append(right)
    return [_read(members, answer, asked_as) for (_, _, answer), members in groups.items()]


def _read(rights: Sequence[Right], answer: Answer, asked_as: str | None) -> Finding:
    verbs = tuple(dict.fromkeys(right.verb for right in rights))
    missing = answer is Answer.NO or answer is Answer.OPTIONAL
    return Finding(
        group=rights[0].group,
        resource=rights[0].resource,
        verbs=verbs,
        needed_for=tuple(dict.fromkeys(right.feature.value for right in rights)),
        answer=answer,
        remedy=remedies.missing(rights[0], ()) if missing else "",
        commands=remedies.grant(rights[0], verbs, (), asked_as) if answer is Answer.NO else (),
    )


async def _acting(
    api: Api, policy: Policy, held: frozenset[Question], asked_as: str | None
) -> tuple[list[Finding], list[str]]:
    """The rights to change something: where the policy needs them, and where they are held without need."""
    rights = [right for right in RIGHTS if right.place in (Place.ARMED, Place.OWNERS)]
    narrow = [right for right in rights if question(right) not in held]
    names, notes = await _namespaces(api, policy) if narrow else ([], [])
    there = await allowed(api, [question(right, name) for right in narrow for name in names])
    findings: list[Finding] = []
    for right in rights:
        if right.way is not None:
            may = None if right not in narrow else {name for name in names if question(right, name) in there}
            findings += _around(policy, right, may, asked_as)
        elif right in narrow:
            may = {name for name in names if question(right, name) in there}
            findings += _acting_in(_needing(policy, right), right, names, may, asked_as)
        else:
            findings += _acting_everywhere(_needing(policy, right), right)
    return findings, notes


def _needing(policy: Policy, right: Right) -> Policy:
    """The policy, as far as it needs this right: one that arms nothing where it does not."""
    unneeded = right.feature is Feature.FREE and not policy.delete_stuck_pods
    return Policy(cluster=policy.cluster) if unneeded else policy


def _around(policy: Policy, right: Right, may: set[str] | None, asked_as: str | None) -> list[Finding]:
    """How a right to a controller's objects stands; `may` are the namespaces in which it is held, None for all.

    These objects are where the controller's people have them, in one namespace or in many: held in any of them it is there.
    """
    needed = armed.anywhere(policy) and any(rule.do is right.way for rule in policy.gitops)
    if may is None or may:
        where = sorted(may or ())
        if needed:
            return [_acts(right, Answer.YES, where)]
        return [_acts(right, Answer.MORE, where, remedies.acting_unneeded(right, ()))]
    if not needed:
        return []
    commands = remedies.grant(right, (right.verb,), (), asked_as)
    return [_acts(right, Answer.NO, (), remedies.missing(right, ()), commands)]


def _acting_in(
    policy: Policy, right: Right, names: Sequence[str], may: set[str], asked_as: str | None
) -> list[Finding]:
    """How the right stands where it was asked for one by one; `may` are the namespaces in which it is held."""
    needed = {name for name in names if armed.in_namespace(policy, name)}
    findings = []
    if needed & may:
        findings.append(_acts(right, Answer.YES, sorted(needed & may)))
    if needed - may or (not names and armed.anywhere(policy)):
        lacks = tuple(sorted(needed - may))
        answer = Answer.OPTIONAL if right.optional else Answer.NO
        commands = () if right.optional else remedies.grant(right, (right.verb,), lacks, asked_as)
        findings.append(_acts(right, answer, lacks, remedies.missing(right, lacks), commands))
    if may - needed:
        remedy = remedies.acting_unneeded(right, sorted(needed))
        findings.append(_acts(right, Answer.MORE, sorted(may - needed), remedy))
    return findings


def _acting_everywhere(policy: Policy, right: Right) -> list[Finding]:
    if armed.open_ended(policy):
        return [_acts(right, Answer.YES, ())]
    names = armed.named(policy)
    more = _acts(right, Answer.MORE, (), remedies.acting_unneeded(right, names))
    return [_acts(right, Answer.YES, names), more] if names else [more]


def _acts(
    right: Right, answer: Answer, namespaces: Sequence[str], remedy: str = "", commands: tuple[str, ...] = ()
) -> Finding:
    return Finding(
        group=right.group,
        resource=right.resource,
        verbs=(right.verb,),
        namespaces=tuple(namespaces),
        needed_for=() if answer is Answer.MORE else (right.feature.value,),
        answer=answer,
        remedy=remedy,
        commands=commands,
    )


async def _leading(api: Api, namespace: str, name: str, asked_as: str | None) -> list[Finding]:
    """The rights to the Lease: a finding for each answer, apart for what a role narrows to its name and what none can."""
    rights = of(Feature.LEAD)
    held = await allowed(api, [question(right, namespace, name) for right in rights])
    groups: dict[tuple[bool, bool], list[Right]] = {}
    for right in rights:
        groups.setdefault((right.for_one_object, question(right, namespace, name) in held), []).append(right)
    return [
        _leads(members, namespace, name if one else "", asked_as, there=there)
        for (one, there), members in groups.items()
    ]


def _leads(rights: Sequence[Right], namespace: str, name: str, asked_as: str | None, *, there: bool) -> Finding:
    verbs = tuple(right.verb for right in rights)
    return Finding(
        group=rights[0].group,
        resource=rights[0].resource,
        verbs=verbs,
        namespaces=(namespace,),
        name=name,
        needed_for=(Feature.LEAD.value,),
        answer=Answer.YES if there else Answer.NO,
        remedy="" if there else remedies.missing(rights[0], (namespace,)),
        commands=() if there else remedies.grant(rights[0], verbs, (namespace,), asked_as, name),
    )


async def _namespaces(api: Api, policy: Policy) -> tuple[list[str], list[str]]:
    """Where the right to act is asked for, those that the policy names first; and what has to be said of it."""
    first = list(armed.named(policy))
    names: set[str] = set()
    try:
        async for page in api.list_pages(resource_path("v1", "namespaces"), metadata_only=True):
            names = {*(() if page.first else names), *(str(item["metadata"]["name"]) for item in page.items)}
            if len(names) >= NAMESPACES_READ_MAX:
                break
    except Fault as fault:
        if fault.kind is not FaultKind.AUTH or fault.status == 401:
            raise
        return first, [
            "namespaces may not be listed: the right to act was asked for in those that the policy names only"
        ]
    rest = sorted(names - set(first), key=lambda name: (not armed.in_namespace(policy, name), name))
    left_out = len(rest) - max(NAMESPACES_MAX - len(first), 0)
    asked = [*first, *rest][: max(NAMESPACES_MAX, len(first))]
    return asked, [f"{left_out} more namespaces were not asked about (limit {NAMESPACES_MAX})"] if left_out > 0 else []


def _too_much(asked: Sequence[Question], held: frozenset[Question], asked_as: str | None) -> list[Finding]:
    """What no mode needs, a finding for each resource."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in asked:
        if each in held:
            groups.setdefault((each.group, each.resource), []).append(each.verb)
    remedy = remedies.unneeded(asked_as)
    return [_more(group, resource, tuple(verbs), remedy) for (group, resource), verbs in groups.items()]


def _more(group: str, resource: str, verbs: tuple[str, ...], remedy: str) -> Finding:
    return Finding(group=group, resource=resource, verbs=verbs, answer=Answer.MORE, remedy=remedy)
