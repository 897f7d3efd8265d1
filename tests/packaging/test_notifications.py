"""The notification templates for Argo CD and Argo Rollouts: rendered, they are taken, and find the rollout they speak of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from daemon.core.events import Noticed
from daemon.core.model import Owner, OwnerKind, Workload
from daemon.core.notices import NoticeStatus
from handlers.auth import Authenticator
from handlers.inbound.deployment_events import PATH, EventsReader
from handlers.ownership import owner_of
from tests.core.builders import NOON, SECOND, SHOP
from tests.core.story import Story
from tests.handlers.events_world import World, sender, world
from tests.packaging.go_templates import TemplateError, render
from tests.repository import ROOT

pytestmark = pytest.mark.looptime(False)

TOKEN = "the-token-of-argo-cd"
SHA = "3b1f6c0de5a94f7c8d2e1b0a9f8e7d6c5b4a3921"
FILES = {"argocd": "argocd-notifications", "rollouts": "argo-rollouts-notifications"}
TRIGGERS = {
    "argocd": {
        "lastgood-on-deployed": NoticeStatus.SUCCEEDED,
        "lastgood-on-sync-succeeded": NoticeStatus.SUCCEEDED,
        "lastgood-on-sync-failed": NoticeStatus.FAILED,
        "lastgood-on-health-degraded": NoticeStatus.FAILED,
    },
    "rollouts": {
        "on-rollout-updated": NoticeStatus.STARTED,
        "on-rollout-completed": NoticeStatus.SUCCEEDED,
        "on-rollout-aborted": NoticeStatus.ROLLED_BACK,
    },
}
EVERY = [(source, trigger) for source, known in TRIGGERS.items() for trigger in known]
AT = NOON + 20 * SECOND


@pytest.fixture
async def here() -> AsyncIterator[World]:
    sources = {name: EventsReader(sender(name), Authenticator(tokens={name: TOKEN})) for name in FILES}
    async with world(sources, AT) as served:
        yield served


def config(source: str) -> dict[str, Any]:
    """The ConfigMap's entries, each of them YAML itself."""
    text = (ROOT / f"deploy/ci/{FILES[source]}.yaml").read_text(encoding="utf-8")
    return {key: yaml.safe_load(entry) for key, entry in yaml.safe_load(text)["data"].items()}


def application(**changes: Any) -> dict[str, Any]:
    """An Application as the controller has it after a sync of two workloads."""
    status = {
        "health": {"status": "Healthy"},
        "summary": {"images": ["registry.example/cart:v7", "registry.example/checkout:v2"]},
        "sync": {"status": "Synced", "revision": SHA},
        "operationState": {
            "phase": "Succeeded",
            "message": 'successfully synced ("all" tasks run)',
            "operation": {"initiatedBy": {"username": "anna"}},
            "syncResult": {"revision": SHA},
            "startedAt": "2026-03-02T12:00:01Z",
            "finishedAt": "2026-03-02T12:00:05Z",
        },
    }
    metadata = {"name": "checkout", "namespace": "argocd", "uid": "b2f0c5c4-8a3f-4d0e-9d3b-1f2a3c4d5e6f"}
    spec = {"source": {"repoURL": "https://git.example/shop/checkout.git"}, "destination": {"namespace": "shop"}}
    return {"metadata": metadata, "spec": spec, "status": status} | changes


def rollout(**changes: Any) -> dict[str, Any]:
    """A Rollout as its controller hands it to the templates."""
    metadata = {
        "name": "checkout",
        "namespace": "shop",
        "uid": "0c1d2e3f-4a5b-4c6d-8e7f-901a2b3c4d5e",
        "generation": 7,
        "annotations": {"rollout.argoproj.io/revision": "4"},
    }
    containers = [{"name": "app", "image": "registry.example/checkout:v2"}, {"name": "side", "image": "side:1"}]
    spec = {"template": {"spec": {"containers": containers}}}
    status = {"currentPodHash": "6b7c8d9e0f", "message": 'metric "errors" assessed Failed'}
    return {"metadata": metadata, "spec": spec, "status": status} | changes


def variables(source: str, **changes: Any) -> dict[str, Any]:
    if source == "argocd":
        return {"app": application(**changes), "context": {"argocdUrl": "https://argocd.example"}}
    return {"rollout": rollout(**changes)}


