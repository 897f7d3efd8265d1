"""The real servers and programs that some tests need, by name.

A test asks for a part and gets its path, or is skipped with the part's name and the way to install it. CI installs them
all (.ci/run) and allows no skip.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A program: the names it goes by (the first that is found wins), and the Debian package that holds it."""

    binaries: tuple[str, ...]
    package: str


# Debian renames Alertmanager's binary; its makers' own archive does not.
PARTS = {
    "prometheus": Part(binaries=("prometheus",), package="prometheus"),
    "promtool": Part(binaries=("promtool",), package="prometheus"),
    "alertmanager": Part(binaries=("prometheus-alertmanager", "alertmanager"), package="prometheus-alertmanager"),
    "amtool": Part(binaries=("amtool",), package="prometheus-alertmanager"),
    "kubectl": Part(binaries=("kubectl",), package="kubernetes-client"),
}


def find(name: str) -> Path | None:
    """Where the part is, or None. KeyError for a name that is not in PARTS."""
    found = (shutil.which(binary) for binary in PARTS[name].binaries)
    return next((Path(path) for path in found if path), None)


def require(name: str) -> Path:
    """Where the part is; skips the calling test (or module) by the part's name when it is not installed."""
    path = find(name)
    if path is None:
        part = PARTS[name]
        looked_for = " or ".join(part.binaries)
        pytest.skip(
            f"part missing: {name} (no {looked_for} on PATH); on Debian: apt-get install {part.package}",
            allow_module_level=True,
        )
    return path
