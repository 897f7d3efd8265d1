"""The composition root: builds the daemon from its parts, runs it, reloads it, and lets it down gently.

Order matters. The journal is folded first; webhooks are accepted from then on (they only need the disk); nothing is decided
before the caches are synced; and what was owed when the last life ended is asked after before anything new is done.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from config import ConfigError, load
from config import logs as log_config
from config.settings import Settings
from daemon import assembly, senders
from daemon.buttons import Buttons, buttons
from daemon.core.actions import Action
from daemon.core.facts import Fact
from daemon.core.policy import Policy
from daemon.core.protection import veto
from daemon.core.state import State
from daemon.leading import Lead, NoLeaseError, leading
from daemon.listening import Parts, listen, server_limits
from daemon.ports import Journal, JournalUnavailableError, Runner
from daemon.runtime import memory
from daemon.runtime.clock import SystemClock
from daemon.runtime.counted import CountedIntake
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.engine import Engine
from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.leading import taken_over, while_leading
from daemon.runtime.pulse import Pulse
from daemon.runtime.report import IncidentLog
from daemon.runtime.supervise import Supervisor, TaskEndedError
from daemon.runtime.telemetry import Metrics
from daemon.state_folder import StartError, only_one
from handlers.cache import ClusterCache
from handlers.call_search import CallSearch
from handlers.faults import Fault, Permanent, Transient
from handlers.inbound.alerts_poll import AlertsPoll, PollTimes
from handlers.inbound.cluster import ClusterWatch
from handlers.kube import KubeClient
from handlers.live_calls import LiveCalls
from handlers.outbound.lease import LeaseElector
from handlers.server import HttpServer, ServeError
from handlers.signal_search import SignalSearch, Ways, laid_over

log = structlog.get_logger()

FLUSH_SECONDS = 2.0
"""How long SIGTERM waits for the outcomes of drained actions to be journalled; one that is not is asked after at the
next start."""


class Daemon:
    """One running daemon. Build it with settings, `serve` until `stop` is asked for."""

    def __init__(self, settings: Settings, config_path: Path | None) -> None:
        self.settings = settings
        self._ways: Ways = {}
        self._policy = _effective(settings, self._ways)
        self._config_path = config_path
        self._clock = SystemClock()
        self.metrics = Metrics(tuple(settings.events.sources))
        self._supervisor = Supervisor()
        self._stop = asyncio.Event()
        self._dispatcher: Dispatcher | None = None
        self._incidents = IncidentLog()
        self._synced = False
        self._forbidden = set[str]()
        self._lead = Lead(None)
        self._leading = asyncio.Event()
        self._down_since: datetime | None = None
        self._asleep: list[Engine | AlertsPoll] = []
        self._pulse = Pulse(self._clock, self._was_away)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    async def serve(self) -> None:
        """Run until asked to stop. Raises StartError, TaskEndedError."""
        if self.settings.prometheus.url is None:
            raise StartError("prometheus.url is not set; without signals nothing can be verified or blamed")
        self._on_signals()
        async with AsyncExitStack() as stack:
            stack.enter_context(only_one(self.settings.state_dir))
            journal = await assembly.journal(self.settings, self.metrics.fsync.observe)
            stack.push_async_callback(journal.close)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            self._lead = await stack.enter_async_context(leading(self.settings, journal, self._clock, self.metrics))
            kube = await stack.enter_async_context(
                await assembly.kube_client(self.settings, may_write=lambda: self._lead.leads)
            )
            engine = self._engine(journal)
            await self._begin(engine)
            watch = self._watch(kube, engine)
            outside = assembly.clients(self.settings, session, self._clock, self.metrics)
            calls = self._calls(engine)
            runners = self._runners(engine, session, kube, watch.cache, outside, calls)
            self._dispatcher = self._dispatching(engine, runners)
            stack.push_async_callback(self._wind_down, engine, self._dispatcher)
            poll = self._poll(outside, engine)
            server = HttpServer(server_limits(self.settings))
            stack.push_async_callback(server.close)
            pressed = self._buttons(engine, session)
            parts = Parts(
                settings=self.settings,
                policy=lambda: self.policy,
                clock=self._clock,
                metrics=self.metrics,
                engine=engine,
                journal=journal,
                kube=kube,
                poll=poll,
                watch_age=watch.age,
                cache=watch.cache,
                outside=outside,
                buttons=pressed,
                calls=calls.graph,
                leadership=self._lead,
            )
            host, port = await listen(server, parts)
            log.info("listening", address=f"{host}:{port}", socket=str(self.settings.socket_path))
            self._supervise(engine, journal, watch)
            search = SignalSearch(outside.prometheus, self._clock, self._signals_found)
            graph = CallSearch(outside.prometheus, self._clock, calls.found)
            tasks = {"signals": search.run, "calls": graph.run, "intake": engine.follow, **pressed.tasks}
            if (broker := senders.mqtt(self.settings, engine, self._clock, self.metrics)) is not None:
                tasks["mqtt"] = broker.run
            self._supervisor.eternal("alerts", self._once_leading(lambda: poll.run(self._down_since)))
            for name, run in tasks.items():
                self._supervisor.eternal(name, self._once_leading(run))
            await self._supervisor.until(self._stop)

    def _supervise(self, engine: Engine, journal: Journal, watch: ClusterWatch) -> None:
        """What runs in a standby, too: the view of the cluster is warm when it takes over."""
        self._supervisor.eternal("engine", self._decide(engine, journal, watch))
        if self._lead.elector is not None:
            self._supervisor.eternal("lease", self._contend(self._lead.elector, watch))
        for name, run in watch.tasks().items():
            self._supervisor.eternal(name, run())

    async def _contend(self, elector: LeaseElector, watch: ClusterWatch) -> None:
        """Who cannot see the cluster must not keep the Lease from those who can."""
        await watch.synced.wait()
        await elector.run()

    async def _begin(self, engine: Engine) -> None:
        if self._lead.elector is None:
            self._down_since = await engine.recover()
            self._leading.set()
        else:
            await engine.stand_by(lambda: self._lead.leader)

    async def _once_leading(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Only the leader looks for alerts and news, and takes presses of buttons: each would be heard twice."""
        await self._leading.wait()
        await run()

    def _buttons(self, engine: Engine, session: aiohttp.ClientSession) -> Buttons:
        return buttons(
            self.settings,
            session,
            reader=engine,
            commands=engine,
            policy=lambda: self.policy,
            clock=self._clock,
            telemetry=self.metrics,
        )

    def _calls(self, engine: Engine) -> LiveCalls:
        return LiveCalls(
            lambda: [tracked.view for tracked in engine.state.workloads.values()],
            lambda: self.policy,
            self._clock,
            self.metrics.calls,
        )

    def _engine(self, journal: Journal) -> Engine:
        engine = Engine(
            journal,
            self._clock,
            lambda: self.policy,
            dispatch=self._dispatch,
            told=self._told,
            stumbled=self.metrics.stumbled,
            awake=self._pulse.look,
            inbox_max=self.settings.limits.inbox,
            inbox_bytes_max=self.settings.limits.inbox_bytes,
        )
        self._asleep.append(engine)
        return engine

    def _was_away(self, since: datetime) -> None:
        """We were not restarted, and yet nobody was there: as after a restart."""
        for part in self._asleep:
            part.was_away(since)

    def _watch(self, kube: KubeClient, engine: Engine) -> ClusterWatch:
        return ClusterWatch(
            kube,
            engine,
            self._clock,
            known=[tracked.view for tracked in engine.state.workloads.values()],
            on_fault=lambda collection, fault: self._watch_failed(engine, collection, fault),
            flagger=True,
            gitops=True,
        )

    def _runners(
        self,
        engine: Engine,
        session: aiohttp.ClientSession,
        kube: KubeClient,
        cache: ClusterCache,
        outside: assembly.Clients,
        calls: LiveCalls,
    ) -> Mapping[str, Runner[Any]]:
        def forbids(action: Action) -> str | None:
            return self._veto(engine, action)

        return assembly.runners(
            self.settings,
            session,
            kube,
            cache,
            outside,
            self._clock,
            lambda: self.policy,
            calls.graph,
            calls.meanings,
            forbids=forbids,
        )

    def _dispatching(self, engine: Engine, runners: Mapping[str, Runner[Any]]) -> Dispatcher:
        return Dispatcher(
            runners,
            self._clock,
            self._supervisor,
            Faults(transient=Transient, permanent=Permanent),
            finish=engine.put,
            attempted=self.metrics.attempted,
            veto=lambda action: self._veto(engine, action),
            leadership=self._lead,
        )

    def _veto(self, engine: Engine, action: Action) -> str | None:
        """What forbids an action now: asked before it is begun, and again before it is written."""
        return veto(action, engine.state, self.policy, self._clock.now())

    def stop(self) -> None:
        """Ask for a gentle end (SIGTERM)."""
        self._stop.set()

    def _told(self, facts: Sequence[Fact], state: State) -> None:
        self.metrics.journalled(facts, state)
        self._incidents.tell(facts, state)

    def _signals_found(self, ways: Ways) -> None:
        self._ways = ways
        self._policy = _effective(self.settings, ways)

    def _watch_failed(self, engine: Engine, collection: str, fault: Fault) -> None:
        """Counted; and while the caches are not synced yet, it is the reason why we are not ready."""
        self.metrics.contact("kubernetes", ok=False)
        if fault.status == 403 and collection not in self._forbidden:
            self._forbidden.add(collection)
            log.warning("collection_forbidden", collection=collection, error=fault.reason, ask="lastgood check-access")
        if not self._synced:
            engine.waits_for(f"caches are not synced: {collection}: {fault.reason}")

    def _dispatch(self, action: Action, uncertain: bool) -> None:  # noqa: FBT001 - the engine's callback shape
        assert self._dispatcher is not None, "the dispatcher is built before the engine runs"
        self._dispatcher.start(action, uncertain=uncertain)

    async def _decide(self, engine: Engine, journal: Journal, watch: ClusterWatch) -> None:
        await watch.synced.wait()
        self._synced = True
        self.metrics.contact("kubernetes", ok=True)
        engine.waits_for(None)
        if self._lead.elector is not None:
            await self._take_over(self._lead.elector, engine, journal, watch)
        log.info("ready", workloads=len(engine.state.workloads))
        memory.settle()
        self._supervisor.eternal("pulse", self._pulse.run())
        engine.resume()
        await engine.run()

    async def _take_over(self, elector: LeaseElector, engine: Engine, journal: Journal, watch: ClusterWatch) -> None:
        """Wait until we lead; then nobody else can write the journal any more, and what it holds by then is ours."""
        log.info("standby", leader=elector.holder or None)
        await elector.elected.wait()
        self._down_since = await taken_over(journal, engine, elector.token)
        watch.compare(tracked.view for tracked in engine.state.workloads.values())
        log.info("leading", transitions=elector.token)  # "token" would be taken for a secret
        self._leading.set()

    def _poll(self, outside: assembly.Clients, engine: Engine) -> AlertsPoll:
        poll = AlertsPoll(
            api=outside.alertmanager,
            history=outside.history,
            intake=CountedIntake(engine, engine, self.metrics),
            clock=self._clock,
            times=PollTimes(interval=self.settings.alertmanager.poll_interval),
        )
        self._asleep.append(poll)
        return poll

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    def reload(self) -> None:
        """Take over a new configuration; keep the old one when the new one is bad, and say so (SIGHUP)."""
        try:
            settings = load(self._config_path)
        except ConfigError as error:
            log.error("configuration_refused", error=str(error))
            self.metrics.reloaded(self._clock.now(), ok=False)
            return
        needs_restart = [name for name in type(settings).model_fields if _fixed(name, self.settings, settings)]
        if needs_restart:
            log.warning("configuration_needs_restart", sections=needs_restart)
        log_config.configure(settings.log, self.settings.secrets | settings.secrets)  # the old ones may still be in use
        # The cluster's name is part of the keys of pages: one that is open must be found under the old name.
        policy = replace(settings.policy, cluster=self.settings.cluster)
        self.settings = self.settings.model_copy(update={"policy": policy, "log": settings.log})
        self._policy = _effective(self.settings, self._ways)
        self.metrics.reloaded(self._clock.now(), ok=True)
        log.info("configuration_reloaded", fingerprint=settings.fingerprint)

    async def _wind_down(self, engine: Engine, dispatcher: Dispatcher) -> None:
        """Let what is under way end within the drain time, and journal it; begin nothing new; then stop everything.

        What did not end stays owed and is asked after at the next start. No snapshot here: the engine may have been
        stopped between its commit and its next state, and a snapshot of the older one would drop those facts.
        """
        dispatcher.close()
        unfinished: int | None = None
        with suppress(TimeoutError):
            async with while_leading(self._lead):
                unfinished = await self._supervisor.drain(self.settings.limits.drain.total_seconds())
                if not engine.stands_by:
                    async with asyncio.timeout(FLUSH_SECONDS):
                        await engine.rested()
        log.info("stopping", unfinished_actions=unfinished)
        await self._supervisor.stop()
        await self._lead.release()  # last: from then on another acts


