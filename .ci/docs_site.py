"""Hooks of MkDocs: pages that are made from other files, accessibility, and checks of the finished site.

Added to the pages in docs/ are README.md and other files of the repository, a page for each command from
click, a tutorial for each script in examples/, and a page for each name that `edgeharfer.runtime` exports.
"""

from __future__ import annotations

import ast
import inspect
import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import edgeharfer.runtime
from edgeharfer.cli import COMMANDS, cli
from edgeharfer.runtime import errors

ROOT = Path(__file__).resolve().parent.parent
FROM_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "NOTICE": "notice.md",
}
"""File in the root of the repository -> page."""
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?://|#|mailto:)([^)\s#]*)(#[^)\s]*)?\)")
PICTURE = re.compile(r"(!\[[^\]]*\]\()(?!https?://)([^)\s]+)\)")
ALONE = re.compile(r"(?<!\[)" + PICTURE.pattern)
"""A picture that is not the label of a link."""
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def tutorials() -> list[Path]:
    """The scripts in examples/, in the order of the list in examples/README.md."""
    listed = re.findall(r"\]\((\w+\.py)\)", (ROOT / "examples" / "README.md").read_text(encoding="utf-8"))
    return [ROOT / "examples" / name for name in listed]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the parts of the navigation that end in "/" by the pages that are made here."""
    made = {
        "tutorials/": ["tutorials/index.md", *(f"tutorials/{path.stem}.md" for path in tutorials())],
        "reference/commands/": [{name: f"reference/commands/{name}.md"} for name in COMMANDS],
        "reference/api/": [{title: f"reference/api/{title}.md"} for title in api_pages()],
    }
    config.nav = _filled(config.nav, made)
    return config


def _filled(nav: Any, made: dict[str, list[Any]]) -> Any:
    if isinstance(nav, list):
        return [_filled(entry, made) for entry in nav]
    if isinstance(nav, dict):
        return {title: _filled(entry, made) for title, entry in nav.items()}
    return made.get(nav, nav)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from other files."""
    pages = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in FROM_ROOT.items()}
    pages["notice.md"] = f"# Licences\n\n```text\n{pages['notice.md']}```\n"
    pages["tutorials/index.md"] = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    pages |= {f"tutorials/{path.stem}.md": tutorial(path) for path in tutorials()}
    pages |= {f"reference/commands/{name}.md": command_page(name) for name in COMMANDS}
    pages |= {f"reference/api/{title}.md": api_page(title, names) for title, names in api_pages().items()}
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def command_page(name: str) -> str:
    """The page of a command, from click."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return "\n\n".join(command_parts(command, f"edgeharfer {name}", 1)) + "\n"


def command_parts(command: click.Command, path: str, level: int) -> Iterator[str]:
    """Heading, help, usage and options of a command and of those below it, in Markdown."""
    context = click.Context(command, info_name=path)
    yield f"{'#' * level} {path}"
    yield from map(paragraph, inspect.cleandoc(command.help or "").split("\n\n"))
    yield f"```text\n{command.get_usage(context)}\n```"
    records = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    rows = [f"| `{names}` | {cell(text)} |" for names, text in records]
    yield "\n".join(["| option | meaning |", "|---|---|", *rows])
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from command_parts(below, f"{path} {name}", level + 1)


def paragraph(text: str) -> str:
    """A paragraph of a help text; those that click does not wrap become code."""
    if text.startswith("\b"):
        return f"```sh\n{inspect.cleandoc(text[1:])}\n```"
    return cell(" ".join(text.split())).replace("\\|", "|")


def cell(text: str) -> str:
    """Text in Markdown that is shown as it is; code between backticks stays code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_|\[])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def tutorial(path: Path) -> str:
    """The page of a script: its docstring, its code, and what it printed."""
    source = path.read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    title, _, rest = text.partition("\n")
    code = source.split('"""', 2)[2].lstrip()
    output = (path.parent / "output" / f"{path.stem}.txt").read_text(encoding="utf-8")
    parts = [
        f"# {title.rstrip('.')}",
        rest.strip(),
        f'```python title="examples/{path.name}"\n{code}```',
        f"It prints:\n\n```text\n{output}```",
    ]
    return "\n\n".join(parts) + "\n"


