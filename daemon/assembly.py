"""Puts implementations behind the ports: which runner carries out which action, and which clients they use.

Part of the composition root (`daemon.app`): with it the only place that knows handlers and runtime at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from config.settings import Settings
from daemon import senders
from daemon.core.actions import Action, Outcome, OutcomeKind, RollBack
from daemon.core.policy import GitOps, Policy
from daemon.ports import Clock, Journal, Runner, Telemetry
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.journal_postgres import PostgresJournal
from handlers import kube_access
from handlers.alert_history import AlertHistory
from handlers.alertmanager_api import AlertmanagerApi
from handlers.auth import Authenticator
from handlers.cache import ClusterCache
from handlers.call_graph import CallGraph
from handlers.just_checked import JustChecked
from handlers.kube import KubeClient, Timeouts
from handlers.live_calls import Meanings
from handlers.outbound.change_events import ChangeEvents
from handlers.outbound.locate import LocateRunner
from handlers.outbound.measure import MeasureRunner
from handlers.outbound.pagerduty import PagerDutyPager
from handlers.outbound.rollback.argo_rollout import ArgoRollback
from handlers.outbound.rollback.argocd import ArgoCdRollback
from handlers.outbound.rollback.by_kind import RollbackByKind
from handlers.outbound.rollback.flux import FluxSuspend
from handlers.outbound.rollback.patience import Patient
from handlers.outbound.rollback.statefulset import StatefulSetRollback
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.slack.announcer import SlackAnnouncer
from handlers.outbound.slack.webhook import SlackWebhook
from handlers.outbound.soak import SoakRunner
from handlers.outbound.suspension import SuspensionEnd
from handlers.outbound.targets import TargetChecker
from handlers.prometheus import PrometheusClient
from handlers.sampling import Sampler


class NotConfigured:
    """Runner for a vendor that is not configured: settles at once and says so, instead of leaving the action owed."""

    def __init__(self, what: str) -> None:
        self._outcome = Outcome(kind=OutcomeKind.REFUSED, message=f"{what} is not configured")

    async def run(self, action: Action) -> Outcome:
        """Refused, always."""
        return self._outcome

    async def probe(self, action: Action) -> Outcome | None:
        """Nothing can have happened."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The clients of the outside systems; None where one is not configured."""

    prometheus: PrometheusClient
    alertmanager: AlertmanagerApi | None
    history: AlertHistory


async def journal(settings: Settings, on_fsync: Callable[[float], None] = lambda seconds: None) -> Journal:
    """The journal that the settings ask for; `on_fsync` is told each write's seconds. Raises JournalUnusableError with the
    remedy, JournalUnavailableError.
    """
    section = settings.journal
    if section.url is None:
        return SqliteJournal(settings.journal_path, on_fsync=on_fsync)
    url = section.url.get_secret_value()
    return await PostgresJournal.open(url, cluster=settings.cluster, schema=section.schema_name, on_fsync=on_fsync)


async def kube_client(
    settings: Settings, timeouts: Timeouts | None = None, *, may_write: Callable[[], bool] = lambda: True
) -> KubeClient:
    """The Kubernetes client that the settings ask for. Raises Permanent with the remedy where none can be made."""
    kubernetes = settings.kubernetes
    timeouts = timeouts or Timeouts(total=kubernetes.request_timeout.total_seconds())
    if kubernetes.url is not None:
        token = kubernetes.token.get_secret_value() if kubernetes.token else ""
        configuration = kube_access.from_url(kubernetes.url, token=token, ca_file=kubernetes.ca_file)
    elif kubernetes.kubeconfig is not None:
        configuration = await kube_access.from_kubeconfig(kubernetes.kubeconfig, kubernetes.context)
    elif kubernetes.in_cluster or kube_access.TOKEN_FILE.exists():
        configuration = kube_access.in_cluster()
    else:
        usual = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        configuration = await kube_access.from_kubeconfig(usual, kubernetes.context)
    return KubeClient(configuration, timeouts=timeouts, may_write=may_write)


def lease_namespace(settings: Settings) -> str | None:
    """Where the Lease is: as set, or else with the pod; None where we run in none."""
    return settings.lease.namespace or kube_access.pod_namespace()


def clients(settings: Settings, session: aiohttp.ClientSession, clock: Clock, telemetry: Telemetry) -> Clients:
    """Clients of Prometheus and Alertmanager."""
    prometheus = PrometheusClient(
        session,
        settings.prometheus.url or "",
        telemetry=telemetry,
        headers=headers_of(settings.prometheus),
        params=settings.prometheus.params,
        timeout=settings.prometheus.timeout,
    )
    alertmanager = None
    if settings.alertmanager.urls:
        alertmanager = AlertmanagerApi(
            session,
            settings.alertmanager.urls,
            clock=clock,
            telemetry=telemetry,
            headers=headers_of(settings.alertmanager),
            timeout=settings.alertmanager.timeout,
            settle=settings.alertmanager.settle,
        )
    return Clients(prometheus=prometheus, alertmanager=alertmanager, history=AlertHistory(client=prometheus))


