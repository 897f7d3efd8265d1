"""CDEvents of every released version of the specification, in the shape that each has, as CloudEvents and bare."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.notices import Notice, NoticeStatus
from handlers.alerts import MalformedError
from handlers.cdevents import artifact
from handlers.cloudevents import notices_of
from handlers.notice_mapping import Sender
from tests.handlers.events_world import (
    DIGEST,
    JSON,
    OTHER_DIGEST,
    WEB,
    damaged,
    places,
    raw,
    sender,
    understood_or_refused,
)

PURL = f"pkg:oci/web@{DIGEST.replace(':', '%3A')}"

# Release of the specification, key of its version, version of the service events, `subject.type` there.
RELEASES = [
    ("0.1.0", "version", "0.1.0", True),
    ("0.1.2", "version", "0.1.0", True),
    ("0.2.0", "version", "0.1.1", True),
    ("0.3.0", "version", "0.1.1", True),
    ("0.4.0", "version", "0.2.0", True),
    ("0.4.1", "version", "0.2.0", True),
    ("0.5.0", "specversion", "0.3.0", False),
    ("0.5.1", "specversion", "0.3.0", False),
]
LATEST = RELEASES[-1]


def service(
    predicate: str = "deployed", release: tuple[str, str, str, bool] = LATEST, **changes: Any
) -> dict[str, Any]:
    """A service event as that release's schema has it, with every optional field."""
    spec, key, version, typed = release
    return {
        "context": {
            key: spec,
            "id": "271069a8-fc18-44f1-b38f-9d70a1695819",
            "chainId": "4c8cb7dd-3448-41de-8768-eec704e2829b",
            "source": "/tekton/shop",
            "type": f"dev.cdevents.service.{predicate}.{version}",
            "timestamp": "2026-11-20T11:58:30.315384Z",
            "schemaUri": "https://example.com/schema",
            "links": [{"linkType": "END", "from": {"contextId": "5328c37f-bb7e-4bb7-84ea-9f5f85e4a7ce"}}],
        },
        "subject": {
            "id": "service/web",
            "source": "/tekton/shop",
            **({"type": "service"} if typed else {}),
            "content": {"environment": {"id": "production", "source": "/clusters"}, "artifactId": PURL},
        },
        "customData": {"team": "shop"},
        "customDataContentType": "application/json",
        **changes,
    }


def run(predicate: str, custom: object, **content: Any) -> dict[str, Any]:
    """A pipeline's run."""
    event = service()
    event["context"]["type"] = f"dev.cdevents.pipelinerun.{predicate}.0.3.0"
    subject = {"id": "run/512", "content": {"pipelineName": "deploy", "url": "https://ci.example/512", **content}}
    return {**event, "subject": subject, "customData": custom}


def read(event: dict[str, Any], by: Sender | None = None) -> tuple[Notice, ...]:
    return notices_of("application/json", {}, raw(event), by or sender())


def fault(event: dict[str, Any]) -> str:
    with pytest.raises(MalformedError) as caught:
        read(event)
    return str(caught.value)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release[0])
@pytest.mark.parametrize(
    ("predicate", "status"),
    [
        ("deployed", NoticeStatus.SUCCEEDED),
        ("upgraded", NoticeStatus.SUCCEEDED),
        ("rolledback", NoticeStatus.ROLLED_BACK),
    ],
)
def test_every_release(release: tuple[str, str, str, bool], predicate: str, status: NoticeStatus) -> None:
    """Each release's own shape is understood alike: status, digest out of the package URL, environment, identity."""
    (notice,) = read(service(predicate, release))
    assert notice.status is status
    assert notice.digests == (DIGEST,)
    assert notice.environment == "production"
    assert notice.id == "/tekton/shop#271069a8-fc18-44f1-b38f-9d70a1695819"
    assert notice.at.isoformat() == "2026-11-20T11:58:30.315384+00:00"


def test_in_a_cloudevent() -> None:
    """The binding of CDEvents puts the whole event into the data, and repeats its context as attributes."""
    event = service()
    context = event["context"]
    attributes = {
        "specversion": "1.0",
        **{name: context[name] for name in ("id", "source", "type")},
        "time": context["timestamp"],
        "subject": "service/web",
    }
    binary = notices_of("application/json", attributes, raw(event), sender())
    structured = notices_of("application/cloudevents+json", {}, raw({**attributes, "data": event}), sender())
    assert binary == structured == read(event)


def test_a_rule_tells_the_workload() -> None:
    """By service and environment, which is all that CDEvents knows of it."""
    assert read(service(), sender(service="service/web", environment="production"))[0].workload == WEB
    assert read(service(), sender(service="service/web", environment="staging"))[0].workload is None


def test_custom_data_tells_the_rest() -> None:
    """`customData.lastgood` names the workload, and what CDEvents has no field for."""
    said = {"workload": "shop/web", "irreversible": True, "commit": "3b1f6c0d", "actor": "anna", "digest": OTHER_DIGEST}
    (notice,) = read(service(customData={"lastgood": said}))
    assert (notice.workload, notice.irreversible, notice.commit, notice.author) == (WEB, True, "3b1f6c0d", "anna")
    assert notice.digests == (OTHER_DIGEST, DIGEST)


