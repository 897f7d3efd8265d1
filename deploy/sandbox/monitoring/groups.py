"""Groups alerts and posts webhooks, as Alertmanager's dispatcher and notification pipeline do.

A group waits `group_wait`, sends, and looks again every `group_interval`; it sends when an alert is new, one is
resolved, all are, or `repeat_interval` is over (notify/notify.go `needsUpdate`). 5xx and broken connections are tried
again within the flush (at most the larger of `group_interval` and 10 s), any other answer only with the next flush.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from deploy.sandbox.monitoring.alerts import Alert, AlertBook
from deploy.sandbox.monitoring.labels import Labels, keep
from deploy.sandbox.monitoring.rules import Routing
from deploy.sandbox.monitoring.wire import ZERO_TIME, format_time

USER_AGENT = "Alertmanager/0.25.0"
FLUSH_SECONDS_MIN = 10.0
"""A flush may take this long even when `group_interval` is shorter (Alertmanager's `notify.MinTimeout`)."""

_BACKOFF_SECONDS, _BACKOFF_FACTOR, _BACKOFF_SECONDS_MAX = 0.5, 1.5, 60.0


@dataclass(slots=True, eq=False)
class _Group:
    labels: Labels
    alerts: dict[Labels, Alert] = field(default_factory=dict)
    sent_firing: frozenset[Labels] = frozenset()
    sent_resolved: frozenset[Labels] = frozenset()
    sent: float | None = None


class Dispatcher:
    """Takes alerts and keeps one task per group in `tasks`, which must outlive it."""

    def __init__(
        self,
        *,
        book: AlertBook,
        routing: Routing,
        session: aiohttp.ClientSession,
        tasks: asyncio.TaskGroup,
        webhook_url: str,
        webhook_token: str,
        clock: Callable[[], float],
    ) -> None:
        self._book = book
        self._routing = routing
        self._session = session
        self._tasks = tasks
        self._webhook_url = webhook_url
        self._headers = {"User-Agent": USER_AGENT}
        if webhook_token:
            self._headers["Authorization"] = f"Bearer {webhook_token}"
        self._clock = clock
        self._groups: dict[Labels, _Group] = {}
        self.running: set[asyncio.Task[None]] = set()
        self.external_url = ""

    def dispatch(self, alerts: Sequence[Alert]) -> None:
        """Put alerts into their groups. A resolved one opens no group."""
        now = self._clock()
        for alert in alerts:
            key = keep(alert.labels, self._routing.group_by)
            group = self._groups.get(key)
            if group is None:
                if alert.resolved(now):
                    continue
                group = self._groups[key] = _Group(key)
                task = self._tasks.create_task(self._run(group))
                self.running.add(task)
                task.add_done_callback(self.running.discard)
            group.alerts[alert.labels] = alert

    async def _run(self, group: _Group) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._routing.group_wait_seconds)
        while group.alerts:
            started = loop.time()
            await self._flush(group)
            await asyncio.sleep(max(0.0, started + self._routing.group_interval_seconds - loop.time()))
        del self._groups[group.labels]

    async def _flush(self, group: _Group) -> None:
        now = self._clock()
        taken = sorted(group.alerts.values(), key=lambda alert: alert.labels)
        alerts = self._book.unmuted(taken, now)
        firing = frozenset(alert.labels for alert in alerts if not alert.resolved(now))
        resolved = frozenset(alert.labels for alert in alerts if alert.resolved(now))
        if alerts and self._is_news(group, firing, resolved, now):
            limit = max(self._routing.group_interval_seconds, FLUSH_SECONDS_MIN)
            try:
                async with asyncio.timeout(limit):
                    delivered = await self._post(self._body(group, alerts, now))
            except TimeoutError:
                delivered = False
            if not delivered:
                return
            group.sent_firing, group.sent_resolved, group.sent = firing, resolved, self._clock()
        for alert in taken:
            if alert.resolved(now) and group.alerts.get(alert.labels) is alert:
                del group.alerts[alert.labels]

    def _is_news(self, group: _Group, firing: frozenset[Labels], resolved: frozenset[Labels], now: float) -> bool:
        if group.sent is None:
            return bool(firing)
        if not firing <= group.sent_firing:
            return True
        if not firing:
            return bool(group.sent_firing)
        if not resolved <= group.sent_resolved:
            return True
        return group.sent < now - self._routing.repeat_interval_seconds

    async def _post(self, body: dict[str, Any]) -> bool:
        """Deliver; False where the receiver refused. Runs until cancelled while the receiver is down."""
        pause = _BACKOFF_SECONDS
        while True:
            try:
                async with self._session.post(
                    self._webhook_url, json=body, headers=self._headers, allow_redirects=False
                ) as reply:
                    if reply.status < 500:
                        return 200 <= reply.status < 300
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * _BACKOFF_FACTOR, _BACKOFF_SECONDS_MAX)

    def _body(self, group: _Group, alerts: Sequence[Alert], now: float) -> dict[str, Any]:
        limit = self._routing.max_alerts or len(alerts)
        shown = alerts[:limit]
        common = dict(set.intersection(*(set(alert.labels) for alert in shown)))
        annotations = dict(set.intersection(*(set(alert.annotations) for alert in shown)))
        key = ", ".join(f'{name}="{value}"' for name, value in group.labels)
        return {
            "receiver": _quote_meta(self._routing.receiver),
            "status": "firing" if any(not alert.resolved(now) for alert in alerts) else "resolved",
            "alerts": [_shown(alert, now) for alert in shown],
            "groupLabels": dict(group.labels),
            "commonLabels": dict(sorted(common.items())),
            "commonAnnotations": dict(sorted(annotations.items())),
            "externalURL": self.external_url,
            "version": "4",
            "groupKey": f"{{}}:{{{key}}}",
            "truncatedAlerts": len(alerts) - len(shown),
        }


def _shown(alert: Alert, now: float) -> dict[str, Any]:
    resolved = alert.resolved(now)
    return {
        "status": "resolved" if resolved else "firing",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": format_time(alert.starts),
        "endsAt": format_time(alert.ends) if resolved else ZERO_TIME,
        "generatorURL": alert.generator_url,
        "fingerprint": alert.fingerprint,
    }


def _quote_meta(text: str) -> str:
    """Go's `regexp.QuoteMeta`: the receiver's name arrives like that."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
