"""Flux's events: payloads as the controllers send them, signatures and tokens, and everything that may be wrong with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.model import Owner, OwnerKind
from daemon.core.notices import Notice, NoticeStatus
from handlers.inbound.flux import FluxEvents
from handlers.ownership import owner_of
from tests.handlers.events_world import (
    JSON,
    WEB,
    World,
    damaged,
    hub_signature,
    payload,
    places,
    raw,
    sender,
    understood_or_refused,
    world,
)
from tests.handlers.intake_fakes import T0

pytestmark = pytest.mark.looptime(False)

SECRET = "the-token-in-the-secret-of-the-provider"
TOKEN = "the-bearer-token-of-the-provider"
SHA = "3b1f6c0de5a94f7c8d2e1b0a9f8e7d6c5b4a3921"
APPS = Owner(kind=OwnerKind.FLUX, name="Kustomization flux-system/shop")


@pytest.fixture
async def here() -> AsyncIterator[World]:
    sources = {
        "flux": FluxEvents(sender("flux"), secret=SECRET, token=None),
        "plain": FluxEvents(sender("plain"), secret=None, token=TOKEN),
        "both": FluxEvents(sender("both"), secret=SECRET, token=TOKEN),
        "open": FluxEvents(sender("open"), secret=None, token=None),
        "mapped": FluxEvents(sender("mapped", service=APPS.name), secret=None, token=None),
    }
    async with world(sources) as served:
        yield served


def kustomization(reason: str = "ReconciliationSucceeded", **changes: Any) -> dict[str, Any]:
    return {**payload("flux_kustomization"), "reason": reason, **changes}


def helmrelease(reason: str = "UpgradeSucceeded", **changes: Any) -> dict[str, Any]:
    return {**payload("flux_helmrelease"), "reason": reason, **changes}


async def deliver(here: World, content: object, source: str = "flux", **changes: str) -> tuple[int, str]:
    """As the notification-controller sends it."""
    body = content if isinstance(content, bytes) else raw(content)
    given = {"Gotk-Component": "kustomize-controller", "X-Signature": hub_signature(SECRET, body), **changes}
    return await here.send(source, body, given)


async def test_a_kustomization(here: World) -> None:
    """Who reconciled, what, when and of which commit; whose workloads those are is the cluster's to say."""
    assert await deliver(here, kustomization()) == (202, "accepted\n")
    assert here.notices == [
        Notice(
            source="flux",
            id="Kustomization#flux-system#shop#ReconciliationSucceeded#2026-11-20T11:58:30+00:00",
            status=NoticeStatus.SUCCEEDED,
            at=datetime(2026, 11, 20, 11, 58, 30, tzinfo=UTC),
            owner=APPS,
            version=f"main@sha1:{SHA}",
            commit=SHA,
            environment="production",
            description="Reconciliation finished in 12.4s, next run in 10m0s",
        )
    ]


async def test_a_helm_release(here: World) -> None:
    """The chart's version; the digest of an OCI chart is not that of an image, and is not taken for one."""
    assert (await deliver(here, helmrelease()))[0] == 202
    (notice,) = here.notices
    assert notice.owner == Owner(kind=OwnerKind.FLUX, name="HelmRelease shop/web")
    assert (notice.version, notice.commit, notice.digests, notice.workload) == ("1.4.2", None, (), None)
    assert notice.description == "Helm upgrade succeeded for release shop/web.v7 with chart web@1.4.2"


