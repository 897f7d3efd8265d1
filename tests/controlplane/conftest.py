"""A real control plane for each minor that this machine can have; `make test-controlplane` builds them first.

A test that takes `control_plane` runs once for each of them. On a machine that can have none it is skipped, by name; one
that could be built but is not is a skip, too, which a strict run does not allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.controlplane import builds
from tests.controlplane.builds import Release
from tests.controlplane.plane import NODES, ControlPlane
from tests.controlplane.steps import BuildError

POSSIBLE: tuple[Release | None, ...] = builds.possible() or (None,)


def _name(release: Release | None) -> str:
    return f"v{release.minor}" if release else "none"


@pytest.fixture(scope="session", params=POSSIBLE, ids=_name)
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """Shared by all tests: work in a namespace of your own, and leave it running."""
    release: Release | None = request.param
    if release is None:
        reasons = (f"v{one.minor}: {one.why_not}" for one in builds.releases())
        pytest.skip(f"this machine can have no control plane ({'; '.join(reasons)})")
    try:
        binaries = release.binaries()
    except BuildError as error:
        pytest.skip(str(error))
    with ControlPlane(binaries, audit=True) as plane:
        yield plane
        broken = [line for line in plane.log(NODES).splitlines() if line.endswith(" broke")]
    assert not broken, f"simulated pods that fell out of their lives: {broken}"


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace for one test."""
    name = f"plane-{uuid4().hex[:8]}"
    status, answer = control_plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert status == 201, answer
    yield name
    control_plane.ask("DELETE", f"/api/v1/namespaces/{name}")
