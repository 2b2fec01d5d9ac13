"""The pages of the documentation in a real Chromium, as `dev.py docs` built them in site/."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from axe import LOOKS, violations
from chromium import Browser, Page

pytestmark = [pytest.mark.site, pytest.mark.needs("Chromium")]
SITE = Path(__file__).resolve().parents[2] / "site"
PAGES = [path.parent.relative_to(SITE).as_posix() for path in sorted(SITE.rglob("index.html"))]
SAMPLE = (
    ".",
    "guides/run",
    "peers",
    "reference/api/Source",
    "reference/commands/models",
    "reference/events",
    "tutorials/own_task",
)
"""A page of each kind."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    browser.events.clear()
    opened = browser.open("about:blank")
    opened.call("Network.enable")
    yield opened
    opened.close()


def show(page: Page, address: str) -> None:
    page.call("Page.navigate", {"url": address})
    page.until(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")


def test_no_page_is_too_wide_or_asks_another_host(browser: Browser, page: Page, address: str) -> None:
    assert len(PAGES) > 50, "run dev.py docs first"
    page.look(**LOOKS[-1])
    for name in PAGES:
        show(page, f"{address}/{name}/".replace("/./", "/"))
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), name
    sent = [
        one["params"]["request"]["url"]
        for one in browser.events
        if one["method"] == "Network.requestWillBeSent"
    ]
    assert len(sent) > len(PAGES) and not [
        one for one in sent if not one.startswith((address, "data:", "about:"))
    ]
    answers = [
        one["params"]["response"] for one in browser.events if one["method"] == "Network.responseReceived"
    ]
    assert not [one["url"] for one in answers if one["status"] >= 400]
    assert page.complaints == []


@pytest.mark.parametrize("name", SAMPLE)
def test_pages_of_each_kind_are_accessible(page: Page, address: str, name: str) -> None:
    show(page, f"{address}/{name}/".replace("/./", "/"))
    for look in LOOKS:
        page.look(**look)
        # The theme follows the system only when it is opened for the first time.
        scheme = "slate" if look.get("dark") else "default"
        page.run(f"void (document.body.dataset.mdColorScheme = '{scheme}')")
        assert violations(page) == [], look
