"""The line that a pipeline's page shows. It is derived from the action alone, so that it is recognised again."""

from __future__ import annotations

from daemon.core.actions import AnswerPipeline
from daemon.core.notices import OWN_WORDS
from handlers.plain import one_line, utf16_units


def description(action: AnswerPipeline, limit: int) -> str:
    """The summary, at most `limit` characters as the vendor counts; it begins with OWN_WORDS and names the incident.

    Where the summary lacks one of the two they are put before it, so that they are never what is cut off.
    """
    line = one_line(action.summary, limit, utf16_units)
    if line.startswith(OWN_WORDS) and action.incident in line:
        return line
    return one_line(f"{OWN_WORDS} ({action.incident}): {action.summary}", limit, utf16_units)
