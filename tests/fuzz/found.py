"""Inputs that once broke a parser: by parser, what it was, and the bytes. Added by hand from what the fuzzers print."""

from __future__ import annotations

from tests.fuzz.inputs import DEEP

NESTED = b"[" * DEEP + b"]" * DEEP


def rules(rule: bytes) -> bytes:
    """Prometheus' answer with one group that holds this."""
    return b'{"status":"success","data":{"groups":[{"name":"g","rules":' + rule + b"}]}}"


def merged(levels: int) -> bytes:
    """YAML whose mappings merge ten of the mapping before, each: ten to the power of `levels` keys in memory."""
    lines = [b"k0: &k0 {x: 1}"]
    lines += [
        b"k%d: &k%d {<<: [%s]}" % (each, each, b",".join([b"*k%d" % (each - 1)] * 10)) for each in range(1, levels + 1)
    ]
    return b"\n".join(lines)


FOUND: tuple[tuple[str, str, bytes], ...] = (
    ("settings-file", "a tag that calls a list a mapping", b"cluster: !!map [x]\n"),
    ("settings-file", "merges of merges", merged(9)),
    ("kube-time", "Go's zero time, from which something is taken", b"0001-01-01T00:00:00Z"),
    ("kube-time", "outside of the calendar in UTC", b"9999-12-31T23:59:59-23:59"),
    ("kube-status", "a wait that no float holds", b'{"details":{"retryAfterSeconds":1' + b"0" * 400 + b"}}"),
    ("prometheus-rules", "a group without rules, as null", rules(b"null")),
    ("prometheus-rules", "a group whose rules are a number", rules(b"7")),
    (
        "prometheus-rules",
        "a duration that no timedelta holds",
        rules(b'[{"type":"alerting","name":"CheckoutErrors","duration":1e300}]'),
    ),
    (
        "prometheus-rules",
        "a duration that leads out of the calendar",
        rules(b'[{"type":"alerting","name":"CheckoutErrors","duration":1e12}]'),
    ),
    (
        "prometheus-rules",
        "a duration that is no number",
        rules(b'[{"type":"alerting","name":"CheckoutErrors","duration":NaN}]'),
    ),
    ("slack-answer", "nested beyond recursion", b'{"ok":' + NESTED + b"}"),
    ("pagerduty-answer", "nested beyond recursion", b'{"message":' + NESTED + b"}"),
    (
        "recording",
        "nested beyond recursion in a field that nobody reads",
        b'{"kind":"truth","at":"2026-03-02T12:00:00Z","x":' + NESTED + b"}",
    ),
    (
        "journal-alerts",
        "nested beyond recursion",
        b'{"at":"2026-03-02T12:00:00Z","source":"webhook","alerts":[],"x":' + NESTED + b',"kind":"alerts_reported"}',
    ),
)
