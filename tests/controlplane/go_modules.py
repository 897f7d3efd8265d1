"""A current control plane, etcd and delivery controllers from the Go module proxy, pinned by go.mod and go.sum in `binaries/`.

Each is a module of its own: most have replace directives, so `go install PATH@VERSION` refuses them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.controlplane.steps import BuildError, Steps

BINARIES = Path(__file__).resolve().parent / "binaries"
BUILD_SECONDS = 45 * 60.0
"""For one `go build`: nine minutes on two busy cores, from nothing."""

ARGO_ROLLOUTS = "rollouts-controller"
_ARGO_MODULE = "github.com/argoproj/argo-rollouts"

FLAGGER = "flagger"
_FLAGGER_MODULE = "github.com/fluxcd/flagger"

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")

_NAME = re.compile(r"^  name: (\S+)$", re.MULTILINE)

_REMEDY = "a Go of 1.21 or newer fetches the toolchain and the modules it needs: see that it may reach its module proxy"


def pinned(module: str, folder: str) -> str:
    """The version of a module that `binaries/FOLDER/go.mod` pins, without its `v`."""
    text = (BINARIES / folder / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"{module} is not in binaries/{folder}/go.mod")
    return found[1]


def kubernetes_version() -> str:
    """For example `1.36.3`."""
    return pinned("k8s.io/kubernetes", "kubernetes")


def etcd_version() -> str:
    """For example `3.6.8`."""
    return pinned("go.etcd.io/etcd/server/v3", "etcd")


def argo_version() -> str:
    """For example `1.10.1`."""
    return pinned(_ARGO_MODULE, "argo-rollouts")


def flagger_version() -> str:
    """For example `1.44.0`."""
    return pinned(_FLAGGER_MODULE, "flagger")


def lacks() -> str:
    """What this machine lacks for a build from modules; empty when it lacks nothing."""
    return "" if shutil.which("go") else "no `go` on PATH (install Go 1.21 or newer)"


def environment() -> dict[str, str]:
    """Ours, without flags that are meant for other builds, and with pure Go binaries that need no library."""
    return {**os.environ, "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GO111MODULE": "on", "CGO_ENABLED": "0"}


def build_kubernetes(into: Path, steps: Steps) -> None:
    """The three programs into the folder `into`; they say their version, as clients ask the API server for it."""
    version = kubernetes_version()
    major, minor, _ = version.split(".")
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in CONTROL_PLANE]
    _build("kubernetes", f"built Kubernetes {version} from Go modules", f"-s -w {flags}", packages, into, steps)


def build_etcd(into: Path, steps: Steps) -> None:
    """`etcd` into the folder `into`."""
    _build("etcd", f"built etcd {etcd_version()} from Go modules", "-s -w", ["go.etcd.io/etcd/server/v3"], into, steps)
    (into / "server").rename(into / "etcd")


def build_argo_rollouts(into: Path, steps: Steps) -> None:
    """The controller into the folder `into`, and beside it in `crds` the definitions that its module brings."""
    what = f"built Argo Rollouts {argo_version()} from Go modules"
    _build("argo-rollouts", what, "-s -w", [f"{_ARGO_MODULE}/cmd/{ARGO_ROLLOUTS}"], into, steps)
    files = _module(_ARGO_MODULE, "argo-rollouts").glob("manifests/crds/*-crd.yaml")
    _keep_definitions(into, {file.name: file.read_text() for file in files}, f"{_ARGO_MODULE} {argo_version()}")


def build_flagger(into: Path, steps: Steps) -> None:
    """The controller into the folder `into`, and beside it in `crds` the definitions that its module brings."""
    what = f"built Flagger {flagger_version()} from Go modules"
    _build("flagger", what, "-s -w", [f"{_FLAGGER_MODULE}/cmd/{FLAGGER}"], into, steps)
    file = _module(_FLAGGER_MODULE, "flagger") / "artifacts/flagger/crd.yaml"
    # All in one file there, as others bring one each.
    parts = file.read_text().split("\n---\n") if file.is_file() else []
    names = [_NAME.search(part) for part in parts]
    found = {f"{name[1]}.yaml": part for name, part in zip(names, parts, strict=True) if name is not None}
    _keep_definitions(into, found, f"{_FLAGGER_MODULE} {flagger_version()}")


def _module(module: str, folder: str) -> Path:
    """Where Go keeps the source of a module that was built."""
    command = ["go", "list", "-m", "-f", "{{.Dir}}", module]
    asked = subprocess.run(
        command, cwd=BINARIES / folder, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    if asked.returncode or not asked.stdout.strip():
        raise BuildError(f"go list -m {module}: {asked.stderr.strip() or 'its source is not kept'}")
    return Path(asked.stdout.strip())


def _keep_definitions(into: Path, found: Mapping[str, str], module: str) -> None:
    if not found:
        raise BuildError(f"{module} brings no custom resource definitions where they are looked for")
    (into / "crds").mkdir()
    for name, text in sorted(found.items()):
        (into / "crds" / name).write_text(text)


def _build(module: str, what: str, ldflags: str, packages: list[str], into: Path, steps: Steps) -> None:
    command = ["go", "build", "-trimpath", "-ldflags", ldflags, "-o", f"{into}/", *packages]
    steps.run(what, command, folder=BINARIES / module, seconds=BUILD_SECONDS, remedy=_REMEDY)
