"""The store: indexes that never lag, and projections that keep what is asked for and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import store as stores
from handlers.store import Change, Obj, Store, field_owners, key_of, metadata_only, uid_of, whole

NAMES = st.sampled_from("abc")


def obj(name: str, version: str, uid: str = "", namespace: str = "shop", owner: str = "") -> Obj:
    """An object with what the store looks at."""
    metadata: Obj = {"name": name, "namespace": namespace, "uid": uid or f"u-{name}", "resourceVersion": version}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True}]
    return {"metadata": metadata}


def test_puts_tell_what_changed() -> None:
    """New, known, changed, replaced: each has its own answer."""
    store = Store()
    first, second, other = obj("a", "1"), obj("a", "2"), obj("a", "3", uid="new")
    assert store.put(first) == [(Change.ADDED, None, first)]
    assert store.put(obj("a", "1")) == []
    assert store.put(second) == [(Change.MODIFIED, first, second)]
    assert store.put(other) == [(Change.DELETED, second, None), (Change.ADDED, None, other)]
    assert store.by_uid("u-a") is None
    assert store.get("shop", "a") is other


def test_a_late_deletion_does_not_hit_the_successor() -> None:
    """A DELETED of the old uid leaves the new object of the same name alone."""
    store = Store()
    store.put(obj("a", "3", uid="new"))
    assert store.remove(obj("a", "2", uid="old")) == []
    last = obj("a", "4", uid="new")
    assert store.remove(last) == [(Change.DELETED, last, None)]
    assert store.remove(last) == []


def own(item: Obj) -> Obj:
    labels: Obj = item["metadata"]["labels"]
    return labels


def templated(item: Obj) -> Obj:
    labels: Obj = item["spec"].get("template", {"metadata": {"labels": {}}})["metadata"]["labels"]
    return labels


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "prune"]), NAMES, NAMES, st.sampled_from(["", "o1", "o2"]), st.booleans()
    ),
    max_size=40,
)


@given(steps)
def test_indexes_agree_with_the_objects(script: list[tuple[str, str, str, str, bool]]) -> None:
    """After any history every index holds just what a search through all objects finds."""
    store = Store()
    for number, (what, name, namespace, owner, renewed) in enumerate(script):
        item = obj(name, str(number), f"{name}{namespace}{renewed}", namespace, owner)
        # Own labels and those of the template, alike or not; some have none.
        item["metadata"]["labels"] = {"app": name} if renewed else {"tier": name}
        item["spec"] = {"template": {"metadata": {"labels": {"app": owner}}}} if owner else {}
        if what == "put":
            store.put(item)
        elif what == "remove":
            store.remove(item)
        else:
            store.prune([(namespace, name)])
        everything = list(store)
        assert len(store) == len({key_of(o) for o in everything})
        for ns in "abc":
            assert _keys(store.in_namespace(ns)) == _keys(o for o in everything if key_of(o)[0] == ns)
        for uid in ("o1", "o2"):
            owned = [o for o in everything if o["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid]
            assert _keys(store.owned_by(uid)) == _keys(owned)
        assert all(store.by_uid(uid_of(o)) is o for o in everything)
        for word in ("a", "b", "c", "o1", "o2"):
            assert _keys(store.named(word)) == _keys(o for o in everything if o["metadata"]["name"] == word)
            for label in ("app", "tier", "team"):
                labelled = [o for o in everything if word in (own(o).get(label), templated(o).get(label))]
                assert _keys(store.labelled(label, word)) == _keys(labelled)


def _keys(objects: Any) -> list[stores.Key]:
    return sorted(key_of(o) for o in objects)


MANAGED: list[Obj] = [
    {
        "manager": "helm",
        "operation": "Update",
        "time": "t1",
        "apiVersion": "x",
        "fieldsV1": {"f:spec": {"f:template": {}}},
    },
    {"manager": "hpa", "operation": "Update", "time": "t2", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    {"manager": "kubectl", "operation": "Apply", "time": "t3", "fieldsV1": {"f:data": {"f:a": {}}}},
    {"manager": "odd", "fieldsV1": None},
]


def test_only_the_template_writers_stay_of_managed_fields() -> None:
    """Who wrote the template and when, as four words; the field trees are dropped."""
    item = obj("a", "1")
    item["metadata"]["managedFields"] = MANAGED
    kept = whole(item)
    assert kept["metadata"]["managedFields"] == [{"manager": "helm", "operation": "Update", "time": "t1"}]
    assert field_owners({"metadata": {"managedFields": MANAGED}}, ("f:spec", "f:replicas"))[0]["manager"] == "hpa"
    assert "managedFields" not in whole({"metadata": {"name": "a", "managedFields": MANAGED}}, keep=None)["metadata"]


def test_a_config_map_loses_its_data() -> None:
    """Metadata stays, with the time of the last change of the data; the data goes."""
    config_map = obj("a", "1") | {"kind": "ConfigMap", "data": {"password": "x"}, "binaryData": {"y": "z"}}
    config_map["metadata"]["managedFields"] = MANAGED
    kept = metadata_only(config_map)
    assert sorted(kept) == ["kind", "metadata"]
    assert [entry["time"] for entry in kept["metadata"]["managedFields"]] == ["t3"]


def test_a_pod_keeps_its_state_and_loses_its_environment() -> None:
    """What tells health stays; env, volumes and commands are not ours to hold."""
    container = {"name": "c", "image": "i", "env": [{"name": "TOKEN", "value": "s"}], "resources": {"limits": {}}}
    state = {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 3}], "podIPs": []}
    kept = stores.pod(
        obj("a", "1") | {"spec": {"containers": [container], "volumes": [], "nodeName": "n"}, "status": state}
    )
    assert kept["spec"] == {
        "nodeName": "n",
        "initContainers": [],
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {}}}],
    }
    assert kept["status"] == {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 3}]}


@pytest.mark.parametrize("value", [{"a": [{"b": None}, "c", 1, True]}, [], {}])
def test_sharing_keys_changes_no_value(value: Any) -> None:
    """Interned keys are the same keys."""
    assert stores.shared(value) == value
