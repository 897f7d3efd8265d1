"""schemathesis over the served surface: each operation with input that fits the description and with input that does not.

What must hold of every answer: no 5xx but a described 503; status, content type, headers and body as described; and nothing in
the journal where the request was refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from requests.auth import AuthBase
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from handlers.openapi import document as openapi
from tests.fuzz.surface import OPERATOR, SECRET, SENDER, SOURCE, Surface

CHECKS = (
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

MODES = {"fitting": GenerationMode.POSITIVE, "unfitting": GenerationMode.NEGATIVE}

SOURCES = {"events": ("ci", "open", "hub", "lab", "flux", "flagger"), "flaggerRollback": ("flagger", "ci")}

JOURNALLED_REFUSALS = (404, 409)
"""A command that was understood and cannot be followed stands in the journal with its refusal."""

ANSWER_SECONDS = 40.0
"""A preflight may ask for 20 s."""


@dataclass(frozen=True)
class Target:
    """One operation, and where its path has one, one source."""

    id: str
    label: str
    source: str | None = None

    @property
    def name(self) -> str:
        """How it is asked for by `make fuzz`."""
        return self.id if self.source is None else f"{self.id}.{self.source}"


def targets() -> list[Target]:
    """Every operation that is described."""
    found = []
    for path, item in openapi.document()["paths"].items():
        for method in ("get", "post"):
            if method in item:
                id_ = item[method]["operationId"]
                sources: tuple[str | None, ...] = SOURCES.get(id_, (None,))
                found += [Target(id_, f"{method.upper()} {path}", source) for source in sources]
    return found


class Credentials(AuthBase):
    """What each address asks for, over the body as it is sent."""

    def __init__(self, target: Target, now: float) -> None:
        self._target = target
        self._now = int(now)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        assert isinstance(raw, bytes), "nothing here is sent in pieces"
        for name, value in self._headers(raw).items():
            request.headers[name] = value
        return request

    def _headers(self, body: bytes) -> Mapping[str, str]:
        match self._target:
            case Target(id="alertmanager"):
                return {"Authorization": f"Bearer {SENDER}"}
            case Target(id="slackInteractions"):
                mac = _hmac(SECRET, f"v0:{self._now}:".encode() + body)
                return {"X-Slack-Request-Timestamp": str(self._now), "X-Slack-Signature": f"v0={mac}"}
            case Target(source="hub"):
                return {
                    "X-Hub-Signature-256": f"sha256={_hmac(f'{SECRET}-hub', body)}",
                    "X-GitHub-Event": "deployment_status",
                }
            case Target(source="lab"):
                return {"X-Gitlab-Token": f"{SOURCE}-lab"}
            case Target(source="flux"):
                return {"X-Signature": f"sha256={_hmac(f'{SECRET}-flux', body)}"}
            case Target(source="ci"):
                return {"Authorization": f"Bearer {SOURCE}"}
            case _:
                return {"Authorization": f"Bearer {OPERATOR}"}


def _hmac(key: str, body: bytes) -> str:
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def described() -> Any:
    """The description as schemathesis reads it; it checks that first."""
    found = schemathesis.openapi.from_dict(deepcopy(dict(openapi.document())))
    found.validate()
    return found


def operation(schema: Any, target: Target) -> Any:
    """One operation of it."""
    return next(each.ok() for each in schema.get_all_operations() if each.ok().label == target.label)


def attack(
    running: Surface,
    schema: Any,
    target: Target,
    mode: str,
    *,
    examples: int,
    seen: Callable[[int], None],
    seed: int = 0,
) -> None:
    """Send this many requests; raises on the first answer that is not as it must be, with how to send it again."""
    named = None if target.source is None else {"source": target.source}
    names = known(running)
    cases = operation(schema, target).as_strategy(generation_mode=MODES[mode], path_parameters=named)
    quiet = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )

    @seeded(seed)
    @quiet
    @given(case=cases, data=st.data())
    def sent(case: Any, data: st.DataObject) -> None:
        if target.source is not None:
            case.path_parameters = {"source": target.source}
        case.body, case.query = (informed(data.draw, each, names) for each in (case.body, case.query))
        before = running.intake()
        credentials = Credentials(target, running.now.timestamp())
        answer = case.call(base_url=running.url, auth=credentials, timeout=ANSWER_SECONDS)
        seen(answer.status_code)
        judge(case, answer, running.intake() - before)

    sent()


def known(running: Surface) -> Mapping[str, tuple[str, ...]]:
    """What of the state a field of that name may hold, so that more than "unknown" is answered."""
    state = running.parts.engine.state
    tracked = next(iter(state.workloads.values()))
    moments = tuple((running.now + timedelta(minutes=each)).isoformat() for each in (-90, -1, 0, 4))
    workloads = (tracked.view.workload.short, tracked.view.workload.key)
    incidents = tuple(state.incidents)
    revisions = tuple(each.id for each in tracked.view.history)
    return {
        **dict.fromkeys(("workload",), workloads),
        **dict.fromkeys(("incident",), incidents),
        **dict.fromkeys(("about",), (*workloads, *incidents, *state.alerts)),
        **dict.fromkeys(("current", "target", "revision"), revisions),
        **dict.fromkeys(("startsAt", "time", "timestamp"), moments),
        **dict.fromkeys(("id", "source"), ("run-1", "jenkins/web")),
        "to": ("previous", "1", revisions[0][:8]),
        "for": ("30m", "1d", "9999999d", "0s"),
        "since": ("5m", "1d", "2d"),
        "namespace": (tracked.view.workload.namespace,),
        "name": (tracked.view.workload.name,),
        "phase": ("Succeeded", "Failed", "Progressing"),
        "type": ("deployment.failed", "dev.cdevents.service.deployed.0.2.0"),
        "version": ("4", "0.4.1"),
        "token": (f"{SOURCE}-flagger",),
        "scope": ("", tracked.view.workload.short),
    }


def informed(draw: Callable[..., Any], value: Any, names: Mapping[str, tuple[str, ...]]) -> Any:
    """The value, with some of its strings replaced by what is known here."""
    if isinstance(value, list):
        return [informed(draw, each, names) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: draw(st.sampled_from((each, *names[key])))
        if isinstance(each, str) and key in names
        else informed(draw, each, names)
        for key, each in value.items()
    }


def judge(case: Any, answer: Any, journalled: int) -> None:
    """What must hold of every answer."""
    if answer.status_code not in (404, 405, 503):  # 503 is described, or the next check says so
        case.validate_response(answer, checks=[not_a_server_error])
    if answer.status_code != 405:
        case.validate_response(answer, checks=list(CHECKS))
    refused = answer.status_code >= 400 and answer.status_code not in JOURNALLED_REFUSALS
    if refused and journalled:
        raise AssertionError(f"{answer.status_code}, and {journalled} entries in the journal: {case.as_curl_command()}")
    if case.method.upper() == "GET" and journalled:
        raise AssertionError(f"a question was journalled: {case.as_curl_command()}")


def modes(target: Target) -> Iterator[str]:
    """What can be sent to it: with nothing to vary there is nothing that does not fit."""
    yield "fitting"
    if target.label not in ("GET /-/healthy", "GET /-/ready", "GET /metrics", "GET /openapi.json"):
        yield "unfitting"
