"""The commands of child processes, with Python 3.10 as well, which has no option -P."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeharfer.runtime.child import child_command, child_environment, code_command


@pytest.mark.parametrize("version", [(3, 10, 12), sys.version_info[:3]])
def test_modules_in_the_current_folder_are_not_imported(
    version: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    commands = [
        code_command("import json, sys; print(*sys.argv[1:])", "one", "two"),
        child_command("json.tool", "--help"),
    ]
    monkeypatch.undo()
    (tmp_path / "json.py").write_text("print('hostile')", encoding="utf-8")
    (tmp_path / "edgeharfer").mkdir()
    answers = [
        subprocess.run(
            command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=True
        ).stdout
        for command in commands
    ]
    assert answers[0] == "one two\n"
    assert answers[1].startswith("usage: ") and "hostile" not in answers[1]
