"""The tables of `make bench-blame`: all methods side by side, Lastgood by recipe and confounder, the bar, and what went wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.backtest.confidence import Quantile, Share
from handlers.backtest.score import Replayed, Rollback, Summary, rollbacks, strongest, summary, true_rollbacks
from handlers.backtest.verdicts import Told
from tests.bench.blame_run import LASTGOOD, Played

SEEDS_SHOWN = 12
"""Seeds named per row of the misses, to try one again."""

TOLD_MAX = 12
"""Verdicts of one wrong case that are shown: the first and the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A line of the bar: what was measured and between which bounds, what is asked for, and whether it is met (None: unknown)."""

    name: str
    measured: str
    asked: str
    met: bool | None


def scores(played: Sequence[Played]) -> dict[str, Summary]:
    """The score of each method over the cases."""
    names = list(played[0].methods) if played else []
    return {name: summary([each.methods[name] for each in played]) for name in names}


def methods_table(found: Mapping[str, Summary]) -> str:
    """One row a method, with 95 % intervals."""
    head = ["method", "precision", "recall", "F1", "false / 1000", "acted, culprit hidden", "placebo / 1000", "top-1",
            "samples p50 / p90"]  # fmt: skip
    rows = [
        [
            name, ratio(each.precision), ratio(each.recall), ratio(each.f1), per_1000(each.false_rollbacks),
            per_cent(each.hidden_acted), per_1000(each.placebo), ratio(each.top_1), samples(each.delay_samples),
        ]
        for name, each in found.items()
    ]  # fmt: skip
    return table(head, rows)


def recipes_table(played: Sequence[Played]) -> str:
    """Lastgood by recipe: what its own signals show is to be rolled back, what they do not is to be proposed."""
    groups = grouped(played, lambda each: [each.recipe or each.kind])
    return _lastgood_table("recipe", groups)


def confounders_table(played: Sequence[Played]) -> str:
    """Lastgood by confounder; a case with two of them is in both rows."""
    return _lastgood_table("confounder", grouped(played, lambda each: each.confounders or ("none",)))


def kinds_table(played: Sequence[Played]) -> str:
    """Lastgood by what the recording is of."""
    return _lastgood_table("kind", grouped(played, lambda each: [each.kind]))


def misses_table(played: Sequence[Played]) -> str:
    """Why Lastgood did not roll back what the new revision's own signals show: what held the last verdict on the culprit."""
    why: dict[str, list[Played]] = defaultdict(list)
    for case in played:
        each = case.methods[LASTGOOD]
        if each.shows_itself and not true_rollbacks(each, rollbacks(each)):
            why[_held(case, each.told)].append(case)
    rows = [
        [reason, str(len(cases)), ", ".join(str(case.seed) for case in cases[:SEEDS_SHOWN])]
        for reason, cases in sorted(why.items(), key=lambda pair: -len(pair[1]))
    ]
    return table(["missed, last said of the culprit", "cases", "seeds"], rows)


def false_table(played: Sequence[Played]) -> str:
    """What misled Lastgood into its false rollbacks: the verdict's reason and its heaviest term, and in which recordings."""
    why: dict[tuple[str, str, str], list[Played]] = defaultdict(list)
    for case in played:
        each = case.methods[LASTGOOD]
        found = rollbacks(each)
        true = true_rollbacks(each, found)
        for one in found:
            if one not in true:
                why[_misled(each.told, one), case.kind, case.recipe].append(case)
    rows = [
        [reason, kind, recipe, str(len(cases)), ", ".join(str(case.seed) for case in cases[:SEEDS_SHOWN])]
        for (reason, kind, recipe), cases in sorted(why.items(), key=lambda pair: -len(pair[1]))
    ]
    return table(["false rollbacks: reason, heaviest term", "kind", "recipe", "times", "seeds"], rows)