def api_pages() -> dict[str, list[str]]:
    """Title of a page -> names of `edgeharfer.runtime`; all errors are on one page."""
    names = edgeharfer.runtime.__all__
    failures = [name for name in names if hasattr(errors, name)]
    return {name: [name] for name in names if name not in failures} | {"errors": failures}


def api_page(title: str, names: list[str]) -> str:
    """The page of these names, which mkdocstrings fills from their docstrings."""
    modules = edgeharfer.runtime._MODULE_OF
    blocks = [f"::: edgeharfer.runtime.{modules[name]}.{name}\n" for name in names]
    if names == ["Task"]:
        blocks.append("::: edgeharfer.runtime.tasks.make_task\n")
    return f"# {title}\n\n```python\nfrom edgeharfer.runtime import {', '.join(names)}\n```\n\n" + "\n".join(
        blocks
    )


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page, which fit the repository, fit the site."""
    here = repository_path(page.file.src_uri)
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [_linked(markdown[end : fence.start()], here, page.file.src_uri), fence[0]]
        end = fence.end()
    return "".join([*parts, _linked(markdown[end:], here, page.file.src_uri)])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Remove the heads of tables that have no words, and make other empty heads of columns cells."""
    html = re.sub(r"<thead>\s*<tr>(\s*<th[^>]*></th>)+\s*</tr>\s*</thead>\s*", "", html)
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Give the theme's search a name for screen readers."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def repository_path(page: str) -> str:
    """The file of the repository that a page is made from."""
    for name, made in FROM_ROOT.items():
        if page == made:
            return name
    if page.startswith("tutorials/"):
        return "examples/README.md"
    return f"docs/{page}"


def site_path(path: str) -> str | None:
    """The page or file of the site for a file of the repository; None if it has none."""
    if path in FROM_ROOT:
        return FROM_ROOT[path]
    if path.startswith("examples/") and path.endswith(".py"):
        return f"tutorials/{Path(path).stem}.md"
    if path in ("examples", "examples/README.md"):
        return "tutorials/index.md"
    if path == "docs/deploy":
        return "deploy/providers.md"
    if path.startswith("docs/") and not path.endswith((".py", "package-page.md")):
        return path.removeprefix("docs/")
    return None


def _linked(text: str, here: str, page: str) -> str:
    def target_of(target: str) -> str | None:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        if not (ROOT / path).exists():
            raise PluginError(f"{here}: link to {target}, which does not exist")
        found = site_path(path)
        return found and posixpath.relpath(found, posixpath.dirname(page) or ".")

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        found = target_of(target)
        label = PICTURE.sub(picture, label)
        return f"[{label}]({found}{anchor})" if found else label

    def picture(match: re.Match[str]) -> str:
        return f"{match[1]}{target_of(match[2])})"

    return LINK.sub(
        link, PICTURE.sub(picture, text) if "[![" not in text else _pictures_outside(text, picture)
    )


def _pictures_outside(text: str, picture: Any) -> str:
    """Replace the pictures that are not the label of a link; `link` replaces those."""
    return re.sub(r"(?<!\[)" + PICTURE.pattern, picture, text)


class References(HTMLParser):
    """Addresses that a browser loads when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"link": ("href",), "a": ()}.get(tag, ("src", "srcset", "data", "poster"))
        values = dict(attrs)
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return
        self.found += [value for name in names if (value := values.get(name))]


def on_post_build(config: MkDocsConfig) -> None:
    """Fail if a page or a style sheet loads anything from another host."""
    site = Path(config.site_dir)
    outside = []
    for file in site.rglob("*.html"):
        parser = References()
        parser.feed(file.read_text(encoding="utf-8"))
        outside += [
            f"{file.relative_to(site)}: {one}" for one in parser.found if re.match(r"(https?:)?//", one)
        ]
    for file in site.rglob("*.css"):
        text = file.read_text(encoding="utf-8")
        found = re.findall(r"(?:@import\s*|url\(\s*)[\"']?((?:https?:)?//[^\"')]+)", text)
        outside += [f"{file.relative_to(site)}: {one}" for one in found]
    if outside:
        raise PluginError("loaded from other hosts: " + ", ".join(outside))
