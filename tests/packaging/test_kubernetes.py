"""deploy/kubernetes/: fresh, buildable by real kubectl, and accepted by an API server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from deploy.sandbox.kube import SandboxCluster
from deploy.sandbox.kube.resources import by_kind
from tests.handlers.rollback_world import FAST, complete, until
from tests.packaging.chart import RENDERED, build, loaded, one
from tests.packaging.shapes import unknown_fields
from tests.parts import require
from tests.repository import ROOT

pytestmark = pytest.mark.real

MODES = ("observe", "act")


def renderer() -> ModuleType:
    """`.ci/render.py` as a module."""
    spec = importlib.util.spec_from_file_location("render", ROOT / ".ci/render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_folders_are_what_the_chart_renders_now() -> None:
    """Nobody edited them, and nobody forgot them after a change of the chart."""
    require("helm")
    assert renderer().faults() == []


def test_a_stale_folder_is_found(tmp_path: Path) -> None:
    """The check names a file that differs, and one that is missing."""
    require("helm")
    module = renderer()
    (tmp_path / "act").mkdir()
    (tmp_path / "act/manifests.yaml").write_text("edited", encoding="utf-8")
    found = module.faults(tmp_path)
    assert len(found) == 8
    assert any(fault.startswith("act/manifests.yaml: not what the chart renders") for fault in found)


@pytest.mark.parametrize("mode", MODES)
def test_kustomize_builds_it(mode: str) -> None:
    """Real kubectl builds the folder: known fields only, everything in one namespace, settings by their hash."""
    objects = build(mode)
    assert [fault for each in objects for fault in unknown_fields(each)] == []
    spaces = {each["metadata"].get("namespace") for each in objects if each["kind"] != "Namespace"}
    assert spaces == {"lastgood", None}
    config = one(objects, "ConfigMap")["metadata"]["name"]
    assert config.startswith("lastgood-")
    volumes = one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "config", "configMap": {"name": config}} in volumes


@pytest.mark.parametrize("mode", MODES)
def test_its_settings_load(mode: str, tmp_path: Path) -> None:
    """The settings beside the manifests are valid as soon as the Secret is mounted, and arm nothing."""
    settings = loaded(build(mode), tmp_path)
    assert settings.cluster == "change-me"
    assert settings.policy.modes == ()
    assert settings.policy.default_mode == "observe"


async def test_an_api_server_takes_it_and_the_daemon_s_pod_comes_up(tmp_path: Path) -> None:
    """Real kubectl applies the folder to the sandbox (of the kinds that it serves), and the Deployment completes."""
    kubectl = str(require("kubectl"))
    known = [each for each in build("act") if by_kind(each["apiVersion"], each["kind"]) is not None]
    assert {each["kind"] for each in known} >= {"Deployment", "Service", "PersistentVolumeClaim", "ServiceAccount"}
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": known}), encoding="utf-8")
    async with SandboxCluster(timing=FAST, network=45) as cluster:
        config = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        process = await asyncio.create_subprocess_exec(
            kubectl, "--kubeconfig", str(config), "apply", "--validate=false", "-f", str(path),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={"HOME": str(tmp_path)},
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        await until(
            lambda: cluster.object("apps/v1", "deployments", "lastgood", "lastgood"), lambda o: o and complete(o)
        )


def test_each_folder_stands_alone() -> None:
    """No folder builds on another: an old kubectl, and whoever copies one of them, gets everything."""
    for mode in MODES:
        kustomization = yaml.safe_load((RENDERED / mode / "kustomization.yaml").read_text())
        named = [*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"]]
        assert all("/" not in name and (RENDERED / mode / name).is_file() for name in named)
