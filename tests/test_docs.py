"""The documents tell what the code does: what is drawn from it is compared with it."""

from __future__ import annotations

import re

from daemon.core.incidents import PHASES, Phase
from tests.repository import ROOT

EDGE = re.compile(r"^ {4}(\w+) --> (\w+): (\w+)$", re.MULTILINE)


def diagram() -> str:
    """The phase table as a Mermaid state diagram; put it into deploy/docs/phases.md when the table changes."""
    edges = [f"    {phase} --> {after}: {trigger}" for (phase, trigger), after in PHASES.items()]
    ends = [f"    {phase} --> [*]" for phase in Phase if phase.ended]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {Phase.OPEN}", *edges, *ends])


def test_the_drawn_phases_are_those_of_the_table() -> None:
    """deploy/docs/phases.md draws exactly the moves that the phase table allows."""
    drawn = (ROOT / "deploy/docs/phases.md").read_text()
    assert diagram() in drawn, f"deploy/docs/phases.md is out of date; it must hold:\n{diagram()}"
    found = {(before, trigger): after for before, after, trigger in EDGE.findall(drawn)}
    assert found == {(str(a), str(b)): str(c) for (a, b), c in PHASES.items()}
