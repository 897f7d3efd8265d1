"""A 403 of the authorizer is believed only of an API server that is ready: right after its start one refuses everybody.

For a moment it serves already and has not read yet who may do what (tests/controlplane/test_just_started.py); a rollback that
meets that moment would end as failed for good, and its incident with it. So the same request is sent again until the server
has said that it is ready, and for a few seconds at least: behind one address several servers may answer. What is still refused
then is the role's fault, in the server's words. How long the moment lasts depends on the machine, a quarter of a second or
more than four; so a time alone cannot tell the two apart. Nor can a SelfSubjectAccessReview, which the same authorizer answers.
A refusal by admission, which is 403 too, is about the target and believed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from handlers.faults import Permanent
from handlers.kube import FIELD_MANAGER, Page, Query
from handlers.kube_json import Obj
from handlers.outbound.rollback.statefulset import PodApi

DOUBT_SECONDS = 4.0
"""How long one request may be refused at least. The authorizer mostly needs one; HAND_BACK_SECONDS must be longer than this."""

DOUBT_SECONDS_MAX = 30.0
"""How long by a server that does not say that it is ready, or may not tell us; half of what one attempt at a rollback gets."""

AGAIN_SECONDS = 0.4
"""Between two tries of a request that is refused: ten in all."""

AUTHORIZER_SAYS = " cannot "
"""In its sentence ("User … cannot patch resource …"); admission uses other words."""


class ReadyApi(PodApi, Protocol):
    """What is needed of a client beside what rollbacks need."""

    async def is_ready(self) -> bool:
        """Whether the server says that it can answer rightly by now."""
        ...


class Patient:
    """A client whose requests outlast the beginning of an API server; what it raises else is the client's own."""

    def __init__(self, api: ReadyApi, *, doubt_seconds: float = DOUBT_SECONDS) -> None:
        self._api = api
        self._doubt_seconds = doubt_seconds

    async def get(self, path: str, *, metadata_only: bool = False, **query: Query) -> Obj:
        """One object."""
        doubt = _Doubt(self._api, self._doubt_seconds)
        while True:
            try:
                return await self._api.get(path, metadata_only=metadata_only, **query)
            except Permanent as fault:
                await doubt.outlast(fault)

    async def list_pages(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """The collection, page by page; one that is begun again has `first` set again."""
        doubt = _Doubt(self._api, self._doubt_seconds)
        while True:
            pages = self._api.list_pages(
                path, label_selector=label_selector, field_selector=field_selector, metadata_only=metadata_only
            )
            try:
                async for page in pages:
                    yield page
            except Permanent as fault:
                await doubt.outlast(fault)
            else:
                return

    async def patch_json(
        self, path: str, ops: Sequence[Obj], *, dry_run: bool = False, field_manager: str = FIELD_MANAGER
    ) -> Obj:
        """Apply a JSON Patch; what was refused was not stored, and the patch guards itself."""
        doubt = _Doubt(self._api, self._doubt_seconds)
        while True:
            try:
                return await self._api.patch_json(path, ops, dry_run=dry_run, field_manager=field_manager)
            except Permanent as fault:
                await doubt.outlast(fault)

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None, dry_run: bool = False
    ) -> Obj:
        """Delete the object."""
        doubt = _Doubt(self._api, self._doubt_seconds)
        while True:
            try:
                return await self._api.delete(path, uid=uid, resource_version=resource_version, dry_run=dry_run)
            except Permanent as fault:
                await doubt.outlast(fault)


class _Doubt:
    """Whether the refusals of one request are believed yet."""

    def __init__(self, api: ReadyApi, seconds: float) -> None:
        self._api = api
        self._began = asyncio.get_running_loop().time()
        self._seconds = seconds
        self._was_ready = False

    async def outlast(self, fault: Permanent) -> None:
        """Wait until it is worth another try; raises the fault where it is none, or no longer."""
        doubtful = fault.status == 403 and AUTHORIZER_SAYS in fault.reason
        passed = asyncio.get_running_loop().time() - self._began
        # It was asked whether it is ready before it refused: afterwards it may have become so in between.
        if not doubtful or passed >= (self._seconds if self._was_ready else DOUBT_SECONDS_MAX):
            raise fault
        self._was_ready = await self._api.is_ready()
        await asyncio.sleep(AGAIN_SECONDS)
