"""What a simulated container does with its life, chosen by its image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from deploy.sandbox.kube.errors import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """A container's fate. Left alone it starts, becomes ready and lives for ever.

    ``waiting``: it never starts and waits with this reason (``ImagePullBackOff``, ``CreateContainerConfigError``, …).
    ``lives_seconds``: it ends that long after each start, as ``reason`` with ``exit_code``. ``start_seconds``: its own
    time from scheduling to ready, instead of the cluster's.
    """

    schedulable: bool = True
    waiting: str = ""
    becomes_ready: bool = True
    lives_seconds: float | None = None
    reason: str = "Error"
    exit_code: int = 1
    start_seconds: float | None = None


HEALTHY = Behaviour()
CRASH = Behaviour(lives_seconds=0.0)
OOM = Behaviour(lives_seconds=0.0, reason="OOMKilled", exit_code=137)
NEVER_READY = Behaviour(becomes_ready=False)
PULL_ERROR = Behaviour(waiting="ImagePullBackOff")
CONFIG_ERROR = Behaviour(waiting="CreateContainerConfigError")
UNSCHEDULABLE = Behaviour(schedulable=False)


def crash_after(seconds: float) -> Behaviour:
    """Becomes ready (if ``seconds`` allow it) and crashes ``seconds`` after each start."""
    return Behaviour(lives_seconds=seconds)


BehaviourOf = Callable[[str, Json], Behaviour]
"""Chooses by image and pod; asked at each container start, so a fate may change while the cluster runs."""

_NAMED = {
    "crash": CRASH,
    "oom": OOM,
    "unready": NEVER_READY,
    "nopull": PULL_ERROR,
    "noconfig": CONFIG_ERROR,
    "unschedulable": UNSCHEDULABLE,
}
_CRASH_LATER = re.compile(r"crash(\d+)s")


class Behaviours:
    """Behaviours by exact image; any other image by its tag's last word: ``shop:v2-crash``, ``-oom``, ``-crash5s``."""

    def __init__(self, by_image: dict[str, Behaviour] | None = None) -> None:
        self.by_image = dict(by_image or {})

    def __call__(self, image: str, _pod: Json) -> Behaviour:
        """The behaviour of a container of ``image``."""
        if image in self.by_image:
            return self.by_image[image]
        word = image.rpartition(":")[2].rpartition("-")[2]
        later = _CRASH_LATER.fullmatch(word)
        return crash_after(float(later[1])) if later else _NAMED.get(word, HEALTHY)


def image_digest(image: str) -> str:
    """The digest that a pull of ``image`` finds: made up, the same each time."""
    return "sha256:" + hashlib.sha256(image.encode()).hexdigest()
