"""The description of the HTTP surface is true: what is served is in it, what is in it is served, with the limits that hold."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from handlers.openapi import document as openapi
from tests import documents
from tests.fuzz.surface import Surface, routes_of, surface
from tests.handlers.intake_fakes import webhook, wire_alert

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, str]]]:
    return routes_of(tmp_path_factory.mktemp("routes"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    with surface(tmp_path_factory.mktemp("served")) as made:
        yield made


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """What is described, by method and path."""
    return {
        (method, path): item[method]
        for path, item in openapi.document()["paths"].items()
        for method in METHODS
        if method in item
    }


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_what_is_served_is_described_and_the_reverse(routes: dict[str, set[tuple[str, str]]]) -> None:
    """Every route and method over the network is in the description, and nothing else is."""
    assert set(operations()) == routes["network"]


def test_what_the_socket_answers_is_marked(routes: dict[str, set[tuple[str, str]]]) -> None:
    """`x-unix-socket` stands exactly where the Unix socket answers, too."""
    assert {place for place, each in operations().items() if each.get("x-unix-socket")} == routes["socket"]


def test_every_reference_leads_somewhere() -> None:
    """No schema, parameter or answer is named that is not there; none is there that nobody names."""
    document = openapi.document()
    named = set(references(document))
    there = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "parameters", "responses")
        for name in document["components"][kind]
    }
    assert named == there


def test_every_operation_says_who_may(routes: dict[str, set[tuple[str, str]]]) -> None:
    """Who may ask is said everywhere, and a route without a credential is one that holds no secret and takes no order."""
    nobody = {path for (_, path), each in operations().items() if each["security"] == []}
    flagger = "/api/v1/flagger/{source}/rollback"  # its token stands in the body
    assert nobody == {"/-/healthy", "/-/ready", "/metrics", "/openapi.json", flagger}


def test_every_body_has_its_limit() -> None:
    """What is sent has a limit, in bytes, and 413 is what is answered above it."""
    for place, each in operations().items():
        if "requestBody" in each:
            assert isinstance(each["requestBody"]["x-body-bytes-max"], int), place
            assert "413" in each["responses"], place


def test_it_is_served_to_everybody(running: Surface) -> None:
    """GET /openapi.json answers the description itself."""
    with urllib.request.urlopen(f"{running.url}/openapi.json") as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert json.load(answer) == json.loads(json.dumps(openapi.document()))


def test_alertmanagers_payload_is_described_by_its_reader() -> None:
    """What Alertmanager sends fits the schema; what the reader refuses does not."""
    schemas = {"components": {"schemas": openapi.document()["components"]["schemas"]}}
    described = jsonschema.Draft202012Validator({**schemas, "$ref": "#/components/schemas/AlertmanagerPayload"})
    assert described.is_valid(webhook(wire_alert()))
    assert not described.is_valid(webhook(wire_alert(status="gone")))
    assert not described.is_valid(webhook(wire_alert(), version="3"))


def test_the_page_lists_what_is_described() -> None:
    """The table of deploy/docs/http-api.md has every operation, with its credentials, its largest body and its answers."""
    assert documents.table(documents.read("deploy/docs/http-api.md"), "request") == [
        [
            f"`{method.upper()} {path}`",
            ", ".join(next(iter(way)) for way in each["security"]) or "none",
            _size(each.get("requestBody", {}).get("x-body-bytes-max", 0)),
            ", ".join(code for code in sorted(each["responses"]) if code != "200"),
        ]
        for (method, path), each in operations().items()
    ]


def _size(number: int) -> str:
    if not number:
        return ""
    return f"{number // 2**20} MiB" if number % 2**20 == 0 else f"{number // 2**10} KiB"
