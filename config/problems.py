"""What is wrong with a configuration, told in lines a person can act on.

Each line is `field.path: what is wrong; remedy`. No line holds a value that was given: it might be a secret in the
wrong place. Keys are shown only where they look like a key (`token:xoxb-1` is what a forgotten blank makes of a
secret).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Where = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_./@*-]{1,64}")
_EXAMPLE = "deploy/lastgood.example.yaml shows every setting"

_REMEDIES = {
    "string_type": "quote it, so that YAML reads it as text",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "finite_number": "write a finite number",
    "tuple_type": "write a list; in the environment a JSON list",
    "list_type": "write a list; in the environment a JSON list",
    "dict_type": "write `name: value` pairs",
    "enum": "choose one of these",
    "literal_error": "choose one of these",
    "model_type": "write `name: value` pairs below it",
    "path_type": "write a path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong at `where` (keys and list positions, empty for the whole): `text` ends with the remedy."""

    where: Where = ()
    text: str

    def __str__(self) -> str:
        return f"{path_of(self.where)}: {self.text}" if self.where else self.text


class ConfigError(Exception):
    """The configuration was refused. `str()` gives one line per problem and never a value that was given."""

    def __init__(self, problems: Iterable[Problem | str]) -> None:
        self.problems = tuple(str(problem) for problem in problems)
        super().__init__("\n".join(self.problems))


def path_of(where: Where) -> str:
    """`modes.0.labels` for ("modes", 0, "labels"); a part that does not look like a key is not shown."""
    return ".".join(str(part) if _PLAIN_KEY.fullmatch(str(part)) else "(not shown)" for part in where)


def suggest(name: str, known: Collection[str]) -> str:
    """The remedy for an unknown name: the nearest known one, else where to look."""
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else _EXAMPLE


def refuse(problems: Iterable[Problem]) -> None:
    """Raise the problems as one pydantic error, which keeps their paths; does nothing without problems."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("refused", "{text}", {"text": problem.text}),
            loc=problem.where,
            input=None,
        )
        for problem in problems
    ]
    if details:
        raise ValidationError.from_exception_data("settings", details, hide_input=True)


def explain(error: ValidationError, keys: dict[str, Collection[str]], env: dict[Where, str]) -> list[Problem]:
    """Pydantic's errors in our words.

    `keys` are the known keys below a path (with `*` for list positions and free names), for "did you mean"; `env` tells
    which variable set which path.
    """
    found: list[Problem] = []
    for item in error.errors(include_url=False, include_input=False):
        where = tuple(item["loc"])
        text = _text(where, dict(item), keys)
        source = _source(where, env, below=item["type"] == "extra_forbidden")
        found.append(Problem(where=where, text=text + (f" (set by {source})" if source else "")))
    return found


def _source(where: Where, env: dict[Where, str], *, below: bool) -> str | None:
    """The variable that set `where` or what is around it; with `below` also one that set something in it."""
    around = (env[where[:size]] for size in range(len(where), 0, -1) if where[:size] in env)
    inside = (name for path, name in env.items() if below and path[: len(where)] == where)
    return next(around, None) or next(inside, None)


def _text(where: Where, item: dict[str, Any], keys: dict[str, Collection[str]]) -> str:
    kind = item["type"]
    if kind == "missing":
        name = "LASTGOOD_" + "__".join(str(part).upper() for part in where)
        remedy = f"set it in the file or as {name}" if path_of(where) == ".".join(map(str, where)) else _EXAMPLE
        return f"is required; {remedy}"
    if kind == "extra_forbidden" and not _PLAIN_KEY.fullmatch(str(where[-1])):
        return "holds what does not look like a setting's name; is a blank missing after a colon?"
    if kind == "extra_forbidden":
        return f"unknown setting; {suggest(str(where[-1]), _siblings(where, keys))}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    if kind == "refused":
        return str(item["msg"])
    said = str(item["msg"])
    return f"{said[:1].lower()}{said[1:]}; {_REMEDIES.get(kind, _EXAMPLE)}"


def _siblings(where: Where, keys: dict[str, Collection[str]]) -> Collection[str]:
    """The known keys beside the last part of `where`; `*` in a known path stands for any part."""
    parts = [str(part) for part in where[:-1]]
    for path, names in keys.items():
        shape = path.split(".")[:-1]
        if len(shape) == len(parts) and all(want in ("*", part) for want, part in zip(shape, parts, strict=True)):
            return names
    return ()
