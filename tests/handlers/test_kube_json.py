"""Lists are decoded piece by piece to just what json.loads says, and others get their turn meanwhile."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.faults import Transient
from handlers.kube_json import Obj, decode_list

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
HEADS = st.dictionaries(st.text().filter(lambda key: key not in ("items", "kind", "metadata")), VALUES)
ITEMS = st.none() | st.lists(st.dictionaries(st.text(), VALUES))


@settings(max_examples=40, deadline=None)
@given(head=HEADS, items=ITEMS, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_the_same_as_json_loads(head: Obj, items: list[Obj] | None, indent: int | None, ascii_only: bool) -> None:
    """Whatever the layout, order and content, head and items are what the standard decoder finds."""
    whole = {"kind": "PodList"} | head | {"items": items, "metadata": {"resourceVersion": "1"}}
    body = json.dumps(whole, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(body.decode())
    except UnicodeDecodeError:
        return  # a lone surrogate, which no server sends
    found_head, found_items = asyncio.run(decode_list(body))
    assert found_items == (expected.pop("items") or [])
    found_head.pop("items")
    assert found_head == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"PodList","metadata":{},"items":[]',
        '{"kind":"PodList","metadata":{},"items":[{}',
        '{"kind":"PodList","metadata":{},"items":[{} {}]}',
        '{"kind":"PodList","metadata":{},"items":[]} x',
        '{"kind":"PodList" "metadata":{},"items":[]}',
        '{"kind":"PodList","metadata":{},1:[]}',
        '{"kind":"PodList","metadata":[],"items":[]}',
        '{"kind":"PodList","metadata":{},"items":[' + "[" * 100_000,
        "",
        "<html>",
        "[]",
    ],
)
def test_what_is_broken_is_a_fault(text: str) -> None:
    """Cut-off or malformed lists never come back half."""
    with pytest.raises(Transient):
        asyncio.run(decode_list(text.encode()))


def test_others_get_a_turn() -> None:
    """A page of 500 pods is decoded in many slices, and each item is projected on its way."""
    item = {"metadata": {"name": "a", "annotations": {"x": "y" * 5000}}}
    body = json.dumps({"kind": "PodList", "metadata": {}, "items": [item] * 500}).encode()

    async def run() -> tuple[int, list[Obj]]:
        turns = 0
        task = asyncio.create_task(decode_list(body, lambda obj: {"name": obj["metadata"]["name"]}))
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        return turns, task.result()[1]

    turns, items = asyncio.run(run())
    assert turns > 15
    assert items == [{"name": "a"}] * 500
