"""The daemon's policy follows the metrics that were found, and a reload keeps them."""

from __future__ import annotations

from pathlib import Path

from config import load
from daemon.app import Daemon
from daemon.core.policy import DEFAULT_SIGNALS, SignalKind
from handlers.signal_sources import Alternative, united


def test_found_signals_are_in_force_at_once_and_outlive_a_reload(tmp_path: Path) -> None:
    """What was found replaces the default's query; SIGHUP brings new thresholds, and does not search anew."""
    path = tmp_path / "lastgood.yaml"
    path.write_text(f"cluster: c\nstate_dir: {tmp_path}\n")
    daemon = Daemon(load(path, {}), path)
    assert daemon.policy.signals == DEFAULT_SIGNALS
    mesh = (Alternative(source="mesh", query='mesh{pod=~"$pods"}'),)
    daemon._signals_found({SignalKind.ERROR_RATIO: mesh})
    assert daemon.policy.signals[1].query == united(mesh)
    path.write_text(
        f"cluster: c\nstate_dir: {tmp_path}\npolicy: {{signals: {{error_ratio: {{trigger_above: 0.2}}}}}}\n"
    )
    daemon.reload()
    error_ratio = daemon.policy.signals[1]
    assert (error_ratio.query, error_ratio.trigger_above) == (united(mesh), 0.2)
    assert daemon.policy.signals[2:] == DEFAULT_SIGNALS[2:]
