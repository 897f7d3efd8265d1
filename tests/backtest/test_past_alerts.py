"""Which workloads are read around an alert of the past."""

from __future__ import annotations

from datetime import timedelta

import pytest

from handlers.alert_history import Spell
from handlers.backtest.past_alerts import concerned
from tests.backtest.replay_cases import NOON

WEB, CART = ("shop", "Deployment", "web"), ("shop", "Deployment", "cart")
LEDGER, LOANS = ("pay", "StatefulSet", "ledger"), ("pay", "Deployment", "loans")
TWINS = [(namespace, "Deployment", "twin") for namespace in ("a", "b")]
CALL = {"dst_statefulset": "ledger", "dst_namespace": "pay"}
WORKLOADS = [WEB, CART, LEDGER, LOANS, *TWINS]


@pytest.mark.parametrize(
    ("labels", "named", "peers"),
    [
        ({"namespace": "shop", "deployment": "web"}, [WEB], [CART]),
        ({"namespace": "shop", "pod": "web-6d4b75cb6d-abcde"}, [WEB], [CART]),
        ({"exported_namespace": "shop", "exported_pod": "web-6d4b75cb6d-abcde"}, [WEB], [CART]),
        ({"namespace": "shop"}, [], [WEB, CART]),
        ({"destination_workload": "ledger", "destination_workload_namespace": "pay"}, [LEDGER], [LOANS]),
        ({"destination_service": "ledger.pay.svc.cluster.local:80"}, [LEDGER], [LOANS]),
        ({**CALL, "namespace": "shop", "deployment": "web"}, [WEB, LEDGER], [CART, LOANS]),
        ({"destination_service": "twin.a.svc.cluster.local"}, [TWINS[0]], []),
        ({"service": "ledger"}, [LEDGER], [LOANS]),
        ({"service": "twin"}, [], []),
        ({"alertname": "Down"}, [], []),
    ],
)
def test_whom_an_alert_concerns(
    labels: dict[str, str], named: list[tuple[str, str, str]], peers: list[tuple[str, str, str]]
) -> None:
    """Those that its labels name, whatever the label that tells their namespace; with a recent rollout, some peers too."""
    spell = Spell(labels=tuple(labels.items()), first=NOON, last=NOON + timedelta(minutes=5))
    assert concerned(spell, WORKLOADS, covered=False) == named
    assert concerned(spell, WORKLOADS, covered=True) == [*named, *peers]