@pytest.mark.parametrize(
    ("event", "labels"),
    [
        (
            kustomization(),
            {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
        ),
        (helmrelease(), {"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "shop"}),
    ],
)
async def test_the_owner_is_that_of_the_labels(here: World, event: dict[str, Any], labels: dict[str, str]) -> None:
    """The same words as the workload's labels give: else the two would never meet."""
    await deliver(here, event)
    metadata = {"namespace": "shop", "name": "web", "labels": labels}
    workload = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}
    assert here.notices[0].owner == owner_of(workload)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (kustomization("Progressing"), NoticeStatus.STARTED),
        (kustomization("HealthCheckFailed", severity="error"), NoticeStatus.FAILED),
        (kustomization("ReconciliationFailed", severity="error"), NoticeStatus.FAILED),
        (kustomization("BuildFailed", severity="error"), None),
        (kustomization("ArtifactFailed", severity="error"), None),
        (kustomization("DependencyNotReady"), None),
        (kustomization("ReconciliationSucceeded", severity="error"), None),
        (kustomization("info"), None),
        (kustomization("UpgradeSucceeded"), None),
        (helmrelease("InstallSucceeded"), NoticeStatus.SUCCEEDED),
        (helmrelease("InstallFailed", severity="error"), NoticeStatus.FAILED),
        (helmrelease("UpgradeFailed", severity="error"), NoticeStatus.FAILED),
        (helmrelease("TestFailed", severity="error"), NoticeStatus.FAILED),
        (helmrelease("RollbackFailed", severity="error"), NoticeStatus.FAILED),
        (helmrelease("RollbackSucceeded"), NoticeStatus.ROLLED_BACK),
        (helmrelease("UninstallSucceeded"), None),
        (helmrelease("DriftDetected"), None),
        (helmrelease("invented_later"), None),
    ],
)
async def test_reasons(here: World, event: dict[str, Any], expected: NoticeStatus | None) -> None:
    """Those that say what becomes of workloads; the rest is of no interest, and no fault."""
    code, _ = await deliver(here, event)
    assert code == (200 if expected is None else 202)
    assert [notice.status for notice in here.notices] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("kind", "api", "code"),
    [
        ("Kustomization", "kustomize.toolkit.fluxcd.io/v1", 202),
        ("Kustomization", "kustomize.toolkit.fluxcd.io/v1beta2", 202),
        ("Kustomization", "kustomize.toolkit.fluxcd.io/v9", 202),
        ("Kustomization", "kustomize.config.k8s.io/v1beta1", 200),
        ("Kustomization", "", 200),
        ("GitRepository", "source.toolkit.fluxcd.io/v1", 200),
    ],
)
async def test_versions_and_kinds(here: World, kind: str, api: str, code: int) -> None:
    """Any version of Flux's own two kinds; another group's object of that name is not Flux's."""
    event = kustomization()
    event["involvedObject"] |= {"kind": kind, "apiVersion": api}
    assert (await deliver(here, event))[0] == code


@pytest.mark.parametrize(
    ("metadata", "commit", "version"),
    [
        ({"revision": f"main@sha1:{SHA}"}, SHA, f"main@sha1:{SHA}"),
        ({"kustomize.toolkit.fluxcd.io/revision": f"main@sha1:{SHA}"}, SHA, f"main@sha1:{SHA}"),
        ({"kustomize.toolkit.fluxcd.io/revision": f"main/{SHA}"}, SHA, f"main/{SHA}"),
        ({"revision": f"sha1:{SHA}"}, SHA, f"sha1:{SHA}"),
        ({"revision": f"feature/x@sha1:{SHA}"}, SHA, f"feature/x@sha1:{SHA}"),
        (
            {"revision": f"v2@sha256:{'0b' * 32}", "originRevision": f"main@sha1:{SHA}"},
            SHA,
            f"v2@sha256:{'0b' * 32}",
        ),
        ({"revision": f"v2@sha256:{'0b' * 32}"}, None, f"v2@sha256:{'0b' * 32}"),
        ({"event.toolkit.fluxcd.io/commit": SHA, "revision": "6.5.0"}, SHA, "6.5.0"),
        ({}, None, None),
        (None, None, None),
    ],
)
async def test_both_styles_of_metadata(
    here: World, metadata: dict[str, str] | None, commit: str | None, version: str | None
) -> None:
    """With the group before the key and without; a commit out of each way to write a revision."""
    assert (await deliver(here, kustomization(metadata=metadata)))[0] == 202
    assert [(notice.commit, notice.version) for notice in here.notices] == [(commit, version)]


async def test_one_start_per_revision(here: World) -> None:
    """An apply is told by several events; later ones of the same revision are the same start, the next revision's is not."""
    for second, message in ((0, "Deployment/shop/web configured"), (9, "Health check passed in 8.1s")):
        await deliver(here, kustomization("Progressing", timestamp=f"2026-11-20T11:58:0{second}Z", message=message))
    await deliver(here, kustomization("Progressing", metadata={"revision": "main@sha1:" + "a" * 40}))
    await deliver(here, kustomization("Progressing", metadata={}))
    assert len({notice.key for notice in here.notices}) == 3


async def test_a_rule_names_the_workload(here: World) -> None:
    """Where the labels are missing the operator's rule says whose event it is; then the owner is not asked."""
    assert (await deliver(here, kustomization(), "mapped"))[0] == 202
    assert (here.notices[0].workload, here.notices[0].owner) == (WEB, None)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        hub_signature("another-secret", raw(kustomization())),
        hub_signature(SECRET, raw(helmrelease())),
        hub_signature(SECRET, raw(kustomization())).removeprefix("sha256="),
        hub_signature(SECRET, raw(kustomization())).replace("sha256", "sha512"),
        "sha256=ü",
    ],
)
@pytest.mark.parametrize("source", ["flux", "both"])
async def test_forged(here: World, signature: str, source: str) -> None:
    """401 for each signature that is not that of exactly this body with our secret; a right token does not save it."""
    bearer = {"X-Signature": signature, "Authorization": f"Bearer {TOKEN}"}
    code, text = await deliver(here, kustomization(), source, **bearer)
    assert (code, text.startswith("X-Signature does not match")) == (401, True)
    assert here.notices == []
    assert here.counted.intakes == [(source, "unauthorized")]


