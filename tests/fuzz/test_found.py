"""What the fuzzers found stays found."""

from __future__ import annotations

import time

import pytest

from tests.fuzz.found import FOUND
from tests.fuzz.targets import judge, named

pytestmark = [pytest.mark.looptime(False), pytest.mark.timeout(60)]

SECONDS_MAX = 5.0
"""Of the processor, for one input."""


@pytest.mark.parametrize(("name", "what", "data"), FOUND, ids=[f"{name}-{what}" for name, what, _ in FOUND])
def test_it_stays_found(name: str, what: str, data: bytes) -> None:
    """A value or a documented refusal, and soon."""
    parser, begun = named(name), time.process_time()
    judge(parser, data)
    assert time.process_time() - begun < SECONDS_MAX
