"""The `policy` section: the core's Policy, written the friendly way.

The core's dataclasses stay the one definition of names and defaults. From their type hints this module makes the models
that read the file: every timedelta becomes a Prometheus duration, pairs become a mapping, a Workload may be written
`namespace/Kind/name`, signals are keyed by name and laid over the defaults. Calls are read by `config.call_section`, the checks
across fields are in `config.policy_checks`.
"""

# ruff: noqa: TRY004 - pydantic takes only a ValueError as a refusal; a TypeError would pass through as a crash

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, create_model

from config import call_section, durations, policy_checks, problems
from daemon.core.model import Workload
from daemon.core.policy import DEFAULT_SIGNALS, SATURATION_SIGNALS, ApproverRule, Policy, SignalRule

ZERO_ALLOWED = frozenset({"countdown", "latency_warm_up", "assumed_for"})
"""Durations of the policy where 0 has a meaning: at once, no warm-up, rules without `for`. Elsewhere 0 is a mistake."""

SLACK_ACTOR = "slack:"
"""What stands before a member's id in the journal: `slack:U0123ABCD`."""

_CONFIG = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
_MEMBER = re.compile(r"[UW][A-Z0-9]{5,20}")
_WORKLOAD_HELP = "write it as namespace/Kind/name, like shop/Deployment/web"


def _member(value: str) -> str:
    if _MEMBER.fullmatch(value) is None:
        raise ValueError("is no member id; copy it in Slack from the person's profile, it is like U0123ABCD")
    return value


def read(value: object, info: ValidationInfo) -> Policy:
    """The Policy of the `policy` section; the cluster comes from the top level. Raises pydantic's ValidationError."""
    if not isinstance(value, Mapping):
        raise ValueError("is no mapping; write the policy's settings below it")
    known = model().model_fields
    given = {name: item for name, item in value.items() if item is not None or name not in known}
    if "cluster" in given:
        raise ValueError("holds the cluster's name; write `cluster` at the top level of the file")
    if "signals" in given:
        given["signals"] = _laid_over_defaults(given["signals"])
    content = dict(model().model_validate(given))
    content["signals"] = tuple(SignalRule(name=name, **dict(rule)) for name, rule in content["signals"].items())
    content["calls"] = call_section.read(content["calls"])
    policy = Policy(cluster=info.data.get("cluster", ""), **content)
    problems.refuse(policy_checks.problems_of(policy))
    return policy


class _Approvers(BaseModel):
    """Who may press the buttons in Slack: members by their ids, because a name can be changed by whoever bears it."""

    model_config = _CONFIG

    slack: tuple[Annotated[str, AfterValidator(_member)], ...]
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def _approver_rule(value: _Approvers) -> ApproverRule:
    actors = tuple(f"{SLACK_ACTOR}{member}" for member in value.slack)
    return ApproverRule(actors=actors, namespaces=value.namespaces, names=value.names)


@cache
def model() -> type[BaseModel]:
    """The model that reads the section, made from the core's Policy."""
    signal = model_of(SignalRule, skip=frozenset({"name"}))
    fields: dict[str, Any] = {
        "approvers": (tuple[Annotated[_Approvers, AfterValidator(_approver_rule)], ...], ()),
        "signals": (dict[str, signal], Field(default_factory=lambda: _laid_over_defaults({}), validate_default=True)),  # type: ignore[valid-type]
    }
    fields["calls"] = (dict[str, tuple[str, ...]], Field(default_factory=dict))
    made = model_of(Policy, skip=frozenset({"cluster", "signals", "approvers", "calls"}))
    return create_model("Policy", __base__=made, **fields)


def model_of(kind: type[Any], skip: frozenset[str] = frozenset()) -> type[BaseModel]:
    """A strict model with the fields, defaults and friendly spellings of the dataclass `kind`, without `skip`."""
    hints = get_type_hints(kind)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if item.name in skip:
            continue
        fields[item.name] = (_friendly(hints[item.name], zero=item.name in ZERO_ALLOWED), _default(item))
    return create_model(kind.__name__, __config__=_CONFIG, **fields)


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default is not dataclasses.MISSING:
        return item.default
    if item.default_factory is not dataclasses.MISSING:
        return Field(default_factory=item.default_factory)
    return ...


def _friendly(hint: Any, *, zero: bool = False) -> Any:
    """The type that reads `hint` as people write it."""
    if hint is timedelta:
        return durations.DurationOrZero if zero else durations.Duration
    if hint is Workload:
        return Annotated[Workload, BeforeValidator(_workload)]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return Annotated[model_of(hint), AfterValidator(_builder(hint))]
    parts = get_args(hint)
    if get_origin(hint) is tuple and parts[1:] == (...,):
        if get_args(parts[0])[:1] == (str,) and len(get_args(parts[0])) == 2:
            return Annotated[hint, BeforeValidator(_pairs)]
        return tuple[_friendly(parts[0]), ...]  # type: ignore[misc]
    if get_origin(hint) in (types.UnionType, Union):
        return Union[tuple(_friendly(part, zero=zero) for part in parts)]  # noqa: UP007 - made from a list of types
    return hint


def _builder(kind: type[Any]) -> Callable[[Any], Any]:
    """From a validated model to the core's dataclass; a default that already is one passes."""
    return lambda value: value if isinstance(value, kind) else kind(**dict(value))


def _pairs(value: object) -> object:
    """A mapping as pairs, in the order of the file; tuples (a default) pass."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("is no mapping; write `name: value` pairs")
    for text in value.values():
        if not isinstance(text, str):
            raise ValueError("a value is no text; quote it, so that YAML does not read 1.10 as a number")
    return tuple(value.items())


def _workload(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"is no text; {_WORKLOAD_HELP}")
    parts = value.split("/")
    if len(parts) != 3 or not all(part and part == part.strip() for part in parts):
        raise ValueError(f"is no workload; {_WORKLOAD_HELP}")
    return Workload(namespace=parts[0], kind=parts[1], name=parts[2])


def _as_given(rule: SignalRule) -> dict[str, Any]:
    return {item.name: getattr(rule, item.name) for item in dataclasses.fields(rule) if item.name != "name"}


def _laid_over_defaults(value: object) -> object:
    """The defaults, with what is given laid over them by name and key; a null drops a default. `cpu: {}` is enough to add it."""
    if not isinstance(value, Mapping):
        raise ValueError("`signals` is no mapping; write `signals: {error_ratio: {trigger_above: 0.1}}`")
    merged: dict[Any, Any] = {rule.name: _as_given(rule) for rule in DEFAULT_SIGNALS}
    known = {rule.name: _as_given(rule) for rule in (*DEFAULT_SIGNALS, *SATURATION_SIGNALS)}
    for name, rule in value.items():
        if rule is None:
            merged.pop(name, None)
        elif isinstance(rule, Mapping):
            merged[name] = {**known.get(name, {}), **rule}
        else:
            merged[name] = rule
    return merged
