"""Where this copy of the project is published, for the metadata of the packages that are built from it.

The address is that of the git remote `origin`, where it is a public one. Then the packages have it as their
[project.urls], and README.md with absolute links, so that its pictures show on the page of a package index
too. Without an address they have docs/package-page.md, which needs neither.
"""

from __future__ import annotations

import re
import subprocess
from email.parser import Parser
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REMOTE = re.compile(r"(?:https?://|ssh://|git@)(?:[^@/]*@)?([\w.-]+\.[a-z]+)[:/](?:\d+/)?(.+?)(?:\.git)?/?")
"""An address of git; the login of a user, such as a token, stays outside the groups."""
LINK = re.compile(r"(!?)(\[(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*\])\((?!https?://)([^)]+)\)")


class Metadata(MetadataHookInterface):
    """Fills in `readme` and `urls`, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        if (root / "PKG-INFO").is_file():  # a source distribution, which knows already
            known = Parser().parsestr((root / "PKG-INFO").read_text(encoding="utf-8"))
            text = str(known.get_payload())
            urls = dict(line.split(", ", 1) for line in known.get_all("Project-URL", []))
        else:
            text, urls = page(root, public_address(origin(root)))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls


def page(root: Path, address: str | None) -> tuple[str, dict[str, str]]:
    """The text of the package's page, and its links."""
    if address is None:
        return (root / "docs" / "package-page.md").read_text(encoding="utf-8"), {}
    urls = {
        "Source": address,
        "Documentation": f"{address}/blob/HEAD/README.md",
        "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
    }
    return absolute((root / "README.md").read_text(encoding="utf-8"), address), urls


def absolute(text: str, address: str) -> str:
    """Markdown whose relative links and pictures lead to the files at that address."""

    def link(found: re.Match[str]) -> str:
        picture, label, target = found.groups()
        kind = "raw" if picture else "blob"
        target = f"README.md{target}" if target.startswith("#") else target
        return f"{picture}{LINK.sub(link, label)}({address}/{kind}/HEAD/{target})"

    return LINK.sub(link, text)


def public_address(remote: str) -> str | None:
    """The web address of a git remote; None for a folder and for a host without a domain."""
    found = REMOTE.fullmatch(remote)
    return f"https://{found[1]}/{found[2]}" if found else None


def origin(root: Path) -> str:
    """The remote that the checkout in this folder was cloned from, "" where there is none."""
    if not (root / ".git").exists():
        return ""
    words = ["git", "-C", str(root), "config", "--get", "remote.origin.url"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # git is not installed
        return ""
