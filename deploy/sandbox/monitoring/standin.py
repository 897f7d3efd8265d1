"""Prometheus and Alertmanager in this process, for machines that have neither: as much of both as the sandbox needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from deploy.sandbox.monitoring.alerting import RuleEvaluator
from deploy.sandbox.monitoring.alertmanager_api import AlertmanagerApi
from deploy.sandbox.monitoring.alerts import AlertBook
from deploy.sandbox.monitoring.groups import Dispatcher
from deploy.sandbox.monitoring.prometheus_api import PrometheusApi
from deploy.sandbox.monitoring.promql import Evaluator
from deploy.sandbox.monitoring.rules import Routing, Rule
from deploy.sandbox.monitoring.samples import SampleStore
from deploy.sandbox.monitoring.scraper import Scraper
from deploy.sandbox.services import serve_loopback

SCRAPE_SECONDS_MIN = 1.0
"""Shortest time a page may take: on a busy machine a scrape interval of 200 ms is no fair limit."""


@asynccontextmanager
async def run_standin(
    *,
    sd_url: str,
    webhook_url: str,
    webhook_token: str,
    scrape_seconds: float,
    evaluation_seconds: float,
    resend_seconds: float,
    rules: Sequence[Rule],
    routing: Routing,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[tuple[str, str]]:
    """Run both while the block runs; yields the URLs of Prometheus and Alertmanager.

    `clock` gives seconds since the epoch. A fault in one of the loops ends the block with an ExceptionGroup.
    """
    store, book = SampleStore(), AlertBook(routing.inhibit_rules)
    failure: Exception | None = None
    evaluator = RuleEvaluator(
        rules=rules, store=store, interval_seconds=evaluation_seconds, resend_seconds=resend_seconds
    )
    async with aiohttp.ClientSession(trust_env=False) as session, asyncio.TaskGroup() as tasks:
        timeout = max(scrape_seconds, SCRAPE_SECONDS_MIN)
        scraper = Scraper(store=store, session=session, sd_url=sd_url, timeout_seconds=timeout, clock=clock)
        dispatcher = Dispatcher(
            book=book,
            routing=routing,
            session=session,
            tasks=tasks,
            webhook_url=webhook_url,
            webhook_token=webhook_token,
            clock=clock,
        )
        alertmanager = AlertmanagerApi(book=book, dispatcher=dispatcher, receiver=routing.receiver, clock=clock)
        prometheus = PrometheusApi(evaluator=Evaluator(store), rules=evaluator, clock=clock)
        async with AsyncExitStack() as servers:
            prometheus_url = await servers.enter_async_context(serve_loopback(prometheus.app()))
            alertmanager_url = await servers.enter_async_context(serve_loopback(alertmanager.app()))
            dispatcher.external_url = alertmanager_url

            async def evaluate() -> None:
                due = evaluator.evaluate(int(clock() * 1000), prometheus_url=prometheus_url)
                if due:
                    alertmanager.take(due)

            loops = [
                tasks.create_task(_every(scrape_seconds, scraper.scrape)),
                tasks.create_task(_every(evaluation_seconds, evaluate)),
            ]
            try:
                yield prometheus_url, alertmanager_url
            except Exception as error:  # noqa: BLE001 - raised below: the group would wrap what is not its own
                failure = error
            finally:
                for each in (*loops, *dispatcher.running):
                    each.cancel()
    if failure is not None:
        raise failure


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        await work()
        await asyncio.sleep(max(0.0, started + seconds - loop.time()))
