"""The page of a backtest: one file that opens without a network, with one plot per verdict.

No scripts, no fonts, no images: nothing in it can load or run anything, and its policy (the first line of its head) tells the
browser so, whatever a workload or an alert is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from daemon.core.incidents import Term, VerdictKind
from handlers.backtest.lines import Lines, Picture
from handlers.backtest.plots import plot, text
from handlers.backtest.recording import Recording
from handlers.backtest.verdicts import Told, stamp
from handlers.evidence import loudest_first

VERDICTS_MAX = 400
"""Plots on one page, some 20 kB each: a browser opens 8 MB at once. What would act comes before what only held."""

OTHERS_MAX = 3
"""Candidates behind the leading one whose evidence is shown: it is from them that the lead is taken."""

LONG = 600
"""Characters of a sentence."""

_ORDER = (VerdictKind.ROLL_BACK, VerdictKind.PROPOSE, VerdictKind.ESCALATE, VerdictKind.HOLD, VerdictKind.DISMISS)

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--ink:#1c2024;--soft:#5f6b76;--rule:#dfe3e8;--new:#c2410c;--old:#1d4ed8;--whole:#475569;
--alert:#dc2626;--good:#15803d;--verdict:#7c3aed}
@media(prefers-color-scheme:dark){:root{--back:#14171a;--ink:#e6e8ea;--soft:#9aa5b1;--rule:#2c3238;--new:#fb923c;--old:#60a5fa;
--whole:#94a3b8;--alert:#f87171;--good:#4ade80;--verdict:#c4b5fd}}
*{box-sizing:border-box}body{margin:0 auto;max-width:62rem;padding:1.5rem;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:3rem;border-top:1px solid var(--rule);padding-top:1rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;margin:.75rem 0}th,td{text-align:left;padding:.25rem .6rem .25rem 0;
border-bottom:1px solid var(--rule);vertical-align:top}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
a{color:inherit}.soft{color:var(--soft)}.kind{font-weight:600}.roll_back{color:var(--new)}.propose{color:var(--verdict)}
.escalate{color:var(--alert)}.dismiss{color:var(--good)}svg{width:100%;height:auto;display:block;margin:.75rem 0}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .axis{fill:var(--soft);font-size:11px}svg .signal{font-weight:600}
svg .none{text-anchor:middle;fill:var(--soft)}svg .grid{stroke:var(--rule)}svg polyline{fill:none;stroke-width:1.8}
svg .new{stroke:var(--new)}svg .old{stroke:var(--old);stroke-dasharray:5 3}svg .whole{stroke:var(--whole);stroke-dasharray:1 3}
svg .dot.new{fill:var(--new)}svg .dot.old{fill:var(--old)}svg .dot.whole{fill:var(--whole)}
svg .alert{fill:var(--alert);opacity:.12}svg line.rollout{stroke:var(--ink)}
svg line.onset{stroke:var(--alert);stroke-dasharray:2 3}
svg line.verdict{stroke:var(--verdict);stroke-width:2.5}svg text.onset{fill:var(--alert)}svg text.verdict{fill:var(--verdict)}
.key span{display:inline-block;margin-right:1.2rem}.key i{display:inline-block;width:1.6rem;border-top:3px solid;
margin-right:.4rem;vertical-align:middle}.key .new{border-color:var(--new)}
.key .old{border-color:var(--old);border-top-style:dashed}
.key .whole{border-color:var(--whole);border-top-style:dotted}
.key .alert{border-color:var(--alert);border-top-width:8px;opacity:.35}
"""

_KEY = (
    '<p class="key"><span><i class="new"></i>new revision</span><span><i class="old"></i>old revision</span>'
    '<span><i class="whole"></i>whole workload</span><span><i class="alert"></i>alert fires</span></p>'
)


def page(runs: Sequence[tuple[Recording, Sequence[Told]]]) -> str:
    """The page of these recordings, each with the verdicts that its replay told."""
    verdicts = [(told, recording) for recording, all_told in runs for told in all_told]
    kept = _kept(verdicts)
    lines = {id(recording): Lines(recording) for recording, _ in runs}
    rows = list(enumerate(kept, start=1))
    sections = (_section(number, told, lines[id(recording)].picture(told)) for number, (told, recording) in rows)
    return "".join(
        [
            '<!doctype html><html lang="en"><head>',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Lastgood backtest</title>',
            f"<style>{_STYLE}</style></head><body><h1>What Lastgood would have done</h1>",
            *_summary(runs, verdicts, left_out=len(verdicts) - len(kept)),
            *_index(rows),
            *sections,
            "</body></html>\n",
        ]
    )


def _kept(verdicts: Sequence[tuple[Told, Recording]]) -> Sequence[tuple[Told, Recording]]:
    """At most VERDICTS_MAX, in time order within their recording; the weakest are left out."""
    if len(verdicts) <= VERDICTS_MAX:
        return verdicts
    ranked = sorted(range(len(verdicts)), key=lambda place: (_ORDER.index(verdicts[place][0].verdict), place))
    return [verdicts[place] for place in sorted(ranked[:VERDICTS_MAX])]


