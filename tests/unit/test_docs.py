"""The documentation: links, the registers that pages repeat, and the schema of events."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from edgeharfer.cli import run_command
from edgeharfer.runtime.clock import ClockJump
from edgeharfer.runtime.sinks.events import REPORTED_STATES, clock_to_dict
from edgeharfer.runtime.tasks import TaskEntry

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), PROJECT / "examples" / "README.md"]
SCHEMA = json.loads((PROJECT / "docs" / "reference" / "events.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as on the page of a repository."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)", text):
        file = page.parent / target if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


def test_every_picture_is_on_a_page() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = [path for ending in ("png", "webp") for path in (PROJECT / "docs").rglob(f"*.{ending}")]
    assert pictures and [path.name for path in pictures if path.name not in pages] == []


def test_every_extra_for_users_is_on_the_page_of_the_installation() -> None:
    text = (PROJECT / "docs" / "start" / "install.md").read_text(encoding="utf-8")
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(settings["project"]["optional-dependencies"])
    for_developers = {"audit", "dev", "docs", "tensorrt-check", "teach"}
    assert set(re.findall(r"`([a-z-]+)`", text)) & extras == extras - for_developers


def test_every_tutorial_is_listed() -> None:
    text = (PROJECT / "examples" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\((\w+\.py)\)", text)
    assert sorted(listed) == sorted(path.name for path in (PROJECT / "examples").glob("*.py"))


def test_the_first_change_works_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "docs" / "first-change.md").read_text(encoding="utf-8")
    task, row, test = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    module = ModuleType("edgeharfer.runtime.tasks.sharpness")
    exec(task, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = eval(f"{{{row}}}", {"TaskEntry": TaskEntry})["sharpness"]
    assert entry.task == "sharpness:Sharpness" and entry.scope == module.Sharpness.scope
    tests: dict[str, Any] = {}
    exec(test, tests)
    tests["test_a_blurred_picture_is_less_sharp"]()


def test_the_page_on_other_libraries_has_the_figures_that_were_measured() -> None:
    figures = json.loads((PROJECT / "docs" / "benchmarks" / "peers.json").read_text(encoding="utf-8"))
    page = (PROJECT / "docs" / "peers.md").read_text(encoding="utf-8")
    for name in ("fer", "facex", "facial-emotion-recognition"):
        rows = [line for line in page.splitlines() if line.startswith(f"| `{name}`")]
        if name in figures["failed"]:
            assert figures["failed"][name] in rows[0]
            continue
        measured = figures["systems"][name]
        assert f"{100 * measured['rare']['top1']:.1f} %" in rows[0]
        assert f"{measured['clips']['cpu_s'] / measured['clips']['frames'] * 1e3:.2f}" in rows[1]
    assert f"{figures['settings']['frames']} frames" in page


def test_real_lines_fit_the_schema_of_events(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--source", "demo", "--view", "none", "--events", "-", "--task", "headpose"]
    assert run_command([*command, "--max-frames", "20"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["result"] * 20 + ["summary"]
    assert any("headpose" in face for line in lines[:-1] for face in line["faces"])
    for line in lines:
        VALIDATOR.validate(line)


@pytest.mark.parametrize(
    "line",
    [
        clock_to_dict(ClockJump(was_s=1.0, is_s=2.0), 3.0),
        {"kind": "cut", "seq": 1, "pts_s": 0.5},
        *({"kind": "state", "state": state, "elapsed_s": 1.5} for state in sorted(REPORTED_STATES)),
        {"kind": "result", "seq": 0, "pts_s": 0, "age_ms": 1, "file": "a.jpg", "action": None, "faces": []},
    ],
    ids=str,
)
def test_other_lines_fit_it_too(line: dict[str, Any]) -> None:
    VALIDATOR.validate(line)


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "other"},
        {"kind": "state", "state": "asleep", "elapsed_s": 1},
        {"kind": "result", "seq": 0, "pts_s": 0, "age_ms": 1, "action": None, "faces": [{"track": 1}]},
    ],
    ids=str,
)
def test_it_refuses_other_lines(line: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(line)


def test_every_line_of_the_module_is_in_the_schema() -> None:
    source = (PROJECT / "runtime/edgeharfer/runtime/sinks/events.py").read_text(encoding="utf-8")
    kinds = {"result", *re.findall(r'"kind": "(\w+)"', source)}
    assert kinds == {
        SCHEMA["$defs"][one["$ref"].split("/")[-1]]["properties"]["kind"]["const"] for one in SCHEMA["oneOf"]
    }
