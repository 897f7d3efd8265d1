"""Our plain JSON: what becomes of a good event, that each bad field is named, and which workload is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.model import Owner, OwnerKind, Workload
from daemon.core.notices import Notice, NoticeStatus
from handlers.alerts import MalformedError
from handlers.cloudevents import notices_of
from handlers.notice_input import KEY_CHARS_MAX, check_fresh, identity
from handlers.notice_mapping import Mapping, Sender, Whereabouts, workload_of
from tests.handlers.events_world import DIGEST, JSON, OTHER_DIGEST, WEB, plain, raw, sender, understood_or_refused

FULL: dict[str, Any] = {
    "cluster": "prod",
    "kind": "StatefulSet",
    "repository": "shopfront/web",
    "environment": "production",
    "service": "front",
    "image": "registry.example/web:v2",
    "images": [f"registry.example/side@{OTHER_DIGEST}"],
    "digest": DIGEST,
    "digests": [DIGEST],
    "version": "2026.11.20-2",
    "irreversible": True,
    "commit": "3b1f6c0d",
    "actor": "anna",
    "description": "Faster cart",
    "url": "https://jenkins.example/job/web/512/",
    "change_url": "https://git.example/shop/web/merge/77",
}


def read(event: object, by: Sender | None = None) -> tuple[Notice, ...]:
    return notices_of("application/json", {}, raw(event), by or sender())


def one(event: object, by: Sender | None = None) -> Notice:
    (notice,) = read(event, by)
    return notice


def fault(event: object, by: Sender | None = None) -> str:
    with pytest.raises(MalformedError) as caught:
        read(event, by)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_the_least_event() -> None:
    """Six fields are enough; whatever else is unknown stays so, and nothing may cause action by itself."""
    assert one(plain()) == Notice(
        source="ci",
        id="jenkins/web#run-512",
        status=NoticeStatus.SUCCEEDED,
        at=datetime(2026, 11, 20, 11, 58, 30, tzinfo=UTC),
        workload=WEB,
    )


def test_the_whole_event() -> None:
    """Every documented field arrives; a digest that an image pins counts as a digest."""
    notice = one(plain(**FULL), sender(may_cause=True, cluster="prod"))
    assert notice.workload == Workload(namespace="shop", kind="StatefulSet", name="web")
    assert notice.images == ("registry.example/web:v2", f"registry.example/side@{OTHER_DIGEST}")
    assert notice.digests == (DIGEST, OTHER_DIGEST)
    assert (notice.version, notice.commit, notice.author) == ("2026.11.20-2", "3b1f6c0d", "anna")
    assert (notice.environment, notice.description) == ("production", "Faster cart")
    assert notice.pipeline_url == "https://jenkins.example/job/web/512/"
    assert notice.change_url == "https://git.example/shop/web/merge/77"
    assert notice.irreversible
    assert notice.may_cause


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("deployment.started", NoticeStatus.STARTED),
        ("deployment.finished", NoticeStatus.SUCCEEDED),
        ("deployment.failed", NoticeStatus.FAILED),
        ("deployment.rolledback", NoticeStatus.ROLLED_BACK),
        ("dev.lastgood.deployment.failed", NoticeStatus.FAILED),
    ],
)
def test_types(kind: str, status: NoticeStatus) -> None:
    """Four types, with or without the prefix that CloudEvents advises."""
    assert one(plain(type=kind)).status is status


def test_a_workload_in_one_word() -> None:
    """`workload` says the same as namespace and name."""
    assert one(plain(namespace=None, name=None, workload="shop/web")).workload == WEB


def test_a_digest_needs_no_workload() -> None:
    """The artefact finds its rollout by itself."""
    notice = one(plain(namespace=None, name=None, digest=DIGEST))
    assert (notice.workload, notice.digests) == (None, (DIGEST,))


@pytest.mark.parametrize("name", ["web", "web.prod-2", "team-a_web"])
def test_an_application_in_place_of_its_workloads(name: str) -> None:
    """Argo CD knows the Application only; a workload that is named beside it, or by a rule, wins."""
    bare = plain(namespace=None, name=None, application=name, service="front")
    assert (one(bare).workload, one(bare).owner) == (None, Owner(kind=OwnerKind.ARGO_CD, name=name))
    for notice in (one(plain(application=name)), one(bare, sender(service="front"))):
        assert (notice.workload, notice.owner) == (WEB, None)


@pytest.mark.parametrize("nothing", ["<no value>", "<nil>"])
@pytest.mark.parametrize(
    ("field", "left_out"),
    [
        *((name, False) for name in ("id", "source", "type", "cluster", "name", "namespace", "kind")),
        *((name, False) for name in ("application", "image", "digest")),
        *((name, True) for name in ("commit", "actor", "version", "environment", "description", "url", "change_url")),
    ],
)
def test_what_a_template_rendered_out_of_nothing(field: str, nothing: str, left_out: bool) -> None:
    """Refused by name where it identifies or decides; left out where it only informs."""
    if left_out:
        assert one(plain(**{field: nothing})) == one(plain())
        return
    for value in (nothing, f"a-{nothing}"):
        expected = f"{field}: holds {nothing}: the sender's template names a field that is not there"
        assert fault(plain(**{field: value}), sender(cluster="prod")) == expected


def test_a_sentence_around_a_missing_field_is_kept() -> None:
    """Half a sentence still tells people something."""
    assert one(plain(description="Sync of <no value> failed")).description == "Sync of <no value> failed"


def test_an_event_of_another_cluster_is_none_of_ours() -> None:
    """One topic or pipeline may serve many clusters."""
    assert read(plain(cluster="other"), sender(cluster="prod")) == ()
    assert len(read(plain(cluster="other"))) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": None}, "id: is missing"),
        ({"id": ""}, "id: is missing"),
        ({"id": 5}, "id: must be a string, is a number"),
        ({"id": "x" * 257}, "id: has 257 characters, at most 256 are taken"),
        ({"id": "a\nb"}, "id: holds a control character"),
        ({"source": None}, "source: is missing"),
        ({"type": "deployment"}, "type: must be one of deployment.started, deployment.finished, deployment.failed,"),
        ({"type": None}, "type: is missing"),
        ({"time": None}, "time: is missing"),
        ({"time": "yesterday"}, "time: is no RFC 3339 time"),
        ({"time": "2026-11-20T12:00:00"}, "time: has no time zone"),
        ({"name": "Web"}, "name: is no workload; write it as namespace/name"),
        ({"namespace": "shop/x"}, "name: is no workload"),
        ({"namespace": None}, "namespace: is missing"),
        ({"application": "Web"}, "application: must be an Argo CD Application: name, or namespace_name"),
        ({"application": "a_b_c"}, "application: must be an Argo CD Application"),
        ({"application": "unknown application"}, "application: must be an Argo CD Application"),
        (
            {"namespace": None, "name": None},
            "namespace: is missing: give namespace and name, an application, a digest, or a map",
        ),
        ({"workload": "shop/web"}, "workload: is given beside name: give one of them"),
        ({"name": None, "workload": "web"}, "workload: is no workload; write it as namespace/name"),
        ({"digest": "sha256:abc"}, "digest: must be sha256: and 64 hex digits in lower case"),
        ({"digests": [DIGEST, None]}, "digests[1]: must be sha256:"),
        ({"digests": DIGEST}, "digests: must be an array, is a string"),
        ({"images": ["a b"]}, "images[0]: is no image reference"),
        ({"images": ["a"] * 17}, "images: has 17 entries, at most 16 are taken"),
        ({"irreversible": "yes"}, "irreversible: must be true or false, is a string"),
        ({"commit": ["a"]}, "commit: must be a string, is an array"),
        ({"description": "\ud800"}, "description: holds half of a surrogate pair"),
        ({"irreversibel": True}, "'irreversibel': is unknown; did you mean irreversible?"),
    ],
)
def test_each_fault_is_named(changes: dict[str, Any], said: str) -> None:
    """The field's path and the remedy, in one printable line."""
    assert fault(plain(**changes)).startswith(said)


