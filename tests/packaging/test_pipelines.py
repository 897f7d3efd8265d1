"""The job snippets: their shell, run as their runners run it, against a daemon's two addresses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.core.model import Workload
from daemon.core.notices import NoticeStatus
from handlers.cloudevents import notices_of
from handlers.notice_mapping import Sender
from tests.packaging.pipelines import IMAGE, Pipeline, daemon, github, gitlab, jenkins, read, run
from tests.parts import require
from tests.repository import ROOT

pytestmark = pytest.mark.real

PIPELINES = {"gitlab-ci": gitlab, "github-actions": github, "jenkins": jenkins}
TYPES = {
    "deployment.started": NoticeStatus.STARTED,
    "deployment.finished": NoticeStatus.SUCCEEDED,
    "deployment.failed": NoticeStatus.FAILED,
}


@pytest.fixture(params=PIPELINES)
def named(request: pytest.FixtureRequest) -> tuple[str, Pipeline]:
    """A pipeline and the name of its source."""
    require("curl")
    return request.param, PIPELINES[request.param]()


async def test_an_open_gate_lets_the_job_pass(named: tuple[str, Pipeline], tmp_path: Path) -> None:
    """The job asks for its workload and image with its token, and exits 0."""
    _, pipeline = named
    async with daemon() as there:
        code, out = await run(pipeline.gate, pipeline, there.url, tmp_path)
    assert code == 0, out
    assert there.asked == [("shop/web", IMAGE)]


async def test_a_closed_gate_stops_the_job_with_the_reason(named: tuple[str, Pipeline], tmp_path: Path) -> None:
    """Exit code 1, and the reason is in the job's log."""
    _, pipeline = named
    async with daemon() as there:
        there.reasons.append("inc-1 rolled this image back")
        code, out = await run(pipeline.gate, pipeline, there.url, tmp_path)
    assert code == 1
    assert "inc-1 rolled this image back" in out


async def test_who_cannot_ask_is_told_apart_from_a_closed_gate(named: tuple[str, Pipeline], tmp_path: Path) -> None:
    """A wrong token and a daemon that is gone stop the job too, but not with 1: `|| test $? -ne 1` lets it pass."""
    _, pipeline = named
    lenient = pipeline.gate.rstrip() + " || test $? -ne 1"
    async with daemon() as there:
        wrong, _ = await run(pipeline.gate, pipeline, there.url, tmp_path, token="someone-else")
        there.reasons.append("paused")
        closed, _ = await run(lenient, pipeline, there.url, tmp_path)
    gone, _ = await run(pipeline.gate, pipeline, there.url, tmp_path)
    passed, _ = await run(lenient, pipeline, there.url, tmp_path)
    assert (wrong, closed, gone, passed) == (4, 1, 3, 0)


@pytest.mark.parametrize("kind", TYPES)
async def test_what_it_tells_is_read_by_the_daemon(named: tuple[str, Pipeline], kind: str, tmp_path: Path) -> None:
    """The event goes to the source of the snippet's name, and our own reader finds workload, image, commit and links."""
    name, pipeline = named
    async with daemon() as there:
        code, out = await run(pipeline.told[kind], pipeline, there.url, tmp_path)
    assert code == 0, out
    assert "not told" not in out
    ((source, content_type, body),) = there.told
    assert source == name
    (notice,) = notices_of(content_type, {}, body, Sender(name=name, may_cause=False, mappings=()))
    assert notice.status is TYPES[kind]
    assert notice.workload == Workload(namespace="shop", kind="Deployment", name="web")
    assert notice.images == (IMAGE,)
    assert notice.digests == (IMAGE.partition("@")[2],)
    assert notice.commit == "c0ffee" * 6 + "c0ff"
    assert notice.pipeline_url is not None


async def test_telling_never_fails_the_job(named: tuple[str, Pipeline], tmp_path: Path) -> None:
    """With the daemon gone or the token wrong the job goes on, and its log says so without the token."""
    _, pipeline = named
    async with daemon() as there:
        wrong = await run(pipeline.told["deployment.started"], pipeline, there.url, tmp_path, token="someone-else")
    gone = await run(pipeline.told["deployment.started"], pipeline, there.url, tmp_path)
    for code, out in (wrong, gone):
        assert code == 0
        assert "lastgood was not told of deployment.started" in out
        assert "someone-else" not in out


async def test_start_and_end_are_two_events(named: tuple[str, Pipeline], tmp_path: Path) -> None:
    """Each type has an id of its own: equal ones would be dropped as repeated."""
    _, pipeline = named
    async with daemon() as there:
        for script in pipeline.told.values():
            await run(script, pipeline, there.url, tmp_path)
    assert len({json.loads(body)["id"] for _, _, body in there.told}) == len(TYPES)


def test_the_snippets_say_where_the_gate_stands() -> None:
    """The deploying job waits for the gate, in each of them."""
    assert read("gitlab-ci.yml")["deploy"]["needs"] == ["lastgood-gate"]
    assert read("github-actions.yml")["jobs"]["deploy"]["needs"] == "gate"
    text = (ROOT / "deploy/ci/Jenkinsfile").read_text(encoding="utf-8")
    assert text.index("stage('Gate')") < text.index("stage('Deploy')")
    assert text.count("{") == text.count("}")
