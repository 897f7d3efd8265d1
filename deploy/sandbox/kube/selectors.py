"""Label and field selectors, as in a list's query and as in ``spec.selector``.

Grammar: k8s.io/apimachinery ``pkg/labels/selector.go`` (equality, ``in``/``notin``, ``k``, ``!k``) and
``pkg/fields/selector.go`` (``=``, ``==``, ``!=`` on a few paths per kind).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from deploy.sandbox.kube.errors import Json, bad_request

Labels = Mapping[str, str]
Match = Callable[[Json], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")
_KEY = re.compile(r"^([A-Za-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
_FIELDS = ("metadata.name", "metadata.namespace")
_MORE_FIELDS = {
    "Pod": ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.podIP"),
    "Event": ("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "reason", "type"),
    "Namespace": ("status.phase",),
    "Secret": ("type",),
}  # fmt: skip
"""Of the kinds that can be selected by more (``AddFieldLabelConversionFunc`` in ``pkg/apis``)."""


def everything(_: Json) -> bool:
    """The selector that selects all."""
    return True


def label_selector(text: str) -> Match:
    """Parses ``a=b,c!=d,e in (f,g),h,!i``; 400 when it cannot be read."""
    tests = [_requirement(part.strip()) for part in _split(text) if part.strip()]

    def match(obj: Json) -> bool:
        labels: Labels = obj.get("metadata", {}).get("labels") or {}
        return all(test(labels) for test in tests)

    return match if tests else everything


def _split(text: str) -> list[str]:
    return re.split(r",(?![^(]*\))", text)


def _requirement(part: str) -> Callable[[Labels], bool]:
    found = _SET.match(part)
    if found:
        key, verb, listed = _key(found[1]), found[2], {value.strip() for value in found[3].split(",")}
        return (lambda own: own.get(key) in listed) if verb == "in" else (lambda own: own.get(key) not in listed)
    if part.startswith("!"):
        absent = _key(part[1:].strip())
        return lambda own: absent not in own
    for operator in ("!=", "==", "="):
        name, found_operator, value = part.partition(operator)
        if found_operator:
            return _equality(_key(name.strip()), value.strip(), negated=operator == "!=")
    present = _key(part)
    return lambda own: present in own


def _equality(key: str, value: str, *, negated: bool) -> Callable[[Labels], bool]:
    return (lambda own: own.get(key) != value) if negated else (lambda own: own.get(key) == value)


def _key(text: str) -> str:
    if not _KEY.match(text):
        raise bad_request(f"unable to parse requirement: invalid label key {text!r}")
    return text


def field_selector(text: str, kind: str) -> Match:
    """Parses ``metadata.name=web,status.phase!=Running``; 400 for a path that this kind cannot be selected by."""
    tests = [_field(part.strip(), kind) for part in text.split(",") if part.strip()]
    return (lambda obj: all(test(obj) for test in tests)) if tests else everything


def _field(part: str, kind: str) -> Match:
    for operator in ("!=", "==", "="):
        path, found, value = part.partition(operator)
        if not found:
            continue
        if path not in _FIELDS + _MORE_FIELDS.get(kind, ()):
            raise bad_request(_unknown_field(path, kind))
        steps = path.split(".")
        if operator == "!=":
            return lambda obj: _read(obj, steps) != value
        return lambda obj: _read(obj, steps) == value
    raise bad_request(f"invalid selector: {part!r}; can't understand")


def _unknown_field(path: str, kind: str) -> str:
    if kind in _MORE_FIELDS:
        return f"field label not supported: {path}"
    known = ", ".join(f'"{one}"' for one in _FIELDS)
    return f'"{path}" is not a known field selector: only {known}'


def _read(obj: Json, steps: list[str]) -> str:
    for step in steps[:-1]:
        obj = obj.get(step) or {}
    return str(obj.get(steps[-1]) or "")


def both(first: Match, second: Match) -> Match:
    """Selects what both select."""
    return lambda obj: first(obj) and second(obj)


def spec_matches(selector: Json | None, labels: Labels) -> bool:
    """Whether a ``LabelSelector`` (matchLabels, matchExpressions) selects these labels; an empty one selects all."""
    if selector is None:
        return False
    wanted: Labels = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _expression(one, labels) for one in selector.get("matchExpressions") or []
    )


def _expression(expression: Json, labels: Labels) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise bad_request(f"{operator!r} is not a valid label selector operator")
