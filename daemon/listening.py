"""Part of the composition root: which routes are served where. Whoever may only inform never reaches a command.

Over the network: webhooks, deployment events and Flagger's question (senders' credentials), the gate (senders and operators),
commands (operators' tokens), health and metrics. On the Unix socket: commands and the gate, as the user at the other end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from config.settings import Settings
from daemon import assembly, preflighting, senders
from daemon.buttons import Buttons
from daemon.core.policy import Policy
from daemon.core.state import State
from daemon.leading import Lead
from daemon.ports import Clock, Journal
from daemon.runtime.counted import CountedIntake
from daemon.runtime.engine import Engine
from daemon.runtime.telemetry import Metrics
from handlers import kube_access, workload_objects
from handlers.answers import Actor
from handlers.cache import ClusterCache
from handlers.call_graph import CallGraph
from handlers.door import Door, DoorLimits
from handlers.following import Following
from handlers.inbound.alertmanager import AlertmanagerWebhook
from handlers.inbound.alerts_poll import AlertsPoll
from handlers.inbound.deployment_events import DeploymentEvents
from handlers.inbound.flagger import FlaggerRollback
from handlers.inbound.gate import any_of, gate_routes, sender_actor
from handlers.inbound.operators import operator_routes, token_actor, unix_actor
from handlers.inbound.preflight import Preflight
from handlers.inbound.rollbacks import Rollbacks
from handlers.kube import KubeClient
from handlers.openapi import document as openapi
from handlers.outbound.targets import TargetChecker
from handlers.server import HttpServer, ServerLimits, build_app
from handlers.standby import leader_only


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the routes stand on."""

    settings: Settings
    policy: Callable[[], Policy]
    clock: Clock
    metrics: Metrics
    engine: Engine
    journal: Journal
    kube: KubeClient
    poll: AlertsPoll
    watch_age: Callable[[], float]
    cache: ClusterCache
    outside: assembly.Clients
    buttons: Buttons
    calls: Callable[[], CallGraph | None]
    leadership: Lead


async def listen(server: HttpServer, parts: Parts) -> tuple[str, int]:
    """Serve network and socket; the address that became of `server.listen`. Raises ServeError."""
    settings = parts.settings
    address = await server.serve_tcp(network(parts), host=settings.server.host, port=settings.server.port)
    await server.serve_unix(local(parts), settings.socket_path)
    return address


def network(parts: Parts) -> web.Application:
    """What is served over the network; `handlers.openapi` describes it."""
    settings = parts.settings
    operators = token_actor(assembly.operator_auth(settings))
    informers = sender_actor("webhook", assembly.webhook_auth(settings))
    pipelines = sender_actor("source", senders.gate_auth(settings))
    told = [*_webhook(parts).routes(), *_events(parts).routes(), *openapi.routes()]
    asked = [*_canaries(parts).routes(), *parts.buttons.routes, *_commands(parts, operators)]
    gate = gate_routes(parts.engine, parts.clock, any_of(operators, informers, pipelines))

    def role() -> str:
        return "standby" if parts.engine.stands_by else "ready"

    routes = [*told, *_for_the_leader([*asked, *gate], parts)]
    return build_app(
        routes=routes,
        limits=server_limits(settings),
        reader=parts.engine,
        metrics=_metrics(parts),
        role=role,
        crowded=parts.metrics.crowded,
    )


def local(parts: Parts) -> web.Application:
    """What is served on the Unix socket."""
    routes = [*_commands(parts, unix_actor), *gate_routes(parts.engine, parts.clock, unix_actor)]
    return build_app(routes=_for_the_leader(routes, parts), limits=server_limits(parts.settings))


def _for_the_leader(routes: list[web.AbstractRouteDef], parts: Parts) -> list[web.AbstractRouteDef]:
    def stands_by() -> bool:
        return parts.engine.stands_by

    return leader_only(routes, stands_by, lambda: parts.leadership.leader, kube_access.pod_namespace())


def server_limits(settings: Settings) -> ServerLimits:
    """What senders may cost us, by the configuration."""
    connections = settings.limits.connections
    door = DoorLimits(
        connections_max=connections,
        requests_max=settings.limits.requests,
        waiting_max=connections * 3 // 8,  # who is made to wait is not closed for kubelet: some must be left
    )
    return ServerLimits(body_bytes_max=settings.server.body_limit, door=door)


def _webhook(parts: Parts) -> AlertmanagerWebhook:
    return AlertmanagerWebhook(
        intake=parts.engine,
        clock=parts.clock,
        telemetry=parts.metrics,
        auth=assembly.webhook_auth(parts.settings),
        on_accepted=parts.poll.forget,
        on_truncated=parts.poll.poke,
        door=Door(server_limits(parts.settings).door),
    )


def _events(parts: Parts) -> DeploymentEvents:
    sources = senders.event_readers(parts.settings)
    return DeploymentEvents(intake=parts.engine, clock=parts.clock, telemetry=parts.metrics, sources=sources)


def _canaries(parts: Parts) -> FlaggerRollback:
    return FlaggerRollback(
        intake=parts.engine,
        reader=parts.engine,
        policy=parts.policy,
        clock=parts.clock,
        telemetry=parts.metrics,
        hooks=senders.canary_hooks(parts.settings),
    )


def _commands(parts: Parts, actor: Actor) -> list[web.AbstractRouteDef]:
    """What people ask and order, as this actor."""
    counted = CountedIntake(parts.engine, parts.engine, parts.metrics)
    rollbacks = Rollbacks(
        reader=parts.engine,
        policy=parts.policy,
        clock=parts.clock,
        actor=actor,
        check=TargetChecker(parts.kube).run,
        look=lambda workload: workload_objects.read(parts.kube, workload),
        follow=Following(parts.engine, counted, parts.policy).follow,
    )
    asked = operator_routes(parts.engine, counted, parts.journal, parts.policy, parts.clock, actor)
    return [*asked, *rollbacks.routes(), *_preflight(parts, actor).routes()]


def _preflight(parts: Parts, actor: Actor) -> Preflight:
    sources = preflighting.sources(
        parts.settings,
        engine=parts.engine,
        policy=parts.policy,
        clock=parts.clock,
        metrics=parts.metrics,
        kube=parts.kube,
        cache=parts.cache,
        outside=parts.outside,
        watch_age=parts.watch_age,
        calls=parts.calls,
    )
    return Preflight(sources, actor)


def _leads(parts: Parts) -> bool:
    return parts.leadership.leads and not parts.engine.stands_by


def _state_to_show(parts: Parts) -> State:
    """What a standby read at its start is soon old: a page that was owed then would be shown as late for ever. The leader
    shows what there is, and whoever sums over all counts it once.
    """
    return State() if parts.engine.stands_by else parts.engine.state


def _metrics(parts: Parts) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    handler = make_aiohttp_handler(parts.metrics.registry)

    async def metrics(request: web.Request) -> web.StreamResponse:
        parts.metrics.recompute(_state_to_show(parts), parts.policy(), parts.clock.now())
        leased = parts.leadership.elector is not None
        parts.metrics.watched(parts.watch_age(), ready=parts.engine.ready is None, leads=_leads(parts), leased=leased)
        parts.metrics.waiting(parts.engine.inbox.events, parts.engine.inbox.bytes)
        return await handler(request)

    return metrics