def body_of(source: str, trigger: str) -> str:
    """The template of the webhook that the trigger sends."""
    entries = config(source)
    ((template,),) = (each["send"] for each in entries[f"trigger.{trigger}"])
    hook = entries[f"template.{template}"]["webhook"]["lastgood"]
    assert hook["method"] == "POST", "the default is GET"
    return str(hook["body"])


async def sent(here: World, source: str, body: str) -> tuple[int, str]:
    """As the webhook service sends it: to its address, with its headers, the secret put in."""
    service = config(source)["service.webhook.lastgood"]
    assert service["url"].endswith(f":9095{PATH.format(source=source)}")
    headers = {each["name"]: each["value"].replace("$lastgood-token", TOKEN) for each in service["headers"]}
    return await here.send(source, body.encode(), headers)


@pytest.mark.parametrize(("source", "trigger"), EVERY)
async def test_each_is_taken(here: World, source: str, trigger: str) -> None:
    """202, with what the trigger stands for, and about the Application or the Rollout."""
    assert await sent(here, source, render(body_of(source, trigger), variables(source), AT)) == (202, "accepted\n")
    (notice,) = here.notices
    assert notice.status is TRIGGERS[source][trigger]
    if source == "argocd":
        assert (notice.workload, notice.owner) == (None, Owner(kind=OwnerKind.ARGO_CD, name="checkout"))
        assert (notice.commit, notice.pipeline_url) == (SHA, "https://argocd.example/applications/argocd/checkout")
    else:
        assert notice.workload == Workload(namespace="shop", kind="Rollout", name="checkout")
        assert notice.images == ("registry.example/checkout:v2", "side:1")


def test_no_template_is_left_over() -> None:
    """Every template belongs to a trigger, and every trigger stands in the tests."""
    for source, known in TRIGGERS.items():
        entries = config(source)
        assert {key.removeprefix("trigger.") for key in entries if key.startswith("trigger.")} == set(known)
        sends = {name for trigger in known for each in entries[f"trigger.{trigger}"] for name in each["send"]}
        assert sends == {key.removeprefix("template.") for key in entries if key.startswith("template.")}


async def test_what_argo_cd_tells_people(here: World) -> None:
    """Commit, actor, when the sync ended, the images, and a message with quotes in it."""
    for trigger in ("lastgood-on-deployed", "lastgood-on-sync-succeeded"):
        await sent(here, "argocd", render(body_of("argocd", trigger), variables("argocd"), AT))
    deployed, synced = here.notices
    assert (deployed.author, deployed.at) == ("anna", NOON + 5 * SECOND)
    assert deployed.images == ("registry.example/cart:v7", "registry.example/checkout:v2")
    assert deployed.description == "Argo CD: checkout is synced and healthy"
    assert synced.description == 'Argo CD: successfully synced ("all" tasks run)'
    assert deployed.id != synced.id


async def test_an_application_elsewhere(here: World) -> None:
    """One outside of Argo CD's namespace is called as the tracking id calls it."""
    metadata = {**application()["metadata"], "namespace": "team-a"}
    await sent(
        here, "argocd", render(body_of("argocd", "lastgood-on-deployed"), variables("argocd", metadata=metadata), AT)
    )
    assert here.notices[0].owner == Owner(kind=OwnerKind.ARGO_CD, name="team-a_checkout")


async def test_more_images_than_are_taken(here: World) -> None:
    """Left out as a whole: half of them would say of the other half that it is not deployed."""
    status = {**application()["status"], "summary": {"images": [f"registry.example/app-{n}:v1" for n in range(17)]}}
    body = render(body_of("argocd", "lastgood-on-deployed"), variables("argocd", status=status), AT)
    assert (await sent(here, "argocd", body))[0] == 202
    assert here.notices[0].images == ()


@pytest.mark.parametrize("trigger", TRIGGERS["argocd"])
async def test_it_finds_the_rollouts_of_the_application(here: World, trigger: str) -> None:
    """From the template to the workload: by the tracking id that Argo CD puts on it."""
    await sent(here, "argocd", render(body_of("argocd", trigger), variables("argocd"), AT))
    metadata = {
        "namespace": SHOP.namespace,
        "name": SHOP.name,
        "annotations": {"argocd.argoproj.io/tracking-id": "checkout:apps/Deployment:shop/checkout"},
    }
    owner = owner_of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
    story = Story()
    story.proves_v1(owner=owner)
    story.rolls_out(owner=owner)
    story.plays(Noticed(at=story.now, notice=here.notices[0]))
    assert [notice.commit for notice in story.state.workloads[SHOP.key].notices] == [SHA]
    assert story.incidents == (), "it only informs"


