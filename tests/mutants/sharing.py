"""Planted bugs in the PostgreSQL journal: what keeps several daemons, and broken connections, from losing or doubling."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STATEMENTS = "daemon/runtime/journal_postgres_statements.py"
JOURNAL = "daemon/runtime/journal_postgres.py"
LINK = "daemon/runtime/journal_postgres_link.py"
FACTS = "RETURNING facts_seq\n    ), stored AS (\n        INSERT INTO facts"
SNAPSHOT = "RETURNING facts_seq\n    ), stored AS (\n        INSERT INTO snapshot"
OPEN = "tests/runtime/test_journal_postgres_open.py"


def of(*names: str) -> tuple[str, ...]:
    """Tests of several daemons and broken connections, by name."""
    return tuple(f"tests/runtime/test_journal_postgres.py::{name}" for name in names)


SHARING = (
    Mutant(
        name="postgres-token",
        why="a leader of the past writes after it has read the journal again",
        file=STATEMENTS,
        old=f"WHERE version = $1 AND token = $2 {FACTS}",
        new=f"WHERE version = $1 AND $2::bigint IS NOT NULL {FACTS}",
        tests=of("test_it_stays_one_of_the_past"),
    ),
    Mutant(
        name="postgres-version",
        why="a commit that was sent twice is written twice, and two without a token both write",
        file=STATEMENTS,
        old=f"WHERE version = $1 AND token = $2 {FACTS}",
        new=f"WHERE $1::bigint IS NOT NULL AND token = $2 {FACTS}",
        tests=of("test_two_without_tokens", "test_late_twin_of_a_commit"),
    ),
    Mutant(
        name="postgres-compaction-token",
        why="a leader of the past drops facts that the new one needs",
        file=STATEMENTS,
        old=f"WHERE version = $1 AND token = $2 {SNAPSHOT}",
        new=f"WHERE $1::bigint + $2::bigint IS NOT NULL {SNAPSHOT}",
        tests=of("test_a_leader_of_the_past"),
    ),
    Mutant(
        name="postgres-take-over-equal",
        why="two daemons lead with the same token",
        file=STATEMENTS,
        old="WHERE token < $1 RETURNING version",
        new="WHERE token <= $1 RETURNING version",
        tests=of("test_it_stays_one_of_the_past"),
    ),
    Mutant(
        name="postgres-take-over-lower",
        why="a leader of the past takes over again with its old token",
        file=STATEMENTS,
        old="WHERE token < $1 RETURNING version",
        new="WHERE token <> $1 RETURNING version",
        tests=of("test_a_leader_of_the_past"),
    ),
    Mutant(
        name="postgres-numbers-by-clock",
        why="a number becomes visible after a higher one was read, and is passed by",
        file=STATEMENTS,
        old="        UPDATE turn SET last = last + $3 RETURNING last\n",
        new="        SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3 AS last\n",
        tests=of("test_numbers_become_visible_in_order"),
    ),
    Mutant(
        name="postgres-batch-forgotten",
        why="events that were sent again because a connection broke are there twice",
        file=STATEMENTS,
        old="SELECT $1, $2, mine.last, now() FROM mine\n",
        new="SELECT $1, $2, mine.last, now() FROM mine ON CONFLICT DO NOTHING\n",
        tests=of("test_late_twin_of_an_acceptance", "test_answer_to_an_acceptance_lost"),
    ),
    Mutant(
        name="postgres-lost-is-refused",
        why="an acceptance whose answer got lost is refused, and its sender sends it again",
        file=JOURNAL,
        old="            except LostError as error:\n                lost = error\n",
        new="            except LostError as error:\n                raise JournalUnavailableError(str(error)) from None\n",
        tests=of("test_answer_to_a_commit_lost", "test_answer_to_an_acceptance_lost"),
    ),
    Mutant(
        name="postgres-written-again",
        why="a commit whose answer got lost is taken for somebody else's",
        file=JOURNAL,
        old="        ours = {write.id, *(each.id for each in self._unknown)}\n",
        new="        ours = {each.id for each in self._unknown}\n",
        tests=of("test_answer_to_a_commit_lost"),
    ),
    Mutant(
        name="postgres-unknown-forgotten",
        why="a commit that nobody could be asked after is written again when it is tried again",
        file=JOURNAL,
        old="                tried = next((each for each in self._unknown if each.asked == asked), None)\n",
        new="                tried = None\n",
        tests=of("test_the_same_commit_again"),
    ),
    Mutant(
        name="postgres-straggler",
        why="facts that are not in the state are taken for known",
        file=JOURNAL,
        old="            self._unknown.clear()  # what of ours arrives only now",
        new="            # what of ours arrives only now",
        tests=of("test_a_straggler_after_the_start"),
    ),
    Mutant(
        name="postgres-went-back",
        why="a leader writes on top of a server that lost what it had acknowledged",
        file=JOURNAL,
        old='        if head["version"] < self._version:\n            said',
        new='        if head["version"] < self._version:\n            self._version = head["version"]\n'
        '            return False\n        if head["version"] < self._version:\n            said',
        tests=of("test_a_server_that_forgot"),
    ),
    Mutant(
        name="postgres-notified-alone",
        why="behind a pooler that swallows notifications a standby's webhooks are never decided",
        file=JOURNAL,
        old="                async with asyncio.timeout(LOOK_SECONDS):\n                    await self._heard",
        new="                async with asyncio.timeout(None):\n                    await self._heard",
        tests=of("test_waits_without_notifications"),
    ),
    Mutant(
        name="postgres-never-notified",
        why="the leader learns of a standby's webhooks only when it looks",
        file=STATEMENTS,
        old="SELECT max(seq) AS last, pg_notify($7, max(seq)::text) FROM stored",
        new="SELECT max(seq) AS last, $7::text FROM stored",
        tests=of("test_waits_for_others"),
    ),
    Mutant(
        name="postgres-lost-commits",
        why="a crash of the server loses what it had acknowledged",
        file=LINK,
        old='            if commit == "off":',
        new='            if commit == "never":',
        tests=(OPEN + "::test_commits_are_waited_for",),
    ),
    Mutant(
        name="postgres-no-fsync",
        why="a power cut at the server loses what it had acknowledged",
        file=LINK,
        old='    if fsync == "off":',
        new='    if fsync == "never":',
        tests=("tests/runtime/test_journal_postgres_server.py::test_no_fsync",),
    ),
    Mutant(
        name="postgres-migrations-at-once",
        why="daemons that start at once make the journal twice",
        file="daemon/runtime/journal_postgres_schema.py",
        old='            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_ID)\n',
        new="",
        tests=(OPEN + "::test_migration_by_several_at_once",),
    ),
    Mutant(
        name="postgres-two-clusters",
        why="two clusters share a journal, and each acts on what the other saw",
        file="daemon/runtime/journal_postgres_schema.py",
        old="    if owner != cluster:\n",
        new="    if not owner:\n",
        tests=(OPEN + "::test_another_cluster",),
    ),
)
