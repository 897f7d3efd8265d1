"""Locate: since when it is felt where it hurts, read from Prometheus by the pods of that place."""

from __future__ import annotations

from datetime import datetime

import pytest

from daemon.core.model import OnsetSource
from daemon.core.onsets import LOOK_BACK
from handlers.sampling import floor
from tests.handlers.measuring_world import DOWN, MINUTE, STEP, Scene
from tests.handlers.test_locate import IN_SHOP, STARTS, located, shop, state

BEGAN = (STARTS - 4 * MINUTE).replace(microsecond=0)
FELT_AT = floor(BEGAN - 10 * MINUTE, STEP)


def hurting() -> Scene:
    """The alert's condition is true since BEGAN; a tenth of the errors is there since FELT_AT."""
    scene = shop()
    scene.prometheus.instant = lambda query, at: [state(BEGAN)] if "FOR_STATE" in query else []

    def value(query: str, at: datetime) -> float | None:
        if "http_requests_total" not in query:
            return None
        return 0.3 if at >= BEGAN else 0.02 if at >= FELT_AT else 0.001

    scene.prometheus.value = value
    return scene


async def test_it_is_felt_before_the_alert_is_true() -> None:
    """The onset stays that of the alert. One query per signal, by whatever pod the place ever had."""
    scene = hurting()
    found = await located(scene, **IN_SHOP, deployment="web")
    assert (found.onset, found.onset_source, found.felt_at) == (BEGAN, OnsetSource.FOR_STATE, FELT_AT)
    asked = [(start, end) for query, start, end, _ in scene.prometheus.queries]
    assert asked == [(floor(BEGAN, STEP) - LOOK_BACK, floor(BEGAN, STEP))] * 3
    assert all("web-" in query for query, *_ in scene.prometheus.queries)


@pytest.mark.parametrize("labels", [IN_SHOP, {"namespace": "empty"}], ids=["a namespace", "nowhere"])
async def test_only_a_workload_feels(labels: dict[str, str]) -> None:
    """Nothing is asked of what has no pods of its own."""
    scene = hurting()
    assert (await located(scene, **labels)).felt_at is None
    assert scene.prometheus.queries == []


async def test_what_cannot_be_read_loses_no_alert() -> None:
    """It is placed as ever, without."""
    scene = hurting()
    scene.prometheus.value = lambda query, at: DOWN
    found = await located(scene, **IN_SHOP, deployment="web")
    assert (found.onset, found.felt_at) == (BEGAN, None)


async def test_a_slow_prometheus_holds_up_no_alert() -> None:
    """After some seconds it is placed without."""
    scene = hurting()
    scene.prometheus.hang = lambda query: "http_requests_total" in query
    assert (await located(scene, **IN_SHOP, deployment="web")).felt_at is None
