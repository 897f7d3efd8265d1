"""Asks the API server what we may do: one SelfSubjectAccessReview (authorization.k8s.io/v1) a right.

Not SelfSubjectRulesReview, which lists the rules of a namespace in one answer. That list may be incomplete
(`status.incomplete`, with a webhook or node authorizer), it does not tell a right in one namespace from one in all of them,
and its wildcards would have to be matched here once more. A review is the authorizer's own decision, whatever authorizer it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from handlers.rights import Right, qualified

AT_ONCE = 5
"""Reviews that are out at the same time: the API server has its own limits, and others need it too."""


class Reviewer(Protocol):
    """May we do that? handlers.kube.KubeClient answers. Raises Transient and Permanent."""

    async def self_subject_access_review(
        self, verb: str, group: str, resource: str, *, namespace: str = "", subresource: str = "", name: str = ""
    ) -> bool:
        """Empty namespace means all of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May we do this there? In all namespaces where `namespace` is empty, to all objects where `name` is. `resource` may
    have a subresource: `pods/exec`.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def command(self) -> str:
        """How to ask it by hand, as the daemon's ServiceAccount."""
        resource, _, subresource = self.resource.partition("/")
        what = qualified(self.group, resource) + (f"/{self.name}" if self.name else "")
        what += f" --subresource={subresource}" if subresource else ""
        where = f"-n {self.namespace}" if self.namespace else "--all-namespaces"
        return f"kubectl auth can-i {self.verb} {what} {where} --as=system:serviceaccount:NAMESPACE:ACCOUNT"


def question(right: Right, namespace: str = "", name: str = "") -> Question:
    """Have we this right there? `name` counts where the right is for one object."""
    named = name if right.for_one_object else ""
    return Question(verb=right.verb, group=right.group, resource=right.resource, namespace=namespace, name=named)


async def allowed(reviewer: Reviewer, questions: Sequence[Question]) -> frozenset[Question]:
    """Those that are answered with yes; each is asked once. Raises Transient or Permanent where nothing can be asked."""
    slots = asyncio.Semaphore(AT_ONCE)
    distinct = tuple(dict.fromkeys(questions))

    async def may(asked: Question) -> bool:
        resource, _, subresource = asked.resource.partition("/")
        async with slots:
            return await reviewer.self_subject_access_review(
                asked.verb,
                asked.group,
                resource,
                namespace=asked.namespace,
                subresource=subresource,
                name=asked.name,
            )

    try:
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(may(asked)) for asked in distinct]
    except ExceptionGroup as several:
        # They fail alike, and the first has cancelled the others: a fault is what callers know.
        raise several.exceptions[0] from None
    return frozenset(asked for asked, answer in zip(distinct, answers, strict=True) if answer.result())
