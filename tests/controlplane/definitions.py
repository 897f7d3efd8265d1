"""Custom resource definitions on a control plane, and the collections that they make."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, until

CRDS = Path(__file__).resolve().parent / "crds"
COLLECTION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROLLOUTS, CANARIES = "/apis/argoproj.io/v1alpha1/rollouts", "/apis/flagger.app/v1beta1/canaries"

SINCE = (1, 24)
"""Older sources, built by a Go of 1.18 or newer, fall over (SIGSEGV) on the first custom resource: their reflect2 is 1.0.1.
A test module with custom resources says `SINCE = definitions.SINCE` (fixtures.py).
"""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where libyaml is there: a real definition has 600 kB."""


def define(plane: ControlPlane, file: Path) -> None:
    """Creates what the file defines, unless it is there, and waits until it is served."""
    body: Json = yaml.load(file.read_text(), Loader=_LOADER)
    status, answer = plane.ask("POST", COLLECTION, body)
    assert status in {201, 409}, answer
    version = body["spec"]["versions"][0]["name"]
    address = f"/apis/{body['spec']['group']}/{version}/{body['spec']['names']['plural']}"
    until(lambda: plane.ask("GET", address)[0], lambda code: code == 200)


def remove(plane: ControlPlane, name: str) -> None:
    """Deletes a definition with all its objects; returns when its collection is unknown."""
    group = name.partition(".")[2]
    _, found = plane.ask("GET", f"{COLLECTION}/{name}")
    if found.get("kind") != "CustomResourceDefinition":
        return
    plane.ask("DELETE", f"{COLLECTION}/{name}")
    address = f"/apis/{group}/{found['spec']['versions'][0]['name']}/{found['spec']['names']['plural']}"
    until(lambda: plane.ask("GET", address)[0], lambda code: code == 404)
