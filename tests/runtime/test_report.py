"""The line that the log gets for an incident names the workload as OpenTelemetry does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.runtime.report import canonical
from tests.core.builders import SHOP
from tests.core.story import Story


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Deployment", "k8s.deployment.name"),
        ("StatefulSet", "k8s.statefulset.name"),
        ("DaemonSet", "k8s.daemonset.name"),
    ],
)
def test_the_kind_has_its_own_name(kind: str, name: str) -> None:
    """One attribute for the workload's name, of its kind (semantic conventions, "Kubernetes attributes")."""
    story = Story()
    story.spikes()
    line = canonical(replace(story.incident, suspect=replace(SHOP, kind=kind)))
    assert (line["k8s.namespace.name"], line[name]) == (SHOP.namespace, SHOP.name)
    assert [key for key in line if key.startswith("k8s.")] == ["k8s.namespace.name", name]
