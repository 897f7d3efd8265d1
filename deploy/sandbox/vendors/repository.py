"""A Git repository as the code hosts' stand-ins serve it: commits with whole trees, branches, and Git's three-way merge.

The merge goes file by file (Git goes line by line): a file that both sides changed in different ways is a conflict. `writes` has
every branch that was made, moved or removed through the API, for tests that hold which ones those may be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

Tree = Mapping[str, str]
"""File by path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """One commit; `parents` by hash, the first one first."""

    sha: str
    tree: Tree
    parents: tuple[str, ...]
    message: str


@dataclass(kw_only=True, slots=True)
class Repository:
    """`branches` are hashes by name; `default` is the branch that clones get."""

    project: str
    default: str = "main"
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def commit(self, message: str, files: Mapping[str, str | None], branch: str = "main") -> str:
        """A commit that somebody pushes upon the branch, changing these files (None removes one). Its hash."""
        tip = self.branches.get(branch)
        tree = {**(self.commits[tip].tree if tip else {}), **files}
        made = self.add({path: text for path, text in tree.items() if text is not None}, (tip,) if tip else (), message)
        self.branches[branch] = made.sha
        return made.sha

    def add(self, tree: Tree, parents: tuple[str, ...], message: str) -> Commit:
        """A commit that no branch has yet."""
        kept = [sha_of(tree), *parents, message, str(len(self.commits))]
        sha = hashlib.sha1("\n".join(kept).encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = Commit(sha=sha, tree=dict(tree), parents=parents, message=message)
        return self.commits[sha]

    def tree(self, sha: str) -> Tree | None:
        """The tree with this hash, if a commit has it."""
        return next((each.tree for each in self.commits.values() if sha_of(each.tree) == sha), None)

    def move(self, branch: str, sha: str | None) -> None:
        """Through the API: make a branch, move it, or (None) remove it."""
        self.writes.append(branch)
        if sha is None:
            del self.branches[branch]
        else:
            self.branches[branch] = sha

    def history(self, sha: str) -> list[str]:
        """The commit and everything before it, nearest first."""
        found, todo = [sha], [sha]
        while todo:
            fresh = [parent for parent in self.commits[todo.pop(0)].parents if parent not in found]
            found += fresh
            todo += fresh
        return found

    def merge_base(self, one: str, other: str) -> str | None:
        """The nearest commit that both have."""
        known = set(self.history(other))
        return next((sha for sha in self.history(one) if sha in known), None)


def sha_of(tree: Tree) -> str:
    """The hash of a tree."""
    return hashlib.sha1(json.dumps(sorted(tree.items())).encode(), usedforsecurity=False).hexdigest()


def merged(base: Tree, ours: Tree, theirs: Tree) -> Tree | None:
    """Git's three-way merge, file by file; None for a conflict."""
    found: dict[str, str] = {}
    for path in sorted({*base, *ours, *theirs}):
        was, own, their = base.get(path), ours.get(path), theirs.get(path)
        if own not in (was, their) and their != was:
            return None
        result = their if own == was else own
        if result is not None:
            found[path] = result
    return found
