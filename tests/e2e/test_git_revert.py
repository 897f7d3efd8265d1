"""A bad commit of an Application with self-heal: nothing is written to the cluster, one pull request is opened, the page has it.

GitHub is out of reach at first, the daemon is killed while it tries, and then GitHub loses answers: still there is one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.scenarios import APP
from deploy.sandbox.vendors import GitHubStandIn
from deploy.sandbox.world import NAMESPACE, until
from tests.e2e.rig import END_SECONDS, Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]

TOKEN = "a-token-of-argocd-0123456789"
PROJECT = "shop/deploy"


async def own(rigged: Rig) -> None:
    """Argo CD marks the Deployment as its own, as it does with every object of an Application."""
    path = f"{rigged.world.cluster.url}/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{APP}"
    mark = {"argocd.argoproj.io/tracking-id": f"shop:apps/Deployment:{NAMESPACE}/{APP}"}
    headers = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"annotations": mark}})
    async with aiohttp.ClientSession() as session, session.patch(path, data=body, headers=headers) as answer:
        answer.raise_for_status()


async def tell(rigged: Rig, commit: str) -> None:
    """Argo CD's notification that the commit is applied, as our template has it."""
    body = {
        "id": f"shop synced {commit}",
        "source": "argocd",
        "type": "deployment.finished",
        "time": datetime.now(UTC).isoformat(),
        "application": "shop",
        "commit": commit,
        "repository": "https://git.example/evil/elsewhere",
    }
    address = f"http://127.0.0.1:{rigged.world.port}/api/v1/events/argocd"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(address, json=body) as answer:
        assert answer.status < 300, await answer.text()


def configure(rigged: Rig, github: GitHubStandIn) -> None:
    repository = {
        "kind": "github",
        "project": PROJECT,
        "token": github.token,
        "sources": ["argocd"],
        "api_url": github.url,
    }
    rigged.write_config(
        policy={"gitops": [{"do": "git-revert", "namespaces": [NAMESPACE]}]},
        events={"sources": {"argocd": {"kind": "events", "token": TOKEN}}, "repositories": {"deploy": repository}},
    )


async def test_the_commit_is_proposed_for_a_revert(tmp_path: Path) -> None:
    """Escalated and paged, one pull request through an outage, a kill and lost answers, its link on the page and in Slack."""
    async with GitHubStandIn() as github, rig(tmp_path) as rigged:
        code = github.code.create(PROJECT)
        good = code.commit("v1", {"web.yaml": "image: v1"})
        bad = code.commit("v2", {"web.yaml": "image: v2"})
        code.commit("something else", {"cart.yaml": "image: v7"})
        configure(rigged, github)
        await own(rigged)
        await rigged.verified_start()

        github.faults.down = True
        await rigged.roll_out_bad()
        await tell(rigged, bad)
        await rigged.until_fact("action_owed", lambda fact: fact["action"]["kind"] == "revert_commit")
        await rigged.daemon.kill()
        github.faults.down = False
        github.faults.lose_replies(2, method="POST")
        await rigged.start()
        await rigged.until_fact("action_settled", lambda fact: fact["action_id"].endswith("/revert"))
        url = github.code.pulls[0]["html_url"]

        def paged() -> bool:
            return any(url in json.dumps(incident.events[-1]) for incident in rigged.world.pagerduty.incidents)

        def announced() -> bool:
            return any(url in json.dumps(message.blocks) for message in rigged.world.slack.messages)

        await until("the page has the link", paged, END_SECONDS)
        await until("Slack has the link", announced, END_SECONDS)
        (pull,) = github.code.pulls
        assert (pull["base"]["ref"], pull["head"]["ref"]) == ("main", f"lastgood/revert-{bad[:12]}")
        assert set(code.writes) == {pull["head"]["ref"]}
        proposed = code.commits[code.branches[pull["head"]["ref"]]]
        assert proposed.tree == {**code.commits[good].tree, "cart.yaml": "image: v7"}
        assert rigged.world.rollbacks() == 0
        assert rigged.world.version(APP) == "v2"
        assert len(rigged.world.pagerduty.incidents) == 1
        assert [fact["phase"] for fact in rigged.facts("moved")] == ["escalated"]
