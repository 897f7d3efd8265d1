"""deploy/docs/signals.md tells the sources that the code has."""

from __future__ import annotations

from handlers import signal_presets as presets
from handlers.signal_search import SEARCH_EVERY
from handlers.signal_sources import SOURCES_MAX
from tests import repository


def row(family: presets.Requests) -> str:
    only = f" ({', '.join(f'`{each}`' for each in family.only)})" if family.only else ""
    failed = [*family.failed, *([family.failed_too] if family.failed_too else [])]
    by = ", ".join(f"`{each.label}`" for each in failed)
    return f"| {family.name} | `{family.total}`{only} | {by} | `{family.duration}` | `{family.pods[0]}` |"


def test_every_source_has_its_row_in_order() -> None:
    """The table is the code's: each family with its metrics and labels, the best first, and no other."""
    page = (repository.ROOT / "deploy/docs/signals.md").read_text()
    head = "| source | counts | fails by | latency | labels of the pod |\n|---|---|---|---|---|\n"
    assert head + "\n".join(map(row, presets.FAMILIES)) + "\n\n" in page
    for pods in presets.USUAL:
        assert " ".join(page.split()).count(f"`{pods}`")
    assert f"at most {SOURCES_MAX};" in page
    assert (SEARCH_EVERY.total_seconds(), "every ten minutes" in page) == (600, True)
