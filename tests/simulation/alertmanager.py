"""A rule per service and a pair of Alertmanagers: both send what fires and what is over, again and again until they get a 2xx."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from daemon.core.model import AlertStatus
from tests.simulation.clocks import EPOCH, stamp
from tests.simulation.network import HungError, LostError, Network, StatusError
from tests.simulation.truth import SYMPTOM, Truth

EVALUATED_EVERY = 15.0
GONE_AFTER = 30.0
SENT_EVERY = 4.0
RETRY_SECONDS = (5.0, 20.0)
REPEAT_SECONDS = 90.0
"""Far more often than anybody configures: repetitions are to be met."""

PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class Alert:
    """One alert of Prometheus: since when the symptom lasts, and since when it fires (None: not, or no more)."""

    labels: dict[str, str]
    onset: float = 0.0
    starts_at: float | None = None
    ended_at: float | None = None
    silenced: bool = False
    fingerprint: str = ""

    def __post_init__(self) -> None:
        self.fingerprint = blake2b(json.dumps(self.labels, sort_keys=True).encode(), digest_size=8).hexdigest()

    def shown(self) -> dict[str, Any]:
        """As the webhook has it."""
        assert self.starts_at is not None
        firing = self.ended_at is None
        return {
            "status": "firing" if firing else "resolved",
            "labels": self.labels,
            "annotations": {},
            "startsAt": stamp(EPOCH + timedelta(seconds=self.starts_at)),
            "endsAt": "0001-01-01T00:00:00Z"
            if self.ended_at is None
            else stamp(EPOCH + timedelta(seconds=self.ended_at)),
            "generatorURL": "",
            "fingerprint": self.fingerprint,
        }


@dataclass(slots=True)
class Alerting:
    """Rules and both Alertmanagers. `post` sends a body to the daemon and gives the status of its answer."""

    truth: Truth
    network: Network
    rng: random.Random
    post: Callable[[bytes], Awaitable[int]]
    on_accepted: Callable[[list[dict[str, Any]]], None] = lambda alerts: None
    for_seconds: float = 60.0
    alerts: dict[str, Alert] = field(default_factory=dict)
    watched: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    forced: dict[str, bool] = field(default_factory=dict)

    def rule(self, labels: dict[str, str], *services: tuple[str, str]) -> str:
        """An alert with these labels for the symptom of any of these services; its fingerprint."""
        alert = Alert(labels=labels)
        self.alerts[alert.fingerprint] = alert
        self.watched[alert.fingerprint] = list(services)
        return alert.fingerprint

    def status(self, fingerprint: str) -> tuple[AlertStatus, float]:
        """What the API says of an alert, and its onset in seconds of the world."""
        alert = self.alerts.get(fingerprint)
        if alert is None or alert.starts_at is None or alert.ended_at is not None:
            return AlertStatus.RESOLVED, alert.onset if alert else 0.0
        return AlertStatus.SUPPRESSED if alert.silenced else AlertStatus.FIRING, alert.onset

    @property
    def firing(self) -> bool:
        """Whether any alert fires."""
        return any(alert.starts_at is not None and alert.ended_at is None for alert in self.alerts.values())

    async def evaluate(self) -> None:
        """Look at the rules for ever."""
        since: dict[str, float] = {}
        good: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            for name, alert in self.alerts.items():
                bad = self.forced.get(
                    name, any((self.truth.service(key, now) or 0.0) > SYMPTOM for key in self.watched[name])
                )
                if bad:
                    good.pop(name, None)
                    began = since.setdefault(name, now)
                    is_over = alert.starts_at is None or alert.ended_at is not None
                    if is_over and now - began >= self.for_seconds:
                        alert.onset, alert.starts_at, alert.ended_at = began, now, None
                else:
                    since.pop(name, None)
                    fires = alert.starts_at is not None and alert.ended_at is None
                    if fires and now - good.setdefault(name, now) >= GONE_AFTER:
                        alert.ended_at = now
            await asyncio.sleep(EVALUATED_EVERY)

    async def send(self, peer: int) -> None:
        """One of the two: tells the group whenever it changed, and again now and then."""
        told: list[dict[str, Any]] = []
        at = -REPEAT_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SENT_EVERY + peer * 2.0)
            if not any(alert.starts_at is not None for alert in self.alerts.values()):
                continue
            group = [
                alert.shown() for alert in self.alerts.values() if alert.starts_at is not None and not alert.silenced
            ]
            repeats = loop.time() - at >= REPEAT_SECONDS and any(each["status"] == "firing" for each in group)
            if not group or (group == told and not repeats):
                continue
            if self.network.fault("webhook", "reorder") is not None:
                self._later(group)
            elif not await self._delivered(group):
                await asyncio.sleep(self.rng.uniform(*RETRY_SECONDS))
                continue
            told, at = group, loop.time()

    def _later(self, group: list[dict[str, Any]]) -> None:
        """This one is overtaken by others."""
        delay = self.rng.uniform(5.0, 60.0)

        async def deliver() -> None:
            await asyncio.sleep(delay)
            while not await self._delivered(group):
                await asyncio.sleep(self.rng.uniform(*RETRY_SECONDS))

        self._tasks.append(asyncio.get_running_loop().create_task(deliver()))

    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def _delivered(self, group: list[dict[str, Any]]) -> bool:
        body = json.dumps({"version": "4", "alerts": group}).encode()
        kind = self.network.fault("webhook", "delay", "drop", "lost", "duplicate")
        if kind == "drop":
            return False
        if kind == "delay":
            await asyncio.sleep(self.rng.uniform(1.0, 20.0))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                status = await self.post(body)
                if kind == "duplicate":
                    await self.post(body)
        except (TimeoutError, LostError, HungError, StatusError):
            return False
        if 200 <= status <= 299:
            self.on_accepted(group)
        return 200 <= status <= 299 and kind != "lost"
