"""Which names, labels and annotations an API server accepts (``apimachinery/pkg/util/validation``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

SUBDOMAIN_MAX, LABEL_MAX = 253, 63
ANNOTATIONS_BYTES_MAX = 256 * 1024
"""All keys and values of one object."""

_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAME = re.compile(_PART)
_VALUE = re.compile(f"({_PART})?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

_ENDS = "and must start and end with an alphanumeric character"
_SUBDOMAIN_RULE = (
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {_ENDS}"
)
_LABEL_RULE = f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}"
_NAME_RULE = f"name part must consist of alphanumeric characters, '-', '_' or '.', {_ENDS}"
_VALUE_RULE = f"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', {_ENDS}"

Causes = list[tuple[str, str]]


def of_object(name: str, field: str) -> Causes:
    """The faults of an object's name."""
    return _held(name, _SUBDOMAIN, SUBDOMAIN_MAX, field, _SUBDOMAIN_RULE)


def of_container(name: str, field: str) -> Causes:
    """The faults of a container's name."""
    return _held(name, _LABEL, LABEL_MAX, field, _LABEL_RULE)


def of_labels(found: Mapping[str, str], field: str) -> Causes:
    """The faults of keys and values."""
    causes = _keys(found, field)
    for value in found.values():
        causes += _held(value, _VALUE, LABEL_MAX, field, _VALUE_RULE)
    return causes


def of_annotations(found: Mapping[str, str], field: str) -> Causes:
    """The faults of the keys, and of the size of it all."""
    causes = _keys({key.lower(): value for key, value in found.items()}, field)
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > ANNOTATIONS_BYTES_MAX:
        causes.append((field, f"Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes"))
    return causes


def _keys(found: Mapping[str, str], field: str) -> Causes:
    causes: Causes = []
    for key in found:
        prefix, slash, name = key.rpartition("/")
        causes += _held(name, _NAME, LABEL_MAX, field, _NAME_RULE, shown=key)
        if slash:
            causes += _held(prefix, _SUBDOMAIN, SUBDOMAIN_MAX, field, f"prefix part {_SUBDOMAIN_RULE}", shown=key)
    return causes


def _held(text: str, rule: re.Pattern[str], longest: int, field: str, sentence: str, *, shown: str = "") -> Causes:
    if len(text) > longest:
        return [(field, f'Invalid value: "{shown or text}": must be no more than {longest} characters')]
    return [] if rule.fullmatch(text) else [(field, f'Invalid value: "{shown or text}": {sentence}')]
