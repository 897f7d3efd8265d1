"""Which API servers have admission policies at all."""

from __future__ import annotations

import pytest

from tests.controlplane.plane import ControlPlane
from tests.controlplane.policies import API, SINCE

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


def test_only_newer_api_servers_have_policies(control_plane: ControlPlane) -> None:
    """Below 1.30 there is no such API, and the tests that need it are not collected there; from then on it is served."""
    status, _ = control_plane.ask("GET", f"{API}/validatingadmissionpolicies")
    assert status == (200 if control_plane.release >= SINCE else 404)
