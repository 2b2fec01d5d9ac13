"""axe-core, the accessibility checks, in a page of `chromium`; its script comes with a Python package."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from chromium import Page

LOOKS: tuple[dict[str, Any], ...] = (
    {"width": 1280, "height": 860},
    {"width": 1280, "height": 860, "dark": True},
    {"width": 390, "height": 844, "phone": True},
)
"""Light, dark, and on a phone."""
TARGET_PX = 44
"""Least side of a target, as WCAG 2.5.5 asks for."""
_SMALL = f"""[...document.querySelectorAll(
    'a[href], button, select, summary, input:not([type=file]), [role=button]')]
  .map(node => node.type === 'checkbox' ? node.closest('label') ?? node : node)
  .filter(node => node.checkVisibility({{visibilityProperty: true}}) && !node.closest('.unseen, .skip'))
  .filter(node => !(node.tagName === 'A' && getComputedStyle(node).display === 'inline'))
  .map(node => [node, node.getBoundingClientRect()])
  .filter(([, box]) => box.width < {TARGET_PX} || box.height < {TARGET_PX})
  .map(([node, box]) => `${{node.id || node.outerHTML.slice(0, 80)}}: ${{box.width}} x ${{box.height}}`)"""
# Colours may still be on their way to those of the look.
_SETTLED = """new Promise(requestAnimationFrame).then(() => Promise.all(document.getAnimations()
    .filter(one => one instanceof CSSTransition).map(one => one.finished.catch(() => null))))
    .then(() => null)"""
_FOUND = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.flatMap(
    one => one.nodes.map(node => `${one.id}: ${node.target.join(' ')}: ${node.failureSummary}`)))"""


@cache
def script() -> str:
    """The text of axe-core."""
    files = distribution("axe-playwright-python").files or []
    [file] = [file for file in files if file.name == "axe.min.js"]
    return Path(str(file.locate())).read_text(encoding="utf-8")


def problems(page: Page) -> list[str]:
    """What axe-core finds in a page, and targets that are too small, in each of LOOKS."""
    found = []
    for look in LOOKS:
        page.look(**look)
        found += [f"{look}: {one}" for one in (*violations(page), *page.run(_SMALL))]
    return found


def violations(page: Page) -> list[str]:
    """What axe-core finds in a page as it looks now."""
    page.run(f"void (window.axe ?? (() => {{ {script()} }})())")
    page.run(_SETTLED)
    return list(page.run(_FOUND))
