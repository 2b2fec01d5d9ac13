"""Where this copy of edgeharfer was installed from, and the command that installs its extras."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgeharfer.runtime.versions import PRODUCT, requirement_lines

NEED_311 = ("export", "train")
"""The extras that Python 3.10 cannot have."""

_ON_INDEX = re.compile(rf"'{PRODUCT}\[([a-z,-]+)\]'")


def install_command(*extras: str) -> str:
    """Return the shell command that installs extras of this copy of edgeharfer.

    The command names the origin of the copy (a checkout, a wheel, an index), because the package index in use
    may not have edgeharfer.
    """
    return f"{pip('install')} {_requirement(extras)}"


def why_not_here(extra: str) -> str:
    """Return why an extra has nothing to install on this system, and what to do instead; "" if it has."""
    version = platform.python_version()
    if extra in NEED_311 and sys.version_info < (3, 11):
        return f"[{extra}] needs Python 3.11 or newer, and this is {version}; use another environment for it"
    if extra != "gpu":
        return ""
    if sys.platform == "darwin":
        return (
            f"there is no NVIDIA GPU on a Mac, and [gpu] is empty: {install_command('cpu')}, which has CoreML"
        )
    if platform.machine().lower() in ("aarch64", "arm64"):
        libc, release = platform.libc_ver()
        old = libc == "glibc" and tuple(map(int, release.split(".")[:2])) < (2, 34)
        if old or sys.version_info < (3, 11):
            return (
                f"[gpu] has no ONNX Runtime for Python {version} with {libc} {release} on ARM: on a Jetson "
                f"see edgeharfer doctor and docs/deploy/jetson.md; else {install_command('cpu')}"
            )
    return ""


def gpu_hint() -> str:
    """Return a hint to append to a command that installs ONNX Runtime."""
    reason = why_not_here("gpu")
    return f"; {reason}" if reason else "; for an NVIDIA GPU use [gpu] instead of [cpu]"


def pip(action: str) -> str:
    """Return the shell command "pip ACTION" for the environment of the running Python."""
    python = quote(sys.executable or "python")
    if find_spec("pip") is None:
        return f"uv pip {action} --python {python}"
    found = shutil.which("pip")
    if found is not None and Path(found).parent.resolve() == Path(sys.executable).parent.resolve():
        return f"pip {action}"
    return f"{python} -m pip {action}"


def adapt_install_commands(text: str) -> str:
    """Adapt `pip install 'edgeharfer[extra]'` in a text to this copy and its environment."""
    text = text.replace(f"pip install {PRODUCT} ", "pip install ")
    text = _ON_INDEX.sub(lambda match: _requirement(match[1].split(",")), text)
    return re.sub(r"(?<!uv )pip install", lambda _: pip("install"), text)


def quote(argument: str) -> str:
    """Quote an argument for the shell: POSIX, or cmd and PowerShell on Windows."""
    if os.name != "nt":
        return shlex.quote(argument)
    return argument if re.fullmatch(r"[\w.:\\/-]+", argument) else f'"{argument}"'


def _requirement(extras: Iterable[str]) -> str:
    extras = list(extras)
    origin = _origin()
    url = str(origin.get("url", ""))
    wanted = f"{PRODUCT}[{','.join(extras)}]"
    if not url:
        return quote(wanted)
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return quote(f"{wanted} @ {vcs['vcs']}+{url}@{vcs['commit_id']}")
    if not url.startswith("file:"):
        return quote(f"{wanted} @ {url}")
    path = _local_path(url)
    if not path.exists():
        # The folder or wheel was deleted, but the metadata still has its requirements.
        lines = [line for extra in extras for line in requirement_lines(extra)]
        return " ".join(map(quote, lines or [wanted]))
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return editable + quote(f"{path}[{','.join(extras)}]")


def _origin() -> dict[str, Any]:
    """Return direct_url.json (PEP 610); {} for an installation from an index."""
    try:
        record = distribution(PRODUCT).read_text("direct_url.json")
    except PackageNotFoundError:
        return _source_tree()
    try:
        found = json.loads(record or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _source_tree() -> dict[str, Any]:
    """Return the equivalent for a source tree that is on the path without being installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").is_file():
        return {}
    return {"url": root.as_uri(), "dir_info": {"editable": True}}


def _local_path(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if os.name != "nt":
        return Path(path)
    return Path(f"//{parts.netloc}{path}" if parts.netloc else path.removeprefix("/"))
