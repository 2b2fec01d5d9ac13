"""Progress on a terminal, and silence elsewhere."""

import io
import logging
import sys
import threading

import pytest

from edgeharfer.cli import progress as shown
from edgeharfer.cli.progress import ProgressDisplay, Step, duration, echo, progress_bar, progress_shown
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.progress import shown_by, step, with_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal of 80 columns; nothing is drawn by the thread."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(shown, "TICK_S", 3600.0)
    monkeypatch.setenv("COLUMNS", "80")
    return screen


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (120, "epoch 3/40  [######------------------]  25%  1:30 left  batch 9/36  loss 1.234"),
        (80, "epoch 3/40  [###---------]  25%  1:30 left  batch 9/36  loss 1.234"),
        (60, "epoch 3/40  [###---------]  25%  1:30 left  batch 9/36  lo…"),
        (40, "epoch 3/40  25%  1:30 left  batch 9/36…"),
    ],
)
def test_a_step_fits_the_terminal(columns: int, line: str) -> None:
    one = Step("epoch 3/40", 36, 10.0, 9, "batch 9/36  loss 1.234")
    assert one.line(40.0, columns) == line
    assert len(line) < columns


def test_time_left_is_unknown_at_first_and_elapsed_time_is_shown_without_a_total() -> None:
    assert Step("aligning faces", 10, 0.0).line(5.0, 80) == "aligning faces  [------------]   0%  -:-- left"
    assert Step("converting to ONNX", None, 0.0).line(83.0, 80) == "converting to ONNX  1:23"
    assert [duration(seconds) for seconds in (0.4, 61, 3723)] == ["0:00", "1:01", "1:02:03"]


def test_lines_are_printed_above_the_progress_which_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, clock = open_terminal(monkeypatch), ManualClock()
    with ProgressDisplay(clock) as display, shown_by(display):
        for number in with_progress(range(4), "aligning faces"):
            clock.sleep(10)
            if number == 2:
                with display.paused():
                    print("edgeharfer: bad.png: damaged", file=terminal)
    written = terminal.getvalue()
    assert "\raligning faces  [######------]  50%  0:20 left" in written
    *_, above, rest = written.split("\r")
    assert above.isspace() and not rest
    before, _ = written.split("edgeharfer: bad.png: damaged\n")
    assert before.split("\r")[-2].isspace(), "the line was removed first"


def test_a_step_inside_another_is_shown_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = open_terminal(monkeypatch), ManualClock()
    with ProgressDisplay(clock) as display, shown_by(display), step("training", 2) as advance:
        clock.sleep(1)
        with step("validating") as inner:
            clock.sleep(1)
            inner()
        clock.sleep(1)
        advance(1, "loss 0.5")
    assert [line.split("  ")[0] for line in terminal.getvalue().split("\r") if line.strip()] == [
        "validating",
        "training",
    ]
    assert "50%  0:03 left  loss 0.5" in terminal.getvalue()


def test_short_steps_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = open_terminal(monkeypatch), ManualClock()
    with ProgressDisplay(clock) as display, shown_by(display):
        for _ in with_progress(range(3), "verifying"):
            clock.sleep(0.05)
    assert not terminal.getvalue()


def test_warnings_and_results_remove_the_line_first(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(shown, "FIRST_S", 0.0)
    monkeypatch.setattr(shown, "EVERY_S", 0.0)
    monkeypatch.setattr(logging.getLogger("edgeharfer"), "propagate", True)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with progress_shown(), progress_bar("measuring") as update:
        update(1, 2)
        logging.getLogger("edgeharfer.somewhere").warning("the camera is slow")
        update(2, 2)
        echo("saved", err=True)
    assert "\rthe camera is slow\n" in terminal.getvalue()
    assert "\rsaved\n" in terminal.getvalue()


def test_elsewhere_than_on_a_terminal_there_is_no_progress_and_no_thread(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_shown():
        for _ in with_progress(range(3), "aligning faces"):
            echo("a result")
            assert all(thread.name != "progress" for thread in threading.enumerate())
    assert capsys.readouterr() == ("a result\n" * 3, "")


def test_without_a_display_steps_do_nothing() -> None:
    with step("training", 2) as advance:
        advance(1, "loss 0.5")
    assert list(with_progress(iter("abc"), "reading")) == ["a", "b", "c"]
