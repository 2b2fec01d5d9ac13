"""Completion of commands and package names in Bash, Zsh and Fish, with the script that a user installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, get_completion_class

from edgeharfer.cli import cli, completion

DRIVERS = {
    "bash": """
source "$1"; shift
compopt() { :; }
COMP_WORDS=(edgeharfer "$@"); COMP_CWORD=$#
_edgeharfer_completion edgeharfer
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "zsh": """
compdef() { : }
_path_files() { print -- "files $*" }
_describe() { print -l -- ${completions_with_descriptions%%:*} }
compadd() { print -l -- $completions }
source $1; shift
words=(edgeharfer "$@"); CURRENT=$#words
_edgeharfer_completion
""",
    "fish": """
source $argv[1]
complete -C "edgeharfer "(string join " " $argv[2..]) | string replace --regex "\\t.*" ""
""",
}
"""Shell -> script that prints the completions of the words after its first argument, the script of click.

Zsh completes only in a terminal, so the functions that would show something print it here.
"""
OPTIONS = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}


def shell_class(shell: str) -> ShellComplete:
    found = get_completion_class(shell)
    assert found is not None
    return found(cli, {}, "edgeharfer", "_EDGEHARFER_COMPLETE")


def usable(shell: str) -> bool:
    """Whether the shell is here; click needs Bash 4.4."""
    if shutil.which(shell) is None:
        return False
    test = 'IFS=. read a b _ <<< "$BASH_VERSION"; (( a * 100 + b >= 404 ))'
    return shell != "bash" or not subprocess.run(["bash", "-c", test], check=False).returncode


def complete(shell: str, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The completions of the last word, from the shell itself, or from what its script would be given."""
    monkeypatch.chdir(folder)
    if not usable(shell):
        return protocol(shell, words, monkeypatch)
    monkeypatch.setattr(BashComplete, "_check_version", staticmethod(lambda: None))
    (folder / "script").write_text(shell_class(shell).source(), encoding="utf-8")
    (folder / "driver").write_text(DRIVERS[shell], encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [shell, *OPTIONS[shell], "driver", "./script", *words],
        env={**os.environ, "PATH": path, "HOME": str(folder)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout.split("\n")


def protocol(shell: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names in the answer that the shell's script reads."""
    monkeypatch.setenv("COMP_WORDS", " ".join(["edgeharfer", *words]))
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words)))
    answer = shell_class(shell).complete().split("\n")
    if shell == "zsh":  # its script drops empty lines, and reads three at a time
        kept = [line for line in answer if line]
        return [value for kind, value in zip(kept[::3], kept[1::3], strict=True) if kind == "plain"]
    return [line.partition(",")[2].partition("\t")[0] for line in answer if line.startswith("plain,")]


@pytest.mark.parametrize("shell", DRIVERS)
def test_commands_and_packages_are_completed(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "models" in complete(shell, ["mod"], tmp_path, monkeypatch)
    found = complete(shell, ["models", "info", ""], tmp_path, monkeypatch)
    assert {"action-daily", "emotion-fer8", "pose"} <= set(found)


@pytest.mark.parametrize("shell", DRIVERS)
def test_the_answer_to_a_shell_has_names_beside_files(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"action-daily", "pose"} <= set(protocol(shell, ["models", "info", ""], monkeypatch))
    assert protocol(shell, ["run", "--emotion", "emo"], monkeypatch) == ["emotion-fer7", "emotion-fer8"]
    assert protocol(shell, ["models", "in"], monkeypatch) == ["info", "install"]


def test_fish_shows_help_with_commas() -> None:
    assert issubclass(completion.FishWithHelp, FishComplete)
    assert "string split --max 1 " in shell_class("fish").source()
