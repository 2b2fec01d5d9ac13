"""What the page says about an error: no option and no command of the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from edgeharfer.app.wording import ELSEWHERE, page_message

ENGINE = ("edgeharfer.runtime", "edgeharfer.report", "edgeharfer.teach")
COMMAND = re.compile(r"--[a-z]|`|pip install|\bedgeharfer [a-z]")


def raised_messages() -> Iterator[str]:
    """The texts in all `raise` statements of what the app uses; values stand as X."""
    for package in ENGINE:
        [root] = import_module(package).__path__
        for file in Path(root).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    yield from (text(argument) for argument in node.exc.args)


def text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "X"


def test_no_message_of_the_engine_names_an_option_or_a_command_on_the_page() -> None:
    messages = set(raised_messages())
    assert sum(bool(COMMAND.search(message)) for message in messages) > 10
    assert [shown for message in messages if COMMAND.search(shown := page_message(message))] == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "camera 0: /dev/video0 does not exist: connect a camera, or try --source demo",
            "camera 0: video0 does not exist: connect a camera, or choose the demo",
        ),
        ("/home/me/a.mp4: no such file: check the path", "a.mp4: no such file: check the path"),
        ("a.mp4: cannot decode AV1 here; use --decode cpu", f"a.mp4: cannot decode AV1 here{ELSEWHERE}"),
        ("rtsp://host/a: has no end; record it first", "rtsp://host/a: has no end, so it cannot be analysed"),
        ("--name X: too long", "the settings do not fit: too long"),
    ],
)  # fmt: skip
def test_advice_is_what_the_page_offers(message: str, shown: str) -> None:
    assert page_message(message) == shown