def test_custom_data_of_others_is_left_alone() -> None:
    """It may be anything."""
    for custom in ("bGFzdGdvb2Q=", {"x": 1}, {}, None):
        assert read(service(customData=custom)) == read(service())


def test_what_can_be_tied_to_nothing_is_nothing() -> None:
    """No rule, no digest, no workload: the event is another team's."""
    event = service()
    event["subject"]["content"]["artifactId"] = "pkg:golang/example.com/web@v1.2.3"
    assert read(event) == ()


@pytest.mark.parametrize(
    "kind",
    [
        "dev.cdevents.service.published.0.3.0",
        "dev.cdevents.service.removed.0.3.0",
        "dev.cdevents.environment.modified.0.3.0",
        "dev.cdevents.incident.detected.0.3.0",
        "dev.cdevents.build.finished.0.3.0",
        "dev.cdevents.something.new.9.9.9",
    ],
)
def test_types_that_say_nothing_about_a_rollout(kind: str) -> None:
    """They are no fault, in either shape."""
    event = service()
    event["context"]["type"] = kind
    assert read(event) == ()


@pytest.mark.parametrize(
    ("predicate", "outcome", "status"),
    [
        ("started", None, NoticeStatus.STARTED),
        ("finished", "success", NoticeStatus.SUCCEEDED),
        ("finished", "failure", NoticeStatus.FAILED),
        ("finished", "error", NoticeStatus.FAILED),
    ],
)
def test_a_run_that_names_its_workload(predicate: str, outcome: str | None, status: NoticeStatus) -> None:
    """This is how a pipeline tells of a failed deployment: CDEvents has no event for it."""
    content = {"outcome": outcome, "errors": "timed out"} if outcome else {}
    (notice,) = read(run(predicate, {"lastgood": {"workload": "shop/web"}}, **content))
    assert (notice.status, notice.workload, notice.pipeline_url) == (status, WEB, "https://ci.example/512")
    assert notice.description == ("timed out" if outcome else None)


def test_a_run_that_names_none() -> None:
    """Most runs build and test; and one that was cancelled leaves open what runs."""
    assert read(run("finished", {}, outcome="failure")) == ()
    assert read(run("finished", {"lastgood": {"workload": "shop/web"}}, outcome="cancelled")) == ()


@pytest.mark.parametrize(
    ("place", "by", "said"),
    [
        (("context", "specversion"), "1.0.0", "context.specversion: must be a version of CDEvents below 1.0"),
        (("context", "specversion"), None, "context.version: is missing"),
        (("context", "specversion"), 5, "context.specversion: must be a string, is a number"),
        (("context", "type"), "dev.example.x", "context.type: must begin with dev.cdevents."),
        (("context", "id"), None, "context.id: is missing"),
        (("context", "timestamp"), "x", "context.timestamp: is no RFC 3339 time"),
        (("subject",), None, "subject: is missing"),
        (("subject", "id"), None, "subject.id: is missing"),
        (("subject", "content"), [], "subject.content: must be an object, is an array"),
        (("subject", "content", "environment"), "production", "subject.content.environment: must be an object"),
        (("subject", "content", "artifactId"), "web:v2", "subject.content.artifactId: must be a package URL"),
        (("customData",), {"lastgood": {"workload": "w"}}, "customData.lastgood.workload: is no workload"),
        (
            ("customData",),
            {"lastgood": {"digset": "w"}},
            "customData.lastgood.'digset': is unknown; did you mean digest?",
        ),
    ],
)
def test_each_fault_is_named(place: tuple[str, ...], by: object, said: str) -> None:
    """By its path within the event."""
    assert fault(damaged(service(), place, by)).startswith(said)


@pytest.mark.parametrize(
    ("purl", "digests", "images", "version"),
    [
        (PURL, (DIGEST,), (), None),
        (f"pkg:oci/web@{DIGEST}", (DIGEST,), (), None),
        (f"{PURL}?repository_url=ghcr.io%2Fshop%2Fweb&arch=amd64&tag=v2", (DIGEST,), (), "v2"),
        ("pkg:docker/shop/web@v2", (), ("web:v2",), "v2"),
        ("pkg:docker/web@2.0#sub/path", (), ("web:2.0",), "2.0"),
        ("pkg:oci/web", (), (), None),
        ("pkg:npm/web@1.0.0", (), (), None),
        ("pkg:oci/web@sha256%3Aabc", (), (), None),
    ],
)
def test_package_urls(purl: str, digests: tuple[str, ...], images: tuple[str, ...], version: str | None) -> None:
    """A digest where there is one, else name and tag; what is no container image says nothing."""
    claim = artifact(purl, "x")
    assert (claim.digests, claim.images, claim.version) == (digests, images, version)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(places(service())), JSON)
def test_any_json_in_any_place_is_understood_or_refused(place: tuple[str | int, ...], by: object) -> None:
    """Nonsense at each place of an event."""
    understood_or_refused(lambda: read(damaged(service(), place, by)))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_package_url_is_understood_or_refused(text: str) -> None:
    """Whatever follows the scheme."""
    event = service()
    event["subject"]["content"]["artifactId"] = f"pkg:oci/{text}"
    understood_or_refused(lambda: read(event))
