"""An API server that answers access reviews from a set of rights, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from handlers.faults import Fault, FaultKind, Permanent
from handlers.kube import Page
from handlers.rights import Grant, triples

Triple = tuple[str, str, str]

ACCOUNT = "system:serviceaccount:ops:lastgood"
READING = triples(Grant.READ)
SECONDS_PER_REVIEW = 0.005


class Authorizer:
    """Holds `wide` in all namespaces and `within` in some; `faults` are raised by the call they are named after.

    What is `named` is held for the object of that name alone.
    """

    def __init__(self, wide: Iterable[Triple] = READING, **within: Iterable[Triple]) -> None:
        self.wide = set(wide)
        self.within = {namespace: set(held) for namespace, held in within.items()}
        self.namespaces = ["default", "kube-system", "pay", "shop"]
        self.user: str | None = ACCOUNT
        self.faults: dict[str, Fault] = {}
        self.asked: list[tuple[str, str, str, str]] = []
        self.named: dict[Triple, str] = {}
        self.under_way = 0
        self.most_at_once = 0

    async def self_subject_access_review(
        self, verb: str, group: str, resource: str, *, namespace: str = "", subresource: str = "", name: str = ""
    ) -> bool:
        asked = f"{resource}/{subresource}" if subresource else resource
        self.asked.append((verb, group, asked, namespace))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await asyncio.sleep(SECONDS_PER_REVIEW)
        self.under_way -= 1
        if "review" in self.faults:
            raise self.faults["review"]
        held = self.wide | self.within.get(namespace, set())
        if ("*", "*", "*") in held:
            return True
        return (verb, group, asked) in held and self.named.get((verb, group, asked), name) == name

    async def list_pages(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Page]:
        assert (path, metadata_only) == ("/api/v1/namespaces", True)
        if "namespaces" in self.faults:
            raise self.faults["namespaces"]
        half = len(self.namespaces) // 2
        yield _page(self.namespaces[:half], first=True)
        yield _page(self.namespaces[half:], first=False)

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        if "user" in self.faults:
            raise self.faults["user"]
        if self.user is None:
            raise Permanent("Kubernetes answered 404", FaultKind.NOT_FOUND, status=404)
        return {**body, "status": {"userInfo": {"username": self.user}}}


def _page(names: Iterable[str], *, first: bool) -> Page:
    items = [{"metadata": {"name": name}} for name in names]
    return Page(items=items, resource_version="1", first=first, last=not first)


def refused(status: int) -> Permanent:
    """401 or 403, as the client raises it."""
    return Permanent(f"Kubernetes answered {status}", FaultKind.AUTH, status=status)
