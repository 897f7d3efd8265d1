"""What we wrote ourselves and read again: the journal's rows and recordings. Disks rot, people edit, other releases write."""

from __future__ import annotations

from datetime import UTC, datetime

from daemon.core.events import PauseAsked
from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.runtime import codec
from handlers.backtest import recording
from handlers.backtest.recording import RecordingError
from tests.core.story import Story
from tests.fuzz.targets import Parser


def fact(data: bytes) -> object:
    found = codec.load_fact(data)
    assert codec.load_fact(codec.dump_fact(found)) == found
    return found


def event(data: bytes) -> object:
    found = codec.load_event(data)
    assert codec.load_event(codec.dump_event(found)) == found
    return found


def snapshot(data: bytes) -> object:
    return codec.load_state(data)


def recorded(data: bytes) -> object:
    """What is read can be written and read again, the same."""
    found = list(recording.parse(data.split(b"\n"), "x.jsonl"))
    again = list(recording.parse([recording.written(record) for record in found], "again"))
    assert len(again) == len(found)
    assert [type(each) for each in again] == [type(each) for each in found]
    return recording.recording("x", found)


def told() -> tuple[tuple[Fact, ...], State]:
    story = Story()
    story.spikes()
    return tuple({type(each): each for each in story.facts}.values()), story.state


FACTS, STATE = told()
LINES = b"""{"kind":"rollout","at":"2026-03-02T12:00:00Z","workload":"a/b/c","revision":"b","replaces":"a","phase":"started"}
{"kind":"pod","at":"2026-03-02T12:00:00Z","pod":"web-1","workload":"shop/Deployment/web","revision":"b","ready":true,"restarts":1}
{"kind":"sample","at":"2026-03-02T12:00:00Z","signal":"error_ratio","workload":"shop/Deployment/web","pod":"web-1","value":0.5,"weight":100}
{"kind":"alert","at":"2026-03-02T12:00:00Z","status":"firing","labels":{"alertname":"X"},"startsAt":"2026-03-02T12:00:00Z"}
{"kind":"edge","at":"2026-03-02T12:00:00Z","caller":"a/b/c","callee":"d/e/f"}
{"kind":"truth","at":"2026-03-02T12:00:00Z","culprit":null}"""
JOURNAL = ("daemon.runtime.codec", "daemon.runtime.journal")
UNREADABLE = (codec.UnreadableRecordError,)
PAUSE = PauseAsked(at=datetime(2026, 3, 2, tzinfo=UTC), scope="shop", actor="ann")
PARSERS = (
    Parser(
        name="journal-fact",
        covers=JOURNAL,
        read=fact,
        refuses=UNREADABLE,
        seeds=tuple(codec.dump_fact(each) for each in FACTS),
    ),
    Parser(name="journal-event", covers=JOURNAL, read=event, refuses=UNREADABLE, seeds=(codec.dump_event(PAUSE),)),
    Parser(
        name="journal-alerts",
        covers=JOURNAL,
        read=event,
        refuses=UNREADABLE,
        shape="bytes",
        seeds=(
            b'{"at":"2026-03-02T12:00:00Z","source":"webhook","alerts":[],"complete":false,"kind":"alerts_reported"}',
        ),
    ),
    Parser(
        name="journal-snapshot", covers=JOURNAL, read=snapshot, refuses=UNREADABLE, seeds=(codec.dump_state(STATE),)
    ),
    Parser(
        name="recording",
        covers=("handlers.backtest.recording",),
        read=recorded,
        refuses=(RecordingError,),
        shape="bytes",
        seeds=(LINES,),
    ),
    Parser(
        name="recording-line",
        covers=("handlers.backtest.recording",),
        read=recorded,
        refuses=(RecordingError,),
        seeds=tuple(LINES.split(b"\n")),
    ),
)
