"""Prometheus and Alertmanager for the sandbox: the real ones where installed, else a stand-in held against them."""

from deploy.sandbox.monitoring.kube_state import kube_state_metrics
from deploy.sandbox.monitoring.rules import InhibitRule, Routing, Rule, default_rules
from deploy.sandbox.monitoring.start import Kind, Monitoring, available, start_monitoring

__all__ = [
    "InhibitRule",
    "Kind",
    "Monitoring",
    "Routing",
    "Rule",
    "available",
    "default_rules",
    "kube_state_metrics",
    "start_monitoring",
]
