"""What a rollback would change, as people read it: a unified diff of the two pod templates in YAML.

A template may hold secrets in plain sight. A value that sits beside a secret-looking name, in an environment variable or behind
a flag (`--password=…`), and a password within an address, is shown as the start of its hash: that it changes can be seen, what it
is cannot.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from handlers.revisions import Json, without_hash_label

LINES_MAX = 400
"""Lines of a diff: more is no longer read before saying yes; the rest is counted."""

COMPARED_MAX = 2_000
"""Lines of a template that are compared line by line: the time grows with their square, and this takes half a second."""

_SECRET = re.compile(r"token|passw|pwd|secret|key|credential|dsn", re.IGNORECASE)
_FLAG = re.compile(r"(--?[A-Za-z0-9_.-]+[= ])(.+)", re.DOTALL)
_PASSWORD = re.compile(r"(://[^/\s:@]*:)([^/\s@]+)(?=@)")


def template_diff(current: Json, target: Json) -> list[str]:
    """The lines from `current` to `target`; empty where they are the same template."""
    before, after = (_lines(template) for template in (current, target))
    parts = (before[:COMPARED_MAX], after[:COMPARED_MAX])
    found = list(difflib.unified_diff(*parts, "running now", "after the rollback", lineterm="", n=2))
    if len(found) > LINES_MAX:
        found = [*found[:LINES_MAX], f"… {len(found) - LINES_MAX} more lines"]
    if before[COMPARED_MAX:] != after[COMPARED_MAX:]:
        found.append(f"… and there are differences beyond line {COMPARED_MAX}")
    return found


def _lines(template: Json) -> list[str]:
    text = yaml.safe_dump(_veiled(without_hash_label(template)), sort_keys=True, allow_unicode=True, width=1000)
    return text.splitlines()


def _veiled(value: Any) -> Any:
    if isinstance(value, Mapping):
        veiled = {key: _veiled(item) for key, item in value.items()}
        name, text = value.get("name"), value.get("value")
        if isinstance(name, str) and isinstance(text, str) and _SECRET.search(name):
            veiled["value"] = _hidden(text)
        return veiled
    if isinstance(value, str):
        flag = _FLAG.fullmatch(value)
        if flag and _SECRET.search(flag[1]):
            return flag[1] + _hidden(flag[2])
        return _PASSWORD.sub(lambda found: found[1] + _hidden(found[2]), value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_veiled(item) for item in value]
    return value


def _hidden(text: str) -> str:
    return f"(not shown: {hashlib.sha256(text.encode(errors='replace')).hexdigest()[:6]})"
