"""`lastgood preflight` against the real daemon process: green once v1 is proven, red without metrics, where an alert leads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import NAMESPACE, deployment, until
from tests.e2e.gate import asks as asks_for
from tests.e2e.rig import Rig, rig
from tests.e2e.test_rollback_command import types

pytestmark = [pytest.mark.real, pytest.mark.asyncio, pytest.mark.timeout(150)]

MUTE = "mute"


async def asks(rigged: Rig, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a preflight."""
    code, out = await types(rigged, "preflight", *words, "--json")
    return code, json.loads(out)


def levels(document: dict[str, Any]) -> dict[str, str]:
    """Check → level."""
    return {line["check"]: line["level"] for line in document["lines"]}


def deploy_mute(rigged: Rig) -> None:
    """A workload whose pods run and are never scraped."""
    world = rigged.world

    async def unscraped(pod: dict[str, Any]) -> None:
        if pod["metadata"]["labels"].get("app") == MUTE:
            world.services.pod_gone(NAMESPACE, pod["metadata"]["name"])

    world.cluster.hooks.ready.append(unscraped)
    manifest = deployment(MUTE, "v1", replicas=1, ready_seconds=0)
    del manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    world.cluster.create(manifest)


async def test_green_red_and_an_alert(tmp_path: Path) -> None:
    """Nothing fails for a proven workload in auto; one without metrics fails, naming what has no series; an alert's labels
    are followed. The cluster was only read and tried.
    """
    async with rig(tmp_path) as rigged:
        deploy_mute(rigged)
        await rigged.verified_start()
        await until(f"{MUTE} runs", lambda: rigged.world.settled(MUTE), 20.0)

        code, document = await asks(rigged, f"shop/{APP}")
        assert (code, document["ok"], document["mode"]) == (0, True, "auto"), document
        found = levels(document)
        assert {found[name] for name in ("verified target", "dry run", "patch deployments", "signal traffic")} == {"ok"}
        assert found["alert rules"] == "ok"

        code, document = await asks(rigged, f"shop/{MUTE}")
        assert (code, document["ok"]) == (1, False), document
        (line,) = [line for line in document["lines"] if line["check"] == "signal traffic"]
        assert line["level"] == "failed"
        assert "http_requests_total has series with a label pod, but none with" in line["says"]

        path = tmp_path / "alert.json"
        path.write_text(
            json.dumps({"labels": {"alertname": "HighErrorRate", "namespace": NAMESPACE, "deployment": APP}})
        )
        code, document = await asks(rigged, f"shop/{APP}", "--alert", str(path))
        assert (code, levels(document)["alert HighErrorRate"]) == (0, "ok"), document
        code, document = await asks(rigged, f"shop/{MUTE}", "--alert", str(path))
        assert levels(document)["alert HighErrorRate"] == "failed"
        assert (rigged.world.rollbacks(), rigged.world.pagerduty.incidents) == (0, [])


async def test_what_hangs_is_named(tmp_path: Path) -> None:
    """A question that the API server never answers fails its part by name within the limit, the rest is told; and where the
    API server is gone, each part that needs it says so.
    """
    async with rig(tmp_path) as rigged:
        await rigged.verified_start()
        rigged.gates["kubernetes"].hold(asks_for("POST", "selfsubjectaccessreviews"))
        code, document = await asks(rigged, f"shop/{APP}")
        assert (code, [check for check, level in levels(document).items() if level == "failed"]) == (1, ["access"])
        rigged.gates["kubernetes"].shut()
        code, document = await asks(rigged, f"shop/{APP}")
        found = levels(document)
        assert (code, found["access"], found["dry run"], found["verified target"]) == (1, "failed", "failed", "ok")
