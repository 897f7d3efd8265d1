"""Kubernetes 1.20 from Debian's source package, and etcd from Debian's package, where the package lists have them.

The source package holds the whole upstream tree with its dependencies. It builds without a network, but only with a Go
of its time, and only through its own `make`: a plain `go build` refuses the tree. Nothing is installed: package lists
and caches of these commands lie in the build's own folder, and go with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.go_modules import CONTROL_PLANE
from tests.controlplane.steps import BuildError, Steps

VERSION = "1.20.2"
OLD_GO = re.compile(r"\bgo1\.(1[5-9]|20)\b")
"""1.20's build wants 1.15 at least; from Go 1.21 on the tree's way of building (GOPATH) no longer works for it."""
OLD_GO_FOLDERS = ("/usr/lib/go-1.19/bin", "/usr/lib/go-1.20/bin")

DOWNLOAD_SECONDS, UNPACK_SECONDS, BUILD_SECONDS = 300.0, 300.0, 40 * 60.0
_ONLINE = "see that apt-get can reach the mirror named in /etc/apt"
_REMEDY = "try again with more memory (2 GB) or disk (5 GB)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """Where a package comes from: one line of `apt-cache madison`."""

    version: str
    address: str
    suite: str
    component: str

    @property
    def source_line(self) -> str:
        """For a sources.list: where the source package lies."""
        return f"deb-src {self.address} {self.suite} {self.component}\n"


def find_archive(package: str, version: re.Pattern[str]) -> Archive | None:
    """The first archive that the package lists know for a version of this kind."""
    if shutil.which("apt-cache") is None:
        return None
    listed = subprocess.run(["apt-cache", "madison", package], capture_output=True, text=True, check=False, timeout=60)
    for line in listed.stdout.splitlines():
        name, number, place = (part.strip() for part in line.split("|"))
        where = place.split()
        if name == package and version.search(number) and len(where) >= 2:
            suite, _, component = where[1].partition("/")
            number = re.sub(r"\+b\d+$", "", number)  # rebuilt from the same source
            return Archive(version=number, address=where[0], suite=suite, component=component)
    return None


def old_go() -> Path | None:
    """The folder with a `go` that can build the tree."""
    found = shutil.which("go")
    folders = [Path(folder) for folder in OLD_GO_FOLDERS] + ([Path(found).parent] if found else [])
    for folder in folders:
        if (folder / "go").exists() and OLD_GO.search(_go_version(folder / "go")):
            return folder
    return None


def _go_version(go: Path) -> str:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False, timeout=60, env=environment)
    return said.stdout


def _kubernetes_archive() -> Archive | None:
    return find_archive("kubernetes-client", re.compile(rf"(^|really){re.escape(VERSION)}\b"))


def lacks() -> str:
    """What this machine lacks for the build; empty when it lacks nothing."""
    if _kubernetes_archive() is None:
        return (
            f"no source package of Kubernetes {VERSION} in the package lists (Debian 12 has it, after apt-get update)"
        )
    for program, package in {"dpkg-source": "dpkg-dev", "make": "make", "rsync": "rsync"}.items():
        if shutil.which(program) is None:
            return f"no `{program}` (apt-get install {package})"
    return "" if old_go() else "no Go of 1.15 to 1.20 (apt-get install golang-1.19-go)"


def lacks_etcd() -> str:
    """What this machine lacks to unpack Debian's etcd; empty when it lacks nothing."""
    if find_archive("etcd-server", re.compile(r"^3\.")) is None or shutil.which("dpkg") is None:
        return "no package etcd-server in the package lists (Debian 12 has it, after apt-get update)"
    return ""


def build_kubernetes(into: Path, steps: Steps) -> None:
    """The three programs into the folder `into`. The tree, 2.8 GB in the end, lies in `into` meanwhile."""
    archive, go = _kubernetes_archive(), old_go()
    if archive is None or go is None:
        raise BuildError(lacks())
    work = into / "source"
    options = _apt_options(work, archive)
    steps.run(
        "fetched Debian's list of sources", ["apt-get", *options, "update"],
        folder=work, seconds=DOWNLOAD_SECONDS, remedy=_ONLINE,
    )  # fmt: skip
    steps.run(
        "fetched the source package", ["apt-get", *options, "source", "--download-only", f"kubernetes={archive.version}"],
        folder=work, seconds=DOWNLOAD_SECONDS, remedy=_ONLINE,
    )  # fmt: skip
    description = next(work.glob("kubernetes_*.dsc"))  # apt has checked it against the archive's signed list
    steps.run(
        "unpacked it", ["dpkg-source", "--no-check", "-x", description.name, "tree"],
        folder=work, seconds=UNPACK_SECONDS, remedy=_REMEDY,
    )  # fmt: skip
    _make(work / "tree", go, steps)
    for name in CONTROL_PLANE:
        (work / "tree/_output/bin" / name).resolve().rename(into / name)
    shutil.rmtree(work)


def _apt_options(work: Path, archive: Archive) -> list[str]:
    """Options that keep the machine's own lists and caches out of it."""
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(archive.source_line)
    places = {
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Dir::State::status": work / "status",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": work / "none",
        "APT::Sandbox::User": "root",  # the sandbox user may not read a folder in somebody's home
    }
    return [part for name, value in places.items() for part in ("-o", f"{name}={value}")]


def _make(tree: Path, go: Path, steps: Steps) -> None:
    stamp = tree.parent / "version"  # what the programs say of themselves; without it the tree asks git
    major, minor, _ = VERSION.split(".")
    stamp.write_text(
        f"KUBE_GIT_COMMIT=''\nKUBE_GIT_TREE_STATE='archive'\nKUBE_GIT_VERSION='v{VERSION}'\n"
        f"KUBE_GIT_MAJOR='{major}'\nKUBE_GIT_MINOR='{minor}'\n"
    )
    gopath = tree / ".go"
    (gopath / "src/k8s.io").mkdir(parents=True)
    (gopath / "src/k8s.io/kubernetes").symlink_to("../../..")
    environment = {name: value for name, value in steps.environment.items() if not name.startswith(("GO", "KUBE_"))}
    environment |= {
        "PATH": f"{go}{os.pathsep}{environment.get('PATH', os.defpath)}",
        "GOPATH": str(gopath),
        "GOCACHE": str(tree.parent / "gocache"),
        "CGO_ENABLED": "0",
        "KUBE_GIT_VERSION_FILE": str(stamp),
    }
    what = " ".join(f"cmd/{name}" for name in CONTROL_PLANE)
    Steps(log=steps.log, environment=environment).run(
        f"built Kubernetes {VERSION} from Debian's source package", ["make", f"WHAT={what}", "GOLDFLAGS=-s -w"],
        folder=tree, seconds=BUILD_SECONDS, remedy=_REMEDY,
    )  # fmt: skip


def unpack_etcd(into: Path, steps: Steps) -> None:
    """Debian's `etcd` into the folder `into`; the package is unpacked, not installed: no service is started."""
    work = into / "package"
    work.mkdir()
    options = ["-o", "APT::Sandbox::User=root"]
    steps.run(
        "fetched Debian's etcd", ["apt-get", *options, "download", "etcd-server"],
        folder=work, seconds=DOWNLOAD_SECONDS, remedy=_ONLINE,
    )  # fmt: skip
    package = next(work.glob("*.deb")).name
    steps.run(
        "unpacked it", ["dpkg", "-x", package, "."], folder=work, seconds=UNPACK_SECONDS, remedy=_REMEDY
    )  # fmt: skip
    (work / "usr/bin/etcd").rename(into / "etcd")
    shutil.rmtree(work)
