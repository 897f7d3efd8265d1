"""Sends one webhook again and again over kept-open connections from one process, as fast as the answers come back.

An epoll loop on plain sockets: it must cost far less than the server it measures. Run as `python load.py PORT CONNECTIONS
SECONDS BODY_FILE CORE SERVER_PID`; prints one JSON object.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/api/v1/alertmanager"
WARM_UP_SECONDS = 0.5


@dataclass(slots=True)
class Load:
    """What came of one run; seconds. `refused` are answers other than 2xx: the first is kept."""

    request: bytes
    took: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def request_of(body: bytes, headers: tuple[str, ...] = ()) -> bytes:
    """The bytes of one POST."""
    lines = (f"POST {PATH} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers)
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body


def cpu_of(pid: int) -> float:
    """The seconds of CPU that a process has used (proc(5), stat: utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(port: int, connections: int, seconds: float, load: Load, server: int) -> float:
    """Keep every connection busy for so long after the warm-up; the seconds of CPU that the server used meanwhile."""
    poll, began, open_sockets = select.epoll(), dict[int, float](), dict[int, socket.socket]()
    for _ in range(connections):
        link = socket.create_connection(("127.0.0.1", port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_sockets[link.fileno()] = link
        poll.register(link.fileno(), select.EPOLLIN)
        link.sendall(load.request)
        began[link.fileno()] = time.perf_counter()
    start = time.perf_counter() + WARM_UP_SECONDS
    end, before = start + seconds, 0.0
    while (now := time.perf_counter()) < end:
        if before == 0.0 and now >= start:
            before = cpu_of(server)
        for number, _ in poll.poll(1.0):
            link = open_sockets[number]
            answer = link.recv(65536)
            now = time.perf_counter()
            if not answer.startswith(b"HTTP/1.1 2"):
                load.refused.append(answer[:200].decode(errors="replace"))
                if not answer:
                    raise ConnectionError(f"the server hung up: {load.refused[:3]}")
            elif now >= start:
                load.took.append(now - began[number])
            began[number] = now
            link.sendall(load.request)
    used = cpu_of(server) - before
    for link in open_sockets.values():
        link.close()
    return used


def main() -> None:
    """Run as the module says."""
    port, connections, seconds, body = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    os.sched_setaffinity(0, {int(sys.argv[5])})
    load = Load(request=request_of(Path(body).read_bytes()))
    used = run(port, connections, seconds, load, int(sys.argv[6]))
    took = sorted(load.took)
    print(  # noqa: T201  it is a program
        json.dumps(
            {
                "per_second": len(took) / seconds,
                "cpu_seconds_each": used / len(took),
                "p50": took[len(took) // 2],
                "p99": took[int(len(took) * 0.99)],
                "refused": len(load.refused),
                "first_refusal": load.refused[:1],
            }
        )
    )


if __name__ == "__main__":
    main()
