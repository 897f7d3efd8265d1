"""A real Prometheus that is handed its samples, past ones and native histograms among them, instead of scraping them.

Remote write 1.0: a protobuf message, compressed with Snappy. Both are written out by hand here (literals only, which is valid
Snappy): two small formats are no reason for two libraries.
"""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.sandbox.monitoring.real import free_port
from tests import parts

READY_SECONDS_MAX = 30.0
LITERAL_MAX = 60_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Native:
    """A native histogram of schema 3: eight buckets per power of two. `buckets` are counts by bucket index."""

    total: float
    buckets: Mapping[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Labels (with `__name__`), and (milliseconds since the epoch, value) in time order."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[int, float | Native]] = field(default=())


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def whole(tag: int, number: int) -> bytes:
    return varint(tag << 3) + varint(number)


def double(tag: int, number: float) -> bytes:
    return varint(tag << 3 | 1) + struct.pack("<d", number)


def message(tag: int, content: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(content)) + content


def native(at: int, histogram: Native) -> bytes:
    """One span per bucket; the counts are written as differences."""
    spans, deltas, last_index, last_count = b"", b"", 0, 0
    for place, (index, count) in enumerate(sorted(histogram.buckets.items())):
        offset = index if place == 0 else index - last_index - 1
        spans += message(11, whole(1, zigzag(offset)) + whole(2, 1))
        deltas += varint(zigzag(count - last_count))
        last_index, last_count = index, count
    head = whole(1, sum(histogram.buckets.values()))
    return head + double(3, histogram.total) + whole(4, zigzag(3)) + spans + message(12, deltas) + whole(15, at)


def written(series: Series) -> bytes:
    labels = b"".join(
        message(1, message(1, name.encode()) + message(2, value.encode()))
        for name, value in sorted(series.labels.items())
    )
    samples = b"".join(
        message(4, native(at, value)) if isinstance(value, Native) else message(2, double(1, value) + whole(2, at))
        for at, value in series.samples
    )
    return message(1, labels + samples)


def snappy(content: bytes) -> bytes:
    """Uncompressed, as one literal after the other."""
    out = varint(len(content))
    for start in range(0, len(content), LITERAL_MAX):
        piece = content[start : start + LITERAL_MAX]
        out += bytes((61 << 2,)) + struct.pack("<H", len(piece) - 1) + piece
    return out


def push(url: str, series: Iterable[Series]) -> None:
    """Hand the series over, a hundred at a time."""
    left = iter(series)
    while some := list(itertools.islice(left, 100)):
        request = urllib.request.Request(
            f"{url}/api/v1/write",
            data=snappy(b"".join(map(written, some))),
            headers={
                "Content-Type": "application/x-protobuf",
                "Content-Encoding": "snappy",
                "X-Prometheus-Remote-Write-Version": "0.1.0",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status in (200, 204)


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes nothing and takes what is pushed; its address."""
    folder.mkdir(parents=True, exist_ok=True)
    config, port = folder / "prometheus.json", free_port()
    config.write_text(json.dumps({"global": {"scrape_interval": "15s"}}))
    command = [
        str(parts.require("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_ready(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.05)
