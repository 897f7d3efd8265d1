"""Sources of settings beside the file: environment variables and a folder of secret files.

Both give nested mappings that are laid over the file's. pydantic-settings' own sources are not used because they ignore
unknown top-level variables, read only the process' environment, and put JSON errors without the variable's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from config.problems import ConfigError, Where

PREFIX = "LASTGOOD_"
DELIMITER = "__"

RESERVED = frozenset(
    {"LASTGOOD_CONFIG", "LASTGOOD_SOCKET", "LASTGOOD_URL", "LASTGOOD_TOKEN_FILE", "LASTGOOD_DEBUG"},
)
"""Read by the command line (`lastgood --help` tells what for), not settings of the daemon."""

_SERVICE_HOST = re.compile(r"LASTGOOD_(?:[A-Z0-9]+_)*SERVICE_(?:HOST|PORT(?:_[A-Z0-9]+)*)")
_SERVICE_PORT = re.compile(r"LASTGOOD_(?:[A-Z0-9]+_)*PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?")


class Given(PydanticBaseSettingsSource):
    """A source that was read already: pydantic-settings only has to lay it over the next one."""

    def __init__(self, settings: type[BaseSettings], content: dict[str, Any]) -> None:
        super().__init__(settings)
        self._content = content

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of one field; part of the interface, `__call__` answers for all."""
        return self._content.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The whole content, unknown keys included: they are to be refused, not lost."""
        return self._content


def environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[Where, str]]:
    """The settings in LASTGOOD_ variables as a nested mapping, and which variable gave which path.

    Names are read without regard to case, empty values count as unset, lists and mappings are JSON. Raises ConfigError
    where two variables contradict (`LASTGOOD_LOG` and `LASTGOOD_LOG__LEVEL`).
    """
    content: dict[str, Any] = {}
    origin: dict[Where, str] = {}
    for name in sorted(environ):
        value = environ[name]
        if not name.upper().startswith(PREFIX) or not value or _is_foreign(name, value):
            continue
        where = tuple(name[len(PREFIX) :].lower().split(DELIMITER))
        if not _put(content, where, _decoded(value)):
            raise ConfigError([f"{name}: contradicts another variable for the same setting; keep one of them"])
        origin[where] = name
    return content, origin


def _is_foreign(name: str, value: str) -> bool:
    """True for variables that are no settings: the command line's, and what Kubernetes puts into every pod beside a
    Service named `lastgood` or `lastgood-…`. `LASTGOOD_SERVER_PORT=9095` is neither and will be refused as unknown.
    """
    if name in RESERVED or _SERVICE_HOST.fullmatch(name):
        return True
    # LASTGOOD_PORT and LASTGOOD_PORT_9095_TCP hold tcp://…; the parts after a number cannot be anything else.
    return _SERVICE_PORT.fullmatch(name) is not None and (
        "://" in value or any(part.isdecimal() for part in name.split("_"))
    )


def _decoded(value: str) -> Any:
    """JSON lists and objects as such; all else, broken JSON included, stays text and is judged by its field."""
    if value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def folder(path: Path, environ_paths: Mapping[Where, str]) -> tuple[dict[str, Any], dict[Where, str]]:
    """The secrets in a folder whose files are named by setting (`pagerduty.routing_key`), as `{file: …}` mappings.

    Hidden names are skipped: Kubernetes keeps its `..data` links there. A variable for the same setting wins. Raises
    ConfigError when the folder cannot be listed.
    """
    try:
        names = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigError([f"secrets_dir: {reason}; name an existing, readable folder"]) from None
    content: dict[str, Any] = {}
    origin: dict[Where, str] = {}
    for name in names:
        where = tuple(name.split(".", 2))
        if where in environ_paths:
            continue
        if not _put(content, where, {"file": str(path.absolute() / name)}):
            raise ConfigError(["secrets_dir: two files contradict each other; keep one per setting"])
        origin[where] = "a file in secrets_dir"
    return content, origin


def _put(content: dict[str, Any], where: Where, value: Any) -> bool:
    """Set the nested `value`; False where something else is in the way."""
    *parents, leaf = map(str, where)
    inner: Any = content
    for part in parents:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            return False
    if leaf in inner:
        return False
    inner[leaf] = value
    return True
