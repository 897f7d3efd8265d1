"""Floods a server from a process of its own: webhooks at a fixed rate, whatever comes back (open loop), for so many seconds,
or until SIGTERM.

A request goes out on a free connection; where none is free a new one is opened, up to CONNECTIONS; what then still cannot be
sent in time is counted as `late` and left out. Run as `python flood.py PORT KIND RATE SECONDS CONNECTIONS [CORE]`; prints one
JSON object. FLOOD_TOKEN is the sender's. KIND: `same` sends one group again and again, `new` ten new alerts each time.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PATH = "/api/v1/alertmanager"
ALERTS = 10
QUIET_WORKLOAD, ELSEWHERE = 250, "elsewhere"
"""From this one on nothing rolls out, and in this namespace nothing is: what is alerted there leads to nothing but work."""

STARTED = "2026-03-02T12:00:00.123456789Z"


def payload(number: int, workload: int, severity: str, namespace: str = "shop") -> bytes:
    """One webhook of ten alerts about one workload; another number is another group."""
    alerts = [
        {
            "status": "firing", "startsAt": STARTED, "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"f{number:010x}{index:05x}", "generatorURL": "http://prometheus/graph?g0.expr=" + "a" * 120,
            "labels": {
                "alertname": f"Check{index}", "namespace": namespace, "deployment": f"d{workload}", "severity": severity,
                "instance": f"10.0.{number % 250}.{index}", "prometheus": "monitoring/k8s",
            },
            "annotations": {"summary": f"Something is wrong with d{workload}", "description": "d" * 300},
        }
        for index in range(ALERTS)
    ]  # fmt: skip
    return json.dumps({"version": "4", "status": "firing", "truncatedAlerts": 0, "alerts": alerts}).encode()


def request_of(body: bytes) -> bytes:
    """The bytes of one POST."""
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if token := os.environ.get("FLOOD_TOKEN"):
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def bodies(kind: str) -> Callable[[int], bytes]:
    """What the request of a number is; bodies are made beforehand where they repeat."""
    if kind == "same":
        one = request_of(payload(0, QUIET_WORKLOAD, "warning", ELSEWHERE))
        return lambda number: one
    offset = os.getpid() * 1_000_000

    def new(number: int) -> bytes:
        return request_of(payload(offset + number, QUIET_WORKLOAD + number % 250, "warning", ELSEWHERE))

    return new


@dataclass(slots=True)
class Flood:
    """What is under way, and what came back."""

    port: int
    connections: int
    poll: select.epoll = field(default_factory=select.epoll)
    links: dict[int, socket.socket] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)
    unsent: dict[int, memoryview] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    retry_after: int = 0
    stopped: bool = False

    def stop(self, *_signal: object) -> None:
        """End early (SIGTERM), with what came back so far."""
        self.stopped = True

    def send(self, request: bytes) -> bool:
        """Send on a free connection; False where there is none and no other may be opened."""
        number = self.free.pop() if self.free else self._opened()
        if number is None:
            return False
        self.unsent[number] = memoryview(request)
        self._push(number)
        return True

    def _opened(self) -> int | None:
        if len(self.links) >= self.connections:
            return None
        link = socket.socket()
        link.setblocking(False)
        code = link.connect_ex(("127.0.0.1", self.port))
        if code not in (0, errno.EINPROGRESS):
            self.seen["refused"] += 1
            return None
        self.links[link.fileno()] = link
        self.poll.register(link.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return link.fileno()

    def _push(self, number: int) -> None:
        try:
            sent = self.links[number].send(self.unsent[number])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(number)
            return
        left = self.unsent[number][sent:]
        if left:
            self.unsent[number] = left
        else:
            del self.unsent[number]
        self.poll.modify(number, select.EPOLLIN | (select.EPOLLOUT if left else 0))

    def _lost(self, number: int) -> None:
        self.seen["cut"] += 1
        self.poll.unregister(number)
        self.links.pop(number).close()
        self.unsent.pop(number, None)
        if number in self.free:
            self.free.remove(number)

    def hear(self, seconds: float) -> None:
        """Take what has come back, and push on what could not be sent at once."""
        for number, happened in self.poll.poll(seconds):
            if happened & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._answered(number)
            elif number in self.unsent:
                self._push(number)
            else:
                self.poll.modify(number, select.EPOLLIN)

    def _answered(self, number: int) -> None:
        try:
            answer = self.links[number].recv(65536)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if not answer:
            self._lost(number)
            return
        self.seen[answer[9:12].decode(errors="replace")] += 1
        self.retry_after += b"retry-after:" in answer.lower()
        if b"connection: close" in answer.lower() or number in self.unsent:
            self.poll.unregister(number)
            self.links.pop(number).close()
            self.unsent.pop(number, None)
        else:
            self.free.append(number)


def run(flood: Flood, body: Callable[[int], bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Send at the rate; what came back."""
    began, offered, late = time.monotonic(), 0, 0
    while (passed := time.monotonic() - began) < seconds and not flood.stopped:
        while offered < passed * rate:
            offered += 1
            if not flood.send(body(offered)):
                late += 1
        flood.hear(0.001)
    end = time.monotonic() + 2.0
    while len(flood.free) < len(flood.links) and time.monotonic() < end:
        flood.hear(0.05)
    return {"offered": offered, "late": late, "answers": dict(flood.seen), "retry_after": flood.retry_after}


def main() -> None:
    """Run as the module says."""
    port, kind, rate, seconds, connections = int(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:6])
    if len(sys.argv) > 6:
        os.sched_setaffinity(0, {int(sys.argv[6])})
    flood = Flood(port, int(connections))
    signal.signal(signal.SIGTERM, flood.stop)
    print(json.dumps(run(flood, bodies(kind), rate, seconds)))  # noqa: T201  it is a program


if __name__ == "__main__":
    main()