def _misled(told: Sequence[Told], rollback: Rollback) -> str:
    said = next(one for one in told if one.at == rollback.at and one.workload == rollback.workload)
    heaviest = max(said.evidence, key=lambda term: term.weight, default=None)
    return said.reason.name + (f", {heaviest.name}" if heaviest else "")


def _held(case: Played, told: Sequence[Told]) -> str:
    of_culprit = [one for one in told if one.workload == case.culprit and one.verdict.value != "dismiss"]
    if not of_culprit:
        return "named others" if any(one.workload for one in told) else "named nobody" if told else "said nothing"
    last = of_culprit[-1]
    held = ", ".join(refusal.reason.name for refusal in last.would_refuse)
    return f"{last.verdict.value} {last.reason.name}" + (f", refused: {held}" if held else "")


def _lastgood_table(what: str, groups: Mapping[str, Sequence[Played]]) -> str:
    head = [what, "cases", "rolled back", "of these shown", "false", "false / 1000", "proposed (semantic)", "top-1",
            "samples p50 / p90"]  # fmt: skip
    rows = []
    for name, each in sorted(groups.items()):
        found = summary([one.methods[LASTGOOD] for one in each])
        rows.append([
            name, str(len(each)), counted(found.recall), counted(found.recall_shown), str(found.false_rollbacks.hits),
            per_1000(found.false_rollbacks), counted(found.semantic_found), counted(found.top_1),
            samples(found.delay_samples),
        ])  # fmt: skip
    return table(head, rows)


def demands(found: Mapping[str, Summary]) -> list[Demand]:
    """Issue 5's bar, line by line."""
    ours = found[LASTGOOD]
    middle, p90 = ours.delay_samples
    return [
        _at_least("precision", ours.precision, 0.97),
        _at_least("recall over faults that the new revision's own signals show", ours.recall_shown, 0.90),
        _at_most("false rollbacks per 1000 healthy rollouts", ours.false_rollbacks, 5, scale=1000),
        _at_most("acted although the culprit was hidden, %", ours.hidden_acted, 3, scale=100),
        _at_most("false rollbacks per 1000 placebo rollouts", ours.placebo, 1, scale=1000),
        _quantile("samples to decide, median", middle, 4),
        _quantile("samples to decide, p90", p90, 8),
        _ahead(found),
        _at_least(
            "semantic faults that an alert tells of: the last proposal names the culprit", ours.semantic_found, 0.80
        ),
    ]


def demands_table(asked: Sequence[Demand]) -> str:
    """The bar as a table."""
    said = {True: "met", False: "NOT MET", None: "not measured"}
    return table(["demand", "measured", "asked", ""], [[d.name, d.measured, d.asked, said[d.met]] for d in asked])


def wrong(played: Sequence[Played]) -> Iterator[str]:
    """Each case that Lastgood got wrong: what it is, what is wrong with it, and what was said with which evidence."""
    for case in played:
        faults = list(_faults(case.methods[LASTGOOD]))
        if faults:
            with_what = ", ".join(case.confounders) or "no confounder"
            yield f"\n{case.name}  seed {case.seed}  {case.recipe} ({case.kind}), {with_what}"
            when = (
                ""
                if case.fault_at is None
                else f", fault at {case.fault_at:%H:%M:%S}, then {case.overlap} samples of both"
            )
            yield f"  culprit {case.culprit}{when}: {'; '.join(faults)}"
            yield from _said(case)


def _faults(each: Replayed) -> Iterator[str]:
    found = rollbacks(each)
    true = true_rollbacks(each, found)
    if false := [one for one in found if one not in true]:
        yield "FALSE rollback of " + ", ".join(one.workload for one in false)
    if each.shows_itself and len(true) < len(each.seen):
        yield "MISSED"
    if each.shows_itself is False and each.seen and not true:
        best = strongest([one for one in each.told if one.verdict in {"roll_back", "propose"}])
        if best is None or best.workload not in {culprit.workload for culprit in each.seen}:
            yield "NOT PROPOSED"


