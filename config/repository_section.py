"""One of `events.repositories`: where a commit that an event names is reverted, by a pull or merge request."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from config.credentials import Secret, Section
from config.sections import Url

API = {"github": "https://api.github.com", "gitlab": "https://gitlab.com/api/v4"}
"""Where each vendor's own service answers."""

PROJECT_CHARS_MAX = 1024
"""Longest path of a project, in characters: GitLab's 255 for each of a few levels of groups."""

BRANCH_CHARS_MAX = 244
"""Longest name of a branch, in characters: GitHub's limit for a reference, 255, without `refs/heads/`."""

_PART = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.][A-Za-z0-9_.-]*"
_PROJECTS = {
    "github": (re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,99}}/{_PART}"), "owner/repository"),
    "gitlab": (re.compile(rf"{_PART}(?:/{_PART})+"), "group/project"),
}
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)))[A-Za-z0-9_][A-Za-z0-9_./-]*(?<![./])")


class Repository(Section):
    """Commits that `sources` name are reverted in `project`, with `token`; `branch` is the target, else the default branch.

    GitHub: fine-grained token with "Contents" and "Pull requests", read and write. GitLab: scope `api`, role Developer.
    """

    kind: Literal["github", "gitlab"]
    project: str = Field(max_length=PROJECT_CHARS_MAX)
    token: Secret
    sources: tuple[str, ...] = Field(min_length=1)
    branch: str | None = Field(default=None, max_length=BRANCH_CHARS_MAX)
    api_url: Url | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        pattern, form = _PROJECTS[self.kind]
        if not pattern.fullmatch(self.project):
            raise ValueError(f"project is none; write {form} as it stands in the address")
        if self.branch is not None and not _BRANCH.fullmatch(self.branch):
            raise ValueError(
                "branch is no name of a branch; write it without refs/heads/, or leave it out for the default"
            )
        return self

    @property
    def vendor_url(self) -> str:
        """Where the code host answers: `api_url`, else the vendor's own."""
        return self.api_url or API[self.kind]
