"""A stranger's path against the real daemon: events by curl, mosquitto_pub and a signed webhook, and what becomes of them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox.process import REPOSITORY, bare_environment
from deploy.sandbox.scenarios import APP
from deploy.sandbox.vendors.github import GitHubStandIn
from deploy.sandbox.world import NAMESPACE, image, until
from tests import brokers, parts
from tests.brokers import Mosquitto
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]

WEB = f"{NAMESPACE}/{APP}"
TOKEN, INFORMER, SECRET = "token-of-ci-0123456789", "token-of-informer-0123456789", "secret-of-the-webhook-0123456789"
REPO, DEPLOYMENT, COMMIT = "shop/web", 4711, "9b1e6d2c" * 5
CHANGE = "https://git.example/shop/web/pull/7"
COMMAND_SECONDS = 30.0
WAIT_SECONDS = 20.0


async def program(*words: str, given: bytes = b"") -> tuple[int, str]:
    """Exit code and output of a program."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=REPOSITORY,
        env=bare_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(COMMAND_SECONDS):
        out, _ = await process.communicate(given)
    return process.returncode or 0, out.decode()


async def types(rigged: Rig, *words: str) -> tuple[int, str]:
    """A command line with the daemon's configuration."""
    return await program(sys.executable, "-m", "daemon", *words, "--config", str(rigged.daemon.config))


async def curl(rigged: Rig, source: str, body: str, **headers: str) -> str:
    """The status that the address of a source answers with."""
    lines = [part for name, value in headers.items() for part in ("-H", f"{name.replace('_', '-')}: {value}")]
    url = f"http://127.0.0.1:{rigged.world.port}/api/v1/events/{source}"
    command = (str(parts.require("curl")), "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-")
    code, out = await program(*command, "-H", "Content-Type: application/json", *lines, url, given=body.encode())
    assert code == 0, out
    return out


async def signed(rigged: Rig, secret: str = SECRET) -> str:
    """GitHub's webhook `deployment` about v2; the status that it is answered with."""
    deployment = {
        "id": DEPLOYMENT,
        "sha": COMMIT,
        "ref": "main",
        "environment": "production",
        "payload": {"lastgood": {"change_url": CHANGE}},
        "creator": {"login": "anna"},
        "created_at": stamp(),
    }
    repository = {"full_name": REPO, "html_url": f"https://github.example/{REPO}"}
    body = json.dumps({"action": "created", "deployment": deployment, "repository": repository})
    signature = "sha256=" + hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    return await curl(rigged, "github", body, X_GitHub_Event="deployment", X_Hub_Signature_256=signature)


def stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def plain(one: str, kind: str, **more: str) -> str:
    """Our plain JSON about v2, as the source `ci` sends it."""
    named = {"namespace": NAMESPACE, "name": APP, "image": image(APP, "v2")}
    return json.dumps({"id": one, "source": "ci", "type": f"deployment.{kind}", "time": stamp(), **named, **more})


async def attached(rigged: Rig, one: str) -> None:
    """Wait until the notice with this id stands beside its rollout."""
    await rigged.until_fact("notice_attached", lambda fact: one in str(fact["notice"]["id"]))


async def text_of(answers: Callable[[], Any], *words: str) -> str:
    """Wait until what is shown holds all the words."""
    shown = ""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            shown = json.dumps(answers(), ensure_ascii=False, default=str)
            if all(word in shown for word in words):
                return shown
            await asyncio.sleep(0.1)


def source(**more: Any) -> dict[str, Any]:
    return {"kind": "events", "token": TOKEN, **more}


async def roll_out_good(rigged: Rig) -> None:
    """v2 is out, and well."""
    await rigged.world.set_image(APP, "v2")
    await until("v2 runs", lambda: rigged.world.version(APP) == "v2" and rigged.world.settled(APP), 30.0)


# One event by curl, one by mosquitto_pub ------------------------------------------------------------------------------


async def by_mqtt(broker: Mosquitto, body: str) -> None:
    await asyncio.to_thread(broker.publish, f"lastgood/deployments/{NAMESPACE}", body)


async def test_curl_before_and_mosquitto_pub_after(tmp_path: Path) -> None:
    """Told before the rollout and after it began, by two roads: both stand in `explain` and `history`."""
    with brokers.mosquitto(tmp_path / "broker") as broker:
        async with rig(tmp_path) as rigged:
            rigged.write_config(
                events={"sources": {"ci": source()}},
                mqtt={"url": f"mqtt://127.0.0.1:{broker.port}"},
            )
            await rigged.verified_start()
            began = plain("run-1", "started", commit=COMMIT, actor="anna", change_url=CHANGE)
            assert await curl(rigged, "ci", began) == "401", "without a token nothing is taken"
            assert await curl(rigged, "ci", began, Authorization=f"Bearer {TOKEN}") == "202"
            assert rigged.facts("notice_attached") == [], "it waits for its rollout"
            await roll_out_good(rigged)
            await attached(rigged, "run-1")
            await by_mqtt(broker, plain("run-2", "finished", url="https://ci.example/run/2", description="all is well"))
            await attached(rigged, "run-2")
            for command in ("explain", "history"):
                code, out = await types(rigged, command, WEB)
                assert code == 0, out
                flat = " ".join(out.split())
                for word in (COMMIT, "by anna", CHANGE, "https://ci.example/run/2", "all is well", "says ci, mqtt"):
                    assert word in flat, f"{command}: {word!r} is not in {out}"


# A webhook, a rollback, and everybody who hears of it -----------------------------------------------------------------


