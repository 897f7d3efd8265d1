"""In which namespaces a policy may act."""

from __future__ import annotations

import pytest

from daemon.core.model import Mode
from daemon.core.policy import ModeRule, Policy
from handlers import armed

NAMESPACES = ("kube-system", "pay", "shop", "shop-eu")


def rule(mode: Mode, *namespaces: str, names: tuple[str, ...] = ()) -> ModeRule:
    return ModeRule(mode=mode, namespaces=namespaces, names=names)


AUTO, OBSERVE = Mode.AUTO, Mode.OBSERVE

POLICIES = [
    pytest.param(Policy(cluster="c"), set(), (), False, id="as-shipped"),
    pytest.param(Policy(cluster="c", default_mode=AUTO), {"pay", "shop", "shop-eu"}, (), True, id="default"),
    pytest.param(Policy(cluster="c", modes=(rule(AUTO, "shop"),)), {"shop"}, ("shop",), False, id="named"),
    pytest.param(
        Policy(cluster="c", modes=(rule(AUTO, "shop", names=("web",)),)), {"shop"}, ("shop",), False, id="one-workload"
    ),
    pytest.param(
        Policy(cluster="c", modes=(rule(Mode.APPROVE, "shop*"),)), {"shop", "shop-eu"}, (), True, id="pattern"
    ),
    pytest.param(
        Policy(cluster="c", modes=(rule(AUTO, names=("web",)),)), {"pay", "shop", "shop-eu"}, (), True, id="by-name-only"
    ),
    pytest.param(
        Policy(cluster="c", default_mode=AUTO, modes=(rule(OBSERVE, "pay"),)), {"shop", "shop-eu"}, (), True, id="but-one"
    ),
    pytest.param(
        Policy(cluster="c", default_mode=AUTO, modes=(rule(OBSERVE, "pay", names=("db",)),)),
        {"pay", "shop", "shop-eu"}, ("pay",), True, id="but-one-workload",
    ),
    pytest.param(
        Policy(cluster="c", default_mode=AUTO, modes=(rule(AUTO, "shop"), rule(OBSERVE))),
        {"shop"}, ("shop",), False, id="default-never-reached",
    ),
    pytest.param(
        Policy(cluster="c", modes=(rule(OBSERVE, "shop", names=("*",)), rule(AUTO, "shop"))), set(), (), False,
        id="first-rule-wins",
    ),
    pytest.param(
        Policy(cluster="c", modes=(rule(AUTO, "kube-system"),)), {"kube-system"}, ("kube-system",), False, id="protected-named"
    ),
    pytest.param(
        Policy(cluster="c", default_mode=AUTO, modes=(rule(AUTO, "kube-system"),)), set(NAMESPACES), ("kube-system",), True,
        id="named-and-default",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "where", "named", "open_ended"), POLICIES)
def test_where_it_may_act(policy: Policy, where: set[str], named: tuple[str, ...], open_ended: bool) -> None:
    """The first rule that takes a workload decides; kube-system only where it is named."""
    assert {name for name in NAMESPACES if armed.in_namespace(policy, name)} == where
    assert armed.named(policy) == named
    assert armed.open_ended(policy) is open_ended
    assert armed.anywhere(policy) is bool(where)
