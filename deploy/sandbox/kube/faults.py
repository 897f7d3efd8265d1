"""Switches that make the API server misbehave, and the log of what it was asked. For tests and for the demo."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

LOG_MAX = 20_000
"""Requests kept in the log; a busy hour of a demo. The oldest go first."""


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """One request as it came in. ``status`` is the HTTP status, None until answered and for a dropped connection."""

    method: str
    path: str
    query: dict[str, str]
    user_agent: str
    body: Any = None
    status: int | None = None

    @property
    def field_manager(self) -> str:
        """The ``fieldManager`` parameter, "" without one."""
        return self.query.get("fieldManager", "")

    @property
    def dry_run(self) -> bool:
        """Whether nothing was to be stored."""
        return self.query.get("dryRun") == "All"

    @property
    def is_watch(self) -> bool:
        """Whether it asked for a stream."""
        return self.query.get("watch", "").lower() in ("1", "true")


@dataclass(slots=True, kw_only=True)
class Rule:
    """One planned misbehaviour for the next ``times`` requests that fit ``method`` and ``path`` (a search pattern).

    ``answer``: refuse with ``status``. ``drop``: close the connection unheard. ``drop_after``: do what was asked, then
    close the connection without an answer (the case where a client cannot know). ``hang``: do what was asked after
    ``seconds``.
    """

    kind: Literal["answer", "drop", "drop_after", "hang"]
    times: int
    method: str = ""
    path: str = ""
    status: int = 503
    retry_after: int | None = None
    text: str | None = None
    seconds: float = 0.0

    def fits(self, record: RequestRecord) -> bool:
        """Whether this rule is for that request."""
        return self.times > 0 and self.method in ("", record.method) and bool(re.search(self.path, record.path))


@dataclass(slots=True, kw_only=True)
class Faults:
    """The switches. All off at first.

    ``down``: every connection is dropped unheard, running watches too. ``delay_seconds``: before each answer.
    ``hang_watches``: watches are accepted and stay silent, without bookmarks and without their time limit.
    ``gone_as_status``: a watch from a too old resourceVersion is HTTP 410, as the protocol allows and as no API server
    from 1.20 to 1.36 does: they answer 200 with an ERROR event.
    ``on_request`` is called with each request before it is handled.
    """

    down: bool = False
    delay_seconds: float = 0.0
    hang_watches: bool = False
    gone_as_status: bool = False
    on_request: Callable[[RequestRecord], None] | None = None
    rules: list[Rule] = field(default_factory=list)
    log: deque[RequestRecord] = field(default_factory=lambda: deque(maxlen=LOG_MAX))

    def fail(
        self,
        times: int = 1,
        *,
        status: int = 503,
        method: str = "",
        path: str = "",
        retry_after: int | None = None,
        text: str | None = None,
    ) -> None:
        """Answers the next fitting requests with ``status``; ``text`` makes the body plain text instead of a Status."""
        self.rules.append(
            Rule(
                kind="answer",
                times=times,
                method=method,
                path=path,
                status=status,
                retry_after=retry_after,
                text=text,
            )
        )

    def drop(self, times: int = 1, *, method: str = "", path: str = "", after: bool = False) -> None:
        """Drops the next fitting connections: unheard, or ``after`` doing what they asked for."""
        self.rules.append(Rule(kind="drop_after" if after else "drop", times=times, method=method, path=path))

    def hang(self, times: int = 1, *, seconds: float, method: str = "", path: str = "") -> None:
        """Handles the next fitting requests only after ``seconds``."""
        self.rules.append(Rule(kind="hang", times=times, method=method, path=path, seconds=seconds))

    def clear(self) -> None:
        """All switches off, all rules gone; the log stays."""
        self.down = self.hang_watches = self.gone_as_status = False
        self.delay_seconds = 0.0
        self.rules.clear()

    def take(self, record: RequestRecord) -> Rule | None:
        """The rule for this request, used up by one."""
        for rule in self.rules:
            if rule.fits(record):
                rule.times -= 1
                return rule
        return None

    def requests(self, method: str = "", path: str = "") -> list[RequestRecord]:
        """What was asked so far, by method and search pattern of the path, oldest first."""
        return [one for one in self.log if method in ("", one.method) and re.search(path, one.path)]
