"""`policy.calls`: who calls whom, as people write it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import config
from config.call_section import CALLS_MAX
from daemon.core.model import Workload


def calls(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[tuple[str, str]]:
    path = folder / "lastgood.yaml"
    path.write_text(f"cluster: c\npolicy: {{calls: {text}}}\n")
    return [(caller.key, callee.key) for caller, callee in config.load(path, environ or {}).policy.calls]


def test_each_workload_has_its_list(tmp_path: Path) -> None:
    """A name without a kind is a Deployment; who is named twice is called once."""
    found = calls(tmp_path, "{shop/web: [shop/cart, shop/StatefulSet/db], shop/Deployment/web: [shop/cart, pay/api]}")
    web = Workload(namespace="shop", kind="Deployment", name="web").key
    assert found == [(web, "shop/Deployment/cart"), (web, "shop/StatefulSet/db"), (web, "pay/Deployment/api")]


def test_none_is_declared_by_default(tmp_path: Path) -> None:
    """Neither without the setting nor with an empty one."""
    assert calls(tmp_path, "null") == calls(tmp_path, "{}") == []


def test_the_environment_takes_json(tmp_path: Path) -> None:
    """Laid over the file's, workload by workload."""
    environ = {"LASTGOOD_POLICY__CALLS": json.dumps({"shop/web": ["shop/pay"]})}
    assert calls(tmp_path, "{shop/web: [shop/cart], a/b: [a/c]}", environ) == [
        ("shop/Deployment/web", "shop/Deployment/pay"),
        ("a/Deployment/b", "a/Deployment/c"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[shop/web]", "policy.calls: input should be a valid dictionary; write `name: value` pairs"),
        ("{shop/web: shop/cart}", "policy.calls.shop/web: input should be a valid tuple; write a list"),
        ("{shop/web: [5]}", "policy.calls.shop/web.0: "),
        ("{shop/web: [cart]}", "policy.calls.shop/web.0: is no workload; write it as namespace/name or"),
        ("{web: [shop/cart]}", "policy.calls.web: is no workload; write it as namespace/name or"),
        ("{shop/web: []}", "policy.calls.shop/web: is empty; name whom it calls, or leave it out"),
        ("{shop/web: [shop/Deployment/web]}", "policy.calls.shop/web.0: is the workload itself; remove it"),
        (f"{{shop/web: [{', '.join(['a/b'] * (CALLS_MAX + 1))}]}}", f"policy.calls: holds more than {CALLS_MAX} calls"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    """By the path of the mistake, whatever it is; nothing else is said."""
    with pytest.raises(config.ConfigError) as caught:
        calls(tmp_path, text)
    (problem,) = caught.value.problems
    assert said in problem
