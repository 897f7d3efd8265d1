"""The line that a pipeline's page shows. It is derived from the action alone, so that it is recognised again."""

from __future__ import annotations

from daemon.core.actions import AnswerPipeline
from handlers.plain import one_line, utf16_units

PREFIX = "Lastgood "
"""Begins every line of ours: by it a webhook that only brings back our own answer can be told from a pipeline's word."""


def description(action: AnswerPipeline, limit: int) -> str:
    """`Lastgood INCIDENT: SUMMARY`, at most `limit` characters as the vendor counts; the incident is never cut off."""
    return one_line(f"{PREFIX}{action.incident}: {action.summary}", limit, utf16_units)
