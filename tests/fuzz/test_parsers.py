"""Every parser of outside input: a value, or a refusal of its own that people can read; whatever comes, within bounded time."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import HealthCheck, given

from tests.fuzz import inputs
from tests.fuzz.targets import Parser, judge, parsers

pytestmark = pytest.mark.looptime(False)

EXAMPLES = 20
"""Per parser: the whole table takes some 20 s of one core. `make fuzz` goes on for as long as it is told to."""


@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_a_value_or_its_own_refusal(parser: Parser) -> None:
    """Nothing but the documented errors comes out, each with a line for people."""

    @hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(data=inputs.of(parser))
    def read(data: bytes) -> None:
        judge(parser, data)

    read()


@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_its_seeds_are_read(parser: Parser) -> None:
    """What the search begins with gets through the parser, so that it begins deep inside."""
    for seed in parser.seeds:
        judge(parser, seed)