def without(value: dict[str, Any], *path: str) -> dict[str, Any]:
    """A copy without that field."""
    copy: dict[str, Any] = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return copy


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("metadata", "uid"), "id: holds <nil>: the sender's template names a field that is not there"),
        (("metadata", "name"), "namespace: is missing: give namespace and name"),
        (("status", "operationState", "finishedAt"), "id: holds <nil>"),
        (("metadata", "namespace"), "application: holds <nil>"),
    ],
)
async def test_what_is_missing_and_needed(here: World, path: tuple[str, ...], said: str) -> None:
    """An identity out of nothing would make all events one: 400 by the name of the field."""
    given = {"app": without(application(), *path), "context": {}}
    code, text = await sent(here, "argocd", render(body_of("argocd", "lastgood-on-deployed"), given, AT))
    assert (code, text[: len(said)]) == (400, said)
    assert here.notices == []


@pytest.mark.parametrize(
    "path",
    [
        ("status", "operationState", "syncResult"),
        ("status", "operationState", "operation"),
        ("status", "summary"),
        ("spec", "source"),
    ],
)
@pytest.mark.parametrize("trigger", TRIGGERS["argocd"])
async def test_what_is_missing_and_not_needed(here: World, trigger: str, path: tuple[str, ...]) -> None:
    """Several sources, an automatic sync, no summary yet, no address of Argo CD: told without it."""
    given = {"app": without(application(), *path), "context": {}}
    assert (await sent(here, "argocd", render(body_of("argocd", trigger), given, AT)))[0] == 202
    assert here.notices[0].pipeline_url is None
    (notice,) = here.notices
    said = [text for text in (notice.commit, notice.author, notice.version, notice.description) if text]
    assert not [text for text in said if "<" in text]


async def test_a_rollout_with_its_template_elsewhere(here: World) -> None:
    """`workloadRef`: no images to tell."""
    for trigger in TRIGGERS["rollouts"]:
        body = render(
            body_of("rollouts", trigger),
            variables("rollouts", spec={"workloadRef": {}}, status={"currentPodHash": "6"}),
            AT,
        )
        assert (await sent(here, "rollouts", body))[0] == 202
    assert [notice.images for notice in here.notices] == [(), (), ()]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (
            '"id": "{{.app.metadata.uidd}}"',
            "id: holds <no value>: the sender's template names a field that is not there",
        ),
        ('"id": "deploy-{{.app.metadata.uidd}}"', "id: holds <no value>"),
        ('"application": "{{.app.metadata.title}}"', "application: holds <no value>"),
        ('"time": "{{.app.status.finishedAt}}"', "time: is no RFC 3339 time"),
        ('"images": ["{{.app.image}}"]', "images[0]: is no image reference"),
        ('"commit": "{{.app.revision}}"', None),
    ],
)
async def test_a_template_of_ones_own(here: World, field: str, said: str | None) -> None:
    """Who writes one by hand and misspells a field is told which; what is only for people is left out."""
    content = {
        "id": '"x"',
        "source": '"argocd"',
        "type": '"deployment.finished"',
        "time": "{{toJson .app.status.operationState.finishedAt}}",
        "application": '"checkout"',
    }
    name = field.partition(":")[0].strip('"')
    lines = [f'"{key}": {value}' for key, value in content.items() if key != name]
    code, text = await sent(here, "argocd", render("{" + ", ".join([*lines, field]) + "}", variables("argocd"), AT))
    if said is None:
        assert (code, here.notices[0].commit) == (202, None)
    else:
        assert (code, text[: len(said)]) == (400, said)


def test_what_go_renders_out_of_nothing() -> None:
    """The renderer of these tests does as Go's: `<no value>` for a missing field and for a field of one; nothing misspelt."""
    given = variables("argocd")
    for path in ("nothing", "nothing.finishedAt"):
        assert render(f"a-{{{{.app.status.{path}}}}}", given, AT) == "a-<no value>"
    assert render('{{printf "%s %v" .app.x .app.x}} {{toJson .app.x}}', given, AT) == "%!s(<nil>) <nil> null"
    for wrong in ("{{toJso .app}}", "{{.app.metadata.name.first}}", "{{toJson (.app}}", "{{range $i, $c := .app.x}}"):
        with pytest.raises(TemplateError):
            render(wrong, given, AT)
