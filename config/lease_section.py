"""The section `lease`: which of several daemons decides and acts.

The rules are those of the elector (`handlers.lease_record.LeaseTimes`), told here with the names of the settings.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Self

from pydantic import field_validator, model_validator

from config.credentials import Section
from config.durations import Duration

MARGIN = 0.8
"""`renew_deadline` is at most this part of `duration`: clocks run at different speeds, and a write takes a moment."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Lease(Section):
    """A Lease of coordination.k8s.io/v1; off unless `enabled`. `namespace` is the pod's own where it is not set.

    A leader that cannot renew it for `renew_deadline` stops acting and ends; others take it `duration` after they saw it
    renewed last; `retry` is the time between two renewals. The defaults are those of Kubernetes' own components.
    """

    enabled: bool = False
    name: str = "lastgood"
    namespace: str | None = None
    duration: Duration = timedelta(seconds=15)
    renew_deadline: Duration = timedelta(seconds=10)
    retry: Duration = timedelta(seconds=2)

    @field_validator("name")
    @classmethod
    def _object_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("is no name of an object; use small letters, digits, - and ., at most 253 of them")
        return value

    @field_validator("namespace")
    @classmethod
    def _namespace_name(cls, value: str | None) -> str | None:
        if value is not None and not _NAMESPACE.fullmatch(value):
            raise ValueError("is no name of a namespace; use small letters, digits and -, at most 63 of them")
        return value

    @model_validator(mode="after")
    def _works(self) -> Self:
        if self.duration % timedelta(seconds=1):
            raise ValueError("duration is no whole number of seconds, which is what a Lease counts; write it like 15s")
        if self.renew_deadline > MARGIN * self.duration:
            raise ValueError(
                f"renew_deadline is more than {MARGIN:.0%} of duration, so two could act at the same time; like 10s of 15s"
            )
        if self.renew_deadline < 2 * self.retry:
            raise ValueError(
                "renew_deadline is less than twice retry, so one lost answer would cost the lease; like 10s and 2s"
            )
        return self
