"""An answer that is owed to a pipeline, and a peer that never speaks, for the tests of both vendors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from daemon.core.actions import AnswerPipeline
from daemon.core.model import ActionId, IncidentId
from daemon.core.notices import Origin, Vendor

INCIDENT = IncidentId("inc-20260301-120410-7")
SHA = "9f1c2ab0" * 5
SUMMARY = "shop/checkout was rolled back from checkout:1.5.0 to checkout:1.4.1 (HighErrorRate)"


def owed(
    vendor: Vendor,
    *,
    project: str = "shop/checkout",
    deployment: str = "42",
    commit: str | None = SHA,
    summary: str = SUMMARY,
) -> AnswerPipeline:
    return AnswerPipeline(
        id=ActionId(f"{INCIDENT}/answer/{vendor}"),
        deadline=datetime(2026, 3, 1, 13, 0, tzinfo=UTC),
        incident=INCIDENT,
        source="ci",
        origin=Origin(vendor=vendor, project=project, deployment=deployment),
        commit=commit,
        environment="production",
        summary=summary,
    )


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The address of a peer that takes connections and never answers."""
    over = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            over.set()
