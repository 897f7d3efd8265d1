"""The chart as real helm renders it, and the rendered folders as real kubectl builds them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from config import load
from config.settings import Settings
from tests.parts import require
from tests.repository import ROOT

Obj = dict[str, Any]

CHART = ROOT / "deploy/helm/lastgood"
RENDERED = ROOT / "deploy/kubernetes"
DATABASE_URL = "postgresql://u:hush-hush@db/lastgood"
TOKEN = "server.webhook_tokens.alertmanager"
MINIMAL = ("config.cluster=test", "config.prometheus.url=http://prometheus.monitoring:9090")
EVERYTHING = (
    "rbac.mode=act",
    "rbac.secretsMetadata=true",
    "rbac.deletePods=true",
    "rbac.switchServices=true",
    "rbac.gitops=true",
    "podDisruptionBudget.enabled=true",
    "serviceMonitor.enabled=true",
    "prometheusRule.enabled=true",
    "alertmanagerConfig.enabled=true",
    "dashboard.enabled=true",
    "dashboard.folder=Deploys",
)


class RefusedError(Exception):
    """Helm's own words about values that the chart does not take."""


def render(*values: str, minimal: tuple[str, ...] = MINIMAL, namespace: str = "ops") -> list[Obj]:
    """The objects of a release `lastgood` in this namespace with these values (`a.b=c`). Raises RefusedError."""
    return documents(_helm("template", *values, minimal=minimal, namespace=namespace))


def notes(*values: str) -> str:
    """What `helm install` shows at its end."""
    return _helm("install", *values, more=("--dry-run=client",)).partition("\nNOTES:\n")[2]


def _helm(
    what: str,
    *values: str,
    minimal: tuple[str, ...] = MINIMAL,
    namespace: str = "ops",
    more: tuple[str, ...] = (),
) -> str:
    settings = [part for value in (*minimal, *values) for part in ("--set", value)]
    command = [str(require("helm")), what, "lastgood", str(CHART), "--namespace", namespace, *more, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def build(mode: str) -> list[Obj]:
    """What `kubectl kustomize` makes of a rendered folder."""
    command = [str(require("kubectl")), "kustomize", str(RENDERED / mode)]
    return documents(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def documents(text: str) -> list[Obj]:
    """The objects of a YAML stream."""
    return [each for each in yaml.safe_load_all(text) if each]


def one(objects: list[Obj], kind: str, name: str | None = None) -> Obj:
    """The only object of a kind (and name)."""
    found = [each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def settings_of(objects: list[Obj]) -> str:
    """The settings file in the ConfigMap."""
    maps = [each["data"] for each in objects if each["kind"] == "ConfigMap" and "lastgood.yaml" in each["data"]]
    assert len(maps) == 1
    return str(maps[0]["lastgood.yaml"])


def loaded(objects: list[Obj], folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings as the daemon reads them in the pod, with the one required key in its Secret, and a database's URL where
    that is mounted. Raises ConfigError.
    """
    (folder / "url").write_text(DATABASE_URL, encoding="utf-8")
    text = settings_of(objects).replace("/etc/lastgood-journal/url", str(folder / "url"))
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / TOKEN).write_text("a-token", encoding="utf-8")
    path = folder / "lastgood.yaml"
    path.write_text(text.replace(yaml.safe_load(text)["secrets_dir"], str(secrets)), encoding="utf-8")
    return load(path, environ or {})
