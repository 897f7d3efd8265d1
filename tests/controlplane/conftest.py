"""A namespace for a test; the control plane itself is in `fixtures.py`, which tests/contract shares."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.controlplane.plane import ControlPlane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace for one test."""
    name = f"plane-{uuid4().hex[:8]}"
    status, answer = control_plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert status == 201, answer
    yield name
    control_plane.ask("DELETE", f"/api/v1/namespaces/{name}")
