"""The composition root: builds the daemon from its parts, runs it, reloads it, and lets it down gently.

Order matters. The journal is folded first; webhooks are accepted from then on (they only need the disk); nothing is decided
before the caches are synced; and what was owed when the last life ended is asked after before anything new is done.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

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
from daemon.listening import Parts, listen, server_limits
from daemon.ports import JournalUnavailableError, Runner
from daemon.runtime import memory
from daemon.runtime.clock import SystemClock
from daemon.runtime.counted import CountedIntake
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.engine import Engine
from daemon.runtime.journal import JournalUnusableError, SqliteJournal
from daemon.runtime.report import IncidentLog
from daemon.runtime.supervise import Supervisor, TaskEndedError
from daemon.runtime.telemetry import Metrics
from handlers.call_search import CallSearch
from handlers.faults import Fault, Permanent, Transient
from handlers.inbound.alerts_poll import AlertsPoll, PollTimes
from handlers.inbound.cluster import ClusterWatch
from handlers.live_calls import LiveCalls
from handlers.server import HttpServer, ServeError
from handlers.signal_search import SignalSearch, Ways, laid_over

log = structlog.get_logger()

FLUSH_SECONDS = 2.0
"""How long SIGTERM waits for the outcomes of drained actions to be journalled; one that is not is asked after at the
next start."""


class StartError(Exception):
    """The daemon cannot start; one line with the remedy."""


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
            journal = SqliteJournal(self.settings.journal_path, on_fsync=self.metrics.fsync.observe)
            stack.push_async_callback(journal.close)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            kube = await stack.enter_async_context(await assembly.kube_client(self.settings))
            engine = self._engine(journal)
            down_since = await engine.recover()
            watch = ClusterWatch(
                kube,
                engine,
                self._clock,
                known=[tracked.view for tracked in engine.state.workloads.values()],
                on_fault=lambda collection, fault: self._watch_failed(engine, collection, fault),
                flagger=True,
                gitops=True,
            )
            outside = assembly.clients(self.settings, session, self._clock, self.metrics)
            calls = self._calls(engine)
            runners = assembly.runners(
                self.settings, session, kube, watch.cache, outside, self._clock, lambda: self.policy, calls.graph
            )
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
            )
            host, port = await listen(server, parts)
            log.info("listening", address=f"{host}:{port}", socket=str(self.settings.socket_path))
            self._supervisor.eternal("engine", self._decide(engine, watch))
            self._supervisor.eternal("alerts", poll.run(down_since))
            search = SignalSearch(outside.prometheus, self._clock, self._signals_found)
            self._supervisor.eternal("signals", search.run())
            self._supervisor.eternal("calls", CallSearch(outside.prometheus, self._clock, calls.found).run())
            for name, run in (*watch.tasks().items(), *pressed.tasks.items()):
                self._supervisor.eternal(name, run())
            if (broker := senders.mqtt(self.settings, engine, self._clock, self.metrics)) is not None:
                self._supervisor.eternal("mqtt", broker.run())
            await self._supervisor.until(self._stop)

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

    def _engine(self, journal: SqliteJournal) -> Engine:
        return Engine(
            journal,
            self._clock,
            lambda: self.policy,
            dispatch=self._dispatch,
            told=self._told,
            stumbled=self.metrics.stumbled,
            inbox_max=self.settings.limits.inbox,
            inbox_bytes_max=self.settings.limits.inbox_bytes,
        )

    def _dispatching(self, engine: Engine, runners: Mapping[str, Runner[Any]]) -> Dispatcher:
        return Dispatcher(
            runners,
            self._clock,
            self._supervisor,
            Faults(transient=Transient, permanent=Permanent),
            finish=engine.put,
            attempted=self.metrics.attempted,
            veto=lambda action: veto(action, engine.state, self.policy, self._clock.now()),
        )

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

    async def _decide(self, engine: Engine, watch: ClusterWatch) -> None:
        await watch.synced.wait()
        self._synced = True
        self.metrics.contact("kubernetes", ok=True)
        engine.waits_for(None)
        log.info("ready", workloads=len(engine.state.workloads))
        memory.settle()
        engine.resume()
        await engine.run()

    def _poll(self, outside: assembly.Clients, engine: Engine) -> AlertsPoll:
        return AlertsPoll(
            api=outside.alertmanager,
            history=outside.history,
            intake=CountedIntake(engine, engine, self.metrics),
            clock=self._clock,
            times=PollTimes(interval=self.settings.alertmanager.poll_interval),
        )

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
        unfinished = await self._supervisor.drain(self.settings.limits.drain.total_seconds())
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await engine.rested()
        log.info("stopping", unfinished_actions=unfinished)
        await self._supervisor.stop()


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


def only_one(folder: Path) -> IO[str]:
    """Hold the state folder: two daemons on one journal would both act. Raises StartError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = (folder / "lock").open("a+")  # held as long as the daemon lives; the holder's number is not ours to wipe
    except OSError as error:
        raise StartError(f"state_dir {folder} cannot be used: {error.strerror}; create it or name another") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StartError(f"another lastgood runs on state_dir {folder}; stop it or name another folder") from None
    held.truncate(0)
    held.write(f"{os.getpid()}\n")
    held.flush()
    return held


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
    except (StartError, JournalUnusableError, JournalUnavailableError, ServeError, Fault) as error:
        log.error("cannot_start", error=str(error))
        return 1
    except TaskEndedError as error:
        log.error("part_ended", error=str(error), exc_info=error.__cause__)
        return 1
    return 0
