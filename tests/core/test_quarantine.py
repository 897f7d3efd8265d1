"""What is kept out at admission: only images by which a quarantined revision can be told from every other."""

from __future__ import annotations

from dataclasses import replace

from daemon.core.ledger import LedgerEntry
from daemon.core.model import Revision
from daemon.core.quarantine import Quarantined, quarantined
from daemon.core.state import State
from tests.core.builders import CART, SHOP, V1, V2, V3, a_revision
from tests.core.story import Story
from tests.core.test_gate import rolled_back


def held_in(state: State) -> list[str]:
    return [f"{each.workload.name} {each.revision.number}" for each in quarantined(state)]


def with_ledger(*entries: LedgerEntry) -> Quarantined:
    """The one that is quarantined among these revisions of the shop."""
    story = rolled_back()
    tracked = replace(story.state.workloads[SHOP.key], ledger={each.revision.id: each for each in entries})
    (found,) = quarantined(replace(story.state, workloads={SHOP.key: tracked}))
    return found


def bad(revision: Revision) -> LedgerEntry:
    return LedgerEntry(revision=revision, quarantined_by="inc-1")


def test_what_was_rolled_back_is_listed_until_it_is_released() -> None:
    """With its own image and digest and the incident; nothing before, nothing after `release`."""
    assert quarantined(Story().state) == ()
    story = rolled_back()
    (found,) = quarantined(story.state)
    assert (found.workload, found.revision.id, found.by) == (SHOP, V2.id, story.incident.id)
    assert (found.images, found.digests) == (("registry.example/checkout:v2",), ("sha256:2",))
    story.releases()
    assert quarantined(story.state) == ()


def test_an_image_that_a_good_revision_carries_is_not_kept_out() -> None:
    """A sidecar of both revisions is in neither list."""
    good = replace(V1, images=("side:1", "web:1"), digests=("sha256:s", "sha256:1"))
    found = with_ledger(
        LedgerEntry(revision=good), bad(replace(V2, images=("side:1", "web:2"), digests=("sha256:s", "sha256:2")))
    )
    assert (found.images, found.digests) == (("web:2",), ("sha256:2",))


def test_a_tag_that_was_moved_is_told_by_its_digest() -> None:
    """Good and bad are both `:latest`: only the digest of the bad one is listed."""
    found = with_ledger(LedgerEntry(revision=replace(V1, images=("web",))), bad(replace(V2, images=("web",))))
    assert (found.images, found.digests) == ((), ("sha256:2",))


def test_a_change_of_settings_has_no_image_of_its_own() -> None:
    """It is listed for people, with nothing that could be refused."""
    found = with_ledger(LedgerEntry(revision=V1), bad(replace(V2, images=V1.images, digests=V1.digests)))
    assert (found.images, found.digests) == ((), ())


def test_workloads_in_order_and_the_newest_revision_first() -> None:
    """What one workload keeps out does not touch another's good revision of the same image."""
    story = rolled_back()
    shop = story.state.workloads[SHOP.key]
    mine = replace(shop, ledger={each.id: bad(each) for each in (V2, replace(a_revision(4), number=None), V3)})
    view = replace(shop.view, workload=CART)
    cart = replace(shop, view=view, ledger={V1.id: bad(V1), V2.id: LedgerEntry(revision=V2)})
    state = replace(story.state, workloads={SHOP.key: mine, CART.key: cart})
    assert held_in(state) == ["cart 1", "checkout 3", "checkout 2", "checkout None"]
    assert [each.images for each in quarantined(state)][2] == V2.images
