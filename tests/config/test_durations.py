"""Durations are read as Prometheus reads them, and nothing else is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import durations

WHOLE_MS = st.integers(min_value=0, max_value=durations.LONGEST // timedelta(milliseconds=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
        ("30s", timedelta(seconds=30)),
        ("1h30m", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("1d", timedelta(days=1)),
        ("1w", timedelta(days=7)),
        ("1y", timedelta(days=365)),
        ("1y2w3d4h5m6s7ms", timedelta(days=365 + 17, hours=4, minutes=5, seconds=6, milliseconds=7)),
        ("90m", timedelta(minutes=90)),
    ],
)
def test_prometheus_spellings(text: str, expected: timedelta) -> None:
    """Every unit is understood, and units above 59 or 23 of the next one are fine."""
    assert durations.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "is no duration", id="empty"),
        pytest.param("30", "has no unit", id="no-unit"),
        pytest.param("-5m", "is negative", id="negative"),
        pytest.param("1.5h", "is no duration", id="fraction"),
        pytest.param("30m1h", "is no duration", id="wrong-order"),
        pytest.param("1m1m", "is no duration", id="unit-twice"),
        pytest.param("5 m", "is no duration", id="blank"),
        pytest.param("5m\n", "is no duration", id="line-break"),
        pytest.param("PT5M", "is no duration", id="iso"),
        pytest.param("5M", "is no duration", id="capital"),
        pytest.param("٣s", "is no duration", id="other-digits"),
        pytest.param("101y", "longer than 100y", id="too-long"),
        pytest.param("9" * 50 + "y", "longer than 100y", id="absurd"),
        pytest.param("9" * 5000 + "s", "is no duration", id="beyond-int"),
    ],
)
def test_refused(text: str, complaint: str) -> None:
    """What is no Prometheus duration is refused with a remedy and without echoing the text."""
    with pytest.raises(ValueError, match=complaint) as caught:
        durations.parse(text)
    assert ";" in str(caught.value)
    assert not text or text == "30" or text not in str(caught.value)


@pytest.mark.parametrize("value", [30, 0.5, True, None, [], -1])
def test_only_text_and_zero(value: object) -> None:
    """YAML numbers, booleans and lists are no durations: nobody knows the unit."""
    with pytest.raises(ValueError, match=";"):
        durations.read(value)


def test_zero_needs_no_unit() -> None:
    """A bare 0 is the one number without a unit."""
    assert durations.read(0) == timedelta(0)


@given(WHOLE_MS)
def test_round_trip(total_ms: int) -> None:
    """What `render` writes, `parse` reads back exactly."""
    value = timedelta(milliseconds=total_ms)
    assert durations.parse(durations.render(value)) == value


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser raise anything but ValueError, and what it accepts is never negative."""
    try:
        value = durations.parse(text)
    except ValueError:
        return
    assert value >= timedelta(0)
