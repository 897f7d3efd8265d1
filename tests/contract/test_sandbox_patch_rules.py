"""The sandbox's patches by the letter: RFC 6902's own examples, RFC 7386's, and the strategic directives."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.patches import json_patch, merge_patch
from deploy.sandbox.kube.strategic import strategic_patch


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"foo": "bar"}, [("add", "/baz", "qux")], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["a", "c"]}, [("add", "/foo/1", "b")], {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, [("add", "/foo/-", ["b"])], {"foo": ["a", ["b"]]}),
        ({"foo": "bar"}, [("add", "/child", {"x": {}})], {"foo": "bar", "child": {"x": {}}}),
        ({"baz": "qux", "foo": "bar"}, [("remove", "/baz", None)], {"foo": "bar"}),
        ({"foo": ["a", "b", "c"]}, [("remove", "/foo/1", None)], {"foo": ["a", "c"]}),
        ({"baz": "qux"}, [("replace", "/baz", "boo")], {"baz": "boo"}),
        ({"/": 9, "~1": 10}, [("test", "/~01", 10), ("replace", "/~1", 8)], {"/": 8, "~1": 10}),
        ({"foo": ["a", 2, "c"]}, [("test", "/foo/1", 2)], {"foo": ["a", 2, "c"]}),
        ({"a": {"b": None}}, [("test", "/a/b", None)], {"a": {"b": None}}),
        ({"a": 1}, [("test", "/b", None)], {"a": 1}),
        ({"a": [1, 2]}, [("add", "/a/-1", 3), ("remove", "/a/-2", None)], {"a": [1, 3]}),
        ({"a": 1}, [("replace", "/b", 2)], {"a": 1, "b": 2}),
    ],
)
def test_json_patch_does_what_its_rfc_shows(document: Any, patch: list[tuple[str, str, Any]], result: Any) -> None:
    """The accepted examples of RFC 6902, appendix A, and what the API server adds; the document given is not changed."""
    before = copy.deepcopy(document)
    assert json_patch(document, [{"op": op, "path": path, "value": value} for op, path, value in patch]) == result
    assert document == before


def test_json_patch_moves_and_copies() -> None:
    """`move` takes the value along (A.6, A.7), `copy` leaves it there."""
    document = {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}, "list": [1, 2, 3]}
    patch = [
        {"op": "move", "from": "/foo/waldo", "path": "/qux/thud"},
        {"op": "move", "from": "/list/0", "path": "/list/2"},
        {"op": "copy", "from": "/qux", "path": "/again"},
    ]
    assert json_patch(document, patch) == {
        "foo": {"bar": "baz"},
        "qux": {"corge": "grault", "thud": "fred"},
        "again": {"corge": "grault", "thud": "fred"},
        "list": [2, 3, 1],
    }


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/foo", "value": "other"},
        {"op": "test", "path": "/one", "value": True},
        {"op": "test", "path": "/one", "value": 1.0},
        {"op": "test", "path": "", "value": {}},
        {"op": "test", "path": "/foo"},
        {"op": "add", "path": "/absent/child", "value": 1},
        {"op": "add", "path": "/list/4", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "remove", "path": "/absent"},
        {"op": "remove", "path": "/list/-"},
        {"op": "replace", "path": "/absent/child", "value": 1},
        {"op": "replace", "path": "/list/9", "value": 1},
        {"op": "move", "from": "/map", "path": "/map/inner"},
        {"op": "copy", "from": "/absent/child", "path": "/x"},
        {"op": "explode", "path": "/foo"},
        {"op": "add", "path": "foo", "value": 1},
        {"op": "add", "value": 1},
    ],
)
def test_a_json_patch_that_cannot_be_applied_is_422(operation: dict[str, Any]) -> None:
    """Failed tests, missing paths, bad indices, unknown operations: the patch as a whole is refused."""
    with pytest.raises(ApiError) as refused:
        json_patch({"foo": "bar", "one": 1, "list": [1, 2], "map": {}}, [operation])
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_does_what_its_rfc_shows(document: Any, patch: Any, result: Any) -> None:
    """The examples of RFC 7386, appendix A."""
    assert merge_patch(document, patch) == result


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}]}, ["A", "B"]),
        ({"env": [{"name": "A"}, {"name": "B"}]}, {"env": [{"name": "A", "$patch": "delete"}]}, ["B"]),
        ({"env": [{"name": "A"}]}, {"env": [{"$patch": "replace"}, {"name": "C"}]}, ["C"]),
        (
            {"env": [{"name": "A"}, {"name": "B"}]},
            {"env": [{"name": "C"}], "$setElementOrder/env": [{"name": "C"}, {"name": "A"}, {"name": "B"}]},
            ["C", "A", "B"],
        ),
    ],
)
def test_strategic_lists_merge_by_their_key(document: Any, patch: Any, result: list[str]) -> None:
    """Items are found by name; directives delete, replace and order."""
    assert [one["name"] for one in strategic_patch(document, patch)["env"]] == result


def test_strategic_maps_take_directives() -> None:
    """$retainKeys drops the other keys, $deleteFromPrimitiveList takes values out, null deletes."""
    document = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}, "finalizers": ["a", "b"], "x": 1}
    patch = {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "$deleteFromPrimitiveList/finalizers": ["a"],
        "x": None,
    }
    assert strategic_patch(document, patch) == {"strategy": {"type": "Recreate"}, "finalizers": ["b"]}


def test_container_ports_and_service_ports_have_different_keys() -> None:
    """`ports` merge by containerPort in a container and by port in a Service."""
    container = strategic_patch({"ports": [{"containerPort": 80, "name": "a"}]}, {"ports": [{"containerPort": 81}]})
    assert [one["containerPort"] for one in container["ports"]] == [80, 81]
    service = strategic_patch({"ports": [{"port": 80, "name": "a"}]}, {"ports": [{"port": 80, "targetPort": 8080}]})
    assert service["ports"] == [{"port": 80, "name": "a", "targetPort": 8080}]
