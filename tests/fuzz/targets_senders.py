"""Who informs: Alertmanager, pipelines, Flux, Flagger, a broker, Slack's buttons; and who proves who it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, cast

from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.events import AlertSource, AlertsReported, Noticed
from daemon.core.notices import Notice
from daemon.runtime import codec
from handlers.alerts import MalformedError, parse_json
from handlers.auth import Authenticator
from handlers.cloudevents import header_attributes, notices_of
from handlers.inbound import alertmanager
from handlers.inbound.flagger import CanaryHook, FlaggerEvents
from handlers.inbound.flux import FluxEvents
from handlers.inbound.github import GitHubEvents
from handlers.inbound.gitlab import GitLabEvents
from handlers.inbound.mqtt import MqttInbound
from handlers.inbound.slack import _payload
from handlers.mqtt_link import Delivery
from handlers.notice_fields import ForgedError
from handlers.preflight.alert_file import alerts_in
from handlers.server import BodyRefusedError
from handlers.slack_payloads import press_of
from tests.fuzz.targets import Parser
from tests.handlers.events_world import PAYLOADS, plain, sender
from tests.handlers.intake_fakes import T0, Counted, Hands, Kept, webhook, wire_alert
from tests.repository import ROOT

GOLDEN = ROOT / "tests/golden"


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


def headers(content_type: str = "application/json", **more: str) -> CIMultiDictProxy[str]:
    pairs = {name.replace("_", "-"): value for name, value in more.items()}
    return CIMultiDictProxy(CIMultiDict({"Content-Type": content_type, **pairs}))


def kept(notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    """What was understood comes back from the journal as it was."""
    for notice in notices:
        event = Noticed(at=T0, notice=notice)
        assert codec.load_event(codec.dump_event(event)) == event
    return notices


def webhook_alerts(data: bytes) -> object:
    alerts, truncated = alertmanager.alerts_of(data)
    event = AlertsReported(at=T0, source=AlertSource.WEBHOOK, alerts=alerts)
    assert codec.load_event(codec.dump_event(event)) == event
    return alerts, truncated


def events(content_type: str | None) -> Callable[[bytes], object]:
    """One message, in the way that its content type says."""

    def read(data: bytes) -> object:
        return kept(notices_of(content_type, {}, data, sender(service="web", repository="acme/web")))

    return read


def binary(data: bytes) -> object:
    """A CloudEvent in binary mode: header lines, an empty line, the data."""
    head, _, body = data.partition(b"\n\n")
    pairs = [line.decode("utf-8", "surrogateescape").partition(": ")[::2] for line in head.split(b"\n")]
    return kept(notices_of("application/json", header_attributes(pairs), body, sender()))


def vendor(reader: Any, content_type: str = "application/json", **more: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        return kept(reader.read(headers(content_type, **more), data, T0))

    return read


def mqtt(data: bytes) -> object:
    """Topic, content type and a user property on three lines, then the body. Nothing at all may come out."""
    topic, kind, pair, body = (*data.split(b"\n", 3), b"", b"", b"")[:4]
    name, _, value = pair.decode("utf-8", "replace").partition("=")
    taker = MqttInbound(
        connect=cast("Any", None),
        parse=lambda content_type, attributes, content: notices_of(content_type, attributes, content, sender()),
        intake=Kept(),
        clock=Hands(),
        telemetry=cast("Any", Counted()),
        body_bytes_max=2**20,
    )
    delivery = Delivery(
        topic=topic.decode("utf-8", "replace"),
        body=body,
        content_type=kind.decode("utf-8", "replace") or None,
        attributes=MappingProxyType({name: value} if name else {}),
        qos=1,
        retained=False,
        wanted=True,
        mid=1,
    )
    return taker._read(delivery)


def press(data: bytes) -> object:
    return press_of(_payload("application/x-www-form-urlencoded", data))


def credential(data: bytes) -> object:
    known = Authenticator(tokens={"am": "secret"}, passwords={"user": "word"})
    return known.who({"Authorization": data.decode("utf-8", "surrogateescape")})


def handed_in(data: bytes) -> object:
    return alerts_in(parse_json(data, "alert"), T0)


CLOUD = {
    "specversion": "1.0",
    "id": "1",
    "source": "ci",
    "type": "dev.lastgood.deployment.finished",
    "time": "2026-11-20T11:58:30Z",
}
CDEVENT = {
    "context": {
        "version": "0.4.1",
        "id": "1",
        "source": "/tekton",
        "type": "dev.cdevents.service.deployed.0.2.0",
        "timestamp": "2026-11-20T11:58:30Z",
    },
    "subject": {
        "id": "web",
        "type": "service",
        "content": {"environment": {"id": "prod"}, "artifactId": "pkg:oci/web@sha256%3A" + "0b" * 32},
    },
    "customData": {"lastgood": {"namespace": "shop", "name": "web"}},
}
CANARY = {
    "name": "web",
    "namespace": "shop",
    "phase": "Succeeded",
    "checksum": "85d557f47b",
    "metadata": {
        "token": "t",
        "workload": "shop/web",
        "timestamp": "1795175910000",
        "eventMessage": "done",
        "eventType": "Normal",
    },
}
PRESSED = {
    "type": "block_actions",
    "user": {"id": "U0ANNA", "team_id": "T1"},
    "team": {"id": "T1"},
    "response_url": "https://hooks.slack/x",
    "actions": [
        {
            "action_id": "lastgood_approve",
            "value": json.dumps({"incident": "inc-1", "target": "ab12", "questions": ["no_contrast"]}),
        }
    ],
}


def files(folder: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((GOLDEN / folder).glob("*.json")))


def sent(*names: str) -> tuple[bytes, ...]:
    return tuple((PAYLOADS / f"{name}.json").read_bytes() for name in names)


REFUSED = (MalformedError, ForgedError, BodyRefusedError)
NOTICES = ("handlers.alerts", "handlers.notice_fields", "handlers.notice_input", "handlers.notice_mapping")
EVENTS = ("handlers.cloudevents", "handlers.cdevents", "handlers.inbound.deployment_events", *NOTICES)
PARSERS = (
    Parser(
        name="alertmanager",
        covers=("handlers.inbound.alertmanager", "handlers.alerts"),
        read=webhook_alerts,
        refuses=(MalformedError,),
        seeds=(raw(webhook(wire_alert())), *files("webhooks")),
    ),
    Parser(
        name="events",
        covers=EVENTS,
        read=events(None),
        refuses=(MalformedError,),
        seeds=(
            raw(plain(image="r/web:v2", workload=None)),
            raw({**CLOUD, "data": {"namespace": "shop", "name": "web"}}),
            raw(CDEVENT),
        ),
    ),
    Parser(
        name="cloudevents",
        covers=EVENTS,
        read=events("application/cloudevents+json"),
        refuses=(MalformedError,),
        seeds=(raw({**CLOUD, "data": {"namespace": "shop", "name": "web"}}), raw({**CLOUD, "data_base64": "e30="})),
    ),
    Parser(
        name="cloudevents-batch",
        covers=EVENTS,
        read=events("application/cloudevents-batch+json"),
        refuses=(MalformedError,),
        seeds=(raw([{**CLOUD, "data": {"namespace": "shop", "name": "web"}}]),),
    ),
    Parser(
        name="cloudevents-binary",
        covers=EVENTS,
        read=binary,
        refuses=(MalformedError,),
        shape="bytes",
        seeds=(
            (
                b"ce-specversion: 1.0\nce-id: 1\nce-source: ci\nce-type: deployment.failed\nce-time: 2026-11-20T11:58:30Z\n\n"
                b'{"namespace": "shop", "name": "web"}'
            ),
        ),
    ),
    Parser(
        name="github",
        covers=("handlers.inbound.github", *NOTICES),
        refuses=REFUSED,
        read=vendor(GitHubEvents(sender(repository="acme/web"), None), X_GitHub_Event="deployment_status"),
        seeds=sent("github_deployment_status", "github_deployment", "github_ping"),
    ),
    Parser(
        name="github-form",
        covers=("handlers.inbound.github",),
        refuses=REFUSED,
        shape="bytes",
        read=vendor(
            GitHubEvents(sender(), None), "application/x-www-form-urlencoded", X_GitHub_Event="deployment_status"
        ),
        seeds=(b"payload=%7B%22deployment%22%3A%7B%7D%7D",),
    ),
    Parser(
        name="gitlab",
        covers=("handlers.inbound.gitlab", *NOTICES),
        refuses=REFUSED,
        read=vendor(GitLabEvents(sender(repository="acme/web"), token=None, signing_token=None)),
        seeds=sent("gitlab_deployment", "gitlab_pipeline"),
    ),
    Parser(
        name="flux",
        covers=("handlers.inbound.flux", *NOTICES),
        refuses=REFUSED,
        read=vendor(FluxEvents(sender(), secret=None, token=None)),
        seeds=sent("flux_kustomization", "flux_helmrelease"),
    ),
    Parser(
        name="flagger",
        covers=("handlers.inbound.flagger", *NOTICES),
        refuses=REFUSED,
        read=vendor(FlaggerEvents(CanaryHook(sender(), None))),
        seeds=(*sent("flagger_event"), raw(CANARY)),
    ),
    Parser(
        name="mqtt",
        covers=("handlers.inbound.mqtt", *EVENTS),
        read=mqtt,
        refuses=(MalformedError,),
        shape="bytes",
        seeds=(
            b"deploys/shop\napplication/json\nid=1\n" + raw(plain()),
            b"deploys/shop\n\nspecversion=1.0\n" + raw(CDEVENT),
        ),
    ),
    Parser(
        name="slack",
        covers=("handlers.inbound.slack", "handlers.slack_payloads", "handlers.slack_offers"),
        read=press,
        refuses=(MalformedError,),
        shape="bytes",
        seeds=(b"payload=%7B%22type%22%3A%22block_actions%22%7D",),
    ),
    Parser(
        name="slack-press",
        covers=("handlers.slack_payloads", "handlers.slack_offers", "handlers.slack_presses"),
        read=lambda data: press_of(parse_json(data, "payload")),
        refuses=(MalformedError,),
        seeds=(raw(PRESSED),),
    ),
    Parser(
        name="authorization",
        covers=("handlers.auth",),
        read=credential,
        refuses=(),
        shape="bytes",
        seeds=(b"Bearer secret", b"Basic dXNlcjp3b3Jk", b""),
    ),
    Parser(
        name="preflight-alert",
        covers=("handlers.preflight.alert_file", "handlers.inbound.preflight"),
        read=handed_in,
        refuses=(MalformedError,),
        seeds=(raw(wire_alert()), raw([wire_alert()]), raw(webhook(wire_alert()))),
    ),
)
