"""The real controller of Flagger, without a mesh: what it makes of our answers, and what we make of what it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from daemon.core import owners, quarantine
from daemon.core.events import Noticed
from daemon.core.incidents import Phase
from daemon.core.model import Owner, OwnerKind, Workload, WorkloadView
from daemon.core.notices import NoticeStatus
from daemon.core.reasons import Consequence, Reason
from daemon.core.state import State
from handlers.inbound.cluster import ClusterWatch
from handlers.inbound.deployment_events import DeploymentEvents
from handlers.inbound.flagger import CanaryHook, FlaggerEvents, FlaggerRollback
from handlers.ownership import owner_of
from handlers.server import HttpServer, ServerLimits, build_app
from tests.controlplane import builds, definitions, flagger_world
from tests.controlplane.argo_player import Shop as Cluster
from tests.controlplane.argo_watch import until as until_told
from tests.controlplane.argo_watch import watching
from tests.controlplane.flagger_world import BAD, PRIMARY, TARGET, TOKEN, V1, V2, Shop, Traffic, example
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json
from tests.core.builders import FINGERPRINT, a_location, a_measurement, a_policy, a_start_failure, an_alert
from tests.core.story import Story
from tests.handlers.events_world import sender
from tests.handlers.intake_fakes import Counted, Kept
from tests.handlers.rollback_world import WallClock
from tests.handlers.test_cluster_watch import Views

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SINCE = definitions.SINCE


@pytest.fixture(scope="module")
def defined(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane with the real definitions, for as long as the tests of this file take."""
    package = builds.flagger()
    if not package.built:
        pytest.skip(f"{package.name} is not built: {package.why_not or 'run `make test-controlplane`'}")
    definitions.remove(control_plane, "canaries.flagger.app")
    files = sorted((package.folder / "crds").iterdir())
    for file in files:
        definitions.define(control_plane, file)
    yield control_plane
    for file in files:
        definitions.remove(control_plane, file.stem)


