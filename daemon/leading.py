"""Part of the composition root: whether this daemon leads. Alone it always does; with `lease.enabled` while it holds the Lease.

The Lease has a client of its own: its short time limits would cut slow lists off, and a full pool of connections must not make a
renewal wait.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from uuid import uuid4

import structlog

from config.settings import Settings
from daemon import assembly
from daemon.ports import Clock, Journal
from daemon.runtime.clock import monotonic
from daemon.runtime.telemetry import Metrics
from handlers import lease_record
from handlers.kube import Timeouts
from handlers.lease_record import LeaseTimes
from handlers.outbound.lease import LeaseElector

log = structlog.get_logger()


class NoLeaseError(Exception):
    """The Lease cannot be asked for; one line with the remedy."""


class Lead:
    """ports.Leadership of this daemon. `elector` is None where there is no lease, and then it always leads."""

    def __init__(self, elector: LeaseElector | None) -> None:
        self.elector = elector

    @property
    def leads(self) -> bool:
        """In this moment."""
        return self.elector is None or self.elector.leads

    @property
    def token(self) -> int:
        """0 where there is no lease."""
        return self.elector.token if self.elector is not None else 0

    @property
    def remaining(self) -> float:
        """In seconds; inf where there is no lease."""
        return self.elector.remaining if self.elector is not None else inf

    @property
    def leader(self) -> str:
        """Who leads, as the Lease says; empty where nobody does, or nobody else could."""
        return self.elector.holder if self.elector is not None else ""

    async def release(self) -> None:
        """Let the next one lead at once. Nothing of ours may act any more."""
        if self.elector is not None:
            await self.elector.release()


class _Told:
    """Tells the log of the lease; a fault that repeats itself only once."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._fault = ""

    def change(self, holder: str) -> None:
        self._fault = ""
        log.info("lease_holder", lease=self._name, holder=holder or None)

    def fault(self, reason: str) -> None:
        self._metrics.contact("kubernetes", ok=False)
        if reason != self._fault:
            self._fault = reason
            log.warning("lease_fault", lease=self._name, error=reason)


@asynccontextmanager
async def leading(settings: Settings, journal: Journal, clock: Clock, metrics: Metrics) -> AsyncIterator[Lead]:
    """Who decides whether we lead. Raises NoLeaseError, Permanent."""
    lease = settings.lease
    if not lease.enabled:
        yield Lead(None)
        return
    namespace = assembly.lease_namespace(settings)
    if namespace is None:
        raise NoLeaseError("lease.namespace is not set, and this is no pod that would say it; set it")
    times = LeaseTimes(duration=lease.duration, renew_deadline=lease.renew_deadline, retry=lease.retry)
    told = _Told(metrics, f"{namespace}/{lease.name}")
    limit = lease.renew_deadline.total_seconds() / 2
    async with await assembly.kube_client(settings, Timeouts(connect=limit, read=limit, total=limit)) as client:
        yield Lead(
            LeaseElector(
                client,
                namespace=namespace,
                name=lease.name,
                identity=lease_record.identity_of(os.environ.get("HOSTNAME") or socket.gethostname(), uuid4().hex),
                clock=clock,
                times=times,
                random=random.random,
                monotonic=monotonic,
                token_floor=journal.highest_token,
                on_change=told.change,
                on_fault=told.fault,
            )
        )
