"""The Dockerfile's steps, replayed in a clean folder: what comes out starts, holds no more than it needs, and never
writes.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.packaging.dockerfile import Image, environment, instructions, replay
from tests.repository import ROOT

TEXT = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
VERSION = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
BYTES_MAX = 120 * 2**20
"""Beside the base image. A package that doubles it deserves a second look."""

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the steps leave behind; about 20 s with pip's cache filled."""
    return replay(TEXT, tmp_path_factory.mktemp("image"))


def lastgood(image: Image, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the image's entry point as the container would."""
    env = {name: value for name, value in image.env.items() if name not in {"HOME", "LASTGOOD_CONFIG"}}
    env["PATH"] = f"{image.at('/opt/lastgood/bin')}:/usr/bin:/bin"
    command = [str(image.at("/opt/lastgood/bin/lastgood")), *arguments]
    return subprocess.run(
        command, cwd=image.at(image.workdir), env=environment({**env, **more}), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip


def tree(folder: Path) -> dict[str, int]:
    """Every file with its time of change."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_the_installed_command_works_and_writes_nothing(image: Image, tmp_path: Path) -> None:
    """`--version` and `check-config` run from what was installed, and leave the file system as it was: no bytecode."""
    before = tree(image.root)
    assert VERSION is not None
    done = lastgood(image, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"lastgood {VERSION[1]}"), done.stderr
    good = lastgood(image, "check-config", str(ROOT / "deploy/lastgood.example.yaml"))
    assert good.returncode == 0, good.stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text("cluster: x\nno_such_setting: 1\n")
    refused = lastgood(image, "check-config", str(bad))
    assert refused.returncode != 0
    assert "no_such_setting" in refused.stdout + refused.stderr
    assert tree(image.root) == before


def test_the_modules_are_its_own_and_compiled(image: Image) -> None:
    """The packages are those that were copied in, not this checkout's, and each module has its bytecode."""
    (packages,) = image.at("/opt/lastgood/lib").glob("python3*/site-packages")
    sources = [path for name in ("daemon", "config", "handlers") for path in (packages / name).rglob("*.py")]
    assert len(sources) > 50
    bare = [path for path in sources if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]
    assert bare == []


def test_it_holds_nothing_that_only_builds(image: Image) -> None:
    """No pip, no build back end, no test tools, no tests; small."""
    (packages,) = image.at("/opt/lastgood/lib").glob("python3*/site-packages")
    names = {path.name.partition("-")[0].lower() for path in packages.iterdir()}
    assert not names & {"pip", "setuptools", "hatchling", "pytest", "mypy", "tests", "deploy"}
    assert not image.at("/build").exists()
    size = sum(path.lstat().st_size for path in image.root.rglob("*") if path.is_file())
    assert size < BYTES_MAX, f"{size / 2**20:.0f} MiB"


def test_every_package_is_checked_by_its_hash() -> None:
    """Nothing is installed from an index without --require-hashes, and no address of one is named."""
    installs = [part for step in instructions(TEXT) if step.word == "RUN" for part in step.rest.split("&&")]
    fetched = [part for part in installs if re.search(r"pip.* (install|wheel) ", part) and "--no-deps" not in part]
    assert len(fetched) == 2
    assert all("--require-hashes" in part and "--only-binary :all:" in part for part in fetched)
    assert "://" not in TEXT


def test_it_runs_as_a_number_that_is_not_root() -> None:
    """The last USER is numeric and not 0, and nothing runs after it."""
    words = [step.word for step in instructions(TEXT)]
    user = next(step.rest for step in reversed(instructions(TEXT)) if step.word == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert not {"RUN", "COPY"} & set(words[words.index("USER") :])
