"""What a pull request that reverts is called, how its branch is called, and how each end of the matter is told.

The branch's name follows from the commit alone: every incident and every cluster that the same commit broke finds the same
pull request. Nothing from outside gets into the title or a commit message, where code hosts look for words that close issues;
in the description it stands as code, in which nobody is mentioned, nothing is closed, and no quick action is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.core.actions import Outcome, OutcomeKind, RevertCommit, RevertOpened
from handlers.plain import one_line

BRANCHES = "lastgood/revert-"
"""How every branch of ours begins. Nothing else is ever written to."""

SHOWN = 12
"""Characters of a hash that people are shown, and that a branch is called by: Git itself shows 7 to 12."""

TITLE_MAX = 200
"""Longest title, in characters: GitLab takes 255, GitHub 256."""

VALUE_MAX = 300
"""Longest value in the description, in characters."""

URL_MAX = 500
"""Longest address that is passed on, in characters."""


class NotRevertedError(Exception):
    """The code host would do it, but it would not be the revert of this commit: the reason, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """One commit to be reverted, with everything that is written about it."""

    commit: str
    branch: str
    title: str
    text: str
    message: str


def revert_of(action: RevertCommit, commit: str) -> Revert:
    """The revert of one of the action's commits."""
    short = commit[:SHOWN]
    lines = [f"- {name}: `{_code(value)}`" for name, value in (("Commit", commit), *action.details)]
    text = "\n".join(
        (
            "Lastgood blames the rollout that this commit brought. A GitOps controller owns the workload and would write over a",
            "rollback in the cluster, so the commit itself has to be taken back.",
            "",
            *lines,
            "",
            "Nothing changes until somebody merges this. Once it is closed, Lastgood does not open it again.",
        )
    )
    return Revert(
        commit=commit,
        branch=f"{BRANCHES}{short}",
        title=one_line(f"Revert {short}: {action.summary}", TITLE_MAX),
        text=text,
        message=f"Revert {short}\n\nThis reverts commit {commit}.\nProposed by Lastgood: {action.incident}",
    )


def _code(value: str) -> str:
    return one_line(value, VALUE_MAX).replace("`", "'")


_TOLD = {
    "opened": "a pull request that reverts the commit is open, merge it to go back",
    "merged": "the pull request that reverts the commit is merged already",
    "closed": "the pull request that reverts the commit was closed without a merge, and is not opened again",
}


def there(state: str, url: object) -> Outcome:
    """The pull request is there, `opened`, `merged` or `closed`; `url` as the vendor gave it."""
    usable = isinstance(url, str) and url.startswith(("https://", "http://")) and len(url) <= URL_MAX
    if not usable:
        return Outcome(kind=OutcomeKind.DONE, message=_TOLD[state])
    return Outcome(kind=OutcomeKind.DONE, result=RevertOpened(url=str(url)), message=f"{_TOLD[state]}: {url}")


def remedies(scope: str) -> Mapping[int, str]:
    """By status what a person must change."""
    return {
        401: f"the token is not valid or has expired: set a new one, {scope}",
        403: f"the token may not do this: {scope}",
        404: f"no such project or branch, or the token does not see it: {scope}",
        422: f"it was not accepted: do the branch's rules let the token create {BRANCHES}…? {scope}",
    }
