"""A StatefulSet whose new version never starts, and the real daemon: rolled back, freed from the broken pod, recovered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.services import Load
from deploy.sandbox.world import NAMESPACE, REQUESTS_PER_SECOND, image, until
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

DB = "db"
REPLICAS = 2
GOOD, BAD = image(DB, "v1"), image(DB, "v2-crash")
SECONDS = 40.0


def furnish(rigged: Rig) -> None:
    """The StatefulSet runs v1 beside the Deployments, and is asked something all the time."""
    labels = {"app": DB}
    spec = {"containers": [{"name": DB, "image": GOOD, "ports": [{"containerPort": 8080}]}]}
    rigged.world.services.load(NAMESPACE, DB, Load(requests_per_second=REQUESTS_PER_SECOND))
    rigged.world.cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": DB, "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "replicas": REPLICAS,
                "serviceName": DB,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
    )


async def roll_out(rigged: Rig, used: str) -> None:
    """Another image, as a pipeline sets it."""
    url = f"{rigged.world.cluster.url}/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{DB}"
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": used}]
    headers = {"Content-Type": "application/json-patch+json"}
    async with aiohttp.ClientSession() as session, session.patch(url, json=change, headers=headers) as answer:
        answer.raise_for_status()


def pods(rigged: Rig) -> dict[str, tuple[str, bool]]:
    """Image and readiness of each pod of the set, by name."""
    found = [pod for pod in rigged.world.cluster.objects("v1", "pods") if pod["metadata"]["labels"].get("app") == DB]
    return {pod["metadata"]["name"]: (pod["spec"]["containers"][0]["image"], ready(pod)) for pod in found}


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def template(rigged: Rig) -> str:
    found = rigged.world.cluster.object("apps/v1", "statefulsets", DB, NAMESPACE)
    assert found is not None
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


ALL_GOOD = {f"{DB}-{number}": (GOOD, True) for number in range(REPLICAS)}


async def broken(rigged: Rig) -> None:
    """v1 is proven, then v2 goes out, and its first pod does not start."""
    furnish(rigged)
    await rigged.start()
    await until("v1 is verified", lambda: f"{DB}:v1" in rigged.show.verified, SECONDS)
    assert pods(rigged) == ALL_GOOD
    await roll_out(rigged, BAD)


def deleted(rigged: Rig) -> list[str]:
    """The pods that somebody deleted through the API: nobody but the daemon does."""
    return [request.path.rpartition("/")[2] for request in rigged.world.cluster.faults.requests("DELETE", "/pods/")]


def told(rigged: Rig) -> list[str]:
    """How PagerDuty's incidents stand."""
    return [incident.status for incident in rigged.world.pagerduty.incidents]


def journalled(rigged: Rig, words: str) -> bool:
    return any(words.encode() in body for (body,) in rigged.sql("SELECT body FROM facts"))


async def test_it_is_rolled_back_and_freed(tmp_path: Path) -> None:
    """With `delete_stuck_pods` the template goes back, exactly the broken pod is deleted, and the page is resolved."""
    async with rig(tmp_path) as rigged:
        rigged.write_config(policy={"delete_stuck_pods": True})
        await broken(rigged)
        await until("the incident ends", lambda: told(rigged) == ["resolved"], SECONDS)
        assert journalled(rigged, '"recovered"')
        assert template(rigged) == GOOD
        assert pods(rigged) == ALL_GOOD
        assert deleted(rigged) == [f"{DB}-{REPLICAS - 1}"]
        assert rigged.world.rollbacks() == 0, "no Deployment was touched"


async def test_without_the_switch_the_pod_is_left_to_people(tmp_path: Path) -> None:
    """The template is back, the pod is left alone, the page stays open, and Slack has the command that deletes it."""
    async with rig(tmp_path) as rigged:
        rigged.write_config(policy={"converge_deadline": "10s"})
        await broken(rigged)
        await until("the rollback did not get anywhere", lambda: journalled(rigged, "converge_deadline"), SECONDS)
        command = f"kubectl -n {NAMESPACE} delete pod {DB}-{REPLICAS - 1}"
        assert any(command in message.text for message in rigged.world.slack.messages)
        assert template(rigged) == GOOD
        assert deleted(rigged) == []
        assert told(rigged) == ["triggered"]
