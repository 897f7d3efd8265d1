"""What a Lease says, when it is free, and which times could not work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from handlers.lease_record import LeaseTimes, identity_of, read, seconds_until_free

DURATION = 15.0


def test_what_makes_no_sense_is_named() -> None:
    """Times and numbers that nobody can read: named with the field, and what to write; the rest is read."""
    lease = {
        "metadata": {"uid": "u", "resourceVersion": "7"},
        "spec": {
            "holderIdentity": "a",
            "leaseDurationSeconds": "long",
            "leaseTransitions": -1,
            "acquireTime": "2026-01-31T10:00:00",
            "renewTime": "yesterday",
        },
    }
    record = read(lease)
    assert (record.uid, record.version, record.holder, record.transitions, record.duration) == ("u", "7", "a", 0, None)
    assert [problem.partition(" is ")[0] for problem in record.problems] == [
        "spec.leaseDurationSeconds",
        "spec.acquireTime",
        "spec.renewTime",
        "spec.leaseTransitions",
    ]
    assert all(";" in problem for problem in record.problems)
    assert seconds_until_free(record, 14.0, LeaseTimes()) == 1.0


def test_what_is_nobody_s_is_free_only_when_it_was_given_back() -> None:
    """An empty holder alone says nothing of the past."""
    blank = read({"metadata": {"uid": "u"}, "spec": {}})
    back = read({"metadata": {"uid": "u"}, "spec": {"leaseTransitions": 3, "renewTime": "2026-01-31T10:00:00.000000Z"}})
    assert seconds_until_free(blank, 0.0, LeaseTimes()) == DURATION
    assert seconds_until_free(back, 0.0, LeaseTimes()) == 0.0


@pytest.mark.parametrize(
    ("duration", "renew_deadline", "retry", "says"),
    [
        (0.5, 0.3, 0.1, "duration is 0.5 s"),
        (15.5, 10, 2, "whole seconds"),
        (15, 15, 2, "renew_deadline is 15 s of a duration of 15 s"),
        (15, 12.5, 2, "two could act at the same time"),
        (15, 10, 0, "retry is 0 s"),
        (15, 10, -2, "above zero"),
        (15, 10, 6, "at least twice as long"),
    ],
)
def test_times_that_could_not_work(duration: float, renew_deadline: float, retry: float, says: str) -> None:
    """Each is refused with its name, its value and the reason."""
    with pytest.raises(ValueError, match=says):
        LeaseTimes(
            duration=timedelta(seconds=duration),
            renew_deadline=timedelta(seconds=renew_deadline),
            retry=timedelta(seconds=retry),
        )


@pytest.mark.parametrize(("pod", "unique"), [("", "1"), ("a b", "1"), ("a", "")])
def test_identities_that_could_not_work(pod: str, unique: str) -> None:
    """A holder has a pod's name and something unique."""
    with pytest.raises(ValueError, match=r"pod|unique"):
        identity_of(pod, unique)


def test_an_identity_fits_the_field() -> None:
    """The longest pod name keeps what makes it unique."""
    identity = identity_of("p" * 300, "0123456789abcdef")
    assert len(identity) == 253
    assert identity.endswith("_0123456789abcdef")
