"""One way in: the real servers where they are installed, the stand-in where they are not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.sandbox.monitoring.real import (
    ALERTMANAGER_NAMES,
    PROMETHEUS_NAMES,
    Server,
    installed,
    run_alertmanager,
    run_prometheus,
)
from deploy.sandbox.monitoring.rules import Routing, Rule
from deploy.sandbox.monitoring.standin import run_standin

Kind = Literal["real", "stand-in"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Monitoring:
    """A running pair. `prometheus` and `alertmanager` are the processes (to kill and start) where `kind` is real."""

    prometheus_url: str
    alertmanager_url: str
    kind: Kind
    prometheus: Server | None = None
    alertmanager: Server | None = None


def available() -> Kind:
    """What `start_monitoring` takes when it is not told: real where both programs are on PATH."""
    return "real" if installed(PROMETHEUS_NAMES) and installed(ALERTMANAGER_NAMES) else "stand-in"


@asynccontextmanager
async def start_monitoring(
    *,
    sd_url: str,
    webhook_url: str,
    webhook_token: str,
    workdir: Path,
    rules: Sequence[Rule],
    scrape_interval: float = 0.5,
    evaluation_interval: float | None = None,
    resend_delay: float = 5.0,
    routing: Routing | None = None,
    kind: Kind | None = None,
) -> AsyncIterator[Monitoring]:
    """Scrape what `sd_url` lists, evaluate `rules`, post alerts to `webhook_url` with the token as bearer credentials.

    Intervals are seconds; rules are evaluated as often as targets are scraped unless told otherwise. An alert that
    nobody repeats resolves after four times `resend_delay`. Logs, data and configuration go to `workdir`. Everything
    is ended when the block is left, however it is left. Raises ServerFailedError where a real server does not start.
    """
    evaluation, routing = evaluation_interval or scrape_interval, routing or Routing()
    _check_interval("scrape_interval", scrape_interval)
    _check_interval("evaluation_interval", evaluation)
    if (kind or available()) == "stand-in":
        async with run_standin(
            sd_url=sd_url,
            webhook_url=webhook_url,
            webhook_token=webhook_token,
            scrape_seconds=scrape_interval,
            evaluation_seconds=evaluation,
            resend_seconds=resend_delay,
            rules=rules,
            routing=routing,
        ) as (prometheus, alertmanager):
            yield Monitoring(kind="stand-in", prometheus_url=prometheus, alertmanager_url=alertmanager)
        return
    async with (
        run_alertmanager(
            program=_program(ALERTMANAGER_NAMES),
            workdir=workdir,
            routing=routing,
            webhook_url=webhook_url,
            webhook_token=webhook_token,
        ) as alertmanager_server,
        run_prometheus(
            program=_program(PROMETHEUS_NAMES),
            workdir=workdir,
            sd_url=sd_url,
            alertmanager_url=alertmanager_server.url,
            rules=rules,
            scrape_seconds=scrape_interval,
            evaluation_seconds=evaluation,
            resend_seconds=resend_delay,
        ) as prometheus_server,
    ):
        yield _real(prometheus_server, alertmanager_server)


def _real(prometheus: Server, alertmanager: Server) -> Monitoring:
    return Monitoring(
        prometheus_url=prometheus.url,
        alertmanager_url=alertmanager.url,
        kind="real",
        prometheus=prometheus,
        alertmanager=alertmanager,
    )


def _check_interval(name: str, seconds: float) -> None:
    if not 0.1 <= seconds <= 300:
        raise ValueError(f"{name}: must be in [0.1, 300] s, got {seconds}")


def _program(names: Sequence[str]) -> str:
    path = installed(names)
    if path is None:
        raise FileNotFoundError(f"none of {', '.join(names)} is on PATH: install it, or take kind='stand-in'")
    return path