def test_text_for_people_is_cut_and_bad_links_are_dropped() -> None:
    """A hostile description breaks nothing and hides nothing; a link that a browser must not open is no link."""
    notice = one(plain(description="x" * 5000, actor="y" * 5000, url="javascript:alert(1)", change_url="http://a b"))
    assert notice.description == "x" * 999 + "…"
    assert notice.author == "y" * 255 + "…"
    assert notice.pipeline_url is None
    assert notice.change_url is None


@pytest.mark.parametrize("link", ["https://ci-token:glcbt-64_x@git.example/shop", "https://git.example@evil.example/x"])
def test_a_link_with_a_login_is_none(link: str) -> None:
    """GitLab's CI_REPOSITORY_URL holds the job's token; it must reach neither the journal nor the chat."""
    notice = one(plain(url=link, change_url="https://git.example/a@b?c=d@e"))
    assert notice.pipeline_url is None
    assert notice.change_url == "https://git.example/a@b?c=d@e"


def test_identities_are_never_confused() -> None:
    """Source and id stay apart whatever they hold, and long ones become a hash instead of being cut."""
    assert identity("a#b", "c") != identity("a", "b#c")
    assert identity("a#", "b") != identity("a", "#b")
    long = identity("a" * 256, "b" * 256)
    assert len(long) <= KEY_CHARS_MAX
    assert long != identity("a" * 256, "b" * 255 + "c")


