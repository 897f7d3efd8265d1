"""Is the symptom gone? The alert gone from Alertmanager *and* the signals back, by DESIGN's healthy column.

"The old version runs" is not recovery, and neither is an alert that resolves because Prometheus died (parts.md: "resolved"
226 s after Prometheus was killed). What cannot be read is inconclusive, never good.
"""

from __future__ import annotations

from daemon.core.incidents import Incident, Phase
from daemon.core.measurement import Health, Measurement, Sample
from daemon.core.model import AlertStatus
from daemon.core.policy import Policy
from daemon.core.signals import judge_sample, typical

STALE_AFTER = 3
"""Sample intervals after which a sample says nothing about now: the scrape, the query and one lost sample fit in."""


def symptom(incident: Incident, measurement: Measurement, policy: Policy, usual: Sample | None = None) -> Health:
    """HEALTHY: gone. UNHEALTHY: still there. INCONCLUSIVE or NO_DATA: cannot tell.

    `usual` is what a regression is measured by, where that is known: how the revision did that was verified before.
    """
    alerts, signals = _alerts(incident, measurement), _signals(incident, measurement, policy, usual)
    if Health.UNHEALTHY in (alerts, signals):
        return Health.UNHEALTHY
    if alerts is Health.HEALTHY and signals is Health.HEALTHY and not _unread(measurement):
        return Health.INCONCLUSIVE if _said_by_people(incident) else Health.HEALTHY
    return Health.INCONCLUSIVE


def _said_by_people(incident: Incident) -> bool:
    """What somebody declared or asked for shows in no metric: until a rollback ran, good signals do not disprove it."""
    return (incident.declared is not None or incident.asked is not None) and incident.patched_at is None


def _unread(measurement: Measurement) -> bool:
    """A signal could not be read: the others being well does not say that this one is."""
    return any(line.startswith("prometheus") for line in measurement.missing)


def _alerts(incident: Incident, measurement: Measurement) -> Health:
    """Every alert of the incident gone: healthy; one firing: unhealthy; suppressed or unreadable: cannot tell."""
    wanted = {located.alert.fingerprint for located in incident.alerts}
    seen = {state.fingerprint: state.status for state in measurement.alerts}
    statuses = {seen.get(fingerprint) for fingerprint in wanted}
    if AlertStatus.FIRING in statuses:
        return Health.UNHEALTHY
    return Health.HEALTHY if statuses <= {AlertStatus.RESOLVED} else Health.INCONCLUSIVE


def _signals(incident: Incident, measurement: Measurement, policy: Policy, usual: Sample | None) -> Health:
    """The latest sample of the pods that serve now; a workload that never had signals is judged by its pods alone."""
    if measurement.start_failure is not None:
        return Health.UNHEALTHY
    if measurement.new_ready == 0:
        return Health.INCONCLUSIVE
    oldest = measurement.at - STALE_AFTER * policy.sample_interval
    fresh = [sample for sample in measurement.new if sample.at >= oldest]
    health = judge_sample(policy, fresh[-1], usual or _baseline(incident, measurement)) if fresh else Health.NO_DATA
    if fresh and _worse_than_old(incident, measurement, fresh[-1], policy):
        return Health.UNHEALTHY
    if health is Health.NO_DATA:
        return Health.INCONCLUSIVE if measurement.missing or _had_signals(measurement, policy) else Health.HEALTHY
    return health


def _worse_than_old(incident: Incident, measurement: Measurement, latest: Sample, policy: Policy) -> bool:
    """Nobody complained: the incident is about the new pods being worse than the old ones, and they still are."""
    if incident.alerts or incident.phase not in (Phase.OPEN, Phase.PROPOSED):
        return False
    old = typical(measurement.old[-policy.persistence_of :])
    return old is not None and judge_sample(policy, latest, old) is Health.UNHEALTHY


def _had_signals(measurement: Measurement, policy: Policy) -> bool:
    """The workload has been judged by signals before: their silence now is missing data, not health."""
    samples = (*measurement.before, *measurement.new, *measurement.old)
    return any(judge_sample(policy, sample, None) is not Health.NO_DATA for sample in samples)


def _baseline(incident: Incident, measurement: Measurement) -> Sample | None:
    """What is normal for the workload: how the replaced revision did before the rollout.

    Not before a decision: there `new` are the accused, and a baseline would let a slow rise pass for health.
    """
    acted = incident.phase in (Phase.VERIFYING, Phase.ESCALATED)
    return typical(measurement.before) if acted else None
