"""Why a commit with the tree of the parent is the revert: real Git merges it to what `git revert` gives."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

PERSON = {"NAME": "a", "EMAIL": "a@example.com", "DATE": "2026-03-01T12:00:00Z"}


class Git:
    """A repository in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        named = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in PERSON.items()}
        self._env = {**os.environ, **named, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        self("init", "-q", "-b", "main")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            (self.folder / name).write_text(text)
        self("add", "-A")
        self("commit", "-q", "-m", "change")
        return self("rev-parse", "HEAD")

    def tree(self, name: str) -> str:
        return self("rev-parse", f"{name}^{{tree}}")


@pytest.mark.parametrize("is_merge", [False, True])
def test_merging_it_is_reverting(tmp_path: Path, is_merge: bool) -> None:
    """Later changes of other lines and files stay, for a plain commit and for a merge against its first parent."""
    git = Git(tmp_path)
    lines = [f"line {number}\n" for number in range(20)]
    git.commit(web="".join(lines), cart="v1\n")
    if is_merge:
        git("checkout", "-q", "-b", "side")
    lines[2] = "image: web:v2\n"
    bad = git.commit(web="".join(lines), extra="x\n")
    if is_merge:
        git("checkout", "-q", "main")
        git.commit(other="o\n")
        git("merge", "-q", "--no-ff", "--no-edit", "side")
        bad = git("rev-parse", "HEAD")
    lines[17] = "replicas: 5\n"
    head = git.commit(web="".join(lines), cart="v2\n")
    ours = git("commit-tree", git.tree(f"{bad}^1"), "-p", bad, "-m", "ours")
    git("merge", "-q", "--no-edit", ours)
    by_us = git.tree("HEAD")
    git("reset", "-q", "--hard", head)
    git("revert", "--no-edit", *(("-m", "1") if is_merge else ()), bad)
    assert git.tree("HEAD") == by_us