def test_the_first_rule_that_fits_counts() -> None:
    """Rules are tried in their order; all pairs must be equal; a rule of another source does not count."""
    other = Workload(namespace="shop", kind="Deployment", name="other")
    rules = (
        Mapping(source="lab", match=(("repository", "a/b"),), workload=other),
        Mapping(source=None, match=(("repository", "a/b"), ("environment", "staging")), workload=other),
        Mapping(source="ci", match=(("repository", "a/b"),), workload=WEB),
        Mapping(source=None, match=(("repository", "a/b"),), workload=other),
    )
    known = Sender(name="ci", may_cause=False, mappings=rules)
    assert workload_of(known, Whereabouts(repository="a/b", environment="production")) == WEB
    assert workload_of(known, Whereabouts(repository="a/b", environment="staging")) == other
    assert workload_of(known, Whereabouts(repository="A/b")) is None


def test_a_rule_tells_the_workload_of_plain_json() -> None:
    """An event that names none is mapped; one that names one is believed."""
    mapped = sender(service="front", environment="production")
    event = plain(namespace=None, name=None, service="front", environment="production")
    assert one(event, mapped).workload == WEB
    named = one(plain(name="cart", service="front", environment="production"), mapped).workload
    assert named == Workload(namespace="shop", kind="Deployment", name="cart")


def test_replay_window() -> None:
    """Too old and too far ahead are refused, with the field's name; the edges are taken."""
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    day = timedelta(hours=24)
    check_fresh(now - day, now, day, "time")
    check_fresh(now + timedelta(minutes=5), now, day, "time")
    with pytest.raises(MalformedError, match=r"time: is more than 24 h ago: a replay"):
        check_fresh(now - day - timedelta(seconds=1), now, day, "time")
    with pytest.raises(MalformedError, match=r"time: is more than 5 minutes ahead"):
        check_fresh(now + timedelta(minutes=5, seconds=1), now, day, "time")


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*plain(), *FULL, "workload", "application"]), JSON, max_size=4))
def test_any_json_in_any_field_is_understood_or_refused(changes: dict[str, Any]) -> None:
    """Nothing but MalformedError ever comes out; what is taken can be written as UTF-8."""
    understood_or_refused(lambda: read({**plain(**FULL), **changes}))
