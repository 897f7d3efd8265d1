"""A seeded generator of recordings: services in a call graph, rollouts good and bad, and everything that confounds.

It is what Lastgood's judgement is tuned against, so it is meant to be hostile rather than easy: pods differ, counts are
counts, minutes are noisy, series are missing, others hurt at the same time. `cases` makes them, `python -m
tests.bench.recordings` writes them to files. The two halves have no recipe in common, and other ranges.
"""

from __future__ import annotations

from tests.bench.recordings.cases import Case, case, cases, made
from tests.bench.recordings.ranges import Half
from tests.bench.recordings.script import Kind

__all__ = ["Case", "Half", "Kind", "case", "cases", "made"]
