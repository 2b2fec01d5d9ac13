"""JSON, colours and completion of the command line."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from click.shell_completion import ShellComplete

from edgeharfer.cli import cli, run_command
from edgeharfer.runtime import doctor
from edgeharfer.runtime.doctor import Finding
from edgeharfer.runtime.inference.package import shipped_packages

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "command-output.schema.json"
FINDINGS = (
    Finding("system", True, "Linux"),
    Finding("display", True, "should work", verified=False),
    Finding("camera", None, "none found", "plug one in"),
    Finding("package", False, "damaged", "reinstall it"),
)


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_checks(**options: object) -> Iterator[Finding]:
        return iter(FINDINGS)

    monkeypatch.setattr(doctor, "run_checks", run_checks)


def printed_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(printed)
    return printed


def test_doctor_prints_json(findings: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--json"]) == 2
    printed = printed_json(capsys)
    assert not printed["ok"]
    assert [one["status"] for one in printed["findings"]] == ["ok", "found", "missing", "bad"]
    assert [one["fix"] for one in printed["findings"]] == [None, None, "plug one in", "reinstall it"]


def test_packages_and_tasks_print_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["models", "list", "--json"]) == 0
    packages = {one["name"]: one for one in printed_json(capsys)["packages"]}
    assert list(packages) == [one.manifest.name for one in shipped_packages()]
    assert packages["action-ucf20"]["window"] == {"frames": 16, "seconds": 2.0}
    assert packages["emotion-fer7"]["labels"][0] == "angry"
    assert run_command(["tasks", "--json"]) == 0
    assert {one["name"]: one["package"] for one in printed_json(capsys)["tasks"]}["headpose"] is None


class Terminal(io.TextIOWrapper):
    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8")

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        return self._bytes.getvalue().decode()


@pytest.mark.parametrize(
    ("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_without_no_color(
    variables: dict[str, str], colored: bool, findings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    run_command(["doctor"])
    run_command(["doctor", "--no-such-option"])
    run_command(["doctor", "--help"])
    assert ("\x1b[" in out.text(), "\x1b[" in err.text()) == (colored, colored)
    assert ("\x1b[1mOptions:\x1b[0m" in out.text()) is colored


def test_elsewhere_there_are_no_colours(findings: None, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["doctor"])
    run_command(["doctor", "--no-such-option"])
    run_command(["doctor", "--help"])
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert printed.out.startswith("ok     system    Linux\nfound  display   should work\n--     camera ")
    assert "bad    package   damaged  ->  reinstall it\n" in printed.out


@pytest.mark.parametrize(
    ("words", "incomplete", "names"),
    [
        (["models", "verify"], "emotion", ["emotion-fer7", "emotion-fer8"]),
        (["run", "--emotion"], "", ["emotion-fer7", "emotion-fer8", "off"]),
        (["run", "--task"], "p", ["pose"]),
        (["run", "--source"], "", ["demo", "rtsp://", "http://", "gstreamer:"]),
        (["evaluate"], "action-u", ["action-ucf20"]),
        (["teach", "--base"], "action-f", ["action-fight"]),
        ([], "calib", ["calibrate"]),
    ],
)
def test_names_are_completed(words: list[str], incomplete: str, names: list[str]) -> None:
    found = ShellComplete(cli, {}, "edgeharfer", "_EDGEHARFER_COMPLETE").get_completions(words, incomplete)
    assert [one.value for one in found if one.type == "plain"] == names
    if words:
        assert found[0].type in ("dir", "file"), "the shell adds files and folders of its own"