def _summary(
    runs: Sequence[tuple[Recording, Sequence[Told]]], verdicts: Sequence[tuple[Told, Recording]], *, left_out: int
) -> Iterator[str]:
    counts = Counter(told.verdict for told, _ in verdicts)
    said = ", ".join(f"{counts[kind]} {_words(kind)}" for kind in _ORDER if counts[kind])
    yield f"<p>{len(verdicts)} verdicts{': ' + said if said else ''}.</p>"
    for recording, _ in runs:
        if recording.evidence:
            first, last = recording.evidence[0].at, recording.evidence[-1].at
            yield f'<p class="soft">{text(recording.name, 200)}: {stamp(first)} to {stamp(last)}</p>'
    if left_out:
        yield f'<p class="soft">The {left_out} weakest verdicts have no plot here: at most {VERDICTS_MAX} have.</p>'


def _index(rows: Sequence[tuple[int, tuple[Told, Recording]]]) -> Iterator[str]:
    yield (
        '<table><thead><tr><th scope="col">when</th><th scope="col">verdict</th><th scope="col">workload</th>'
        '<th scope="col">reason</th><th scope="col">score</th></tr></thead><tbody>'
    )
    for number, (told, _) in rows:
        yield (
            f'<tr><td class="n"><a href="#v{number}">{_moment(told.at)}</a></td>{_kind_cell(told)}'
            f"<td>{text(told.workload or '-', 300)}</td><td>{text(told.reason.name)}</td>"
            f'<td class="n">{_number(told.score)}</td></tr>'
        )
    yield f"</tbody></table>{_KEY}"


def _kind_cell(told: Told) -> str:
    return f'<td class="kind {told.verdict.value}">{_words(told.verdict)}</td>'


def _section(number: int, told: Told, picture: Picture) -> str:
    left_out = picture.alerts_left_out
    return "".join(
        [
            f'<section id="v{number}"><h2>{_moment(told.at)} <span class="{told.verdict.value}">',
            f"{_words(told.verdict)}</span> {text(told.workload or 'no candidate', 300)}</h2>",
            f"<p>{text(told.reason.sentence, LONG)} {_numbers(told)}</p>",
            _revisions(told),
            plot(told, picture),
            f'<p class="soft">{left_out} more alerts fired in this time.</p>' if left_out else "",
            _alert_names(picture),
            *_evidence(told.evidence, told.score),
            *_others(told),
            *_refusals(told),
            '<p><a href="#">back to the top</a></p></section>',
        ]
    )


def _revisions(told: Told) -> str:
    if told.revision is None:
        return f'<p class="soft">{text(told.recording, 200)}</p>'
    replaced = f", replaces {text(told.replaces, 120)}" if told.replaces else ""
    began = f", rollout began {_moment(told.rollout_at)}" if told.rollout_at else ""
    said = f"{text(told.recording, 200)}: revision {text(told.revision, 120)}{replaced}{began}"
    return f'<p class="soft">{said}</p>'


def _alert_names(picture: Picture) -> str:
    names = Counter(alert.name for alert in picture.alerts)
    said = ", ".join(text(name) if count == 1 else f"{text(name)} ({count} times)" for name, count in names.items())
    return f'<p class="soft">alerts: {said}</p>' if said else ""


def _evidence(terms: Sequence[Term], score: float | None) -> Iterator[str]:
    """Every term with its share of the score, and the sum."""
    if not terms:
        return
    yield (
        '<table><thead><tr><th scope="col">evidence</th><th scope="col">value</th><th scope="col">threshold</th>'
        '<th scope="col">weight</th><th scope="col">says</th></tr></thead><tbody>'
    )
    for term in terms:
        yield (
            f'<tr><td>{text(term.name)}</td><td class="n">{_number(term.value)}</td>'
            f'<td class="n">{_number(term.threshold)}</td><td class="n">{term.weight:+.4g}</td>'
            f"<td>{text(term.sentence, LONG)}</td></tr>"
        )
    yield f'<tr><td>sum</td><td></td><td></td><td class="n">{_number(score)}</td><td></td></tr></tbody></table>'


def _others(told: Told) -> Iterator[str]:
    for each in told.others[:OTHERS_MAX]:
        where = f"{text(each.workload.key, 300)}, revision {text(each.revision.id, 120)}"
        yield f"<p>Behind it: {where}, score {_number(each.score)}.</p>"
        yield from _evidence(loudest_first(each.terms), each.score)


def _refusals(told: Told) -> Iterator[str]:
    if not told.would_refuse:
        return
    yield (
        '<table><thead><tr><th scope="col">would refuse</th><th scope="col">why</th><th scope="col">seen</th>'
        '<th scope="col">needed</th></tr></thead><tbody>'
    )
    for each in told.would_refuse:
        yield (
            f"<tr><td>{text(each.reason.name)}</td><td>{text(each.reason.sentence, LONG)}</td>"
            f"<td>{text(each.seen, LONG)}</td><td>{text(each.needed, LONG)}</td></tr>"
        )
    yield "</tbody></table>"


def _numbers(told: Told) -> str:
    if told.score is None:
        return ""
    score, lead = (f" (needs {need:.4g})" for need in told.needs) if told.needs is not None else ("", "")
    margin = "" if told.margin is None else f", ahead of the next by {_number(told.margin)}{lead}"
    return f"Score {_number(told.score)}{score}{margin}."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _words(kind: VerdictKind) -> str:
    return kind.value.replace("_", " ")


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