def _said(case: Played) -> Iterator[str]:
    each = case.methods[LASTGOOD]
    for begun in each.rollouts:
        yield f"    {_moment(case, begun.started_at)} rollout of {begun.workload}"
    told = each.told
    if len(told) > TOLD_MAX:
        yield f"    ({len(told)} verdicts, of which the first and last {TOLD_MAX // 2})"
        told = (*told[: TOLD_MAX // 2], *told[-TOLD_MAX // 2 :])
    for one in told:
        yield f"    {_moment(case, one.at)} {_verdict(one)}"
        for term in one.evidence:
            yield f"        {term.weight:+.2f} {term.name}: {term.sentence}"
        if one.would_refuse:
            yield "        would refuse: " + ", ".join(refusal.reason.name for refusal in one.would_refuse)


def _verdict(told: Told) -> str:
    score = "" if told.score is None else f", score {told.score:.2f}"
    margin = "" if told.margin is None else f", margin {told.margin:.2f}"
    return f"{told.verdict.value} {told.workload or '-'} ({told.reason.name}{score}{margin})"


def _moment(case: Played, at: datetime) -> str:
    since = "" if case.fault_at is None else f" {(at - case.fault_at).total_seconds() / 60:+6.1f} min"
    return f"{at:%H:%M:%S}{since}"


def _at_least(name: str, found: Share, asked: float) -> Demand:
    met = None if found.value is None else found.value >= asked
    return Demand(name=name, measured=ratio(found), asked=f">= {asked:.2f}", met=met)


def _at_most(name: str, found: Share, asked: float, *, scale: float) -> Demand:
    met = None if found.value is None else found.value * scale <= asked
    return Demand(name=name, measured=_scaled(found, scale), asked=f"<= {asked:g}", met=met)


def _quantile(name: str, found: Quantile, asked: float) -> Demand:
    met = None if found.value is None else found.value <= asked
    return Demand(name=name, measured=_bounds(found.value, found.low, found.high, 1), asked=f"<= {asked:g}", met=met)


def _ahead(found: Mapping[str, Summary]) -> Demand:
    """Ahead with its interval: Lastgood's lower bound is above every other method's upper one."""
    others = {name: each.f1 for name, each in found.items() if name != LASTGOOD}
    best = max(others, key=lambda name: others[name].high or 0.0, default=None)
    ours = found[LASTGOOD].f1
    if best is None or ours.low is None:
        return Demand(name="F1 ahead of every baseline", measured=ratio(ours), asked="a baseline", met=None)
    high = others[best].high or 0.0
    return Demand(
        name="F1 ahead of every baseline, interval and all",
        measured=ratio(ours),
        asked=f"low > {high:.3f} ({best})",
        met=ours.low > high,
    )


def grouped(played: Iterable[Played], keys: Callable[[Played], Sequence[str]]) -> dict[str, list[Played]]:
    """The cases by each of their keys."""
    groups: dict[str, list[Played]] = defaultdict(list)
    for each in played:
        for key in keys(each):
            groups[key].append(each)
    return groups


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal, too."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, *rows]
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def ratio(found: Share) -> str:
    """`.973 [.951, .985]`."""
    return _bounds(found.value, found.low, found.high, 3)


def per_cent(found: Share) -> str:
    """In per cent."""
    return _scaled(found, 100)


def per_1000(found: Share) -> str:
    """Per 1000."""
    return _scaled(found, 1000)


def counted(found: Share) -> str:
    """`12 of 13`, or nothing."""
    return f"{found.hits} of {found.of}" if found.of else ""


def samples(found: tuple[Quantile, Quantile]) -> str:
    """Median and p90 of the delays."""
    middle, p90 = found
    return "" if middle.value is None or p90.value is None else f"{middle.value:.1f} / {p90.value:.1f}"


def _scaled(found: Share, scale: float) -> str:
    value, low, high = found.scaled(scale)
    return _bounds(value, low, high, 1)


def _bounds(value: float | None, low: float | None, high: float | None, digits: int) -> str:
    if value is None or low is None or high is None:
        return ""
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
