"""Strangers' text cannot act, and is cut where it does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.plain import cut, exact, one_line, utf8_bytes, utf16_units

FAMILY = "👩‍👩‍👧‍👦"
ANY_TEXT = st.text(st.characters(codec=None), max_size=200)


@given(text=ANY_TEXT, limit=st.integers(0, 100), size=st.sampled_from([len, utf8_bytes, utf16_units]))
def test_one_line_keeps_its_promises(text: str, limit: int, size: object) -> None:
    """For every text: one line, encodable, within the limit by the given size."""
    assert callable(size)
    line = one_line(text, limit, size)
    assert size(line) <= limit
    line.encode()
    assert len(line.splitlines()) <= 1


@given(text=ANY_TEXT)
def test_exact_is_the_text_or_nothing(text: str) -> None:
    """A command is never repaired."""
    assert exact(text, 100) in (text, None)


@pytest.mark.parametrize("text", ["a\nb", "a\x00", "a\u202eb", "\ud83d", "x" * 101])
def test_what_is_not_exact(text: str) -> None:
    """Line breaks, control and direction characters, halves and length make a text impossible to show as it is."""
    assert exact(text, 100) is None


@pytest.mark.parametrize("cluster", [FAMILY, "e\u0301", "👍🏽", "🇩🇪", "❤\ufe0f"])
def test_a_cut_spares_composed_characters(cluster: str) -> None:
    """At whatever place the limit falls, only whole composed characters stand before the ellipsis."""
    text = cluster * 20
    for limit in range(len(cluster) + 1, len(text)):
        kept = cut(text, limit).removesuffix("…")
        assert kept == cluster * (len(kept) // len(cluster))


def test_short_text_is_untouched() -> None:
    """What fits is not marked as cut."""
    assert one_line("shop/checkout → 1.5.0", 100) == "shop/checkout → 1.5.0"
