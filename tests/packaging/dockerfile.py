"""Reads deploy/Dockerfile and replays it in a folder: what can be tried of an image where no container engine runs.

COPY and RUN are carried out, each stage with the same folder as its root, so that absolute paths inside what was built
stay true. Not tried: the base image, USER, and ownership.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.repository import ROOT

MAPPED = ("/build", "/opt", "/var/lib/lastgood")
"""Every absolute path of ours in the Dockerfile begins with one of these; they are moved below the replay's root."""

PLAIN = {"LABEL", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
"""Instructions that only describe the image."""

STEP_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction, its continued lines joined."""

    word: str
    rest: str


@dataclass(slots=True, kw_only=True)
class Image:
    """What the last stage left: its files below `root`, its variables, and where it starts."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"

    def at(self, path: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / path.lstrip("/")


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, in order."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines).splitlines()
    return [Instruction(word=word, rest=rest) for word, _, rest in (line.partition(" ") for line in joined) if word]


def context() -> set[str]:
    """What .dockerignore leaves of the repository's top level. It must begin by leaving out everything."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", ".dockerignore must list what is let in"
    return {rule[1:] for rule in rules if rule.startswith("!")}


def replay(text: str, folder: Path) -> Image:
    """Carry out the Dockerfile below `folder`. Raises CalledProcessError with the step's output."""
    image = Image(root=folder / "root")
    stages: dict[str, Path] = {}
    name = ""
    for step in instructions(text):
        match step.word:
            case "FROM":
                if image.root.exists():
                    stages[name] = image.root.rename(folder / f"stage-{len(stages)}")
                name = step.rest.partition(" AS ")[2]
                image = Image(root=image.root)
                image.root.mkdir(parents=True)
            case "WORKDIR":
                image.workdir = step.rest
                image.at(step.rest).mkdir(parents=True, exist_ok=True)
            case "ENV":
                image.env |= dict(part.split("=", 1) for part in shlex.split(step.rest))
            case "COPY":
                _copy(step.rest, image, stages)
            case "RUN":
                _run(step.rest, image)
            case word:
                assert word in PLAIN, f"the replay does not know {word}"
    return image


def _copy(rest: str, image: Image, stages: dict[str, Path]) -> None:
    words = rest.split()
    options = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))
    *sources, target = (word for word in words if not word.startswith("--"))
    to = image.at(target if target.startswith("/") else f"{image.workdir}/{target}")
    for source in sources:
        if "from" in options:
            found = stages[options["from"]] / source.lstrip("/")
        else:
            assert source in context(), f".dockerignore does not let {source} in"
            found = ROOT / source
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__") if "from" not in options else None
            shutil.copytree(found, to, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy2(found, to / found.name if target.endswith("/") else to)


def _run(command: str, image: Image) -> None:
    """One RUN, with our Python in front of PATH in place of the base image's."""
    mapped = re.sub(rf"(?<![\w./])({'|'.join(MAPPED)})\b", rf"{image.root}\1", command)
    done = subprocess.run(
        ["/bin/sh", "-c", mapped],
        cwd=image.at(image.workdir),
        env=environment({"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=STEP_SECONDS_MAX,
    )
    assert done.returncode == 0, f"RUN {mapped}\n{done.stdout}{done.stderr}"


def environment(more: dict[str, str]) -> dict[str, str]:
    """This machine's variables, for pip's own configuration, without those that name Lastgood or another Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LASTGOOD_", "PYTHON", "VIRTUAL_ENV"))}
    return {**kept, **more}