def _effective(settings: Settings, ways: Ways) -> Policy:
    """The policy without what nobody would receive, its default signals measured by the metrics that were found."""
    policy = settings.policy
    return replace(
        policy,
        change_events=policy.change_events and settings.pagerduty.is_set,
        signals=laid_over(policy.signals, ways),
    )


def _fixed(name: str, old: Settings, new: Settings) -> bool:
    """Sections that only a restart takes over."""
    return name not in ("policy", "log") and getattr(old, name) != getattr(new, name)


async def run(config_path: Path | None) -> int:
    """Run the daemon; the exit code: 0 stopped, 1 a part of it failed, 5 bad configuration. Errors are one line."""
    memory.begin()
    try:
        settings = load(config_path)
    except ConfigError as error:
        log.error("configuration_refused", error=str(error))
        return 5
    log_config.configure(settings.log, settings.secrets)
    daemon = Daemon(settings, config_path)
    daemon.metrics.reloaded(SystemClock().now(), ok=True)
    for warning in settings.warnings:
        log.warning("configuration_warning", warning=warning)
    try:
        await daemon.serve()
    except (StartError, NoLeaseError, JournalUnusableError, JournalUnavailableError, ServeError, Fault) as error:
        log.error("cannot_start", error=str(error))
        return 1
    except TaskEndedError as error:
        log.error("part_ended", error=str(error), exc_info=error.__cause__)
        return 1
    return 0