async def test_unsigned(here: World) -> None:
    """401 before the body is read, with the remedy."""
    code, text = await here.send("flux", kustomization(), {"Authorization": f"Bearer {TOKEN}"})
    assert (code, "must be of type generic-hmac" in text) == (401, True)


async def test_the_signature_comes_before_everything(here: World) -> None:
    """Of a forged body nothing is looked at: no 400 tells a stranger how it was read."""
    assert (await here.send("flux", b"{", {"X-Signature": "sha256=0"}))[0] == 401


@pytest.mark.parametrize("source", ["plain", "both"])
async def test_a_provider_with_a_token(here: World, source: str) -> None:
    """Type `generic` signs nothing; its Secret's header proves it, a wrong or missing one does not."""
    assert (await here.send(source, kustomization(), {"Authorization": f"Bearer {TOKEN}"}))[0] == 202
    for wrong in ({}, {"Authorization": f"Bearer {SECRET}"}, {"Authorization": TOKEN}):
        code, text = await here.send(source, kustomization(), wrong)
        assert (code, text.startswith("no credentials that are known here")) == (401, True)
    assert len(here.notices) == 1


async def test_a_signature_alone_does_where_both_are_configured(here: World) -> None:
    """While one moves from the one type to the other."""
    assert (await deliver(here, kustomization(), "both"))[0] == 202


async def test_sent_again(here: World) -> None:
    """The controller repeats what was not answered: the same body is the same notice."""
    for _ in range(2):
        assert (await deliver(here, kustomization()))[0] == 202
    assert len({notice.key for notice in here.notices}) == 1


async def test_replayed(here: World) -> None:
    """The moment is signed: after an hour a caught delivery is worth nothing, and one ahead of our clock neither."""
    here.clock.at = T0 + timedelta(minutes=55)
    assert (await deliver(here, kustomization()))[0] == 202
    here.clock.at = T0 + timedelta(hours=1)
    code, text = await deliver(here, kustomization())
    assert (code, text[:38]) == (400, "timestamp: is more than 1 h ago: a rep")
    here.clock.at = T0 - timedelta(minutes=10)
    code, text = await deliver(here, kustomization())
    assert (code, text[:38]) == (400, "timestamp: is more than 5 minutes ahea")
    assert len(here.notices) == 1


@pytest.mark.parametrize(
    ("place", "by", "said"),
    [
        (("involvedObject",), None, "involvedObject: is missing"),
        (("involvedObject",), [], "involvedObject: must be an object, is an array"),
        (("involvedObject", "kind"), None, "involvedObject.kind: is missing"),
        (("involvedObject", "name"), None, "involvedObject.name: is missing"),
        (("involvedObject", "name"), "Shop", "involvedObject.name: is no name of a Kubernetes object"),
        (("involvedObject", "namespace"), "a/b", "involvedObject.namespace: is no name of a Kubernetes object"),
        (("involvedObject", "apiVersion"), 1, "involvedObject.apiVersion: must be a string, is a number"),
        (("reason",), None, "reason: is missing"),
        (("timestamp",), None, "timestamp: is missing"),
        (("timestamp",), "yesterday", "timestamp: is no RFC 3339 time"),
        (("metadata",), "x", "metadata: must be an object, is a string"),
        (("metadata", "revision"), 5, "metadata.revision: must be a string, is a number"),
        (("message",), {}, "message: must be a string, is an object"),
    ],
)
async def test_each_fault_is_named(here: World, place: tuple[str, ...], by: object, said: str) -> None:
    """400 with the path."""
    code, text = await deliver(here, damaged(kustomization(), place, by))
    assert code == 400
    assert text.startswith(said)
    assert here.notices == []


async def test_truncated_oversized_and_of_another_type(here: World) -> None:
    """Signed or not: half a body is malformed, a huge one is not read, a form is not guessed at."""
    assert (await deliver(here, raw(kustomization())[:-20]))[0] == 400
    assert (await deliver(here, b"[]"))[0] == 400
    assert (await deliver(here, kustomization(message="x" * 2**21)))[0] == 413
    assert (await deliver(here, kustomization(), **{"Content-Type": "text/xml"}))[0] == 415
    assert here.notices == []


async def test_without_credentials(here: World) -> None:
    """For trying out on loopback: nothing is asked."""
    assert (await here.send("open", kustomization()))[0] == 202


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["flux_kustomization", "flux_helmrelease"]), st.data())
def test_any_json_in_any_place_is_understood_or_refused(name: str, data: st.DataObject) -> None:
    """Nonsense at each place of the payloads."""
    content = payload(name)
    body = raw(damaged(content, data.draw(st.sampled_from(places(content))), data.draw(JSON)))
    given_headers = CIMultiDictProxy(CIMultiDict[str]())
    understood_or_refused(lambda: FluxEvents(sender(), secret=None, token=None).read(given_headers, body, T0))
