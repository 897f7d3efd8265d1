"""Rules for every test: which clock it runs on, and what a skip means.

Tests run on virtual time. Those marked `real` start servers or processes that know nothing of it, so they run on the
wall clock. A part that is missing on a developer's machine skips the tests that need it, by name (tests/parts.py); with
LASTGOOD_TEST_STRICT=1, as in CI, a skip is a failure: what was not run has not passed.

In strict runs a `real` test that fails is tried a second time, and stands as RERUN in the summary: hundreds of
processes on a busy machine are now and then a second late, and that must not hold up a release. Failing twice fails.
A test that stands there again and again is a defect of its own; on virtual time nothing is tried twice.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

# Taken out of the environment: to the daemon and its command line, LASTGOOD_ names are settings, and they refuse one
# that they do not know. What the tests start or call must not see the run's own.
ASKED_STRICT = os.environ.pop("LASTGOOD_TEST_STRICT", "") not in {"", "0"}
STRICT = pytest.StashKey[bool]()

# The same examples in every run: a failure must be the change's fault, and must come back when looked for.
# No deadline per example: the machine's load is not the code's.
hypothesis.settings.register_profile("lastgood", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("lastgood")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make test-controlplane` gives it, for the contract that the sandbox and a real control plane share."""
    sentence = "tests/contract: run test_cluster_* on each real control plane, instead of on the sandbox"
    parser.addoption("--controlplane", action="store_true", help=sentence)


def pytest_configure(config: pytest.Config) -> None:
    """Fixtures that several folders share: one control plane, and one PostgreSQL server, for all."""
    config.pluginmanager.import_plugin("tests.controlplane.fixtures")
    config.pluginmanager.import_plugin("tests.postgres")
    config.stash[STRICT] = getattr(config, "workerinput", {}).get("strict", ASKED_STRICT)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist, which inherits an environment that no longer says it."""
    node.workerinput["strict"] = ASKED_STRICT


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Turn virtual time off for `real` tests; put first, the mark wins over any other looptime mark of the test."""
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.looptime(False), append=False)
            if config.stash[STRICT]:
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In strict runs, fail a test that skips itself or is skipped by a mark (an expected failure is no skip)."""
    report = yield
    if item.config.stash[STRICT] and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In strict runs, fail a module that skips as a whole."""
    report = yield
    if collector.config.stash[STRICT] and report.skipped:
        _fail(report, collector.nodeid)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport, nodeid: str) -> None:
    """Turn a skip into a failure that names what was skipped and why."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = (
        f"{nodeid} was skipped, and LASTGOOD_TEST_STRICT=1 allows no skip: {reason.removeprefix('Skipped: ')}"
    )
