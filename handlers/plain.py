"""Strangers' text made fit for a message: one line, no characters that act, cut where nobody sees the knife.

Label values, change causes and container messages reach pages and chats. Whoever writes them must not be able to forge
a line of ours, turn the reading direction round ("trojan source" sequences) or break the vendor's encoding (lone
surrogates). Vendors' mark-up is not the business of this module: each handler escapes its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

ELLIPSIS = "…"
"""Marks where text was cut."""

CLUSTER_CHARS_MAX = 32
"""How far a cut moves back to spare a composed character: the longest emoji sequences have 10, stacked accents no
end."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_JOINER = "\N{ZERO WIDTH JOINER}"
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Size = Callable[[str], int]
"""How a vendor counts: `utf8_bytes`, `utf16_units` or `len`."""


def utf8_bytes(text: str) -> int:
    """Length in bytes on the wire: never less than the number of characters, so it keeps limits given in either."""
    return len(text.encode("utf-8", "replace"))


def utf16_units(text: str) -> int:
    """Length as JavaScript and Java count: what a vendor means by "characters" unless it says otherwise, at the
    least.
    """
    return len(text) + sum(1 for character in text if character > "\uffff")


def one_line(text: str, limit: int, size: Size = len) -> str:
    """The text on one line, without control, direction and half characters, of at most `limit` by `size`."""
    # A slice first: a hostile value may hold megabytes. What whitespace uses up of it is missed by nobody.
    line = "".join(_harmless(character) for character in " ".join(text[: 4 * limit].split()))
    return cut(line, limit, size)


def exact(text: str, limit: int, size: Size = len) -> str | None:
    """The text itself where every character of it can be shown as it is and it fits, else None.

    For commands: a shortened or repaired one must not be pasted into a shell.
    """
    if len(text) > limit or any(_harmless(character) != character for character in text):
        return None
    return text if size(text) <= limit else None


def cut(text: str, limit: int, size: Size = len) -> str:
    """At most `limit` of the text by `size`, ending in an ellipsis where it was cut, never inside a composed
    character.
    """
    if size(text[: limit + 1]) <= limit and len(text) <= limit:
        return text
    room = limit - size(ELLIPSIS)
    end = 0
    while end < len(text) and (room := room - size(text[end])) >= 0:
        end += 1
    return text[: _boundary(text, end)] + ELLIPSIS if limit >= size(ELLIPSIS) else ""


def _harmless(character: str) -> str:
    if character in _DIRECTION or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return _REPLACEMENT
    return character


def _boundary(text: str, end: int) -> int:
    """The last place at or before `end` where a composed character ends; `end` itself if there is none near."""
    for place in range(end, max(end - CLUSTER_CHARS_MAX, 0), -1):
        if not _inside(text, place):
            return place
    return end


def _inside(text: str, place: int) -> bool:
    if place >= len(text):
        return False
    follower = text[place]
    if text[place - 1] == _JOINER or follower == _JOINER or unicodedata.category(follower) in ("Mn", "Me", "Mc"):
        return True
    if "\U0001f3fb" <= follower <= "\U0001f3ff":  # skin tones
        return True
    return _flag_half(follower) and _flags_before(text, place) % 2 == 1


def _flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flags_before(text: str, place: int) -> int:
    count = 0
    while count < place and _flag_half(text[place - count - 1]):
        count += 1
    return count
