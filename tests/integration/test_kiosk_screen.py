"""The page in Chromium: what stands on it, a touch that confirms the notice, and screens of any shape."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")

from axe import problems
from chromium import Browser, Page
from edgeharfer.kiosk.config import KioskConfig, ScreenConfig, load_config
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.state import KioskState, ScreenContent
from edgeharfer.kiosk.web import WebPort
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Box, Frame, TrackedFace
from kiosk_broker import free_port

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = pytest.mark.needs("Chromium")

BUSY = ScreenContent("live", people=1, action="BoxingPunchingBag", emotions=("happy",))
ASKING = ScreenContent("live", people=1, action="BoxingPunchingBag", notice=KioskConfig().privacy.notice)
PLACES = """Object.fromEntries(
    ['title', 'headline', 'message', 'moods', 'camera', 'notice', 'state', 'agree', 'decline'].map(id => {
        const place = document.getElementById(id).getBoundingClientRect();
        return [id, [place.left, place.top, place.right, place.bottom]];
    }).filter(([, place]) => place[2] > place[0])
)"""
PIXELS = """(() => {
    const image = document.getElementById('picture'), canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL();
})()"""
DRAWN = "document.getElementById('picture').naturalWidth"

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Place = list[float]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


class Site:
    """A kiosk's state, its page, and a camera whose picture is white on the left and has a face there."""

    def __init__(
        self, browser: Browser, screen: ScreenConfig | None = None, config: KioskConfig | None = None
    ) -> None:
        config = config or KioskConfig(screen=screen or ScreenConfig())
        self.state = KioskState(config, SystemClock())
        self._bgr = np.zeros((48, 64, 3), np.uint8)
        self._bgr[:, :32] = 255
        self._bgr[10:30:2, 5:25] = 0
        self.show(BUSY)
        self._browser = browser

    def show(self, content: ScreenContent) -> None:
        face = TrackedFace(1, Box(5, 10, 20, 20), 0.9)
        self.state.show(content, (Frame(0, 0.0, 0.0, self._bgr), Result(0, 0.0, 1.0, (face,))))

    def __enter__(self) -> Self:
        self._web = WebPort(0, self.state, Metrics().text)
        self._web.__enter__()
        self.page = self._browser.open(f"http://127.0.0.1:{self._web.port}/", width=1280, height=720)
        self.page.until("document.getElementById('title').textContent")
        self.page.until(f"document.getElementById('camera').hidden || {DRAWN}")
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()
        self._web.__exit__(None, None, None)

    def places(self, size: tuple[int, int] = (1280, 720), turn: int = 0) -> dict[str, Place]:
        """Left, top, right and bottom of what is visible on such a screen."""
        self.state._screen = replace(self.state._screen, turn=turn)
        self.page.look(*size)
        self.page.run("fetch('/state.json').then(answer => answer.json()).then(show)")
        places: dict[str, Place] = self.page.run(PLACES)
        return places


@pytest.fixture
def site(browser: Browser) -> Iterator[Site]:
    with Site(browser) as opened:
        yield opened


