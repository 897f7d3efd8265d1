"""A flood at ten times what can be taken: what is shed, what decisions, probes and commands wait, and what memory does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import Results, program

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

TIMES = 10
SECONDS, CONNECTIONS = 10.0, 512
SATURATING = {"same": 20_000, "new": 2_000}
CALIBRATE_SECONDS, CALIBRATE_CONNECTIONS = 4.0, 48

PROBE_SECONDS = 5.0
COMMAND_SECONDS = 10.0
PROBES_IN_A_ROW_MAX, UNANSWERED_MAX = 2, 0.05
GROWTH_MIB_MAX = 200
"""The inbox (4 MiB of text, four times that in memory), the bodies that are being read (64 MiB), 256 connections of 128 KiB, and
what the state keeps of the alerts that were let in."""


def sustainable(folder: Path, kind: str) -> float:
    """Webhooks a second that are accepted, however many are sent."""
    folder.mkdir()
    found = program("overload", folder, kind, SATURATING[kind], CALIBRATE_SECONDS, CALIBRATE_CONNECTIONS, timeout=200)
    return float(found["flood"]["answers"]["200"]) / CALIBRATE_SECONDS


def flooded(folder: Path, kind: str) -> tuple[float, dict[str, Any]]:
    """The sustainable rate, and what ten times it does."""
    rate = sustainable(folder / "calibrate", kind)
    (folder / "flood").mkdir()
    found = program("overload", folder / "flood", kind, TIMES * rate, SECONDS, CONNECTIONS, timeout=300)
    return rate, found


def rows(kind: str, found: dict[str, Any]) -> list[str]:
    """The rows of the table."""
    return [
        f"| {kind} | {name} | {ms(phase['rolled_back']['p50'])} / {ms(phase['rolled_back']['max'])} "
        f"| {ms(phase['paged']['max'])} | {ms(phase['health']['p99'])} "
        f"| {ms(phase['commands']['p50'])} / {ms(phase['commands']['max'])} | {phase['memory_mib']} MiB |"
        for name, phase in found["phases"].items()
    ]


def ms(seconds: float | None) -> str:
    """Milliseconds for people."""
    return "–" if seconds is None else f"{seconds * 1e3:,.0f} ms"


def told(kind: str, rate: float, found: dict[str, Any]) -> str:
    """One line: what was sent and what became of it."""
    flood, idle, during = found["flood"], found["phases"]["idle"], found["phases"]["flood"]
    answers = flood["answers"]
    ratio = during["rolled_back"]["p50"] / idle["rolled_back"]["p50"]
    return (
        f"- *{kind}*: {rate:,.0f}/s can be taken, {TIMES * rate:,.0f}/s were offered: {answers.get('200', 0):,} taken, "
        f"{answers.get('503', 0):,} told 503, {answers.get('cut', 0):,} cut, {flood['late']:,} found no free connection. "
        f"Rollback p50 **{ratio:.1f}** times as long after its alert as idle. {found['probes_failed']} of {found['probes']} "
        f"probes failed, {found['probes_failed_in_a_row']} in a row. The daemon had {found['share_of_core']:.0%} of a core."
    )


def test_flood(tmp_path: Path, results: Results) -> None:
    """At ten times the rate: shed with 503, nothing accepted is lost, decided and paged meanwhile, alive, bounded, and over."""
    runs: dict[str, tuple[float, dict[str, Any]]] = {}
    for kind in SATURATING:
        (tmp_path / kind).mkdir()
        runs[kind] = flooded(tmp_path / kind, kind)
    results.add(
        "11. A flood",
        [
            f"{TIMES} times the webhooks that can be taken, over at most {CONNECTIONS} connections, for {SECONDS:.0f} s",
            "from another process: *same*, one group of ten alerts again and again; *new*, ten new alerts each time. Every",
            "second a bad rollout begins and its alert is sent until it is accepted; kubelet's probes and a person's command",
            "come on connections of their own. Locating and measuring is answered by stand-ins after 20 ms. Rollback and page",
            "count from the first time that the alert is sent, refusals and pauses before it is sent again included.",
            "",
            *(told(kind, *run) for kind, run in runs.items()),
            "- Every 200 is in the journal. A probe has 5 s; kubelet restarts after six failures in a row.",
            "",
            "| flood | | rollback p50 / max | page max | probe p99 | command p50 / max | memory |",
            "|---|---|---|---|---|---|---|",
            *(row for kind, (_, found) in runs.items() for row in rows(kind, found)),
        ],
    )
    for _, found in runs.values():
        check(found)


def check(found: dict[str, Any]) -> None:
    """What must hold."""
    flood, phases = found["flood"], found["phases"]
    assert flood["answers"].get("503", 0) == flood["retry_after"] > 0
    accepted = flood["answers"]["200"] + found["alerts_accepted"] + found["commands_accepted"]
    assert found["journalled"] >= accepted
    assert found["probes_failed_in_a_row"] <= PROBES_IN_A_ROW_MAX
    assert found["unanswered_count"] <= found["probes"] * UNANSWERED_MAX, found["unanswered"]
    for phase in phases.values():
        assert phase["incidents"] > 0
        assert phase["rolled_back"]["missing"] == phase["paged"]["missing"] == phase["accepted"]["missing"] == 0
        assert phase["health"]["max"] < PROBE_SECONDS
        assert phase["commands"]["max"] < COMMAND_SECONDS
    assert phases["after"]["memory_mib"] - phases["idle"]["memory_mib"] < GROWTH_MIB_MAX
