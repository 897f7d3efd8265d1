"""Part 8: what our role lets us do, asked of the API server itself (SelfSubjectAccessReview), right by right."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.core.model import Mode
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Rights, Sources, Subject

AT_ONCE = 5
"""Reviews that are out at the same time: the API server has its own limits, and there are some twenty."""

WATCHED = (
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("", "pods"),
    ("", "services"),
    ("", "configmaps"),
    ("", "namespaces"),
)
"""What is listed and watched in the whole cluster."""

REFERENCES = ("configmaps", "serviceaccounts", "persistentvolumeclaims")
"""What a target may name, looked up one by one; metadata only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A verb on a resource; in all namespaces where `namespace` is empty."""

    verb: str
    group: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"

    @property
    def command(self) -> str:
        """How to ask for it by hand, as the daemon's ServiceAccount."""
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f"-n {self.namespace}" if self.namespace else "--all-namespaces"
        return f"kubectl auth can-i {self.verb} {what} {where} --as=system:serviceaccount:NAMESPACE:ACCOUNT"


def watching() -> list[Right]:
    """What the watch needs, whatever the mode."""
    return [Right(verb=verb, group=group, resource=name) for group, name in WATCHED for verb in ("list", "watch")]


def checking(namespace: str) -> list[Right]:
    """What checking a target needs."""
    listed = [Right(verb="list", group="", resource=name, namespace=namespace) for name in REFERENCES]
    fresh = [Right(verb="list", group="apps", resource="replicasets", namespace=namespace)]
    return [Right(verb="get", group="apps", resource="deployments", namespace=namespace), *fresh, *listed]


async def access(sources: Sources, subject: Subject) -> list[Line]:
    """The rights that watching, checking and acting need."""
    namespace = subject.workload.namespace
    patch = Right(verb="patch", group="apps", resource="deployments", namespace=namespace)
    secrets = Right(verb="list", group="", resource="secrets", namespace=namespace)
    watched, checked = watching(), checking(namespace)
    refused = await _refused(sources.rights, [*watched, *checked, patch, secrets])
    return [
        _reading("watch the cluster", watched, refused, "nothing is seen without it"),
        _reading("check a target", checked, refused, "a target that cannot be checked is not rolled back to"),
        _patching(subject, patch, refused),
        ok("list secrets", "may not; the Secrets that a target names stay unchecked (opt-in: rbac.secretsMetadata)")
        if secrets in refused
        else ok("list secrets", "allowed"),
    ]


async def _refused(rights: Rights, asked: Sequence[Right]) -> frozenset[Right]:
    """Those that our role lacks. Raises Transient or Permanent where the API server cannot be asked."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def may(right: Right) -> bool:
        async with slots:
            return await rights.self_subject_access_review(
                right.verb, right.group, right.resource, namespace=right.namespace
            )

    answers = await asyncio.gather(*map(may, asked))
    return frozenset(right for right, allowed in zip(asked, answers, strict=True) if not allowed)


def _reading(check: str, needed: Sequence[Right], refused: frozenset[Right], otherwise: str) -> Line:
    missing = [right for right in needed if right in refused]
    if not missing:
        return ok(check, f"all of {len(needed)} rights are there")
    says = f"our role may not {', '.join(map(str, missing))}: {otherwise}"
    remedy = "install the chart's role (rbac.create=true; without Helm: deploy/kubernetes), or add these verbs to yours"
    return failed(check, says, remedy, missing[0].command)


def _patching(subject: Subject, patch: Right, refused: frozenset[Right]) -> Line:
    check, namespace = "patch deployments", subject.workload.namespace
    observed = subject.mode is Mode.OBSERVE
    if patch not in refused:
        return ok(check, f"allowed in {namespace}" + (" (not needed in mode observe)" if observed else ""))
    remedy = f"install with rbac.mode=act, and {namespace} in rbac.namespaces where you name them"
    if observed:
        return warning(check, f"may not in {namespace}: fine in mode observe", f"before you arm it: {remedy}")
    return failed(check, f"may not in {namespace}: a rollback would be refused", remedy, patch.command)