@pytest_asyncio.fixture
async def shop(defined: ControlPlane, namespace: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """A namespace with a Flagger and a Prometheus of its own."""
    async with flagger_world.prometheus(Traffic(defined, namespace), tmp_path) as metrics:
        with flagger_world.running(defined, namespace, metrics, tmp_path) as shop:
            yield shop


class Mind:
    """The core, as the daemon runs it, over what our watch tells of the real cluster."""

    def __init__(self, inbox: Views) -> None:
        self.story = Story(a_policy(), now=datetime.now(UTC))
        self.story.starts()
        self._inbox = inbox
        self._read = 0
        self.ready: str | None = None

    @property
    def state(self) -> State:
        """Everything that was told until now is taken in."""
        for view in self._inbox.all[self._read :]:
            self._read += 1
            self.story.now = datetime.now(UTC)
            self.story.sees(view)
        return self.story.state


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """Our watch, the core and our server, with both addresses that Flagger's hooks are sent to."""

    address: str
    shop: Shop
    watch: ClusterWatch
    inbox: Views
    mind: Mind
    kept: Kept

    def workload(self, name: str) -> Workload:
        return Workload(namespace=self.shop.namespace, kind="Deployment", name=name)

    def told(self) -> list[tuple[NoticeStatus, str]]:
        """What the hooks told of the target, each notice once as the core keeps them: status, and the text without names."""
        events = [event for event in self.kept.events if isinstance(event, Noticed)]
        first = {event.notice.key: event.notice for event in reversed(events)}
        kept = sorted(first.values(), key=lambda notice: notice.at)
        assert {notice.workload for notice in kept} <= {self.workload(TARGET)}
        return [(notice.status, (notice.description or "").replace(f".{self.shop.namespace}", "")) for notice in kept]

    async def hears(self, status: NoticeStatus) -> list[str]:
        """What the hooks told with this status, once they did: Flagger sends some of them after it wrote its own."""

        def found() -> list[str]:
            return [text for each, text in self.told() if each is status]

        await until_told(found)
        return found()

    async def seen(self, name: str, good: Callable[[WorkloadView], object]) -> WorkloadView:
        """The newest view of a Deployment, once it is good."""

        def newest() -> list[WorkloadView]:
            return [
                view for view in [v for v in self.inbox.all if v.workload == self.workload(name)][-1:] if good(view)
            ]

        await until_told(newest)
        return newest()[0]


@asynccontextmanager
async def lastgood(shop: Shop) -> AsyncIterator[Daemon]:
    """Lastgood beside a Flagger."""
    kept, hook, clock, counted = Kept(), CanaryHook(sender("canaries"), TOKEN), WallClock(), Counted()
    events = DeploymentEvents(intake=kept, clock=clock, telemetry=counted, sources={"canaries": FlaggerEvents(hook)})
    server = HttpServer(ServerLimits(shutdown_seconds=1))
    async with watching(Cluster(plane=shop.plane, namespace=shop.namespace)) as (watch, inbox):
        mind = Mind(inbox)
        asked = FlaggerRollback(
            intake=Kept(),
            reader=mind,
            policy=lambda: mind.story.policy,
            clock=clock,
            telemetry=counted,
            hooks={"canaries": hook},
        )
        app = build_app(routes=[*events.routes(), *asked.routes()], limits=ServerLimits())
        host, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
        try:
            address = f"http://{host}:{port}"
            yield Daemon(address=address, shop=shop, watch=watch, inbox=inbox, mind=mind, kept=kept)
        finally:
            await server.close()


async def test_nothing_of_it_is_touched(shop: Shop) -> None:
    """Target and primary are driven by Flagger, so that a rollback is refused for good; the Service leads to the primary."""
    async with lastgood(shop) as daemon:
        shop.begin(example(daemon.address))
        await shop.phase("Initialized")
        assert (shop.runs(TARGET), shop.runs(PRIMARY)) == ((V1, 0), (V1, 2))
        for name in (TARGET, PRIMARY):
            view = await daemon.seen(name, lambda view: view.converged and view.owner)
            assert view.owner == Owner(kind=OwnerKind.OPERATOR, name="Flagger Canary/web", drives=True)
            assert owners.is_in_the_way(daemon.mind.story.policy, view)
        alone = owner_of({"kind": "Deployment", **shop.deployment(PRIMARY)})
        assert alone == Owner(kind=OwnerKind.OPERATOR, name="Canary/web", drives=True), "without a look at the Canaries"
        serving = daemon.watch.cache.workloads_of_service(shop.namespace, "web")
        assert list(serving) == [daemon.workload(PRIMARY)]


async def test_a_good_release_and_a_bad_one(shop: Shop) -> None:
    """While we say no Flagger goes on: it promotes what is good, rolls back what is bad, and its hooks tell us of both."""
    async with lastgood(shop) as daemon:
        shop.begin(example(daemon.address, iterations=2, threshold=5))
        await shop.phase("Initialized")
        assert daemon.told() == []
        await shop.promoted(V2)
        (_,) = await daemon.hears(NoticeStatus.SUCCEEDED)
        assert daemon.told()[0] == (NoticeStatus.STARTED, "New revision detected! Scaling up web")
        shop.deploy(BAD)
        await shop.phase("Failed")
        assert (shop.runs(TARGET), shop.runs(PRIMARY)) == ((BAD, 0), (V2, 2))
        assert await daemon.hears(NoticeStatus.ROLLED_BACK) == ["Canary failed! Scaling down web"]
        log = shop.log.read_text()
    assert "Rollback hook lastgood not signaling a rollback" in log
    assert "Rollback check lastgood passed" not in log


async def test_our_yes_rolls_back(shop: Shop) -> None:
    """A person undoes v2 in its analysis, a pipeline brings it back: it is quarantined, and Flagger, told so, rolls it back."""
    async with lastgood(shop) as daemon:
        shop.begin(example(daemon.address, iterations=100, threshold=100))
        await shop.phase("Initialized")
        for image in (V2, V1, V2):
            shop.deploy(image)
            await daemon.seen(TARGET, partial(_runs, image))
            await shop.phase("Progressing")
        (quarantined,) = quarantine.quarantined(daemon.mind.state)
        assert quarantined.revision.images == (V2,)
        daemon.mind.story.pauses(shop.namespace)
        before = shop.status()["iterations"]
        await shop.until(lambda status: status["iterations"] > before + 1)
        assert shop.status()["phase"] == "Progressing", "while paused the answer is no, whatever is known"
        daemon.mind.story.resumes(shop.namespace)
        with structlog.testing.capture_logs() as logged:
            await shop.phase("Failed")
        assert (shop.runs(TARGET), shop.runs(PRIMARY)) == ((V2, 0), (V1, 2))
        assert await daemon.hears(NoticeStatus.ROLLED_BACK) == ["Canary failed! Scaling down web"]
        (yes,) = (entry for entry in logged if entry["event"] == "flagger_told_to_roll_back")
        assert (yes["source"], yes["workload"]) == ("canaries", daemon.workload(TARGET).key)


async def test_what_is_not_ours_to_roll_back_is_flaggers(shop: Shop) -> None:
    """Pods of v2 crash under its analysis: we do not write what Flagger drives, page a person, and tell Flagger yes."""
    async with lastgood(shop) as daemon:
        shop.begin(example(daemon.address, iterations=100, threshold=100))
        await shop.phase("Initialized")
        shop.deploy(V2)
        await shop.phase("Progressing")
        await daemon.seen(TARGET, partial(_runs, V2))
        before, story = shop.deployment(TARGET), daemon.mind.story
        assert daemon.workload(TARGET).key in daemon.mind.state.workloads
        crash = a_start_failure()
        story.measures = lambda _: a_measurement(
            story.now, new=None, old=None, new_ready=1, new_pods=3, start_failure=crash
        )
        story.where[FINGERPRINT] = a_location(daemon.workload(TARGET), onset=story.now)
        story.fires(an_alert(starts_at=story.now))
        story.expect(Phase.ESCALATED)
        assert not story.expect_refused(Reason.OWNED_BY_OPERATOR, Consequence.ESCALATE).overridable
        await shop.phase("Failed")
        assert story.rollbacks == []
        assert shop.deployment(TARGET)["spec"] == {**before["spec"], "replicas": 0}
        assert shop.runs(PRIMARY) == (V1, 2)


async def test_what_each_status_means_to_it(shop: Shop) -> None:
    """Every status that we send but 200, and 204, is a no; it asks on, with the token in the metadata, until the 200."""
    asked: list[Json] = []
    told: list[str] = []
    answers = iter((403, 400, 401, 404, 413, 415, 204, 503, 200))

    async def hook(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.Response(status=next(answers))

    async def event(request: web.Request) -> web.Response:
        told.append((await request.json())["metadata"].get("eventMessage", ""))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/api/v1/flagger/canaries/rollback", hook), web.post("/api/v1/events/canaries", event)])
    async with TestServer(app, host="127.0.0.1") as server:
        shop.begin(example(f"http://127.0.0.1:{server.port}", iterations=100, threshold=100))
        await shop.phase("Initialized")
        shop.deploy(V2)
        await shop.phase("Progressing")
        await shop.phase("Failed")
    heard = [text for text in told if text.startswith(("Rollback hook", "Rollback check"))]
    assert heard == ["Rollback hook lastgood not signaling a rollback"] * 8 + ["Rollback check lastgood passed"]
    named = {"name": "web", "namespace": shop.namespace, "phase": "Progressing", "metadata": {"token": TOKEN}}
    assert all({**body, **named} == body for body in asked)


def _runs(image: str, view: WorkloadView) -> bool:
    return view.current.images == (image,)
