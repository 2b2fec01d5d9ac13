"""The outbox: events waiting for the broker, stored in SQLite (WAL mode, synced before `put` returns).

An event is deleted only after the broker has acknowledged it. After a crash in between it is sent again with
the same id, so a subscriber that ignores known ids receives each event exactly once.

Open decisions are stored as well, so that the next process can end those of a killed one.
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
    """An event waiting for the broker.

    Attributes:
        seq: Sequence number.
        topic: MQTT topic.
        payload: JSON, encoded.
    """

    seq: int
    topic: str
    payload: bytes


class Outbox(Closing):
    """A persistent queue, for one writer and one reader in any threads.

    A corrupt file is renamed to *.broken, and a new one is created.

    Args:
        path: The SQLite file.
        clock: The clock.
        retention_days: Older events are deleted undelivered.
        max_events: The oldest events beyond this number are deleted undelivered.

    Attributes:
        dropped: Number of events that were deleted undelivered.

    Raises:
        SinkError: The file cannot be opened.
    """

    def __init__(
        self, path: Path, clock: Clock, *, retention_days: float = 7.0, max_events: int = MAX_EVENTS
    ) -> None:
        self.dropped = 0
        self._path, self._clock, self._max_events = path, clock, max_events
        self._retention_s = retention_days * DAY_S
        self._lock, self._jump_lock = threading.Lock(), threading.Lock()
        self._jumps = ClockJumpDetector(clock)
        self._db = self._open()

    def __len__(self) -> int:
        return int(self._run("SELECT count(*) FROM outbox")[0][0])

    def put(self, identity: str, topic: str, payload: bytes, *, starts: str = "", ends: str = "") -> None:
        """Store an event; it is on disk when this returns. An id that is already stored is ignored.

        Args:
            identity: Unique id of the event.
            topic: MQTT topic.
            payload: JSON, encoded.
            starts: Id of the decision that the event starts, recorded in the same transaction.
            ends: Id of the decision that the event ends.

        Raises:
            SinkError: The file cannot be written.
        """
        self._adjust_to_clock()
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
        """The start events of all open decisions, oldest first."""
        rows = self._run("SELECT seq, topic, payload FROM open_decisions ORDER BY seq")
        return [OutboxMessage(*row) for row in rows]

    def client_id(self) -> str:
        """A random MQTT client id, created once per file."""
        self._run(
            "INSERT INTO client (id) SELECT ? WHERE NOT EXISTS (SELECT * FROM client)",
            (secrets.token_hex(ID_BYTES),),
        )
        return str(self._run("SELECT id FROM client")[0][0])

    def oldest(self, count: int) -> list[OutboxMessage]:
        """The oldest events, at most `count`."""
        rows = self._run("SELECT seq, topic, payload FROM outbox ORDER BY seq LIMIT ?", (count,))
        return [OutboxMessage(*row) for row in rows]

    def remove(self, seqs: Sequence[int]) -> None:
        """Delete acknowledged events."""
        with self._transaction():
            self._db.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs])
            self._db.commit()

    def expire(self) -> None:
        """Delete events that are too old or beyond the maximum number."""
        self._adjust_to_clock()
        before = len(self)
        self._run("DELETE FROM outbox WHERE put_at < ?", (self._clock.wall() - self._retention_s,))
        self._run("DELETE FROM outbox WHERE seq <= (SELECT max(seq) FROM outbox) - ?", (self._max_events,))
        self.dropped += before - len(self)

    def _adjust_to_clock(self) -> None:
        """Shift the stored times when the wall clock is set, so that events keep their age."""
        with self._jump_lock:
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
        """Hold the lock; on an SQLite error, roll back and raise SinkError."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.rollback()
                raise SinkError(
                    f"{self._path}: cannot be written ({error}); check free disk space"
                ) from error

    def _open(self) -> sqlite3.Connection:
        try:
            try:
                return _connect(self._path)
            except sqlite3.OperationalError:  # a problem of the folder or disk, not of the file
                raise
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
                return _connect(self._path)
        except (sqlite3.Error, OSError) as error:
            raise SinkError(
                f"{self._path}: cannot be opened ({error}); check folder permissions and free disk space"
            ) from error

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self._path.with_suffix(".broken")
        _log.warning("%s: %s; renamed to %s", self._path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.replace(aside)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database. With synchronous=FULL, committed events survive a power failure."""
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA secure_delete=ON")  # overwrite deleted events
        db.executescript(_SCHEMA)
        db.commit()
        db.execute("SELECT count(*) FROM outbox").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db
