"""The fields of a deployment event, whoever wrote it: each read within its limit, each fault named by its path.

What identifies or decides is refused where it does not fit; text for people is cut; a link that is none is dropped.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from handlers.alerts import MalformedError, kind_of, moment, object_of

TEXT_CHARS_MAX = 256
"""Longest author, environment, version, commit or repository that is kept; longer is cut and marked."""

DESCRIPTION_CHARS_MAX = 1000
"""Longest description that is kept: a paragraph, no log."""

URL_CHARS_MAX = 2048
"""Longest link that is kept; a longer one is dropped: half a link is none."""

ID_CHARS_MAX = 256
"""Longest event id or event source; those of known senders have 36 to 100 characters. Longer is refused, never cut:
two events must not become one."""

RENDERED_NOTHING = ("<no value>", "<nil>")
"""What Go's templates write where a field is missing. As an identity it would make all events one, as a cluster another's."""

# No user or password in it: GitLab's own variables hold addresses with the job's token, and `https://known@evil` misleads.
_URL = re.compile(rf"https?://(?![^/?#]*@)[!-~]{{1,{URL_CHARS_MAX - 8}}}")


class UnsupportedError(MalformedError):
    """The content type is none that is read here (HTTP: 415)."""


class ForgedError(Exception):
    """The sender did not prove who it is (HTTP: 401). The message names what was missing or wrong, never a secret."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object and the path it was found at (empty: the top). Null and the empty string count as left out.

    What a sender's template rendered out of a missing field (RENDERED_NOTHING) is no value: left out where it is only for people,
    refused where it identifies or decides.
    """

    entry: Mapping[str, object]
    path: str = ""

    def at(self, name: str) -> str:
        """The path of one field."""
        return f"{self.path}.{name}" if self.path else name

    def only(self, *known: str) -> Fields:
        """Refuse unknown fields: a misspelt `irreversible` must not be taken for one left out."""
        for name in self.entry:
            if name not in known:
                near = difflib.get_close_matches(name[:40], known, n=1)
                remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise MalformedError(self.at(ascii(name[:40])), f"is unknown; {remedy}")
        return self

    def string(self, name: str) -> str | None:
        """The string as sent. Refused where a template rendered part of it out of nothing."""
        value = self._sent(name)
        missing = next((each for each in RENDERED_NOTHING if each in (value or "")), None)
        if missing is not None:
            raise MalformedError(
                self.at(name), f"holds {missing}: the sender's template names a field that is not there"
            )
        return value

    def _sent(self, name: str) -> str | None:
        value = self.entry.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise MalformedError(self.at(name), f"must be a string, is {kind_of(value)}")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise MalformedError(self.at(name), "holds half of a surrogate pair, which is no character")
        return value

    def text(self, name: str, chars_max: int = TEXT_CHARS_MAX) -> str | None:
        """A string for people, cut to the limit; one that is nothing but a missing field is left out."""
        value = self._sent(name)
        if value is not None and value.strip() in RENDERED_NOTHING:
            return None
        return value if value is None or len(value) <= chars_max else f"{value[: chars_max - 1]}…"

    def name(self, name: str, chars_max: int = ID_CHARS_MAX) -> str:
        """A string that must be there and is never cut."""
        value = self.string(name)
        if value is None:
            raise MalformedError(self.at(name), "is missing")
        if len(value) > chars_max:
            raise MalformedError(self.at(name), f"has {len(value)} characters, at most {chars_max} are taken")
        if not value.isprintable():
            raise MalformedError(self.at(name), "holds a control character")
        return value

    def number(self, name: str) -> str:
        """A vendor's id, which is a positive whole number, as text."""
        value = self.entry.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
            raise MalformedError(
                self.at(name), "is missing" if value is None else "must be a whole number from 1 to 2^63-1"
            )
        return str(value)

    def url(self, name: str) -> str | None:
        """A link that a browser may open (http, https); anything else of a string is dropped."""
        value = self._sent(name)
        return value if value is not None and _URL.fullmatch(value) else None

    def flag(self, name: str) -> bool:
        """True or false, false where it is left out."""
        value = self.entry.get(name)
        if value is not None and not isinstance(value, bool):
            raise MalformedError(self.at(name), f"must be true or false, is {kind_of(value)}")
        return value is True

    def moment(self, name: str) -> datetime:
        """An RFC 3339 time, in UTC."""
        return moment(self.entry.get(name), self.at(name))

    def inner(self, name: str) -> Fields:
        """The object under a name; an empty one where it is left out."""
        value = self.entry.get(name)
        return Fields({} if value is None else object_of(value, self.at(name)), self.at(name))

    def needed(self, name: str) -> Fields:
        """The object under a name, which must be there."""
        if self.entry.get(name) is None:
            raise MalformedError(self.at(name), "is missing")
        return self.inner(name)

    def listed(self, name: str) -> tuple[object, ...]:
        """The array under a name; an empty one where it is left out."""
        value = self.entry.get(name)
        if value is not None and not isinstance(value, list):
            raise MalformedError(self.at(name), f"must be an array, is {kind_of(value)}")
        return tuple(value or ())
