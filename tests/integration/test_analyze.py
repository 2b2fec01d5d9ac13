"""`edgeharfer analyze` with the models that ship, on films and pictures that the tests make."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from films import write_film

pytest.importorskip("matplotlib", reason="analyze needs the report extra")
pytest.importorskip("reportlab", reason="analyze needs the report extra")
pytest.importorskip("pypdf", reason="analyze needs the report extra")

import pypdf

from edgeharfer.cli import run_command
from edgeharfer.cli.progress import BatchProgress, ProgressDisplay
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.progress import shown_by
from edgeharfer.runtime.source.demo import DemoSource

COMMAND = [sys.executable, "-c", "from edgeharfer.cli import main; main()"]
CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
CHARTS = {"timeline.png", "emotions_bar.png", "emotions_pie.png"}
FILES = {*CHARTS, "frames.csv", "actions.csv", "summary.json", "report.pdf", "report.html"}
JOB_FILES = {"job.jsonl", "all_summary.csv", "all_persons.csv", "all_frames.csv"}
TEXTS = (".csv", ".json", ".jsonl", ".pdf", ".html")
FRAMES = 66  # of 30 a second: 2.2 s, long enough for an action


def film(path: Path, frames: int = FRAMES, *, faces: bool = True) -> Path:
    """So many frames of the demo as a video file, two faces in each; or of nothing."""
    source = DemoSource(SystemClock())
    return write_film(
        path,
        (
            source.picture(seq) if faces else np.full((480, 640, 3), 60 + seq, np.uint8)
            for seq in range(frames)
        ),
    )


def analyze(*arguments: object) -> int:
    return run_command(["analyze", *map(str, arguments)])


def frames_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "frames.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return content


def text_of(pdf: Path) -> str:
    pages = pypdf.PdfReader(io.BytesIO(pdf.read_bytes())).pages
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))


def images_in(pdf: Path) -> int:
    return sum(len(page.images) for page in pypdf.PdfReader(io.BytesIO(pdf.read_bytes())).pages)


def check_figures(folder: Path) -> None:
    """Shares, coverage and confidence computed anew from frames.csv stand in summary and PDF."""
    lines, group = frames_of(folder), summary_of(folder)["group"]
    faces = [line for line in lines if line["track"]]
    counts = Counter(line["label"] for line in faces)
    shares = {label: counts[label] / len(faces) for label in group["shares"]}
    assert group["shares"] == pytest.approx(shares, abs=1e-4)
    samples = {line["frame"] for line in lines}
    coverage = len({line["frame"] for line in faces}) / len(samples)
    assert group["coverage"] == pytest.approx(coverage, abs=1e-4)
    confidence = sum(float(line["score"]) for line in faces) / len(faces)
    assert group["confidence"] == pytest.approx(confidence, abs=1e-4)
    row = " ".join(f"{100 * share:.1f} %" if share else "–" for share in shares.values())
    text = text_of(folder / "report.pdf")
    assert f"Not sure Everybody {row} " in text
    assert (
        f"a face was seen in {100 * coverage:.1f} % of them. Mean confidence {100 * confidence:.1f} %."
        in text
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two films."""
    folder = tmp_path_factory.mktemp("clips")
    film(folder / "one.mp4")
    film(folder / "two.avi", 20)
    return folder


