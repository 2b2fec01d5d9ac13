"""The commands around the main job: packages, doctor, evaluation, and what a missing extra says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import pytest

from edgeharfer.cli import COMMANDS, run_command
from edgeharfer.cli.extras import needs_extra
from edgeharfer.runtime import ConfigError, MissingExtra, load_package, shipped_packages, versions
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.source.demo import DemoSource

SUBCOMMANDS = (
    *("models info", "models install", "models sign", "models keygen"),
    *("train action", "train context", "kiosk run"),
)
HELP: list[list[str]] = [[], *([name] for name in COMMANDS), *(names.split() for names in SUBCOMMANDS)]


@pytest.mark.parametrize("command", HELP)
def test_help_says_what_a_command_does(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--help"]) == 0
    assert "Usage: edgeharfer" in capsys.readouterr().out


@pytest.mark.parametrize("group", [[], ["models"], ["train"], ["kiosk"]])
def test_a_group_without_a_command_prints_its_help(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As click does from 8.2 on: to standard error, with exit code 2."""
    assert run_command(group) == 2
    shown, said = capsys.readouterr()
    assert run_command([*group, "--help"]) == 0
    assert (shown, said) == ("", capsys.readouterr().out)
    assert len(said.splitlines()) > 8


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("analyse clip.mp4", "'analyse'. Did you mean 'analyze'? (see 'edgeharfer --help')"),
        ("RUN", "'RUN'. Did you mean 'run'? (see 'edgeharfer --help')"),
        ("models verifi", "'verifi'. Did you mean 'verify'? (see 'edgeharfer models --help')"),
        ("train emotoin", "'emotoin'. Did you mean 'emotion'? (see 'edgeharfer train --help')"),
        ("kiosk calibrat", "'calibrat'. Did you mean 'calibrate'? (see 'edgeharfer kiosk --help')"),
        ("xyzzy", "'xyzzy'. (see 'edgeharfer --help')"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_closest_one(
    line: str, suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(line.split()) == 2
    assert capsys.readouterr().err == f"edgeharfer: No such command {suggestion}\n"


def test_a_mistyped_option_is_answered_with_the_closest_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--souce", "demo"]) == 2
    assert "'--source'" in capsys.readouterr().err


def test_help_and_version_load_nothing_heavy() -> None:
    script = (
        "import sys; from edgeharfer.cli import run_command;"
        "run_command(['--help']); run_command(['--version']);"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_packages_that_ship_are_listed_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["models", "list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"emotion-fer7", "emotion-fer8", "action-ucf20", "face-full-range"} <= set(listed)
    assert run_command(["models", "verify"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(listed)


def test_all_packages_take_less_than_25_megabytes_of_the_wheel() -> None:
    files = [file for package in shipped_packages() for file in package.path.iterdir()]
    assert sum(len(zlib.compress(file.read_bytes())) for file in files) < 25e6


@pytest.mark.parametrize("package", [package.manifest.name for package in shipped_packages()])
def test_each_package_has_a_card_that_tells_its_limits(
    package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["models", "info", package, "--card"]) == 0
    card = capsys.readouterr().out
    assert package in card
    assert package.startswith("face") or "Conversion and cost" in card
    for word in ("Apache" if package.startswith("face") else "research", "imits", "Not for"):
        assert word in card, f"the card of {package} lacks {word!r}"


def test_info_is_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["models", "info", "action-ucf20"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["labels"][-1] == "background"
    assert len(manifest["labels"]) == 21


def test_a_flipped_bit_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "package"
    shutil.copytree(load_package("action-ucf20").path, copy)
    head = copy / "head.onnx"
    data = bytearray(head.read_bytes())
    data[1234] ^= 0x10
    head.write_bytes(data)
    assert run_command(["models", "verify", str(copy)]) == 2
    assert "head.onnx" in capsys.readouterr().err


def test_doctor_tells_what_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "cpu loads and runs a model" in told
    assert "ok     demo " in told
    assert "action-ucf20 is intact" in told


def test_evaluation_of_a_package_on_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portrait = DemoSource(SystemClock()).picture(0)
    for label in ("happy", "bored"):
        (tmp_path / "test" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "test" / label / "portrait.png"), portrait)
    (tmp_path / "test" / "happy" / "broken.png").write_bytes(b"no picture")
    figures = tmp_path / "figures.json"
    assert run_command(["evaluate", "emotion-fer7", "--data", str(tmp_path), "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["n"] == 1
    assert found["top1"] == 1.0  # the portrait smiles
    assert found["left_out"] == {"bored": 1, "unreadable": 1}
    assert len(found["confusion"]) == 7
    assert "happy" in capsys.readouterr().out


def test_the_prior_changes_what_rare_classes_get() -> None:
    """The eight-class package evens out what its training data had much and little of."""
    prior = load_package("emotion-fer8").manifest.prior
    assert sum(prior["data"]) == pytest.approx(1, abs=1e-3)
    assert sum(prior["package"]) == pytest.approx(1, abs=1e-3)
    rare = min(range(8), key=lambda i: prior["data"][i])
    assert prior["data"][rare] < prior["package"][rare] < 1 / 8


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "emotion-fer7", "--data", "missing"],
        ["evaluate", "no-package", "--data", "."],
        ["export", "missing.keras", "--out", "out"],
        ["train", "emotion", "--data", "missing", "--out", "out"],
        ["models", "info"],
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.rglob("*.onnx")) == []


def test_a_missing_extra_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=re.escape(install_command("train"))), needs_extra("train"):
        raise ModuleNotFoundError("No module named 'keras'", name="keras.layers")
    with pytest.raises(ModuleNotFoundError, match=r"edgeharfer\.typo"), needs_extra("train"):
        raise ModuleNotFoundError("No module named 'edgeharfer.typo'", name="edgeharfer.typo")


@pytest.mark.parametrize("kind", [ImportError, ModuleNotFoundError])
def test_a_package_of_an_extra_that_is_too_old_is_named(
    kind: type[ImportError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "requires", lambda name: ["reportlab>=1.0; extra == 'app'"])
    monkeypatch.setattr(versions, "installed", {"edgeharfer": "1.0", "reportlab": "0.9"}.get)
    line = f"reportlab 0.9 is installed, >=1.0 is required: {install_command('app')}"
    with pytest.raises(ConfigError, match=re.escape(line)), needs_extra("app"):
        raise kind("cannot import name 'new'", name="reportlab.pdfgen")


def test_the_app_is_not_opened_without_what_writes_its_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "requires", lambda name: ["reportlab>=1.0; extra == 'app'"])
    monkeypatch.setattr(versions, "installed", {"edgeharfer": "1.0"}.get)
    assert run_command(["app", "--port", "0"]) == 2
    assert f"reportlab is not installed: {install_command('app')}" in capsys.readouterr().err


def test_an_import_that_fails_for_another_reason_is_a_defect() -> None:
    with pytest.raises(ImportError, match="libx"), needs_extra("app"):
        raise ImportError("libx.so: cannot open shared object file", name="reportlab")
