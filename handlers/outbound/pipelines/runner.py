"""Chooses by the sender's name in the configuration who answers: it holds the credential of just that sender.

So a sender that names somebody else's project reaches nothing that its own token could not reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from daemon.core.actions import AnswerPipeline, Outcome, OutcomeKind
from daemon.core.notices import Vendor


class PipelineClient(Protocol):
    """Answers at one vendor with one credential. Raises Transient and Permanent only."""

    @property
    def vendor(self) -> Vendor:
        """Whose deployments it can answer."""
        ...

    async def answer(self, action: AnswerPipeline) -> Outcome:
        """Mark the deployment as failed and name the incident there."""
        ...

    async def find(self, action: AnswerPipeline) -> Outcome | None:
        """The answer as it stands at the vendor; None where there is none yet."""
        ...


class PipelineAnswers:
    """Runner of AnswerPipeline. `clients` are by source name; a source without `api_token` has none."""

    def __init__(self, clients: Mapping[str, PipelineClient]) -> None:
        self._clients = dict(clients)

    async def run(self, action: AnswerPipeline) -> Outcome:
        """Answer, or refuse where that source is not set up for it."""
        chosen = self._chosen(action)
        return chosen if isinstance(chosen, Outcome) else await chosen.answer(action)

    async def probe(self, action: AnswerPipeline) -> Outcome | None:
        """Look at the vendor whether the answer is there."""
        chosen = self._chosen(action)
        return None if isinstance(chosen, Outcome) else await chosen.find(action)

    def _chosen(self, action: AnswerPipeline) -> PipelineClient | Outcome:
        client = self._clients.get(action.source)
        if client is None:
            message = f"source {action.source}: api_token is not configured, so the pipeline does not hear of it"
            return Outcome(kind=OutcomeKind.REFUSED, message=message)
        if client.vendor is not action.origin.vendor:
            message = f"source {action.source} is configured for {client.vendor}, not for {action.origin.vendor}"
            return Outcome(kind=OutcomeKind.REFUSED, message=message)
        return client