async def test_a_webhook_and_its_rollback(tmp_path: Path) -> None:
    """GitHub tells of v2, v2 is rolled back: GitHub, PagerDuty and Slack hear of it with the change, and the gate is shut."""
    async with GitHubStandIn() as github, rig(tmp_path, "real") as rigged:
        api = {"api_url": github.url, "api_token": github.token}
        mapping = {"match": {"repository": REPO, "environment": "production"}, "workload": WEB}
        rigged.write_config(
            events={"sources": {"github": {"kind": "github", "secret": SECRET, **api}}, "mappings": [mapping]}
        )
        deployment = github.deploy(REPO, DEPLOYMENT)
        await rigged.verified_start()
        assert await signed(rigged, "another-secret-0123456789") == "401"
        assert await signed(rigged) == "202"
        assert await signed(rigged) == "202", "delivered twice"
        await rigged.roll_out_bad()
        rigged.assert_recovered_once(await rigged.end())
        (incident,) = {fact["incident"]["id"] for fact in rigged.facts("incident_opened")}
        assert len(rigged.facts("notice_taken")) == 1
        await until("GitHub is told", lambda: deployment.state == "failure", WAIT_SECONDS)
        assert incident in deployment.statuses[-1]["description"]
        assert [status["state"] for status in deployment.statuses] == ["success", "failure"]
        await heard(rigged, incident)
        code, out = await types(rigged, "gate", WEB, "--image", f"{APP}:v2")
        assert (code, "quarantined" in out) == (1, True), out


async def heard(rigged: Rig, incident: str) -> None:
    """PagerDuty has both changes and the page's link; the announcement names commit and author."""
    pagerduty, slack = rigged.world.pagerduty, rigged.world.slack
    await until("both changes are noted", lambda: len(pagerduty.changes) >= 2, WAIT_SECONDS)
    rollout, rollback = pagerduty.changes
    assert f"{APP}:v2" in rollout["payload"]["summary"]
    assert rollout["payload"]["custom_details"]["commit"].startswith(COMMIT[:8]), rollout
    assert CHANGE in json.dumps(rollout["links"])
    assert "rolled" in rollback["payload"]["summary"]
    assert incident in rollback["payload"]["summary"]
    (page,) = pagerduty.incidents
    assert CHANGE in json.dumps(page.events[0]["links"]), page.events[0]
    announced = slack.parents()[0]
    await text_of(lambda: [announced.text, announced.blocks], COMMIT[:7], "anna", CHANGE)


# A pipeline's failure -------------------------------------------------------------------------------------------------


async def test_who_may_cause(tmp_path: Path) -> None:
    """The failure of a source that may only inform opens nothing; of one that may cause, a proposal and a page.

    Mode `auto` and healthy pods: nothing but the pipeline's word points at v2, so a person decides.
    """
    async with rig(tmp_path) as rigged:
        sources = {"ci": source(may_cause=True), "informer": source(token=INFORMER)}
        rigged.write_config(events={"sources": sources})
        await rigged.verified_start()
        await roll_out_good(rigged)
        answer = await curl(rigged, "informer", plain("said", "failed"), Authorization=f"Bearer {INFORMER}")
        assert answer == "202"
        await attached(rigged, "said")
        answer = await curl(rigged, "informer", plain("stolen", "failed"), Authorization=f"Bearer {TOKEN}")
        assert answer == "401", "a token is good at its own source only"
        assert rigged.facts("incident_opened") == []
        failed = plain("caused", "failed", description="smoke test 3 is red")
        assert await curl(rigged, "ci", failed, Authorization=f"Bearer {TOKEN}") == "202"
        await rigged.until_phase("proposed")
        (opened,) = rigged.facts("incident_opened")
        assert opened["incident"]["declared"]["actor"] == "source:ci"
        assert opened["incident"]["alerts"] == []
        await until("somebody is paged", lambda: len(rigged.world.pagerduty.incidents) == 1, WAIT_SECONDS)
        _, out = await types(rigged, "explain", WEB)
        assert "smoke test 3 is red" in " ".join(out.split()), out
        assert (rigged.world.version(APP), rigged.world.rollbacks()) == ("v2", 0)


# Data at risk ---------------------------------------------------------------------------------------------------------

COUNTDOWN = timedelta(seconds=8)
"""Long enough for the command to come in between on a busy machine."""


async def test_declared_while_the_countdown_runs(tmp_path: Path) -> None:
    """An alert's incident counts down to its rollback; data corruption is declared: it waits for a person, who approves."""
    async with rig(tmp_path) as rigged:
        policy = {"countdown": f"{COUNTDOWN.seconds}s", "approve_deadline": "90s"}
        rigged.write_config(policy={**rigged.config["policy"], **policy})
        await rigged.verified_start()
        await rigged.roll_out_bad()
        await rigged.until_phase("proposed")
        proposed = datetime.now(UTC)
        code, out = await types(rigged, "declare", WEB, "--reason", "data_corruption", "--note", "totals are wrong")
        assert code == 0, out
        assert datetime.now(UTC) < proposed + COUNTDOWN, "too slow: this says nothing about the countdown"
        (incident,) = {fact["incident"]["id"] for fact in rigged.facts("incident_opened")}
        assert [fact["incident"] for fact in rigged.facts("incident_declared")] == [incident]
        over = proposed + COUNTDOWN + timedelta(seconds=2)
        await until("the countdown would be over", lambda: datetime.now(UTC) > over, WAIT_SECONDS)
        assert (rigged.world.version(APP), rigged.world.rollbacks(), rigged.ends()) == ("v2", 0, [])
        assert len(rigged.world.pagerduty.incidents) == 1, "a person is asked"
        code, out = await types(rigged, "approve", incident)
        assert code == 0, out
        await until("v1 runs", lambda: rigged.world.version(APP) == "v1" and rigged.world.rollbacks() == 1, 30.0)
