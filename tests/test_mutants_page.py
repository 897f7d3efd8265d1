"""The page about planted bugs is about those that there are, and each still fits the code."""

from __future__ import annotations

import re

import pytest

from tests import repository
from tests.mutants.mutant import Mutant
from tests.mutants.page import PAGE
from tests.mutants.planted import MUTANTS

MUTANTS_MIN = 20


def test_the_page_lists_all_of_them() -> None:
    """Every planted bug has a line, in order, and each line names a test that is there."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \|.*\| `(tests/[^:`]+)::[^`]+` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [name for name, _ in rows] == [mutant.name for mutant in MUTANTS]
    assert len(rows) >= MUTANTS_MIN
    assert all((repository.ROOT / file).is_file() for _, file in rows)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_fits_the_code(mutant: Mutant) -> None:
    """The text that the bug takes away is in the file exactly once, and so is each name."""
    assert (repository.ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert [each.name for each in MUTANTS].count(mutant.name) == 1