def headers_of(section: Any) -> dict[str, str]:
    """The headers of every request to this server, those with a secret among them."""
    secret = {name: value.get_secret_value() for name, value in section.secret_headers.items()}
    return {**section.headers, **secret}


def runners(
    settings: Settings,
    session: aiohttp.ClientSession,
    kube: KubeClient,
    cache: ClusterCache,
    outside: Clients,
    clock: Clock,
    policy: Callable[[], Policy],
    calls: Callable[[], CallGraph | None] = lambda: None,
    meanings: Callable[[], Meanings] = dict,
    *,
    forbids: Callable[[RollBack], str | None] = lambda action: None,
) -> Mapping[str, Runner[Any]]:
    """Who carries out which kind of action; `forbids` is asked in the moment before a rollback is written."""
    sampler, checked = Sampler(outside.prometheus, policy), JustChecked()
    return {
        "locate": LocateRunner(cache, outside.prometheus, sampler, clock, calls),
        "measure": MeasureRunner(sampler, cache, outside.alertmanager, clock, calls, meanings),
        "prove_soak": SoakRunner(sampler, cache, clock),
        "check_target": TargetChecker(kube, checked),
        "roll_back": rollbacks(kube, clock, checked, forbids),
        "end_suspension": SuspensionEnd(Patient(kube)),
        "page": _pager(settings, session),
        "announce": _announcer(settings, session),
        "answer_pipeline": senders.answers(settings, session),
        "revert_commit": senders.reverts(settings, session),
        "note_change": _timeline(settings, session),
    }


def rollbacks(
    kube: KubeClient,
    clock: Clock,
    checked: JustChecked | None = None,
    forbids: Callable[[RollBack], str | None] = lambda action: None,
) -> RollbackByKind:
    """Who rolls a workload back: by the way around its owner, else by its kind; each kind that is watched has one."""
    api = Patient(kube)
    template, none = (
        TemplateRollback(api, clock, checked, forbids=forbids),
        NotConfigured("rolling back workloads of this kind"),
    )
    kinds: Mapping[str, Runner[RollBack]] = {
        "Deployment": template,
        "StatefulSet": StatefulSetRollback(api, clock, forbids=forbids),
        "DaemonSet": template,
        "Rollout": ArgoRollback(api, clock, forbids=forbids),
        "Service": template,
    }
    plain = RollbackByKind(none, kinds)
    ways: Mapping[GitOps, Runner[RollBack]] = {
        GitOps.FLUX_SUSPEND: FluxSuspend(api, plain),
        GitOps.ARGOCD_ROLLBACK: ArgoCdRollback(api, clock, plain, forbids=forbids),
    }
    return RollbackByKind(none, kinds, ways)


def _pager(settings: Settings, session: aiohttp.ClientSession) -> Runner[Any]:
    if settings.pagerduty.routing_key is None:
        return NotConfigured("pagerduty.routing_key")
    key = settings.pagerduty.routing_key.get_secret_value()
    return PagerDutyPager(session, settings.pagerduty.base_url, key, settings.cluster)


def _timeline(settings: Settings, session: aiohttp.ClientSession) -> Runner[Any]:
    if settings.pagerduty.routing_key is None:
        return NotConfigured("pagerduty.routing_key")
    key = settings.pagerduty.routing_key.get_secret_value()
    return ChangeEvents(session, settings.pagerduty.base_url, key, settings.cluster)


def _announcer(settings: Settings, session: aiohttp.ClientSession) -> Runner[Any]:
    slack = settings.slack
    if slack.bot_token is not None and slack.channel is not None:
        token, buttons = slack.bot_token.get_secret_value(), slack.interactions != "off"
        return SlackAnnouncer(session, slack.base_url, token, slack.channel, buttons=buttons)
    if slack.webhook_url is not None:
        return SlackWebhook(session, slack.webhook_url.get_secret_value())
    return NotConfigured("slack")


def webhook_auth(settings: Settings) -> Authenticator | None:
    """Who may inform; None where anonymous senders may."""
    tokens = {name: secret.get_secret_value() for name, secret in settings.server.webhook_tokens.items()}
    basics = {name: secret.get_secret_value() for name, secret in settings.server.webhook_basic.items()}
    return Authenticator(tokens=tokens, passwords=basics) if tokens or basics else None


def operator_auth(settings: Settings) -> Authenticator:
    """Who may command over the network; nobody where no token is set."""
    return Authenticator(tokens={name: s.get_secret_value() for name, s in settings.server.operators.items()})
