"""The real servers and programs that some tests need, by name.

A test asks for a part and gets its path, or is skipped with the part's name and the way to install it. CI installs them
all (.ci/run) and allows no skip.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where servers are installed, and what the PATH of a user who is not root leaves out."""

POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Where Debian keeps each version's programs, out of every PATH."""

HELM = "helm.sh/helm/v4/cmd/helm@v4.3.1"
"""Exact, because what it renders is compared letter by letter; `.ci/run` installs the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A program: the names it goes by (the first that is found wins), and how to install it, from Debian's packages or
    by another command.
    """

    binaries: tuple[str, ...]
    package: str = ""
    command: str = ""

    @property
    def remedy(self) -> str:
        """What to type where it is missing."""
        return self.command or f"on Debian: apt-get install {self.package}"


# Debian renames Alertmanager's binary; its makers' own archive does not.
PARTS = {
    "prometheus": Part(binaries=("prometheus",), package="prometheus"),
    "promtool": Part(binaries=("promtool",), package="prometheus"),
    "alertmanager": Part(binaries=("prometheus-alertmanager", "alertmanager"), package="prometheus-alertmanager"),
    "amtool": Part(binaries=("amtool",), package="prometheus-alertmanager"),
    "kubectl": Part(binaries=("kubectl",), package="kubernetes-client"),
    "mosquitto": Part(binaries=("mosquitto",), package="mosquitto"),
    "mosquitto_pub": Part(binaries=("mosquitto_pub",), package="mosquitto-clients"),
    "curl": Part(binaries=("curl",), package="curl"),
    "zsh": Part(binaries=("zsh",), package="zsh"),
    "tcsh": Part(binaries=("tcsh",), package="tcsh"),
    "openssl": Part(binaries=("openssl",), package="openssl"),
    "postgres": Part(binaries=("postgres",), package="postgresql"),
    "initdb": Part(binaries=("initdb",), package="postgresql"),
    "pg_isready": Part(binaries=("pg_isready",), package="postgresql-client"),
    "psql": Part(binaries=("psql",), package="postgresql-client"),
    "setpriv": Part(binaries=("setpriv",), package="util-linux"),
    "prlimit": Part(binaries=("prlimit",), package="util-linux"),
    "helm": Part(binaries=("helm",), command=f"with Go: go install {HELM}"),
}


def find(name: str) -> Path | None:
    """Where the part is, or None. KeyError for a name that is not in PARTS."""
    newest_first = sorted(Path("/").glob(POSTGRES_FOLDERS.lstrip("/")), key=_version, reverse=True)
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS, *map(str, newest_first)))
    found = (shutil.which(binary, path=folders) for binary in PARTS[name].binaries)
    return next((Path(path) for path in found if path), None)


def _version(folder: Path) -> float:
    """Of a folder like /usr/lib/postgresql/15/bin; something else comes last."""
    found = folder.parent.name
    return float(found) if found.replace(".", "", 1).isdecimal() else 0.0


def require(name: str) -> Path:
    """Where the part is; skips the calling test (or module) by the part's name when it is not installed."""
    path = find(name)
    if path is None:
        part = PARTS[name]
        looked_for = " or ".join(part.binaries)
        pytest.skip(
            f"part missing: {name} (no {looked_for} on PATH); {part.remedy}",
            allow_module_level=True,
        )
    return path
