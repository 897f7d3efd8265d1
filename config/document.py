"""The YAML file, read strictly.

PyYAML lets the last of two equal keys win and reads `no`, `on` and `12:30` as YAML 1.1 does. Both change a policy
behind its author's back: equal keys are refused, and only `true` and `false` are booleans. Messages carry line and
column but no text of the file, which may hold a secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from config.problems import ConfigError

FILE_BYTES_MAX = 1_048_576
"""A policy for a thousand workloads is a tenth of it; what is larger is not our file."""

MERGED_MAX = 1000
"""Keys of one mapping after merges (`<<`); no section has a tenth of it."""

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_BOOLEAN = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")


class _RefusedError(yaml.MarkedYAMLError):
    """A key stands twice in one mapping, or is no text; or it is no mapping, or one without end. The message has the remedy."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate and non-text keys and knows only YAML 1.2's booleans, decimals and floats."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        if not isinstance(node, yaml.MappingNode):  # `!!map [a]` says so of something else
            raise _RefusedError(problem="a tag says mapping of what is none; remove it", problem_mark=node.start_mark)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                raise _RefusedError(problem="a key is no text; quote it", problem_mark=key.start_mark)
            if key.value in seen:
                raise _RefusedError(problem="a key stands twice; remove one of them", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Lay the merged mappings (`<<`) into this one. Merges of merges double: forty lines could take for ever."""
        super().flatten_mapping(node)
        if len(node.value) > MERGED_MAX:
            problem = f"merges make a mapping of more than {MERGED_MAX} keys; write it out"
            raise _RefusedError(problem=problem, problem_mark=node.start_mark)


_DROPPED = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:int", "tag:yaml.org,2002:timestamp")
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag not in _DROPPED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOLEAN, list("tTfF"))
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)


def read(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file at `path`; an empty file is an empty mapping.

    Raises ConfigError: missing or unreadable file, not UTF-8, larger than FILE_BYTES_MAX, bad YAML, duplicate key,
    not a mapping.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigError([f"{path}: {reason}; name an existing, readable file"]) from None
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError([f"{path}: larger than {FILE_BYTES_MAX} bytes; is this the right file?"])
    return _mapping(path, raw)


def _mapping(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8-sig")
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader subclass
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_complaint(path, error)]) from None
    except (yaml.YAMLError, RecursionError, ValueError):
        # No mark: a character YAML forbids, nesting without end, or a number beyond Python's limits.
        raise ConfigError(
            [f"{path}: is no YAML that can be read; look for control characters or odd nesting"]
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError([f"{path}: is no mapping; write `cluster: NAME` and the other settings at the top level"])
    return content


def _complaint(path: Path, error: yaml.MarkedYAMLError) -> str:
    """`file:line:column: problem; remedy`, without words quoted from the file."""
    mark = error.problem_mark or error.context_mark
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    problem = _QUOTED.sub(_unless_short, error.problem or "is no valid YAML")
    remedy = "" if isinstance(error, _RefusedError) else "; quote text that starts with a special character"
    return f"{place}: {problem}{remedy}"


def _unless_short(quoted: re.Match[str]) -> str:
    """PyYAML quotes its own tokens and single characters, which help, and words of the file, which may be secret."""
    inner = quoted[1] or quoted[2] or ""
    return quoted[0] if len(inner) <= 2 or inner.startswith("<") else "(not shown)"
