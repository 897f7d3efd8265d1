"""The running control planes, for tests of more than one folder; tests/conftest.py makes a plugin of it.

A test that takes `control_plane` runs once for each minor that this machine can have. On a machine that can have none it is
skipped, by name; one that could be built but is not is a skip, too, which a strict run does not allow. A test that takes
`other_cluster` runs against the sandbox (None), or with `--controlplane` once for each of them instead. A module that says
`SINCE = (1, 24)` is about what no older minor has, and runs on none of these.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane import builds
from tests.controlplane.builds import Release
from tests.controlplane.plane import NODES, ControlPlane
from tests.controlplane.steps import BuildError

OPTION = "--controlplane"
SANDBOX, NONE = "sandbox", "none"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run for each cluster, named `sandbox`, `v1.36`, … or, if there is none to have, `none`."""
    if "other_cluster" not in metafunc.fixturenames:
        return
    if "control_plane" not in metafunc.fixturenames and not metafunc.config.getoption(OPTION):
        metafunc.parametrize("other_cluster", [SANDBOX], indirect=True, scope="session")
        return
    since = getattr(metafunc.module, "SINCE", (0, 0))
    clusters = tuple(one for one in builds.possible() if _release(one) >= since) or (NONE,)
    metafunc.parametrize("other_cluster", clusters, indirect=True, scope="session", ids=_name)


def _release(cluster: Release) -> tuple[int, int]:
    major, minor = cluster.minor.split(".")
    return int(major), int(minor)


def _name(cluster: Release | str) -> str:
    return cluster if isinstance(cluster, str) else f"v{cluster.minor}"


@pytest.fixture(scope="session")
def other_cluster(request: pytest.FixtureRequest) -> Iterator[ControlPlane | None]:
    """The control plane that stands in for the sandbox, or None: it is the sandbox's turn."""
    cluster: Release | str = request.param
    if cluster == SANDBOX:
        yield None
        return
    if isinstance(cluster, str):
        reasons = (f"v{one.minor}: {one.why_not}" for one in builds.releases())
        pytest.skip(f"this machine can have no control plane ({'; '.join(reasons)})")
    try:
        binaries = cluster.binaries()
    except BuildError as error:
        pytest.skip(str(error))
    with ControlPlane(binaries, audit=True) as plane:
        yield plane
        broken = [line for line in plane.log(NODES).splitlines() if line.endswith(" broke")]
    assert not broken, f"simulated pods that fell out of their lives: {broken}"


@pytest.fixture(scope="session")
def control_plane(other_cluster: ControlPlane | None) -> ControlPlane:
    """Shared by all tests: work in a namespace of your own, and leave it running."""
    assert other_cluster is not None
    return other_cluster
