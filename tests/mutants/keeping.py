"""Bugs planted in what is on disk, and in which order."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

KEEPING = (
    Mutant(
        name="page-before-journal",
        why="acts on what is not on disk: after a crash it knows nothing of it",
        file="daemon/runtime/engine.py",
        old="""        if facts or ahead or cursor - self._saved >= WRITE_MAX:
            await self._commit(facts, cursor, now, ahead)
        self._state, self._cursor = state, cursor
""",
        new="""        self._state = state
        self._release(facts)
        if facts or ahead or cursor - self._saved >= WRITE_MAX:
            await self._commit(facts, cursor, now, ahead)
        self._state, self._cursor = state, cursor
""",
        tests=("tests/runtime/test_engine.py",),  # its desk looks for the intent on disk at every dispatch
    ),
    Mutant(
        name="no-probe-on-restart",
        why="does again what may have happened, without asking",
        file="daemon/runtime/engine.py",
        old="self._dispatch(action, True)",
        new="self._dispatch(action, False)",
        tests=("tests/runtime/test_engine.py",),
    ),
    Mutant(
        name="no-probe-after-lost-answer",
        why="sends again what may have arrived, without asking",
        file="daemon/runtime/dispatch.py",
        old="state.uncertain = _acts(action)",
        new="state.uncertain = False",
        tests=("tests/runtime/test_asked_after.py",),
    ),
    Mutant(
        name="refused-question-is-no",
        why="calls a rollback failed because it may not ask what became of it",
        file="daemon/runtime/dispatch.py",
        old="raise _UnansweredError(fault) from None",
        new="raise",
        tests=("tests/runtime/test_asked_after.py",),
    ),
    Mutant(
        name="asks-until-the-deadline",
        why="forgets a rollback whose answer was lost until its deadline: no quarantine, no budget",
        file="daemon/runtime/dispatch.py",
        old="asked_on = ASK_ON_FOR if",
        new="asked_on = timedelta(0) if",
        tests=("tests/runtime/test_asked_after.py",),
    ),
    Mutant(
        name="durability-off",
        why="a power cut takes what was acknowledged",
        file="daemon/runtime/journal_file.py",
        old="PRAGMA synchronous = FULL",
        new="PRAGMA synchronous = OFF",
        tests=("tests/runtime/test_journal_sqlite.py",),
    ),
    Mutant(
        name="ack-before-commit",
        why="acknowledges before the transaction is on disk",
        file="daemon/runtime/journal.py",
        old='                self._connection.execute("COMMIT")',
        new="                pass",
        tests=(
            "tests/runtime/test_journal_sqlite.py",
            "tests/contract/test_journal.py",
        ),
    ),
    Mutant(
        name="cursor-apart",
        why="decides accepted events again after a crash",
        file="daemon/runtime/journal.py",
        old="            _move(connection, cursor, stamp)\n",
        new="            pass\n",
        tests=(
            "tests/runtime/test_journal_sqlite.py",
            "tests/contract/test_journal.py",
        ),
    ),
    Mutant(
        name="intake-not-read-again",
        why="forgets after a crash what was accepted and not yet decided",
        file="daemon/runtime/in_order.py",
        old="            self._inbox.restore(row for row in rows if row[0] not in self._overtook)",
        new="            pass",
        tests=(
            "tests/runtime/test_engine.py",
            "tests/runtime/test_crashes.py",
        ),
    ),
)
