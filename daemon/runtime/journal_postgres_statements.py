"""What the PostgreSQL journal asks its server, and the tables it asks about.

Every write is one statement, hence one transaction that the server ends by itself: a daemon that is stopped in its middle
(SIGSTOP, a frozen node) holds no lock on which its successor would wait. A row stays locked until the write that changes
it is durable and visible (READ COMMITTED), so what is counted in one row is counted in the order of the commits.
"""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE intake (
        seq bigint PRIMARY KEY, at timestamptz NOT NULL, kind text NOT NULL, body bytea NOT NULL);
    CREATE TABLE facts (
        seq bigint PRIMARY KEY, at timestamptz NOT NULL, kind text NOT NULL, incident text, body bytea NOT NULL);
    CREATE INDEX facts_incident ON facts (incident, seq) WHERE incident IS NOT NULL;
    CREATE TABLE snapshot (
        id smallint PRIMARY KEY CHECK (id = 1), facts_seq bigint NOT NULL, body bytea NOT NULL);
    CREATE TABLE turn (id smallint PRIMARY KEY CHECK (id = 1), last bigint NOT NULL);
    CREATE TABLE writers (
        id uuid NOT NULL, batch bigint NOT NULL, last bigint NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (id, batch));
    CREATE TABLE head (
        id smallint PRIMARY KEY CHECK (id = 1), cluster text NOT NULL, intake_seq bigint NOT NULL, at timestamptz,
        facts_seq bigint NOT NULL, version bigint NOT NULL, written uuid, token bigint NOT NULL, holder uuid);
    CREATE VIEW intake_text AS SELECT seq, at, kind, convert_from(body, 'UTF8') AS body FROM intake;
    CREATE VIEW facts_text AS SELECT seq, at, kind, incident, convert_from(body, 'UTF8') AS body FROM facts;
    CREATE TABLE journal_schema (version integer NOT NULL);
    INSERT INTO journal_schema VALUES (0);
    INSERT INTO turn VALUES (1, 0);
    INSERT INTO head (id, cluster, intake_seq, facts_seq, version, token) VALUES (1, '', 0, 0, 0, 0);
    """,
)
"""What makes schema N+1 out of schema N. The chart ends all replicas of a release before the next one starts, because its rows
may say more than the one before can read; where somebody replaces them one after another, a new one must at least leave the
release before it able to write.

`turn`: the newest number of intake. `writers`: the newest batch of each life of a daemon. `head`: how far intake is
consumed and facts are written, `version`, which grows with each write of a leader, the id of that write, and who leads.
The views show the rows as text, for a person with psql.
"""

ACCEPT = """
    WITH mine AS (
        UPDATE turn SET last = last + $3 RETURNING last
    ), told AS (
        INSERT INTO writers (id, batch, last, at) SELECT $1, $2, mine.last, now() FROM mine
    ), forgotten AS (
        DELETE FROM writers WHERE id = $1 AND batch < $2
    ), stored AS (
        INSERT INTO intake (seq, at, kind, body)
        SELECT mine.last - $3 + new.number, new.at, new.kind, new.body
        FROM mine, unnest($4::timestamptz[], $5::text[], $6::bytea[]) WITH ORDINALITY AS new (at, kind, body, number)
        RETURNING seq
    )
    SELECT max(seq) AS last, pg_notify($7, max(seq)::text) FROM stored
"""
"""Append a batch. Its numbers come from a row that stays locked until the batch is durable, and not from a sequence: with
one, a standby's number 7 could become visible after the leader has read 8, and would be passed by for ever.

Where a connection broke, the same batch is sent again. Whichever of the two comes second finds the first one's row in
`writers` and fails as a whole, also where the first arrives later than the second.
"""

ACCEPTED = "SELECT last FROM writers WHERE id = $1 AND batch = $2"

UNREAD = "SELECT seq, body FROM intake WHERE seq > $1 ORDER BY seq LIMIT $2"

ANY_UNREAD = "SELECT EXISTS (SELECT FROM intake WHERE seq > $1) AS found"

COMMIT = """
    WITH moved AS (
        UPDATE head SET intake_seq = greatest(intake_seq, $4), at = $5, facts_seq = facts_seq + $6,
                        version = version + 1, written = $3
        WHERE version = $1 AND token = $2 RETURNING facts_seq
    ), stored AS (
        INSERT INTO facts (seq, at, kind, incident, body)
        SELECT moved.facts_seq - $6 + new.number, $5, new.kind, new.incident, new.body
        FROM moved, unnest($7::text[], $8::text[], $9::bytea[]) WITH ORDINALITY AS new (kind, incident, body, number)
    ), forgotten AS (
        DELETE FROM intake WHERE (seq <= $10 OR seq = ANY ($11::bigint[])) AND EXISTS (SELECT FROM moved)
    )
    SELECT facts_seq FROM moved
"""
"""Append facts, move the cursor and drop what was consumed ahead of it, if nobody has written since and nobody else leads: a
compare-and-set. No row: not so."""

COMPACT = """
    WITH moved AS (
        UPDATE head SET intake_seq = greatest(intake_seq, $4), at = $5, version = version + 1, written = $3
        WHERE version = $1 AND token = $2 RETURNING facts_seq
    ), stored AS (
        INSERT INTO snapshot (id, facts_seq, body) SELECT 1, moved.facts_seq, $6 FROM moved
        ON CONFLICT (id) DO UPDATE SET facts_seq = excluded.facts_seq, body = excluded.body
    ), consumed AS (
        DELETE FROM intake WHERE seq <= $4 AND EXISTS (SELECT FROM moved)
    ), folded AS (
        DELETE FROM facts WHERE (incident IS NULL OR NOT incident = ANY ($7::text[])) AND EXISTS (SELECT FROM moved)
    ), forgotten AS (
        DELETE FROM writers WHERE at < now() - interval '1 day'
    )
    SELECT facts_seq FROM moved
"""
"""Store a snapshot and drop what it makes superfluous, on the same condition. No fact is younger than the snapshot: one
would have changed the version."""

HEAD = "SELECT cluster, intake_seq, at, facts_seq, version, written, token, holder FROM head"

TAKE_OVER = """
    UPDATE head SET token = $1, holder = $2, version = version + 1, written = NULL WHERE token < $1 RETURNING version
"""
"""The new version: whatever a leader of the past still has under way does not find the one that it expects."""

SNAPSHOT = "SELECT facts_seq, body FROM snapshot"

FACTS = "SELECT seq, body FROM facts WHERE seq > $1 ORDER BY seq LIMIT $2"

NEWEST = "SELECT seq, at, body FROM facts ORDER BY seq DESC LIMIT $1"

NEWEST_OF = "SELECT seq, at, body FROM facts WHERE incident = $2 ORDER BY seq DESC LIMIT $1"
