"""Events that wait for the broker, on disk: SQLite in WAL mode, synced before `put` returns.

An event leaves the outbox only after the broker's acknowledgement. A crash between the two sends it once
more under the same id, so whoever drops known ids misses none and counts none twice.

Decisions that have started and not ended are kept as well, so that the next process can end those of a
process that was killed.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeharfer.runtime.clock import Clock, ClockJumpDetector
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import SinkError

MAX_EVENTS = 100_000
DAY_S = 86_400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    put_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS open_decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    decision TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS client (id TEXT NOT NULL) STRICT;
"""
ID_BYTES = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One event that waits for the broker."""

    seq: int
    topic: str
    payload: bytes


class Outbox(Closing):
    """A queue in a file, for one writer and one reader in any threads.

    retention_days: older events are deleted undelivered, as is the oldest beyond `most`; both are counted
    in `dropped`. A file that SQLite cannot read is set aside and a new one begun. Raises SinkError.
    """

    def __init__(
        self, path: Path, clock: Clock, *, retention_days: float = 7.0, most: int = MAX_EVENTS
    ) -> None:
        self.dropped = 0
        self._path, self._clock, self._most = path, clock, most
        self._retention_s = retention_days * DAY_S
        self._lock, self._jumping = threading.Lock(), threading.Lock()
        self._jumps = ClockJumpDetector(clock)
        self._db = self._open()

    def __len__(self) -> int:
        return int(self._run("SELECT count(*) FROM outbox")[0][0])

    def put(self, identity: str, topic: str, payload: bytes, *, starts: str = "", ends: str = "") -> None:
        """Store an event; it is on disk when this returns. An id that is known already is not stored again.

        starts, ends: the decision that the event starts or ends, recorded in the same transaction.
        """
        self._follow_clock()
        event = identity, topic, payload, self._clock.wall()
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO outbox (id, topic, payload, put_at) VALUES (?, ?, ?, ?)", event
            )
            if starts:
                self._db.execute(
                    "INSERT OR IGNORE INTO open_decisions (decision, topic, payload) VALUES (?, ?, ?)",
                    (starts, topic, payload),
                )
            if ends:
                self._db.execute("DELETE FROM open_decisions WHERE decision = ?", (ends,))
            self._db.commit()

    def open_decisions(self) -> list[OutboxMessage]:
        """The events that started the decisions that have not ended, oldest first."""
        rows = self._run("SELECT seq, topic, payload FROM open_decisions ORDER BY seq")
        return [OutboxMessage(*row) for row in rows]

    def client_id(self) -> str:
        """A random name of this file, the same at each call and after a restart."""
        self._run(
            "INSERT INTO client (id) SELECT ? WHERE NOT EXISTS (SELECT * FROM client)",
            (secrets.token_hex(ID_BYTES),),
        )
        return str(self._run("SELECT id FROM client")[0][0])

    def first(self, count: int) -> list[OutboxMessage]:
        """The oldest events, at most `count`."""
        rows = self._run("SELECT seq, topic, payload FROM outbox ORDER BY seq LIMIT ?", (count,))
        return [OutboxMessage(*row) for row in rows]

    def remove(self, seqs: Sequence[int]) -> None:
        """Delete what the broker has acknowledged."""
        with self._transaction():
            self._db.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs])
            self._db.commit()

    def expire(self) -> None:
        """Delete what is too old or too much."""
        self._follow_clock()
        before = len(self)
        self._run("DELETE FROM outbox WHERE put_at < ?", (self._clock.wall() - self._retention_s,))
        self._run("DELETE FROM outbox WHERE seq <= (SELECT max(seq) FROM outbox) - ?", (self._most,))
        self.dropped += before - len(self)

    def _follow_clock(self) -> None:
        """An event stays as old when the wall clock is set: a clock that comes right deletes none."""
        with self._jumping:
            if jump := self._jumps.check():
                jump_s = jump.is_s - jump.was_s
                self._run("UPDATE outbox SET put_at = min(put_at + ?, ?)", (jump_s, jump.is_s))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _run(self, command: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._transaction():
            rows = self._db.execute(command, values).fetchall()
            self._db.commit()
            return rows

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the lock; an error of SQLite rolls back and becomes a SinkError."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.rollback()
                raise SinkError(
                    f"{self._path}: cannot be written ({error}); check its disk's free space"
                ) from error

    def _open(self) -> sqlite3.Connection:
        try:
            try:
                return _connect(self._path)
            except sqlite3.OperationalError:  # the folder or the disk, not the file
                raise
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
                return _connect(self._path)
        except (sqlite3.Error, OSError) as error:
            raise SinkError(
                f"{self._path}: cannot be opened ({error}); check the folder, its rights and free space"
            ) from error

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self._path.with_suffix(".broken")
        _log.warning("%s: %s; set aside as %s", self._path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.replace(aside)


def _connect(path: Path) -> sqlite3.Connection:
    """FULL syncs the log at each commit: a power cut takes nothing that was committed."""
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA secure_delete=ON")  # what was deleted is overwritten
        db.executescript(_SCHEMA)
        db.commit()
        db.execute("SELECT count(*) FROM outbox").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db
