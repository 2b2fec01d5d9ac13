"""The wall clock is set while the product works: by an hour, by ten years, to 1970, and back again."""

from __future__ import annotations

import itertools
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeharfer.chaos.supervised import WatchedRun
from kiosk_process import KioskProcess
from mjpeg_server import MjpegServer, allowed_s, wait_until

Figures = Callable[..., None]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets the clock of a process of Linux"),
    pytest.mark.needs("a C compiler"),
]

HOUR_S, TEN_YEARS_S = 3600, 10 * 365 * 86_400
# Nobody listens at that port, so the events stay in the outbox.
TALKATIVE = "[mqtt]\nhost = '127.0.0.1'\nport = 9\n[decisions]\nmin_duration_s = 0.1\nmin_score = 0.1\n"
LIGHT = ["--action", "off", "--emotion", "off"]


def offsets_s() -> list[int]:
    """From the true time; the last one is 1970, and the end the true time again."""
    return [HOUR_S, -HOUR_S, TEN_YEARS_S, -TEN_YEARS_S, 60 - int(time.time()), 0]


# What the machine's wall clock says, so many seconds later; monotonic time is left alone.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    char text[32] = "";
    int file = open(getenv("WALL_CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*really)(clockid_t, struct timespec *);
    if (!really) really = dlsym(RTLD_NEXT, "clock_gettime");
    int outcome = really(clock, now);
    if (outcome == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return outcome;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (now) *now = fine.tv_sec;
    return fine.tv_sec;
}
"""


class WallClock:
    """What the wall clock of the processes is that are started with this environment."""

    def __init__(self, folder: Path) -> None:
        code, library, self._told = folder / "wall.c", folder / "wall.so", folder / "offset"
        code.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, code, "-ldl"], check=True)
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(self._told)}

    def set(self, offset_s: int) -> None:
        beside = self._told.with_suffix(".new")
        beside.write_text(str(offset_s))
        beside.replace(self._told)


@pytest.fixture
def wall(tmp_path: Path) -> Iterator[WallClock]:
    yield WallClock(tmp_path)


def test_a_run_goes_on_in_order_and_each_jump_is_told(
    tmp_path: Path, wall: WallClock, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    for name, value in wall.environment.items():
        monkeypatch.setenv(name, value)
    jumps = offsets_s()
    with MjpegServer() as server, WatchedRun(server.url, tmp_path / "events.jsonl", LIGHT) as run:
        waited_s = []
        for count, offset_s in enumerate(jumps, 1):
            wall.set(offset_s)
            run.wait_for(lambda count=count: run.count("clock") == count, "word of the jump", 10.0)  # type: ignore[misc]
            waited_s.append(max(run.wait_for_result() for _ in range(5)))
        stopped_s = run.stop()
    rows = [row for row in run.rows if row["kind"] == "result"]
    told = [row for row in run.rows if row["kind"] == "clock"]
    figures(jumps=len(told), longest_without_result_s=max(waited_s), stopped_s=stopped_s)
    for before, after in itertools.pairwise(rows):
        assert after["seq"] > before["seq"] and after["pts_s"] >= before["pts_s"]
    jumped = [round(row["is_s"] - row["was_s"]) for row in told]
    assert jumped == pytest.approx(
        [after - before for before, after in itertools.pairwise([0, *jumps])], abs=2
    )
    assert run.stderr.count("the wall clock jumped by") == len(jumps)
    assert run.count("state") == 0, "the source was live all the time"


def test_the_kiosk_keeps_its_watchdog_and_its_events(
    tmp_path: Path, wall: WallClock, figures: Figures
) -> None:
    pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
    pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
    with KioskProcess(
        tmp_path, "demo", interval_s=2.0, environment=wall.environment, more=TALKATIVE
    ) as kiosk:
        wait_until(lambda: "edgeharfer_events_total{" in kiosk.fetch("/metrics")[1])
        for offset_s in offsets_s():
            wall.set(offset_s)
            before = len(kiosk.pings)
            wait_until(lambda before=before: len(kiosk.pings) >= before + 3)  # type: ignore[misc]
        longest_s = max(later - earlier for earlier, later in itertools.pairwise(kiosk.pings))
        kiosk.stop()
    kept = letters(kiosk)
    figures(longest_without_ping_s=longest_s, events=len(kept))
    assert longest_s < allowed_s(2.0)
    assert [seq for seq, _ in kept] == list(range(1, len(kept) + 1)), (
        "none deleted as too old, none out of order"
    )
    assert kiosk.complaints.count("the wall clock jumped by") == len(offsets_s())


def letters(kiosk: KioskProcess) -> list[tuple[int, str]]:
    """Number and id of each event that waits for the broker."""
    path = kiosk.state / "outbox.db"
    if not path.exists():
        return []
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT seq, payload FROM outbox ORDER BY seq").fetchall()
    db.close()
    return [(seq, json.loads(payload)["id"]) for seq, payload in rows]
