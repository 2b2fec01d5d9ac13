"""The outbox: what was put stays, through kill -9, a power cut at any write and a broken file."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgeharfer.kiosk.outbox import DAY_S, Outbox
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import SinkError

PUT_FOREVER = """
import sys
from pathlib import Path
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.runtime.clock import SystemClock
with Outbox(Path(sys.argv[1]), SystemClock()) as outbox:
    for number in range(10**9):
        outbox.put(f"{sys.argv[2]}-{number}", "t", b"x" * 200)
        print(f"{sys.argv[2]}-{number}", flush=True)
"""


def fill(path: Path, count: int) -> None:
    with Outbox(path, ManualClock()) as outbox:
        for number in range(count):
            outbox.put(f"id-{number}", "a/b", f"event {number}".encode())


def payloads(path: Path) -> list[bytes]:
    with Outbox(path, ManualClock()) as outbox:
        return [message.payload for message in outbox.oldest(10_000)]


def test_events_come_out_in_order_and_stay_until_removed(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", ManualClock()) as outbox:
        for name in "abc":
            outbox.put(name, f"topic/{name}", name.encode())
        first = outbox.oldest(2)
        assert [(message.topic, message.payload) for message in first] == [
            ("topic/a", b"a"),
            ("topic/b", b"b"),
        ]
        assert len(outbox) == 3
        outbox.remove([message.seq for message in first])
        assert [message.payload for message in outbox.oldest(9)] == [b"c"]


def test_an_id_is_put_once(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", ManualClock()) as outbox:
        outbox.put("same", "t", b"1")
        outbox.put("same", "t", b"2")
        assert [message.payload for message in outbox.oldest(9)] == [b"1"]


def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    fill(tmp_path / "outbox.db", 3)
    with Outbox(tmp_path / "outbox.db", ManualClock()) as outbox:
        last = outbox.oldest(9)[-1].seq
        outbox.remove([message.seq for message in outbox.oldest(9)])
        outbox.put("next", "t", b"")
        assert outbox.oldest(1)[0].seq > last


def test_old_events_and_too_many_are_deleted_and_counted(tmp_path: Path) -> None:
    clock = ManualClock(1e9)
    with Outbox(tmp_path / "outbox.db", clock, retention_days=7, max_events=5) as outbox:
        outbox.put("old", "t", b"old")
        clock.sleep(8 * DAY_S)
        for number in range(8):
            outbox.put(str(number), "t", str(number).encode())
        outbox.expire()
        assert [message.payload for message in outbox.oldest(9)] == [b"3", b"4", b"5", b"6", b"7"]
        assert outbox.dropped == 4


def test_two_threads_share_it(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", ManualClock()) as outbox:

        def write() -> None:
            for number in range(100):
                outbox.put(str(number), "t", b"%d" % number)

        writer = threading.Thread(target=write)
        writer.start()
        taken: list[bytes] = []
        while len(taken) < 100:
            messages = outbox.oldest(10)
            taken += [message.payload for message in messages]
            outbox.remove([message.seq for message in messages])
        writer.join()
        assert taken == [b"%d" % n for n in range(100)]


def test_kill_9_takes_nothing_that_was_put(tmp_path: Path) -> None:
    path, said = tmp_path / "outbox.db", list[str]()
    for turn in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", PUT_FOREVER, str(path), str(turn)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with child:
            assert child.stdout is not None
            said += [child.stdout.readline().strip() for _ in range(7 + 11 * turn)]
            child.send_signal(signal.SIGKILL)
            said += [line.strip() for line in child.stdout if line.endswith("\n")]
    with sqlite3.connect(path) as db:
        kept = [row[0] for row in db.execute("SELECT id FROM outbox ORDER BY seq")]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    assert len(said) > 100
    assert set(said) - set(kept) == set()
    assert len(kept) == len(set(kept)) <= len(said) + 5  # put, and killed before it could be said


def test_a_power_cut_at_any_write_leaves_a_whole_beginning(tmp_path: Path) -> None:
    """The log is replayed up to each of its frames, and torn within each: a crash anywhere between them."""
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, ManualClock())
    sizes = [0]
    for number in range(6):
        outbox.put(f"id-{number}", "t", b"event %d" % number)
        sizes.append(path.with_name("outbox.db-wal").stat().st_size)
    database, log = path.read_bytes(), path.with_name("outbox.db-wal").read_bytes()
    outbox.close()
    for cut in range(0, len(log) + 1, 1031):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / "outbox.db").write_bytes(database)
        (folder / "outbox.db-wal").write_bytes(log[:cut])
        found = payloads(folder / "outbox.db")
        committed = sum(size <= cut for size in sizes[1:])
        assert found[:committed] == [b"event %d" % n for n in range(committed)]
        assert len(found) <= committed + 1
        shutil.rmtree(folder)


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(b"not a database, but longer than a page header" * 100)
    fill(path, 2)
    assert payloads(path) == [b"event 0", b"event 1"]
    assert path.with_suffix(".broken").exists()
    assert "renamed to outbox.broken" in caplog.text


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="check folder permissions"):
        Outbox(tmp_path / "gone" / "outbox.db", ManualClock())


def test_a_full_disk_is_told_and_nothing_is_half_done(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    fill(path, 1)
    with Outbox(path, ManualClock()) as outbox:
        pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
        outbox._db.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(SinkError, match="free disk space"):
            outbox.put("large", "t", b"x" * 100_000)
        outbox._db.execute("PRAGMA max_page_count=100000")
        outbox.put("small", "t", b"after")
        assert [message.payload for message in outbox.oldest(9)] == [b"event 0", b"after"]