def overlaps(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_the_page_shows_what_is_decided(site: Site) -> None:
    page = site.page
    assert page.text("headline") == "Boxing punching bag"
    assert page.text("moods") == "Happy" and "No picture leaves it." in page.text("state")
    assert page.text("caption") == "Faces are blurred. No picture is stored."
    assert page.run("document.getElementById('notice').hidden")
    assert page.run("getComputedStyle(document.body).cursor") == "none"
    site.show(ScreenContent("lost"))
    page.until("document.getElementById('state').textContent.includes('connecting to the camera')")
    assert page.text("headline") == page.text("title") == "Welcome" and page.text("moods") == ""


def test_anybody_can_use_it(site: Site) -> None:
    """What axe-core says, and the size of what is touched."""
    site.show(ASKING)
    site.page.until("!document.getElementById('notice').hidden")
    assert problems(site.page) == []


def test_the_picture_is_mirrored_and_faces_are_blurred(site: Site) -> None:
    encoded = site.page.run(PIXELS).partition(",")[2]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    width = picture.shape[1]
    assert picture[:, : width // 2 - 20].max() < 20, "the right half of the frame"
    assert picture[-20:, width // 2 + 20 :].min() > 235, "the left half of the frame"
    face = picture[90:210, width - 175 : width - 50]
    assert face.min() > 60 and face.max() < 200, "no stripe of the face is left"


def test_nothing_overlaps_on_any_screen(site: Site) -> None:
    sizes = [(1280, 720), (720, 1280), (1024, 768), (640, 480)]
    for content, size, turn in product((BUSY, ASKING), sizes, (0, 90)):
        site.show(content)
        places = site.places(size, turn)
        assert len(places) == 8 if content is ASKING else 6, "without a notice, or without emotions"
        for one, other in combinations(places, 2):
            if "notice" in (one, other) and {one, other} & {"agree", "decline"}:
                continue
            assert not overlaps(places[one], places[other]), (size, turn, one, other)
        for place in places.values():
            assert min(place) >= 0 and place[2] <= size[0] and place[3] <= size[1], (size, turn)


def test_a_turned_screen_has_the_same_layout_turned(site: Site) -> None:
    upright = site.places((720, 1280))
    for name, (left, top, right, bottom) in site.places((1280, 720), turn=90).items():
        assert [1280 - upright[name][3], upright[name][0]] == pytest.approx([left, top], abs=1), name
        assert [1280 - upright[name][1], upright[name][2]] == pytest.approx([right, bottom], abs=1), name


def test_the_camera_stands_right_and_only_where_it_is_wanted(site: Site, browser: Browser) -> None:
    left, _, right, _ = site.places()["camera"]
    assert left > 640 and right < 1280
    with Site(browser, ScreenConfig(show_camera=False)) as without:
        assert "camera" not in without.places()


def test_everything_moves_so_that_nothing_burns_in(site: Site) -> None:
    site.page.run("document.getElementById('screen').style.transition = 'none'")
    seen = []
    for _ in range(4):
        site.page.run("shift()")
        seen.append(site.places()["title"][:2])
    assert len({tuple(place) for place in seen}) == 4
    assert np.ptp(np.array(seen), axis=0).max() <= 25


def test_only_its_buttons_answer_the_notice(site: Site) -> None:
    site.show(ScreenContent("live", people=1, notice="Please read this."))
    places = site.places()
    assert site.page.text("notice-text") == "Please read this."
    for button, path, answer in (("agree", "/notice", True), ("decline", "/decline", False)):
        left, top, right, bottom = places[button]
        touch(site.page, places["notice"][0] + 40, (top + bottom) / 2)  # its text
        touch(site.page, (left + right) / 2, (top + bottom) / 2)
        site.page.until(f"performance.getEntriesByName(location.origin + '{path}').length === 1")
        assert site.state.pop_answer() is answer and site.state.pop_answer() is None


def test_after_a_refusal_the_page_shows_nothing_of_the_visitor(site: Site) -> None:
    site.state.show(ScreenContent("live", declined=True))
    site.page.until("document.getElementById('message').textContent.includes('Nothing is analysed')")
    places = site.places()
    assert "notice" not in places and "camera" not in places
    assert site.page.text("headline") == "Welcome" and site.page.text("moods") == ""


SCREENS = [(1280, 720), (1920, 1080), (3840, 2160), (1080, 1920)]


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_words_and_targets_scale_with_the_screen_in_every_language(browser: Browser, language: str) -> None:
    config = KioskConfig() if language == "en" else load_config(EXAMPLES / f"kiosk-{language}.toml")
    asking = replace(ASKING, notice=config.privacy.notice)
    with Site(browser, config=config) as site:
        for size in SCREENS:
            site.show(asking)
            places = site.places(size)
            agree, decline = places["agree"], places["decline"]
            shorter = min(size)
            for left, top, right, bottom in (agree, decline):
                assert right - left >= max(44, 0.1 * shorter) and bottom - top >= max(44, 0.06 * shorter), (
                    size
                )
                assert left >= 0 and right <= size[0] and top >= 0 and bottom <= size[1], size
            assert agree[2] - agree[0] == pytest.approx(decline[2] - decline[0], abs=1)
            assert agree[3] - agree[1] == pytest.approx(decline[3] - decline[1], abs=1)
            fonts = site.page.run(
                "['title', 'message', 'notice-text', 'state', 'agree', 'decline'].map(id =>"
                " parseFloat(getComputedStyle(document.getElementById(id)).fontSize))"
            )
            assert min(fonts) >= 0.02 * shorter, size
            assert site.page.run("[...document.querySelectorAll('button, p, h1')].every(part =>"
                                 " part.scrollWidth <= part.clientWidth + 1)"), size  # fmt: skip
        assert site.page.run("document.documentElement.lang") == language
        assert site.page.text("agree") == config.text.agree
        assert site.page.run("document.getElementById('picture').alt") == config.text.camera


def touch(page: Page, x: float, y: float) -> None:
    page.call("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    page.call("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_browser_that_starts_before_the_service_shows_the_page_later(browser: Browser) -> None:
    state, port = KioskState(KioskConfig(), SystemClock()), free_port()
    page = browser.open(f"http://127.0.0.1:{port}/")
    page.until("location.protocol === 'chrome-error:'")
    with WebPort(port, state, Metrics().text):
        page.until("document.getElementById('headline').textContent === 'Welcome'")
        page.close()
