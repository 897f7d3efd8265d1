"""The captures of a real Alertmanager are what an Alertmanager sends today, and what the stand-in sends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox.monitoring.capture import capture
from deploy.sandbox.monitoring.start import Kind
from tests import parts

GOLDEN = Path(__file__).parent.parent / "golden" / "alertmanager"
NEWER_KEYS = {"notification_reason", "routeLabels", "mutedBy"}
"""Keys that came after 0.25; a newer Alertmanager may send them."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def scrubbed(value: Any) -> Any:
    """The same value without what differs from run to run: times (not the zero time), ports, ids, newer keys."""
    match value:
        case dict():
            return {key: scrubbed(each) for key, each in value.items() if key not in NEWER_KEYS}
        case list():
            return [scrubbed(each) for each in value]
        case str() if _TIME.fullmatch(value) and not value.startswith("0001-"):
            return "TIME"
        case str() if _ID.fullmatch(value):
            return "ID"
        case str() if value.startswith("http://127.0.0.1:"):
            return re.sub(r":\d+", ":PORT", value, count=1)
        case _:
            return value


@pytest.mark.parametrize(
    "kind",
    [pytest.param("stand-in", marks=pytest.mark.looptime(False)), pytest.param("real", marks=pytest.mark.real)],
)
async def test_bodies_equal_the_captures(kind: Kind, tmp_path: Path) -> None:
    """Alertmanager and stand-in send for the same alerts what the golden files hold, but for times, ports and ids."""
    if kind == "real":
        parts.require("alertmanager")
    bodies = await capture(kind, tmp_path)
    expected = {path.stem: path.read_bytes() for path in GOLDEN.glob("*.json")}
    if kind == "stand-in":
        expected = {name: body for name, body in expected.items() if not name.startswith("resent_")}
    assert sorted(bodies) == sorted(expected)
    for name, body in bodies.items():
        seen, wanted = json.loads(body), json.loads(expected[name])
        assert scrubbed(seen) == scrubbed(wanted), name
        if isinstance(wanted, dict):
            known = [key for key in seen if key not in NEWER_KEYS]
            assert known == list(wanted), f"{name}: order of keys"


def test_captures_show_what_they_claim() -> None:
    """The captures hold what a receiver must survive: truncation, a quoted receiver, a re-send that is not equal."""

    def read(name: str) -> Any:
        return json.loads((GOLDEN / f"{name}.json").read_text())

    assert {name: read(name)["status"] for name in ("firing", "resolved", "grouped", "one_of_group_resolved")} == {
        "firing": "firing",
        "resolved": "resolved",
        "grouped": "firing",
        "one_of_group_resolved": "firing",
    }
    assert [each["status"] for each in read("one_of_group_resolved")["alerts"]] == ["resolved", "firing", "firing"]
    assert (len(read("truncated")["alerts"]), read("truncated")["truncatedAlerts"]) == (2, 2)
    assert read("receiver_quoted")["receiver"] == r"team\.prod/last\+good"
    first, again = read("resent_first"), read("resent_after_restart")
    assert first != again
    assert first["groupKey"] == again["groupKey"]
    identity = ("fingerprint", "startsAt", "status")
    assert [first["alerts"][0][key] for key in identity] == [again["alerts"][0][key] for key in identity]
    states = {each["labels"]["app"] + each["labels"]["severity"]: each["status"] for each in read("api_alerts")}
    assert states["webcritical"]["state"] == "active"
    assert states["cartcritical"]["silencedBy"]
    assert states["webwarning"]["inhibitedBy"]