@pytest.fixture(scope="module")
def reports(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Reports on both films and two inputs that cannot be read, made in one run."""
    out = tmp_path_factory.mktemp("out")
    (clips.parent / "text.mp4").write_text("this is no video")
    code = analyze(clips, clips.parent / "text.mp4", clips.parent / "missing.mp4", "--out", out)
    assert code == 2
    yield out


def test_bad_inputs_are_named_and_the_others_are_whole(reports: Path) -> None:
    assert {path.name for path in reports.iterdir()} == {"one", "two", *JOB_FILES}
    for folder in (reports / "one", reports / "two"):
        assert {path.name for path in folder.iterdir()} == {*FILES, "persons"}
        people = {
            path.name: {file.name for file in path.iterdir()} for path in (folder / "persons").iterdir()
        }
        assert people == {name: FILES - {"actions.csv"} for name in ("person-1", "person-2")}


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_figures_are_those_of_frames_csv(reports: Path, name: str) -> None:
    check_figures(reports / name)
    check_figures_of_person(reports / name)


def check_figures_of_person(folder: Path) -> None:
    lines = frames_of(folder)
    for person in summary_of(folder)["persons"]:
        own = frames_of(folder / "persons" / f"person-{person['track']}")
        assert own == [line for line in lines if line["track"] == str(person["track"])]


def test_emotions_are_read_four_times_a_second(reports: Path) -> None:
    times_s = sorted({float(line["time_s"]) for line in frames_of(reports / "one")})
    assert times_s == pytest.approx([0, 0.2667, 0.5, 0.7667, 1.0, 1.2667, 1.5, 1.7667, 2.0], abs=1e-3)
    raw = [column for column in frames_of(reports / "one")[0] if column.startswith("raw_")]
    assert len(raw) == 8
    assert all(
        sum(float(line[column]) for column in raw) == pytest.approx(1, abs=1e-4)
        for line in frames_of(reports / "one")
    )


def test_actions_cover_the_time_from_the_first_whole_window(reports: Path) -> None:
    with (reports / "one" / "actions.csv").open(encoding="utf-8", newline="") as file:
        segments = list(csv.DictReader(file))
    assert float(segments[0]["start_s"]) == pytest.approx(1.9, abs=0.04)
    assert float(segments[-1]["end_s"]) == pytest.approx(2.2, abs=0.01)
    assert all(0 <= float(segment["mean_score"]) <= 1 for segment in segments)
    assert (reports / "two" / "actions.csv").read_text() == "start_s,end_s,label,mean_score\n"


def test_worker_processes_write_the_same_tables(reports: Path, clips: Path, tmp_path: Path) -> None:
    assert analyze(clips, "--out", tmp_path, "--workers", 2) == 0
    tables = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.csv")]
    assert Path("one/frames.csv") in tables and Path("all_frames.csv") in tables
    for table in [*tables, Path("one/summary.json"), Path("two/summary.json")]:
        assert (tmp_path / table).read_bytes() == (reports / table).read_bytes(), table


def test_no_picture_of_the_input_reaches_the_disk(reports: Path) -> None:
    files = [path for path in reports.rglob("*") if path.is_file()]
    pictures = {path.name for path in files if path.suffix not in TEXTS}
    assert pictures == CHARTS
    assert [images_in(path) for path in files if path.suffix == ".pdf"] == [0] * 6
    pages = [path.read_text(encoding="utf-8") for path in files if path.suffix == ".html"]
    assert len(pages) == 6 and not any("image/jpeg" in page for page in pages), "charts alone"


def test_a_second_run_goes_on_where_the_first_stopped(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--action", "off", "--out", tmp_path]
    empty = film(clips.parent / "empty.avi", 8, faces=False)
    assert analyze(empty, *options) == 0
    before = (tmp_path / "empty" / "report.pdf").stat().st_mtime_ns
    still = clips.parent / "still.png"
    cv2.imwrite(str(still), DemoSource(SystemClock()).picture(0))
    capsys.readouterr()
    assert analyze(empty, still, *options) == 0
    out = capsys.readouterr().out
    assert "empty.avi: already done" in out
    assert "still.png: 2 faces" in out
    assert (tmp_path / "empty" / "report.pdf").stat().st_mtime_ns == before
    assert {path.name for path in (tmp_path / "still" / "persons").iterdir()} == {"person-1", "person-2"}
    assert analyze(empty, *options, "--smoothing", "none") == 0
    assert summary_of(tmp_path / "empty")["method"]["smoothing"]["method"] == "none"
    text = text_of(tmp_path / "empty" / "report.pdf")
    assert "None: each sample is labelled from its own probabilities." in text
    assert "No face was seen" in text


def test_options_can_stand_in_a_file(clips: Path, tmp_path: Path) -> None:
    config = tmp_path / "analyze.toml"
    config.write_text(
        f'out = "{(tmp_path / "out").as_posix()}"\nfps = 10\naction = "off"\nthumbnails = true\n'
    )
    assert analyze(clips / "two.avi", "--config", config, "--duration", "0.5") == 0
    folder = tmp_path / "out" / "two"
    summary = summary_of(folder)
    assert (summary["method"]["fps"], summary["input"]["samples"], summary["input"]["frames"]) == (10, 5, 15)
    assert "action" not in summary["method"]["models"]
    assert images_in(folder / "report.pdf") == 5 + 2
    assert "This report contains pictures of the input" in text_of(folder / "report.pdf")


def test_pictures_in_a_folder_are_one_report(tmp_path: Path) -> None:
    demo = DemoSource(SystemClock())
    (tmp_path / "album").mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / "album" / f"=p{number}.png"), demo.picture(30 * number))
    cv2.imwrite(str(tmp_path / "album" / "plain.png"), np.full((90, 90, 3), 80, np.uint8))
    (tmp_path / "album" / "torn.jpg").write_text("torn")
    assert analyze(tmp_path / "album", "--out", tmp_path / "out") == 2
    lines = frames_of(tmp_path / "out" / "album")
    assert Counter(line["picture"] for line in lines) == {"'=p0.png": 2, "'=p1.png": 2, "plain.png": 1}
    assert summary_of(tmp_path / "out" / "album")["input"]["skipped"][0]["name"] == "torn.jpg"
    assert "torn.jpg" in text_of(tmp_path / "out" / "album" / "report.pdf")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["demo"], "--duration"),
        (["0"], "has no end"),
        (["rtsp://camera/stream"], "has no end"),
        (["missing.mp4"], "1 of 1 inputs could not be read"),
    ],
)
def test_what_cannot_be_analysed_is_said_in_one_line(
    inputs: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(*inputs, "--out", tmp_path / "out", "--action", "off") == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_place_that_cannot_be_written_is_known_before_the_work(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert analyze(clips, "--out", tmp_path / "file") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["matplotlib", "reportlab", "pypdf"])
def test_without_its_packages_it_says_what_to_install(package: str, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.modules[{package!r}] = None; from edgeharfer.cli import run_command;"
        f"sys.exit(run_command(['analyze', 'demo', '--out', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"edgeharfer: {package} is not installed: {install_command('report')}"
    ]


def test_ctrl_c_ends_it_well_and_keeps_what_is_whole(clips: Path, tmp_path: Path) -> None:
    arguments = ["analyze", str(clips / "two.avi"), "demo", "--duration", "3600", "--out", str(tmp_path)]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "two.avi: 2 people" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 128 + signal.SIGINT, "what follows after && must not go on"
        assert (
            process.stderr.read()
            == "edgeharfer: stopped with 1 of 2 inputs left; run the same command again to continue\n"
        )
    assert {path.name for path in tmp_path.iterdir()} == {"two", "job.jsonl"}


class Terminal(io.StringIO):
    """A standard error on which the progress is drawn."""

    def isatty(self) -> bool:
        return True


def test_the_progress_tells_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(), ManualClock()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    with ProgressDisplay(clock) as display, shown_by(display), BatchProgress() as batch:
        batch.begin(1000)
        for _ in range(5):
            clock.sleep(10)
            batch.advance(100.4, "1/2 clip.mkv")
        assert "50%  0:50 left  1/2 clip.mkv" in terminal.getvalue()
        batch.print_error("bad.mp4: torn")
        batch.advance(498.5, "2/2 bad.mp4")
        batch.close()
        batch.print_error("done")
    assert "edgeharfer: bad.mp4: torn\n" in terminal.getvalue()
    assert terminal.getvalue().endswith("edgeharfer: done\n")


def test_elsewhere_than_on_a_terminal_there_is_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with BatchProgress() as batch:
        batch.begin(10)
        batch.advance(5, "clip")
        batch.print_result("clip: done")
        batch.close()
    assert capsys.readouterr() == ("clip: done\n", "")


@pytest.mark.data
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the webcam clips are not part of the repository")
def test_webcam_clips_in_one_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sorted(path for path in CLIPS.iterdir() if path.suffix in (".mkv", ".mp4"))
    assert analyze(*found, "--out", tmp_path) == 0
    assert f"{len(found)} reports in" in capsys.readouterr().out
    for clip in found:
        folder = tmp_path / clip.stem
        assert {path.name for path in folder.iterdir()} >= FILES
        check_figures(folder)
        assert summary_of(folder)["group"]["coverage"] > 0.9


def test_two_runs_at_once_leave_one_whole_report_and_nothing_else(tmp_path: Path) -> None:
    picture, out = tmp_path / "portrait.png", tmp_path / "out"
    cv2.imwrite(str(picture), DemoSource(SystemClock()).picture(0))
    words = [*COMMAND, "analyze", str(picture), "--out", str(out), "--action", "off"]
    runs = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    complaints = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], complaints
    assert [path.name for path in out.iterdir()] == ["portrait"]
    assert {path.name for path in (out / "portrait").iterdir()} - {"persons"} == FILES
    assert summary_of(out / "portrait")["input"]["name"] == "portrait.png"
    assert pypdf.PdfReader(out / "portrait" / "report.pdf").pages
