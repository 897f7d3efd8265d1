"""What the Alertmanager stand-in knows: alerts, silences, and who inhibits whom.

Semantics from Alertmanager 0.25: provider/mem, types/types.go (`Merge`), silence/silence.go, inhibit/inhibit.go.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploy.sandbox.monitoring.labels import Labels, Matcher, all_match, fingerprint, freeze
from deploy.sandbox.monitoring.rules import InhibitRule
from deploy.sandbox.monitoring.wire import ZERO_TIME, parse_time

RESOLVE_TIMEOUT_SECONDS = 300.0
"""How long an alert without `endsAt` fires when nobody repeats it (Alertmanager's `resolve_timeout`)."""

ALERTS_MAX = 10_000
"""Alerts kept; a sandbox world has a handful."""


class BadRequestError(ValueError):
    """A request the API answers with 400; the text is the body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One alert; times are seconds since the epoch, `ends` lies ahead while it fires."""

    labels: Labels
    annotations: Labels
    starts: float
    ends: float
    updated: float
    generator_url: str

    @property
    def fingerprint(self) -> str:
        """Alertmanager's identity of the label set."""
        return fingerprint(dict(self.labels))

    def resolved(self, now: float) -> bool:
        """Whether it has ended at `now`."""
        return self.ends <= now


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """One silence; active in [starts, ends), times in seconds since the epoch."""

    id: str
    matchers: Sequence[Matcher]
    starts: float
    ends: float
    updated: float
    created_by: str
    comment: str

    def state(self, now: float) -> str:
        """`pending`, `active` or `expired`."""
        if now < self.starts:
            return "pending"
        return "active" if now < self.ends else "expired"


class AlertBook:
    """All alerts and silences of one stand-in."""

    def __init__(self, inhibit_rules: Sequence[InhibitRule] = ()) -> None:
        self._inhibit_rules = inhibit_rules
        self._alerts: dict[Labels, Alert] = {}
        self._silences: dict[str, Silence] = {}

    def alerts(self) -> list[Alert]:
        """All alerts known, resolved ones too."""
        return list(self._alerts.values())

    def take(self, posted: Any, now: float) -> list[Alert]:
        """Merge the body of `POST /api/v2/alerts`; returns the alerts as they are now known. All or none are taken."""
        if not isinstance(posted, list):
            raise BadRequestError("parsing alerts body: want a list")
        read = [read_alert(each, now) for each in posted]
        if len(self._alerts.keys() | {each.labels for each in read}) > ALERTS_MAX:
            raise BadRequestError(f"more than {ALERTS_MAX} alerts")
        for alert in read:
            known = self._alerts.get(alert.labels)
            overlaps = known is not None and known.ends >= alert.starts and alert.ends >= known.starts
            starts = min(known.starts, alert.starts) if known is not None and overlaps else alert.starts
            self._alerts[alert.labels] = replace(alert, starts=starts)
        return [self._alerts[alert.labels] for alert in read]

    def forget(self, before: float) -> None:
        """Drop alerts that ended before this."""
        self._alerts = {labels: alert for labels, alert in self._alerts.items() if alert.ends >= before}

    # Silences and inhibition ------------------------------------------------------------------------------------------

    def silences(self) -> list[Silence]:
        """All silences, expired ones too."""
        return list(self._silences.values())

    def silence(self, posted: Any, now: float) -> Silence:
        """Add a silence, or replace the one whose `id` is given; other matchers make a new one and end the old."""
        silence = read_silence(posted, now)
        known = self._silences.get(silence.id)
        if silence.id and known is None:
            raise LookupError(silence.id)
        if known is None or known.matchers != silence.matchers or known.state(now) == "expired":
            if known is not None:
                self.expire(known.id, now)
            silence = replace(silence, id=str(uuid.uuid4()))
        self._silences[silence.id] = silence
        return silence

    def expire(self, silence_id: str, now: float) -> None:
        """End a silence now. Raises LookupError where there is none, BadRequestError where it has ended."""
        known = self._silences.get(silence_id)
        if known is None:
            raise LookupError(silence_id)
        if known.state(now) == "expired":
            raise BadRequestError(f"silence {silence_id} already expired")
        self._silences[silence_id] = replace(known, starts=min(known.starts, now), ends=now, updated=now)

    def silenced_by(self, labels: Labels, now: float) -> list[str]:
        """Ids of the active silences that match."""
        named = dict(labels)
        active = (each for each in self._silences.values() if each.state(now) == "active")
        return [each.id for each in active if all_match(each.matchers, named)]

    def inhibited_by(self, labels: Labels, now: float) -> list[str]:
        """Fingerprint of a firing alert that inhibits this one, or nothing."""
        target = dict(labels)
        for rule in self._inhibit_rules:
            if not all_match(rule.target, target):
                continue
            both = all_match(rule.source, target)  # an alert on both sides is not inhibited by one of its kind
            for alert in self._alerts.values():
                source = dict(alert.labels)
                if alert.resolved(now) or not all_match(rule.source, source):
                    continue
                if both and all_match(rule.target, source):
                    continue
                if all(source.get(name, "") == target.get(name, "") for name in rule.equal):
                    return [alert.fingerprint]
        return []

    def unmuted(self, alerts: Iterable[Alert], now: float) -> list[Alert]:
        """Those that are neither silenced nor inhibited."""
        return [
            alert
            for alert in alerts
            if not self.silenced_by(alert.labels, now) and not self.inhibited_by(alert.labels, now)
        ]


def _pairs(posted: Mapping[str, Any], field: str) -> Labels:
    value = posted.get(field) or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise BadRequestError(f"{field}: want an object of strings")
    return freeze(value)


def _moment(posted: Mapping[str, Any], field: str) -> float | None:
    value = posted.get(field)
    if value in (None, "", ZERO_TIME):
        return None
    try:
        return parse_time(value)
    except (TypeError, ValueError) as error:
        raise BadRequestError(f"{field}: {error}") from error


def read_alert(posted: Any, now: float) -> Alert:
    """One alert of a posted list; a missing start is now, a missing end is `resolve_timeout` ahead."""
    if not isinstance(posted, dict):
        raise BadRequestError("parsing alerts body: want objects")
    labels = _pairs(posted, "labels")
    if not labels:
        raise BadRequestError("at least one label pair required")
    starts, ends = _moment(posted, "startsAt"), _moment(posted, "endsAt")
    if starts is None:
        starts = now if ends is None or ends > now else ends
    if ends is not None and ends < starts:
        raise BadRequestError("start time must be before end time")
    return Alert(
        labels=labels,
        annotations=_pairs(posted, "annotations"),
        starts=starts,
        ends=now + RESOLVE_TIMEOUT_SECONDS if ends is None else ends,
        updated=now,
        generator_url=str(posted.get("generatorURL", "")),
    )


def read_silence(posted: Any, now: float) -> Silence:
    """The body of `POST /api/v2/silences`."""
    if not isinstance(posted, dict):
        raise BadRequestError("parsing silence body: want an object")
    for name in ("matchers", "startsAt", "endsAt", "createdBy", "comment"):
        if posted.get(name) in (None, "", []):
            raise BadRequestError(f"validation failure list: {name} in body is required")
    matchers = [_matcher(each) for each in posted["matchers"]]
    if all(matcher.matches("") for matcher in matchers):
        raise BadRequestError("invalid silence: at least one matcher must not match the empty string")
    starts, ends = _moment(posted, "startsAt"), _moment(posted, "endsAt")
    if starts is None or ends is None or ends <= starts:
        raise BadRequestError("Failed to create silence: start time must be before end time")
    if ends <= now:
        raise BadRequestError("Failed to create silence: end time can't be in the past")
    return Silence(
        id=str(posted.get("id") or ""),
        matchers=matchers,
        starts=max(starts, now),
        ends=ends,
        updated=now,
        created_by=str(posted["createdBy"]),
        comment=str(posted["comment"]),
    )


def _matcher(posted: Any) -> Matcher:
    try:
        operator = ("=" if posted.get("isEqual", True) else "!") + ("~" if posted["isRegex"] else "")
        return Matcher(posted["name"], "!=" if operator == "!" else operator, posted["value"])
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise BadRequestError(f"invalid label matcher: {error}") from error
