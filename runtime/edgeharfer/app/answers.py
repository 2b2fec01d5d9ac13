"""Answers that are not pages: JSON, and refusals in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from edgeharfer.runtime.json_lines import compact_json

_QUOTED_PATH = re.compile(r"""(?<=['"])(?:/|[A-Za-z]:[\\/]|\\\\)[^'"]*(?=['"])""")
_LEADING_PATH = re.compile(r"^(?:/|[A-Za-z]:[\\/]|\\\\)[^:]*(?=: )")
_PATH = re.compile(r"""(?<![\w/\\:.*~-])(?:/|[A-Za-z]:[\\/]|\\\\)[^\s:;,'"<>|()]+""")


class Refusal(Exception):
    """Why a request is not answered. status: of HTTP. headers: of the answer."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, dict(headers or {})


def tell(content: Mapping[str, object], status: int = 200) -> Response:
    """An object as JSON; every number finite."""
    body = compact_json(content).encode("ascii")
    return Response(body, status, media_type="application/json")


def refuse(refusal: Refusal) -> Response:
    """The refusal as an answer."""
    answer = tell({"error": refusal.why}, refusal.status)
    answer.headers.update(refusal.headers)
    return answer


async def on_refusal(request: Request, error: Exception) -> Response:
    """For Starlette: a Refusal that was raised."""
    assert isinstance(error, Refusal)
    return refuse(error)


def without_folders(text: str) -> str:
    """An error message for a client: of each absolute path only the file name is left.

    Where files lie on the server is for its log.
    """
    for path in (_LEADING_PATH, _QUOTED_PATH, _PATH):
        text = path.sub(lambda found: _file_name(found[0]), text)
    return text


def _file_name(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]
