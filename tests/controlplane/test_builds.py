"""What is built once is whole, and what cannot be built says by name what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.controlplane import builds, debian_source, go_modules
from tests.controlplane.builds import Package
from tests.controlplane.steps import BuildError, Steps
from tests.repository import ROOT

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No test here touches what is really built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "lastgood-ci"


def package(script: str, lacks: str = "") -> Package:
    """A package that is built by a shell script."""

    def make(into: Path, steps: Steps) -> None:
        steps.run("built it", ["sh", "-c", script], folder=into, seconds=20, remedy="turn it off and on")

    return Package(name="thing-1.0", programs=("thing",), lacks=lambda: lacks, make=make)


def test_what_is_built_is_kept_and_not_built_again(own_cache: Path) -> None:
    """The second time costs nothing; the log of a good build stays for the curious."""
    one = package("echo $$ > thing")
    builds.build(one)
    first = (own_cache / "thing-1.0/thing").read_text()
    builds.build(one)
    assert (own_cache / "thing-1.0/thing").read_text() == first
    assert os.access(own_cache / "thing-1.0/thing", os.X_OK)


def test_two_that_start_at_one_time_build_once(own_cache: Path) -> None:
    """CI builds in the background, and `make test-controlplane` asks for the same: the second waits for the first."""
    inside: list[Path] = []
    joined = threading.Event()

    def make(into: Path, _steps: Steps) -> None:
        inside.append(into)
        if len(inside) > 1:
            joined.set()
        joined.wait(0.5)
        (into / "thing").touch()

    one = Package(name="thing-1.0", programs=("thing",), lacks=lambda: "", make=make)
    with ThreadPoolExecutor(2) as both:
        list(both.map(builds.build, [one, one]))
    assert (len(inside), one.built) == (1, True)


def test_a_failed_step_says_which_and_what_to_do(own_cache: Path) -> None:
    """One line with the remedy and the log's place, then the end of the output; nothing that looks built is left."""
    with pytest.raises(BuildError) as failed:
        builds.build(package("touch thing; echo disk is full >&2; exit 4"))
    first, *shown = str(failed.value).splitlines()
    assert first == f"built it failed (exit code 4); turn it off and on; log: {own_cache / 'thing-1.0.log'}"
    assert shown[-1].strip() == "disk is full"
    assert not list(own_cache.glob("thing-1.0*/"))


def test_a_build_that_was_killed_is_not_taken_for_whole(own_cache: Path) -> None:
    """A part of a build lies beside; the next build clears it away and starts anew."""
    left = own_cache / "thing-1.0.part-abc/whole"
    left.mkdir(parents=True)
    (left / "thing").touch()
    one = package("echo whole > thing")
    assert not one.built
    builds.build(one)
    assert (own_cache / "thing-1.0/thing").read_text() == "whole\n"
    assert not left.exists()


def test_a_step_that_hangs_is_cut(tmp_path: Path) -> None:
    """Nobody waits for ever for a package mirror."""
    steps = Steps(log=tmp_path / "log", environment=dict(os.environ))
    with pytest.raises(BuildError, match=r"fetch failed \(not done after 0\.2 s\); look at the mirror"):
        steps.run("fetch", ["sleep", "60"], folder=tmp_path, seconds=0.2, remedy="look at the mirror")


def test_what_cannot_be_built_here_says_what_it_lacks() -> None:
    """The reason names the program, and a build that is asked for nevertheless fails with it."""
    one = package("touch thing", lacks="no `thingc` (apt-get install thingc)")
    assert one.why_not == "no `thingc` (apt-get install thingc)"
    with pytest.raises(BuildError, match=r"thing-1\.0 cannot be built here: no `thingc`"):
        builds.build(one)


def test_what_is_built_needs_no_compiler_any_more(own_cache: Path) -> None:
    """A cache that was filled elsewhere is as good as one's own."""
    (own_cache / "thing-1.0").mkdir(parents=True)
    (own_cache / "thing-1.0/thing").touch()
    assert package("false", lacks="no compiler").why_not == ""


def test_a_machine_with_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, and each minor named with what it lacks: no Go, no package lists."""
    environment = {**os.environ, "PATH": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
    command = [sys.executable, "-m", "tests.controlplane.builds", "--list"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == builds.EXIT_NONE, done.stdout + done.stderr
    assert "v1.36 not on this machine: no `go` on PATH" in done.stdout
    assert "v1.20 not on this machine: no source package of Kubernetes 1.20.2" in done.stdout
    assert f"flagger-{go_modules.flagger_version()} not on this machine: no `go` on PATH" in done.stdout
    assert "this machine can have no control plane" in done.stdout


def _program(path: Path, says: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def test_assets_of_envtest_go_first(monkeypatch: pytest.MonkeyPatch, own_cache: Path, tmp_path: Path) -> None:
    """With KUBEBUILDER_ASSETS, etcd and the API server are those; the minor is what that API server says."""
    assets = tmp_path / "assets"
    assets.mkdir()
    _program(assets / "etcd", "etcd")
    _program(assets / "kube-apiserver", "Kubernetes v1.34.1")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    programs = own_cache / f"kubernetes-{go_modules.kubernetes_version()}"
    programs.mkdir(parents=True)
    for name in go_modules.CONTROL_PLANE:
        (programs / name).touch()
    release = builds.releases()[0]
    binaries = release.binaries()
    assert (release.minor, binaries.release) == ("1.34", (1, 34))
    assert (binaries.etcd, binaries.apiserver) == (assets / "etcd", assets / "kube-apiserver")
    assert binaries.controller_manager == programs / "kube-controller-manager"


def test_a_folder_of_assets_without_an_api_server_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mistyped folder is an error with its name, not a silent build."""
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(BuildError, match="no program etcd there; unset it"):
        builds.releases()


def test_the_pins_belong_together() -> None:
    """Every staging module has the version of the Kubernetes it is published with."""
    version = go_modules.kubernetes_version()
    text = (go_modules.BINARIES / "kubernetes/go.mod").read_text()
    replaced = [line.split()[-1] for line in text.splitlines() if "=> k8s.io/" in line]
    assert len(replaced) > 20
    assert set(replaced) == {f"v0.{version.partition('.')[2]}"}


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("go1.19.8", True),
        ("go1.20", True),
        ("go1.15.15", True),
        ("go1.14", False),
        ("go1.21.0", False),
        ("go1.26.8", False),
    ],
)
def test_the_old_tree_wants_an_old_go(said: str, good: bool) -> None:
    """Go 1.15 to 1.20 build Kubernetes 1.20 in its own way."""
    assert bool(debian_source.OLD_GO.search(f"go version {said} linux/amd64")) is good
