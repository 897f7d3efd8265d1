"""What anybody sends to the served surface is answered as the description says, and leaves nothing behind where it is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz.surface import Surface, surface

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

http = pytest.importorskip("tests.fuzz.http")

EXAMPLES = 8
"""Requests per operation and mode: the whole takes some 20 s; `make fuzz` sends more."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    with surface(tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture(scope="module")
def schema() -> Any:
    return http.described()


@pytest.mark.parametrize(
    ("target", "mode"),
    [pytest.param(each, mode, id=f"{each.name}-{mode}") for each in http.targets() for mode in http.modes(each)],
)
def test_every_answer_is_as_described(running: Surface, schema: Any, target: Any, mode: str) -> None:
    """Fitting and unfitting requests: no 5xx but 503, answers as described, nothing journalled of what is refused."""
    counts: Counter[int] = Counter()
    http.attack(running, schema, target, mode, examples=EXAMPLES, seen=lambda status: counts.update([status]))
    assert counts
