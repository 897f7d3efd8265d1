"""Chooses by configuration alone where a commit is reverted: an event says which commit, never which repository.

Each configured repository names the senders whose commits are its own, and holds its own credential. A sender that also says
a project is believed only where it is that repository's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.core.actions import NamedCommit, Outcome, OutcomeKind, RevertCommit
from daemon.core.notices import Vendor
from handlers.outbound.reverts.wording import NotRevertedError, Revert, revert_of
from handlers.plain import one_line


class RevertClient(Protocol):
    """One repository at one vendor with one credential. Raises Transient, Permanent and NotRevertedError only."""

    @property
    def vendor(self) -> Vendor:
        """Whose repository it is."""
        ...

    async def find(self, revert: Revert) -> Outcome | None:
        """The pull request as it stands, open or not; None where there is none yet."""
        ...

    async def open(self, revert: Revert) -> Outcome:
        """Make the branch and open the pull request, going on from wherever an earlier attempt was cut off."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """`client` opens pull requests in `project`, for commits that one of `sources` names."""

    project: str
    sources: frozenset[str]
    client: RevertClient

    def takes(self, named: NamedCommit) -> bool:
        """The commit is one of this repository, as far as its sender says."""
        if named.source not in self.sources:
            return False
        origin = named.origin
        # Both vendors take names of projects in any case.
        return origin is None or (origin.vendor, origin.project.lower()) == (self.client.vendor, self.project.lower())


class CommitReverts:
    """Runner of RevertCommit."""

    def __init__(self, repositories: Sequence[Repository]) -> None:
        self._repositories = tuple(repositories)

    async def run(self, action: RevertCommit) -> Outcome:
        """Open the pull request, or give the one that is there; refuse where the commit cannot be reverted cleanly."""
        chosen = self._chosen(action)
        if isinstance(chosen, Outcome):
            return chosen
        client, revert = chosen
        try:
            return await client.find(revert) or await client.open(revert)
        except NotRevertedError as reason:
            return Outcome(kind=OutcomeKind.REFUSED, message=str(reason))

    async def probe(self, action: RevertCommit) -> Outcome | None:
        """Look whether the pull request is there. A branch without one is no answer: `run` goes on from it."""
        chosen = self._chosen(action)
        return None if isinstance(chosen, Outcome) else await chosen[0].find(chosen[1])

    def _chosen(self, action: RevertCommit) -> tuple[RevertClient, Revert] | Outcome:
        for named in action.commits:
            found = [each for each in self._repositories if each.takes(named)]
            if len(found) == 1:
                return found[0].client, revert_of(action, named.commit)
        said = ", ".join(dict.fromkeys(_said(each) for each in action.commits))
        message = f"no single one of events.repositories takes the commits of {said}"
        return Outcome(kind=OutcomeKind.REFUSED, message=message)


def _said(named: NamedCommit) -> str:
    return one_line(f"{named.source} ({named.origin.project})" if named.origin is not None else named.source, 150)
