"""A 403 of the authorizer is believed only after some seconds: right after its start an API server refuses everybody.

For a moment it serves already and has not read yet who may do what (tests/controlplane/test_just_started.py); a rollback that
meets that moment would end as failed for good, and its incident with it. So the same request is sent again for a few seconds,
and what is still refused then is the role's fault, in the server's words. A SelfSubjectAccessReview could not tell the two
apart: the same authorizer answers it. A refusal by admission, which is 403 too, is about the target and believed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from handlers.faults import Permanent
from handlers.kube import FIELD_MANAGER, Page, Query
from handlers.kube_json import Obj
from handlers.outbound.rollback.statefulset import PodApi

DOUBT_SECONDS = 4.0
"""How long one request may be refused. The authorizer needs about one; HAND_BACK_SECONDS must be longer than this."""

AGAIN_SECONDS = 0.4
"""Between two tries of a request that is refused: ten in all."""

AUTHORIZER_SAYS = " cannot "
"""In its sentence ("User … cannot patch resource …"); admission uses other words."""


class Patient:
    """A client whose requests outlast the beginning of an API server; what it raises else is the client's own."""

    def __init__(self, api: PodApi, *, doubt_seconds: float = DOUBT_SECONDS) -> None:
        self._api = api
        self._doubt_seconds = doubt_seconds

    async def get(self, path: str, *, metadata_only: bool = False, **query: Query) -> Obj:
        """One object."""
        doubt = _Doubt(self._doubt_seconds)
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
        doubt = _Doubt(self._doubt_seconds)
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
        doubt = _Doubt(self._doubt_seconds)
        while True:
            try:
                return await self._api.patch_json(path, ops, dry_run=dry_run, field_manager=field_manager)
            except Permanent as fault:
                await doubt.outlast(fault)

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None, dry_run: bool = False
    ) -> Obj:
        """Delete the object."""
        doubt = _Doubt(self._doubt_seconds)
        while True:
            try:
                return await self._api.delete(path, uid=uid, resource_version=resource_version, dry_run=dry_run)
            except Permanent as fault:
                await doubt.outlast(fault)


class _Doubt:
    """Whether the refusals of one request are believed yet."""

    def __init__(self, seconds: float) -> None:
        self._ends = asyncio.get_running_loop().time() + seconds

    async def outlast(self, fault: Permanent) -> None:
        """Wait until it is worth another try; raises the fault where it is none, or no longer."""
        doubtful = fault.status == 403 and AUTHORIZER_SAYS in fault.reason
        if not doubtful or asyncio.get_running_loop().time() >= self._ends:
            raise fault
        await asyncio.sleep(AGAIN_SECONDS)
