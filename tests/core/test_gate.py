"""The gate: what a pipeline is told before it rolls out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.gate import Gate, gate, has_image
from daemon.core.incidents import Phase
from daemon.core.model import Mode, Revision
from daemon.core.notices import Notice, NoticeStatus, digests_of
from daemon.core.state import State, Tracked
from tests.core.builders import CART, HOUR, MINUTE, NOON, SECOND, SHOP, V1, V2, a_policy, a_revision, a_view
from tests.core.story import Story

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def rolled_back() -> Story:
    """v2 spiked, was rolled back, and the incident is over."""
    story = Story()
    story.spikes()
    story.waits(30 * SECOND)
    story.waits(20 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    return story


def asked(story: Story, image: str | None = None, workload: str = SHOP.short) -> Gate:
    return gate(story.state, workload, image, story.now)


def changed(story: Story, tracked: Tracked) -> State:
    return replace(story.state, workloads={SHOP.key: tracked})


@pytest.mark.parametrize("image", ["sha256:2", "registry.example/checkout:v2", "checkout:v2", "v2"])
def test_what_was_rolled_back_does_not_come_again(image: str) -> None:
    """By digest, reference, short reference or tag: closed, and the reason names the revision, the incident and the way out."""
    story = rolled_back()
    found = asked(story, image)
    (reason,) = found.reasons
    assert not found.open
    assert f"checkout:v2 (22hash) is quarantined by {story.incident.id}" in reason
    assert "`lastgood release shop/checkout --revision 22hash` lifts it" in reason


@pytest.mark.parametrize("image", [None, "sha256:1", "checkout:v1", "v1"])
def test_what_runs_again_may_be_rolled_out(image: str | None) -> None:
    """After the rollback the good revision runs: asked without an image, or for its image, the gate is open."""
    assert asked(rolled_back(), image) == Gate(workload=SHOP.short, reasons=())


def test_without_an_image_the_current_revision_counts() -> None:
    """Rolled out again by hand, the quarantined revision runs: closed until it is released."""
    story = rolled_back()
    story.rolls_out()
    story.resolves()
    assert any("is quarantined" in reason for reason in asked(story).reasons)
    story.releases()
    assert not any("is quarantined" in reason for reason in asked(story).reasons)


def test_a_fix_that_nobody_has_seen_yet_is_let_through_with_a_note() -> None:
    """An image that no revision has opens the gate, and says so: it may be a slip of the pen."""
    found = asked(rolled_back(), "checkout:v3")
    assert found.open
    assert found.notes == ("no revision of shop/checkout that is known here has this image",)


def test_an_open_incident_closes_it_whatever_the_image() -> None:
    """From the first alert on, for the symptom and for the suspect, until the incident has ended."""
    story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    for image in (None, "v1", "v2", "v3"):
        (reason,) = asked(story, image).reasons
        assert reason.startswith(f"{story.incident.id} is open (proposed, checkout:v2 (22hash) is blamed); ")
    story.declines()
    story.closes()
    assert asked(story).open


def test_an_incident_elsewhere_closes_the_gate_of_its_suspect_only() -> None:
    """The symptom and the suspect are closed; a neighbour is not. Before blame nobody is named."""
    story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    story.sees(a_view(workload=CART, uid="uid-2"))
    incident = replace(story.incident, symptom=CART, blamed=None)
    state = replace(story.state, incidents={incident.id: incident})
    assert [gate(state, each.short, None, story.now).open for each in (SHOP, CART)] == [False, False]
    state = replace(story.state, incidents={incident.id: replace(incident, suspect=None)})
    assert [gate(state, each.key, None, story.now).open for each in (SHOP, CART)] == [True, False]
    (reason,) = gate(state, CART.short, None, story.now).reasons
    assert reason.startswith(f"{incident.id} is open (proposed); ")


@pytest.mark.parametrize("scope", ["", "shop", "shop/checkout"])
def test_a_persons_pause_closes_it(scope: str) -> None:
    """Everything, the namespace, or the workload: closed with who and until when, open again once it is over."""
    story = Story()
    story.proves_v1()
    story.pauses(scope, lasts=HOUR)
    (reason,) = asked(story, "v9").reasons
    assert reason == f"{scope or 'everything'} paused by ann until 12:00:00Z"
    story.waits(HOUR + SECOND)
    assert asked(story, "v9").open


def test_an_annotated_namespace_and_a_paused_rollout_close_it() -> None:
    """What the cluster shows as paused is told with both reasons."""
    story = Story()
    story.proves_v1(namespace_paused=True, paused=True)
    assert asked(story).reasons == (
        "namespace shop is annotated lastgood.dev/paused",
        "the rollout of shop/checkout is paused in its spec; `kubectl rollout resume` continues it",
    )


def test_a_first_deployment_is_let_through_unless_its_namespace_is_paused() -> None:
    """What is not known here is open with a note; a freeze of the namespace holds for it too, in either spelling."""
    story = Story()
    found = asked(story, "v1", "shop/new")
    assert (found.open, found.notes) == (True, ("shop/new is not known here: first deployment?",))
    story.pauses("shop/new")
    assert not asked(story, "v1", "shop/new").open
    assert not asked(story, "v1", "shop/StatefulSet/new").open
    assert asked(story, "v1", "shop/newer").open


def test_of_several_kinds_of_one_name_all_are_asked() -> None:
    """The short name is closed where either is; the whole key asks one of them."""
    story = rolled_back()
    twin = replace(SHOP, kind="StatefulSet")
    story.sees(a_view(workload=twin, uid="uid-2"))
    assert [asked(story, "v2", name).open for name in (SHOP.short, SHOP.key, twin.key)] == [False, False, True]


def test_a_revision_without_a_ledger_entry_has_no_quarantine() -> None:
    """Nothing recorded of the running revision is nothing against it."""
    story = Story()
    story.proves_v1()
    state = changed(story, replace(story.state.workloads[SHOP.key], ledger={}, rollout=None))
    assert gate(state, SHOP.short, None, story.now).open
    assert gate(state, SHOP.short, "v1", story.now) == Gate(workload=SHOP.short, reasons=())


def notice(*digests: str) -> Notice:
    return Notice(source="ci", id="1", status=NoticeStatus.SUCCEEDED, at=NOON, digests=digests)


def test_a_digest_that_a_pipeline_named_counts_too() -> None:
    """An image index has another digest than what its nodes run: the one the pipeline told of the rollout is known as well."""
    story = rolled_back()
    tracked = story.state.workloads[SHOP.key]
    past = tuple(replace(each, notices=(notice(DIGEST),)) for each in tracked.past if each.revision.id == V2.id)
    state = changed(story, replace(tracked, past=past))
    assert not gate(state, SHOP.short, DIGEST, story.now).open
    assert not gate(state, SHOP.short, f"checkout:anything@{DIGEST}", story.now).open
    assert gate(state, SHOP.short, OTHER, story.now).open
    state = changed(story, replace(tracked, notices=(notice(DIGEST),)))
    assert gate(state, SHOP.short, DIGEST, story.now) == Gate(workload=SHOP.short, reasons=()), (
        "it is of v1, which runs"
    )


def test_where_no_digest_is_known_a_digest_alone_says_little() -> None:
    """The quarantined revision never ran long enough to show its digests: open, with a note; its tag closes."""
    story = rolled_back()
    tracked = story.state.workloads[SHOP.key]
    entry = replace(tracked.ledger[V2.id], revision=replace(V2, digests=()))
    state = changed(story, replace(tracked, ledger={**tracked.ledger, V2.id: entry}))
    found = gate(state, SHOP.short, OTHER, story.now)
    assert found.open
    assert found.notes[-1] == "checkout:v2 (22hash) is quarantined and its digests are not known here: ask by tag too"
    assert not gate(state, SHOP.short, f"checkout:v2@{OTHER}", story.now).open


def bare(*images: str) -> Revision:
    return a_revision(2, images=images, digests=())


@pytest.mark.parametrize(
    ("own", "image", "same"),
    [
        ("web:v2", "docker.io/library/web:v2", True),
        ("docker.io/library/web:v2", "web:v2", True),
        ("index.docker.io/team/web:v2", "team/web:v2", True),
        ("registry.example:5000/shop/web:v2", "shop/web:v2", True),
        ("registry.example:5000/shop/web:v2", "hop/web:v2", False),
        ("registry.example:5000/shop/web:v2", "registry.example:5000/shop/web", False),
        ("registry.example:5000/shop/web:v2", "v2", True),
        ("registry.example:5000/shop/web:v2", "V2", False),
        ("registry.example:5000/shop/web", "latest", True),
        ("registry.example:5000/shop/web", "web", True),
        ("registry.example:5000/shop/web", "shop/web:latest", True),
        (f"shop/web@{DIGEST}", "latest", False),
        (f"shop/web:v2@{DIGEST}", DIGEST, True),
        (f"shop/web:v2@{DIGEST}", OTHER, False),
        (f"shop/web:v2@{DIGEST}", f"shop/web:v2@{OTHER}", False),
        (f"shop/web:v2@{DIGEST}", "web:v2", True),
        (DIGEST, "v2", False),
        (f"@{DIGEST}", "v2", False),
        ("shop/web:v2", f"@{DIGEST}", False),
        ("shop/web:v2", f"shop/web:v2@{DIGEST}", True),
        ("shop/web:v2", DIGEST, False),
    ],
)
def test_an_image_has_many_spellings(own: str, image: str, same: bool) -> None:
    """Registry, default registry, tag, digest: what may be the quarantined image is taken for it."""
    revision = bare("sidecar:v1", own)
    assert has_image(revision, image, digests_of(revision)) is same


def test_the_good_revision_is_not_taken_for_the_bad_one() -> None:
    """A tag of both revisions closes for the bad one: a tag that is used twice names no build."""
    story = rolled_back()
    tracked = story.state.workloads[SHOP.key]
    same = {
        str(each.id): replace(tracked.ledger[each.id], revision=replace(each, images=V1.images)) for each in (V1, V2)
    }
    state = changed(story, replace(tracked, ledger=same))
    assert not gate(state, SHOP.short, "checkout:v1", story.now).open
    assert gate(state, SHOP.short, "sha256:1", story.now).open
