"""Which control planes this machine can have, and building each of them once.

`python -m tests.controlplane.builds` builds what is missing, `--list` says what there is. Binaries lie in
`${XDG_CACHE_HOME:-~/.cache}/lastgood-ci/kubernetes-VERSION`; a folder there is whole, because it is built elsewhere and
renamed. `KUBEBUILDER_ASSETS` (a folder with `etcd` and `kube-apiserver`) goes before what is built.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane import debian_source, go_modules
from tests.controlplane.go_modules import ARGO_ROLLOUTS, CONTROL_PLANE, FLAGGER
from tests.controlplane.steps import BuildError, Steps, say

DISK_BYTES = 5 * 1024**3
"""Free space that the biggest build wants for as long as it runs (a tree of 2.8 GB, and Go's cache)."""

EXIT_FAILED, EXIT_NONE = 1, 3

Maker = Callable[[Path, Steps], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Binaries:
    """The programs of one control plane. `minor` is the API server's, for example `1.36`."""

    minor: str
    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path

    @property
    def release(self) -> tuple[int, int]:
        """(1, 36): to compare by."""
        major, minor = self.minor.split(".")
        return int(major), int(minor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A folder of programs in the cache. `lacks` says what the machine lacks to build it; empty: nothing."""

    name: str
    programs: tuple[str, ...]
    lacks: Callable[[], str]
    make: Maker

    @property
    def folder(self) -> Path:
        """Where it lies once it is built."""
        return cache() / self.name

    @property
    def built(self) -> bool:
        """It is there."""
        return all((self.folder / program).is_file() for program in self.programs)

    @property
    def why_not(self) -> str:
        """What stands against having it; empty when it is built or can be."""
        return "" if self.built else self.lacks()


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """One control plane that this machine may have: where its programs come from."""

    minor: str
    programs: Package
    etcd: Package
    assets: Path | None = None

    @property
    def packages(self) -> tuple[Package, ...]:
        """What must be built for it, etcd first: it takes a tenth of the time."""
        return (self.programs,) if self.assets else (self.etcd, self.programs)

    @property
    def why_not(self) -> str:
        """What stands against having it on this machine; empty when it can be had."""
        return "; ".join(filter(None, (package.why_not for package in reversed(self.packages))))

    @property
    def built(self) -> bool:
        """All of it is there."""
        return all(package.built for package in self.packages)

    def binaries(self) -> Binaries:
        """Its programs; BuildError when they are not built yet."""
        if not self.built:
            raise BuildError(f"Kubernetes {self.minor} is not built yet; run `make test-controlplane`")
        programs = self.programs.folder
        return Binaries(
            minor=self.minor,
            etcd=(self.assets or self.etcd.folder) / "etcd",
            apiserver=(self.assets or programs) / "kube-apiserver",
            controller_manager=programs / "kube-controller-manager",
            scheduler=programs / "kube-scheduler",
        )


def cache() -> Path:
    """The user's own folder for what is built once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lastgood-ci"


def releases() -> tuple[Release, ...]:
    """Every control plane that the tests know, the newest first; ask each for `why_not`."""
    version = go_modules.kubernetes_version()
    current = Package(
        name=f"kubernetes-{version}",
        programs=CONTROL_PLANE,
        lacks=go_modules.lacks,
        make=go_modules.build_kubernetes,
    )
    old = Package(
        name=f"kubernetes-{debian_source.VERSION}",
        programs=CONTROL_PLANE,
        lacks=debian_source.lacks,
        make=debian_source.build_kubernetes,
    )
    etcd = _etcd()
    assets = _assets()
    minor = _version_of(assets / "kube-apiserver") if assets else version
    return (
        Release(minor=_minor(minor), programs=current, etcd=etcd, assets=assets),
        Release(minor=_minor(debian_source.VERSION), programs=old, etcd=etcd),
    )


def possible() -> tuple[Release, ...]:
    """Those that this machine can have."""
    return tuple(release for release in releases() if not release.why_not)


def argo_rollouts() -> Package:
    """The controller of Argo Rollouts, with its definitions in `crds`; it runs beside any of the control planes."""
    return Package(
        name=f"argo-rollouts-{go_modules.argo_version()}",
        programs=(ARGO_ROLLOUTS,),
        lacks=go_modules.lacks,
        make=go_modules.build_argo_rollouts,
    )


def flagger() -> Package:
    """The controller of Flagger, with its definitions in `crds`; it runs beside any of the control planes."""
    return Package(
        name=f"flagger-{go_modules.flagger_version()}",
        programs=(FLAGGER,),
        lacks=go_modules.lacks,
        make=go_modules.build_flagger,
    )


def _etcd() -> Package:
    """The pinned one where Go is, else Debian's."""
    pinned = Package(
        name=f"etcd-{go_modules.etcd_version()}",
        programs=("etcd",),
        lacks=go_modules.lacks,
        make=go_modules.build_etcd,
    )
    if not pinned.why_not:
        return pinned
    return Package(
        name="etcd-debian", programs=("etcd",), lacks=debian_source.lacks_etcd, make=debian_source.unpack_etcd
    )


def _assets() -> Path | None:
    named = os.environ.get("KUBEBUILDER_ASSETS", "")
    if not named:
        return None
    folder = Path(named)
    for program in ("etcd", "kube-apiserver"):
        if not os.access(folder / program, os.X_OK):
            raise BuildError(f"KUBEBUILDER_ASSETS={named}: no program {program} there; unset it, or run setup-envtest")
    return folder


def _version_of(apiserver: Path) -> str:
    said = subprocess.run([apiserver, "--version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"v(\d+\.\d+\.\d+)", said.stdout)
    if found is None:
        raise BuildError(f"{apiserver} --version says {said.stdout!r}; set KUBEBUILDER_ASSETS to another folder")
    return found[1]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def build(package: Package) -> None:
    """Builds it unless it is there. Only one process at a time builds; a build that is cut short leaves nothing whole."""
    cache().mkdir(parents=True, exist_ok=True)
    with _alone(cache() / f"{package.name}.lock"):
        if package.built:
            return
        lacks = package.lacks()
        if lacks:
            raise BuildError(f"{package.name} cannot be built here: {lacks}")
        free = shutil.disk_usage(cache()).free
        if free < DISK_BYTES:
            raise BuildError(
                f"{package.name} wants {DISK_BYTES >> 30} GB of disk in {cache()}, {free >> 30} GB are free"
            )
        for left in cache().glob(f"{package.name}.part-*"):  # of a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        began = time.monotonic()
        log = cache() / f"{package.name}.log"
        log.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(
            dir=cache(), prefix=f"{package.name}.part-", ignore_cleanup_errors=True
        ) as name:
            whole = Path(name) / "whole"
            whole.mkdir()
            package.make(whole, Steps(log=log, environment=go_modules.environment()))
            for program in package.programs:
                (whole / program).chmod(0o755)
            shutil.rmtree(package.folder, ignore_errors=True)
            whole.rename(package.folder)
        say(f"{package.name} is ready in {package.folder} ({time.monotonic() - began:.0f} s)")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other process builds the same."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """0: what this machine can have is built; 1: a build failed; 3: it can have none."""
    parser = argparse.ArgumentParser(prog="python -m tests.controlplane.builds", description=__doc__)
    parser.add_argument("--list", action="store_true", help="say what there is, build nothing")
    parser.add_argument("--last-first", action="store_true", help="to help one that runs already, from the other end")
    options = parser.parse_args(arguments)
    try:
        known = releases()
        for release in known:
            state = release.why_not and f"not on this machine: {release.why_not}"
            say(f"v{release.minor} {state or ('built' if release.built else 'to be built')}")
        controllers = (argo_rollouts(), flagger())
        for each in controllers:
            state = each.why_not and f"not on this machine: {each.why_not}"
            say(f"{each.name} {state or ('built' if each.built else 'to be built')}")
        wanted = [package for release in known if not release.why_not for package in release.packages]
        if not wanted:
            say("this machine can have no control plane: install Go, or use Debian 12")
            return EXIT_NONE
        wanted += [each for each in controllers if not each.why_not]
        if not options.list:
            for package in reversed(wanted) if options.last_first else wanted:
                build(package)
    except BuildError as error:
        say(f"failed: {error}")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
