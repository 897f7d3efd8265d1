"""Part 8: what our role lets us do, asked of the API server itself, right by right. The list is `handlers.rights`."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.core import owners
from daemon.core.model import Exchange, Mode, OwnerKind
from handlers.access_reviews import Question, allowed, question
from handlers.kinds import KINDS, SERVICE
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Sources, Subject
from handlers.rights import Feature, Right, of


async def access(sources: Sources, subject: Subject) -> list[Line]:
    """The rights that watching the cluster, and checking and acting on this workload need.

    Raises Transient or Permanent where nothing can be asked.
    """
    namespace, kind = subject.workload.namespace, subject.workload.kind
    own = KINDS[kind].plural
    watched = [question(right) for right in of(Feature.WATCH) if not right.optional or right.resource == own]
    checked = [question(right, namespace) for right in of(Feature.CHECK) if _is_for(kind, right)]
    acts = of(Feature.SWITCH) if kind == SERVICE.name else of(Feature.ACT)
    acting = [question(right, namespace) for right in acts if _is_for(kind, right)]
    freeing = [question(right, namespace) for right in of(Feature.FREE) if _may_block(subject)]
    around = [question(right, _place(subject)) for right in of(Feature.AROUND) if _is_around(subject, right)]
    secrets = [question(right, namespace) for right in of(Feature.SECRETS)]
    held = await allowed(sources.rights, [*watched, *checked, *acting, *freeing, *around, *secrets])
    return [
        _reading(Feature.WATCH, watched, held, "nothing is seen without it"),
        _reading(Feature.CHECK, checked, held, "a target that cannot be checked is not rolled back to"),
        *(_acting(subject, each, held) for each in acting),
        *(_freeing(subject, each, held) for each in freeing),
        *(_around(subject, each, held) for each in around),
        ok("get secrets", "allowed")
        if held.issuperset(secrets)
        else ok(
            "get secrets", "may not; the Secrets that a target names stay unchecked (opt-in: rbac.secretsMetadata)"
        ),
    ]


def _is_for(kind: str, right: Right) -> bool:
    """Whether the right is needed for workloads of this kind; not where only others are, or have their history, there."""
    own = KINDS[kind]
    others = {name for each in KINDS.values() for name in (each.plural, each.history.value)}
    resource, _, _ = right.resource.partition("/")
    if own is SERVICE:  # its history are Deployments
        return (right.verb, resource) == ("list", "deployments") or resource not in others - {own.plural}
    return resource not in others - {own.plural, own.history.value}


def _may_block(subject: Subject) -> bool:
    return subject.tracked.view.exchange is Exchange.ORDERED


def _is_around(subject: Subject, right: Right) -> bool:
    """Whether the way around its owner needs it: on Applications, or on the kind of Flux that owns it."""
    view = subject.tracked.view
    if view.owner is None or right.way is not owners.way(subject.policy, view):
        return False
    what = view.owner.name.partition(" ")[0]
    return view.owner.kind is not OwnerKind.FLUX or right.resource == f"{what.lower()}s"


def _place(subject: Subject) -> str:
    """The namespace of the owner's object; empty where its name does not tell, as that of an Application in Argo CD's own."""
    owner = subject.tracked.view.owner
    name = "" if owner is None else owner.name
    if owner is not None and owner.kind is OwnerKind.FLUX:
        return name.partition(" ")[2].partition("/")[0]
    return name.rpartition("_")[0]


def _around(subject: Subject, needed: Question, held: frozenset[Question]) -> Line:
    check, where = f"{needed.verb} {needed.resource}", needed.namespace or "all namespaces"
    if needed in held:
        return ok(check, f"allowed in {where}")
    says, remedy = f"may not in {where}: a rollback would be refused", "install with rbac.gitops=true"
    if subject.mode is Mode.OBSERVE:
        return warning(check, f"may not in {where}: fine in mode observe", f"before you arm it: {remedy}")
    if not needed.namespace:
        return warning(check, f"{says}, unless the role is bound in the namespace of its Application", remedy)
    return failed(check, says, remedy, needed.command)


def _reading(feature: Feature, needed: Sequence[Question], held: frozenset[Question], otherwise: str) -> Line:
    missing = [each for each in needed if each not in held]
    if not missing:
        return ok(feature.value, f"all of {len(needed)} rights are there")
    says = f"our role may not {', '.join(f'{each.verb} {each.resource}' for each in missing)}: {otherwise}"
    remedy = "install the chart's role (rbac.create=true; without Helm: deploy/kubernetes), or add these verbs to yours"
    return failed(feature.value, says, remedy, missing[0].command)


def _acting(subject: Subject, needed: Question, held: frozenset[Question]) -> Line:
    check, namespace = f"{needed.verb} {needed.resource}", subject.workload.namespace
    observed = subject.mode is Mode.OBSERVE
    if needed in held:
        return ok(check, f"allowed in {namespace}" + (" (not needed in mode observe)" if observed else ""))
    given = "rbac.mode=act and rbac.switchServices=true" if needed.resource == SERVICE.plural else "rbac.mode=act"
    remedy = f"install with {given}, and {namespace} in rbac.namespaces where you name them"
    if observed:
        return warning(check, f"may not in {namespace}: fine in mode observe", f"before you arm it: {remedy}")
    return failed(check, f"may not in {namespace}: a rollback would be refused", remedy, needed.command)


def _freeing(subject: Subject, needed: Question, held: frozenset[Question]) -> Line:
    """A StatefulSet goes on only when each pod is ready: one that cannot start has to be deleted, by us or by hand."""
    check, namespace = f"{needed.verb} {needed.resource}", subject.workload.namespace
    if not subject.policy.delete_stuck_pods:
        says = "policy.delete_stuck_pods is false: a pod that cannot start is left to people, with the command"
        return ok(check, says)
    if needed in held:
        return ok(check, f"allowed in {namespace}")
    says = f"may not in {namespace}: a StatefulSet that waits for a broken pod would not come back by itself"
    remedy = f"install with rbac.deletePods=true, and {namespace} in rbac.namespaces where you name them"
    if subject.mode is Mode.OBSERVE:
        return warning(check, f"{says}; fine in mode observe", f"before you arm it: {remedy}")
    return failed(check, says, remedy, needed.command)
