"""Secrets: how they are given, and that they are shown nowhere.

Each can be written as its value, as `<name>_file: PATH`, or as `<name>: {file: PATH}`. A file is read at every load,
so a Kubernetes Secret whose mount was swapped is picked up by the next reload. Neither value nor path is ever echoed:
people do paste the secret where the path belongs.
"""

# ruff: noqa: TRY004 - pydantic takes only a ValueError as a refusal; a TypeError would pass through as a crash

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, SecretStr, model_validator

FILE_BYTES_MAX = 65_536
"""Bytes; a service-account token has about 1,500. What is larger is no secret but a wrong path."""


def read(value: object) -> object:
    """The secret that a settings source gave as text or as `{file: PATH}`. Raises ValueError with a remedy."""
    if value is None or isinstance(value, SecretStr):
        return value
    if isinstance(value, Mapping):
        if set(value) != {"file"}:
            raise ValueError("is given twice or oddly; write either the value, or `file: PATH`, and nothing beside it")
        return SecretStr(_checked(_from_file(value["file"])))
    if not isinstance(value, str):
        raise ValueError("is no text; quote it, or write `file: PATH`")
    return SecretStr(_checked(value))


def _from_file(path: object) -> str:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError("its file is no absolute path (not shown: it may be the secret itself); write /path/to/file")
    try:
        with Path(path).open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ValueError(f"its file cannot be read: {reason}; check path and permissions") from None
    if len(raw) > FILE_BYTES_MAX:
        raise ValueError(f"its file is larger than {FILE_BYTES_MAX} bytes; name a file that holds only the secret")
    return text.rstrip("\r\n")


def _checked(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give the secret, or leave the setting out")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        # It goes into HTTP headers and URLs, where a line break would start another header.
        raise ValueError("holds a line break or control character; give the secret alone")
    return text


Secret = Annotated[SecretStr, BeforeValidator(read)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(read)]


ReadOnly = AfterValidator(lambda value: MappingProxyType(dict(value)))
AsTexts = PlainSerializer(lambda value: {name: str(item) for name, item in value.items()})
"""For dumps; the `str` of a secret is asterisks."""

NamedSecrets = Annotated[Mapping[str, Secret], ReadOnly, AsTexts]
"""`{name: secret}`; read-only, as everything in the settings."""


class Section(BaseModel):
    """A frozen part of the settings that refuses unknown keys and understands `<name>_file` for its secrets."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, validate_default=False
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        return cls.spelled_out(data) if isinstance(data, Mapping) else data

    @classmethod
    def spelled_out(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with `<name>_file: PATH` as `<name>: {file: PATH}`, and without nulls, which mean "not set".

        Done for each source before they are laid over each other: a variable with the value must win over a path.
        """
        given = {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}
        for name, info in cls.model_fields.items():
            is_secret = any(getattr(item, "func", None) is read for item in info.metadata)
            if is_secret and f"{name}_file" in given:
                path = given.pop(f"{name}_file")
                given[name] = {"file": path, "value": True} if name in given else {"file": path}
        return given


def values_in(value: object) -> Iterator[str]:
    """Every secret value within settings, sections and tuples."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from values_in(getattr(value, name))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from values_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from values_in(item)
