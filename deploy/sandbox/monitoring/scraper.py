"""Reads targets and their pages into the store, as Prometheus' scrape loop does with `honor_labels`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

from deploy.sandbox.monitoring.exposition import BadExpositionError, parse_exposition
from deploy.sandbox.monitoring.labels import NAME, Labels, freeze
from deploy.sandbox.monitoring.samples import SampleStore

PAGE_BYTES_MAX = 8 * 1024 * 1024
"""Of one page; a page of 1,000 pods is 2 MB."""

JOB = "services"
"""The `job` label of a target that brings none."""


class Scraper:
    """One round per `scrape`; a series or target that is not there any more ends with a stale marker."""

    def __init__(
        self,
        *,
        store: SampleStore,
        session: aiohttp.ClientSession,
        sd_url: str,
        timeout_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._session = session
        self._sd_url = sd_url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._clock = clock
        self._targets: list[tuple[str, Labels]] = []
        self._alive: dict[Labels, set[Labels]] = {}

    async def scrape(self) -> None:
        """Ask for the targets (the last answer stays valid while discovery fails), then read all of them at once."""
        try:
            async with self._session.get(self._sd_url, timeout=self._timeout) as reply:
                reply.raise_for_status()
                self._targets = _targets(await reply.json())
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.gather(*(self._scrape_target(url, labels) for url, labels in self._targets))
        now_ms = int(self._clock() * 1000)
        current = {labels for _, labels in self._targets}
        for labels in [each for each in self._alive if each not in current]:
            self._store.end(self._alive.pop(labels) | {_up(labels)}, now_ms)

    async def _scrape_target(self, url: str, target: Labels) -> None:
        now_ms = int(self._clock() * 1000)
        samples: dict[Labels, float] = {}
        try:
            async with self._session.get(url, timeout=self._timeout) as reply:
                reply.raise_for_status()
                page = (await reply.content.read(PAGE_BYTES_MAX)).decode()
            for labels, value in parse_exposition(page):
                samples[freeze({**dict(target), **dict(labels)})] = value
            healthy = True
        except (aiohttp.ClientError, TimeoutError, BadExpositionError):
            healthy = False
        for labels, value in samples.items():
            self._store.append(labels, now_ms, value)
        self._store.append(_up(target), now_ms, float(healthy))
        self._store.end(self._alive.get(target, set()) - samples.keys(), now_ms)
        self._alive[target] = set(samples)


def _up(target: Labels) -> Labels:
    return freeze({**dict(target), NAME: "up"})


def _targets(groups: Any) -> list[tuple[str, Labels]]:
    """URL and labels of each target of an http_sd answer; labels with two underscores in front are not kept."""
    found = []
    for group in groups:
        labels: dict[str, str] = group.get("labels", {})
        kept = {name: value for name, value in labels.items() if not name.startswith("__")}
        for address in group["targets"]:
            path = labels.get("__metrics_path__", "/metrics")
            found.append((f"http://{address}{path}", freeze({"job": JOB, "instance": address, **kept})))
    return found
