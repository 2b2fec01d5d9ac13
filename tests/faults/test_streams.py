"""Standard input, output and error that are closed, full, or that nobody reads: exit 0, or one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mjpeg_server import allowed_s

pytestmark = pytest.mark.skipif(os.name != "posix", reason="redirections of the shell")

COMMAND = [sys.executable, "-c", "from edgeharfer.cli import main; main()"]
RUN = [
    "run",
    "--source",
    "demo",
    "--view",
    "none",
    "--action",
    "off",
    "--emotion",
    "off",
    "--max-frames",
    "5",
]
COMMANDS = [["--help"], ["models", "list"], [*RUN, "--events", "-"], RUN, ["models", "info", "none"]]
FULL = "edgeharfer: standard output: cannot be written (No space left on device)"


def run_all(script: str) -> list[tuple[list[str], int, str]]:
    """Each command, run by a script of the shell as "$@": its exit code, and what it said."""
    running = [
        subprocess.Popen(
            ["sh", "-c", script, f"number {number}", *COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number, words in enumerate(COMMANDS)
    ]
    ended = [(process, process.communicate(timeout=allowed_s(30))[1]) for process in running]
    return [(words, process.returncode, said) for words, (process, said) in zip(COMMANDS, ended, strict=True)]


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_takes_nothing_and_breaks_nothing(redirection: str) -> None:
    for words, code, said in run_all(f'exec "$@" {redirection}'):
        assert code == (2 if words[-1] == "none" else 0), (words, said)
        assert "defect" not in said and "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_behind_standard_output_is_named() -> None:
    for words, code, said in run_all('exec "$@" >/dev/full'):
        if words in (RUN, COMMANDS[-1]):  # they say nothing on standard output
            continue
        assert code == 2, words
        assert said.splitlines()[-1].startswith(FULL)


@pytest.mark.parametrize("redirection", ["| :", "2>&1 >/dev/null | :"])
def test_a_reader_that_has_gone_is_no_error(redirection: str, tmp_path: Path) -> None:
    """The exit code of the command itself, which a pipe would hide, goes to a file."""
    script = f'{{ sleep 0.2; "$@"; echo $? >"{tmp_path}/$0"; }} {redirection}'
    for number, (words, _, said) in enumerate(run_all(script)):
        code = (tmp_path / f"number {number}").read_text().strip()
        assert code == ("2" if words[-1] == "none" else "0"), (words, said)
        assert "defect" not in said and "Traceback" not in said


def test_files_are_not_opened_in_the_place_of_closed_streams(tmp_path: Path) -> None:
    """Or what C code says on standard error would stand in the events."""
    events = tmp_path / "events.jsonl"
    script = 'exec "$@" <&- >&- 2>&-'
    command = ["sh", "-c", script, "sh", *COMMAND, "--debug", *RUN, "--events", str(events)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environment, timeout=allowed_s(30), check=False).returncode == 0
    assert [line[:8] for line in events.read_text().splitlines()] == ['{"kind":'] * 6
