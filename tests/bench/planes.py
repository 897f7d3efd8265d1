"""The control plane that the benchmarks run on: the newest that is built; without one they are skipped, by name."""

from __future__ import annotations

import pytest

from tests import parts
from tests.controlplane import builds
from tests.controlplane.builds import Binaries


def newest(*needed: str) -> Binaries:
    """Its programs. Skips the calling benchmark where none is built, or one of the other parts that it needs is missing."""
    for name in needed:
        parts.require(name)
    built = [release for release in builds.releases() if release.built]
    if not built:
        pytest.skip("no control plane is built (`make test-controlplane` builds what this machine can have)")
    return max(built, key=lambda release: tuple(map(int, release.minor.split(".")))).binaries()
