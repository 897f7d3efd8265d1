"""Part of the composition root: the pipelines that send deployment events, over HTTP and MQTT, how they hear back, and where
what they deployed is reverted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import aiohttp
from pydantic import SecretStr

from config.event_sections import EventSource
from config.settings import Settings
from daemon.ports import Clock, Intake, Telemetry
from handlers import mqtt_link
from handlers.auth import Authenticator
from handlers.cloudevents import notices_of
from handlers.inbound.deployment_events import EventsReader, SourceReader
from handlers.inbound.flagger import CanaryHook, FlaggerEvents
from handlers.inbound.flux import FluxEvents
from handlers.inbound.github import GitHubEvents
from handlers.inbound.gitlab import GitLabEvents
from handlers.inbound.mqtt import SOURCE, MqttInbound
from handlers.notice_mapping import Mapping as Rule
from handlers.notice_mapping import Sender
from handlers.outbound.pipelines import GitHubDeployments, GitLabDeployments, PipelineAnswers, PipelineClient
from handlers.outbound.reverts import CommitReverts, GitHubReverts, GitLabReverts, Repository, RevertClient


def event_readers(settings: Settings) -> Mapping[str, SourceReader]:
    """Who reads what each configured source sends."""
    return {name: _reader(settings, name, source) for name, source in settings.events.sources.items()}


def _reader(settings: Settings, name: str, source: EventSource) -> SourceReader:
    sender = _sender(settings, name, may_cause=source.may_cause)
    if source.kind == "github":
        return GitHubEvents(sender, _plain(source.secret))
    if source.kind == "gitlab":
        return GitLabEvents(sender, token=_plain(source.token), signing_token=_plain(source.signing_token))
    if source.kind == "flagger":
        return FlaggerEvents(CanaryHook(sender, _plain(source.token)))
    if source.kind == "flux":
        return FluxEvents(sender, secret=_plain(source.secret), token=_plain(source.token))
    token = _plain(source.token)
    return EventsReader(sender, None if token is None else Authenticator(tokens={name: token}))


def canary_hooks(settings: Settings) -> Mapping[str, CanaryHook]:
    """The sources whose rollback hooks are answered."""
    return {
        name: CanaryHook(_sender(settings, name, may_cause=False), _plain(source.token))
        for name, source in settings.events.sources.items()
        if source.kind == "flagger"
    }


def _sender(settings: Settings, name: str, *, may_cause: bool) -> Sender:
    rules = tuple(
        Rule(source=rule.source, match=rule.match.pairs, workload=rule.workload) for rule in settings.events.mappings
    )
    return Sender(name=name, may_cause=may_cause, mappings=rules, cluster=settings.cluster)


def gate_auth(settings: Settings) -> Authenticator | None:
    """The event sources that may ask the gate: those with a bearer token."""
    sources = settings.events.sources
    tokens = {name: token for name, each in sources.items() if each.kind == "events" and (token := _plain(each.token))}
    return Authenticator(tokens=tokens) if tokens else None


def mqtt(settings: Settings, intake: Intake, clock: Clock, telemetry: Telemetry) -> MqttInbound | None:
    """Takes events from the configured broker; None without one."""
    section = settings.mqtt
    if not section.is_set:
        return None
    files = {"ca_file": section.ca_file, "cert_file": section.cert_file, "key_file": section.key_file}
    broker = mqtt_link.Broker(
        host=section.host,
        port=section.port,
        client_id=section.client_id or f"lastgood-{settings.cluster}",
        topics=section.topics,
        qos=section.qos,
        session_expiry_seconds=int(section.session_expiry.total_seconds()),
        receive_maximum=section.receive_maximum,
        body_bytes_max=section.body_limit,
        tls=mqtt_link.Tls(**files) if section.is_tls else None,
        username=section.username,
        password=_plain(section.password),
        shared_group=section.shared_group,
    )
    sender = _sender(settings, SOURCE, may_cause=section.may_cause)
    return MqttInbound(
        connect=partial(mqtt_link.connect, broker),
        parse=partial(notices_of, sender=sender),
        intake=intake,
        clock=clock,
        telemetry=telemetry,
        body_bytes_max=section.body_limit,
    )


def answers(settings: Settings, session: aiohttp.ClientSession) -> PipelineAnswers:
    """Tells pipelines of rollbacks, each with its own source's credential."""
    clients: dict[str, PipelineClient] = {}
    for name, source in settings.events.sources.items():
        token, url = _plain(source.api_token), source.vendor_url
        if token is None or url is None:
            continue
        made = GitHubDeployments if source.kind == "github" else GitLabDeployments
        clients[name] = made(session, url, token)
    return PipelineAnswers(clients)


def reverts(settings: Settings, session: aiohttp.ClientSession) -> CommitReverts:
    """Opens pull requests that revert, each in one configured repository with its own credential."""
    found = []
    for each in settings.events.repositories.values():
        made: type[GitHubReverts | GitLabReverts] = GitHubReverts if each.kind == "github" else GitLabReverts
        token = each.token.get_secret_value()
        client: RevertClient = made(session, each.vendor_url, token, project=each.project, branch=each.branch)
        found.append(Repository(project=each.project, sources=frozenset(each.sources), client=client))
    return CommitReverts(found)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
