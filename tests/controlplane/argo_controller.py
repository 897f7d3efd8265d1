"""The real controller of Argo Rollouts: its definitions on a control plane, and a process of it for one namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.controlplane import builds, definitions
from tests.controlplane.argo_player import Shop
from tests.controlplane.plane import ControlPlane
from tests.controlplane.processes import Family, Server, free_ports

KINDS = ("rollouts", "experiments", "analysisruns", "analysistemplates", "clusteranalysistemplates")


@contextmanager
def argo_defined(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The module's own definitions, in place of the least of them; all are gone afterwards. Skips where it is not built."""
    package = builds.argo_rollouts()
    if not package.built:
        pytest.skip(f"{package.name} is not built: {package.why_not or 'run `make test-controlplane`'}")
    definitions.remove(plane, "rollouts.argoproj.io")
    for file in sorted((package.folder / "crds").iterdir()):
        definitions.define(plane, file)
    yield plane
    for name in KINDS:
        definitions.remove(plane, f"{name}.argoproj.io")


@contextmanager
def argo_running(plane: ControlPlane, namespace: str, folder: Path) -> Iterator[Shop]:
    """A controller that looks after this namespace only."""
    metrics, health = free_ports(2)
    command: list[str | Path] = [
        builds.argo_rollouts().folder / "rollouts-controller", "--kubeconfig", plane.kubeconfig(),
        "--namespaced", "--namespace", namespace, "--leader-elect=false",
        "--metricsPort", str(metrics), "--healthzPort", str(health),
    ]  # fmt: skip
    family = Family()
    try:
        log = folder / "rollouts-controller.log"
        family.start(Server(name="rollouts-controller", command=command, log=log, folder=folder))
        yield Shop(plane=plane, namespace=namespace)
    finally:
        family.close()
