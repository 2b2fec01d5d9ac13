"""The app's page in a real Chromium: live, uploads, recordings, reports, refusals, keyboard."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pypdf", reason="needs the app extra")

from pypdf import PdfReader

from app_parts import App, faces, running, until, write_camera, write_clip
from axe import problems
from chromium import Browser, Page
from edgeharfer.app.settings import Settings, UserLimits
from edgeharfer.runtime.source import open_source

pytestmark = pytest.mark.needs("Chromium")
SHOWN = "Number(document.getElementById('picture').dataset.shown ?? 0)"
# A file of the browser's own, past the page's own look at it.
KEEP = """document.getElementById('file').addEventListener(
    'change', event => { window.kept = event.target.files[0]; }, {capture: true, once: true})"""
SHADES = """[...document.querySelectorAll('#persons canvas')].map(face =>
    [...face.getContext('2d').getImageData(0, 0, 96, 96).data].filter((_, place) => place % 4 === 0))"""
DONE = "!document.getElementById('result').hidden"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("uploads"), Settings(limits=UserLimits(record_s=2.0))) as started:
        yield started


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    with Browser(folder / "profile", write_camera(folder / "camera.mjpeg"), downloads) as started:
        yield started


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    opened = browser.open(app.url + "#analyse")
    opened.until("document.getElementById('terms').textContent !== ''")
    yield opened
    assert opened.complaints == []
    opened.close()


def send(page: Page, file: Path) -> None:
    page.choose("file", file)
    page.until(f"{DONE} || !document.getElementById('complaint').hidden")


def test_an_upload_becomes_charts_and_a_report(page: Page, app: App, downloads: Path, tmp_path: Path) -> None:
    assert problems(page) == []
    page.click("annotate")
    send(page, write_clip(tmp_path / "two faces.webm"))
    assert page.text("result-name") == "two faces.webm" and "640 × 480" in page.text("result-facts")
    shares = page.run("[...document.querySelectorAll('#shares .bar-row')].map(row => row.innerText)")
    assert len(shares) >= 1 and "Happy" in shares[0]
    areas = page.run("[...document.querySelectorAll('#timeline .area')].map(area => area.dataset.label)")
    assert {"happy", "neutral"} <= set(areas)
    assert page.run("document.querySelectorAll('#table tbody tr').length") >= 3  # everybody, and two people
    job = page.run("document.getElementById('get-pdf').href.split('/').at(-2)")
    digest = app.ask("GET", f"/api/jobs/{job}/digest").json
    happy = round(100 * digest["group"]["shares"]["happy"])
    assert re.search(rf"Happy\s+{happy} %", shares[0])
    assert list((app.folder / job).rglob("*.mkv")) == list((app.folder / job).rglob("*.webm")) == []
    read_the_timeline(page)
    show_the_faces(page)
    page.click("get-pdf")
    until(lambda: any(file.stat().st_size for file in downloads.glob("*report.pdf")))
    [pdf] = downloads.glob("*report.pdf")
    reader = PdfReader(io.BytesIO(pdf.read_bytes()))
    assert len(reader.pages) >= 3 and "two_faces" in reader.pages[0].extract_text()
    csv = app.ask("GET", f"/api/jobs/{job}/frames.csv")
    assert csv.headers["content-disposition"].startswith("attachment") and csv.body.count(b"\n") > 10
    assert page.run("document.getElementById('get-html').href").endswith(f"/api/jobs/{job}/report.html")
    html = app.ask("GET", f"/api/jobs/{job}/report.html")
    assert html.headers["content-disposition"].startswith("attachment") and b"<h1" in html.body
    page.click("delete")
    until(lambda: app.ask("GET", f"/api/jobs/{job}").status == 404)
    assert not (app.folder / job).exists()


def read_the_timeline(page: Page) -> None:
    """With the keyboard; the browser's own copy of the video follows."""
    page.until("!document.getElementById('player').hidden")
    page.run("document.getElementById('moment').focus()")
    for _ in range(3):
        page.key("ArrowRight", 39)
    told = "document.getElementById('moment').getAttribute('aria-valuetext')"
    # The text is that of the picture on screen, which the player changes a little later.
    page.until(rf"/^0\.[12] s: .+, strength \d+ %$/.test({told})")
    page.until("document.getElementById('film').currentTime > 0")
    play_with_boxes(page)


def show_the_faces(page: Page) -> None:
    """On request only, from the browser's own copy."""
    page.until("document.getElementById('persons').children.length === 2")
    assert "not shown unless you ask" in page.text("faces-note")
    assert page.run("document.querySelectorAll('#persons canvas').length") == 0
    page.click("show-faces")
    page.until("document.querySelectorAll('#persons canvas').length === 2")
    shades = page.run(SHADES)
    assert all(max(one) - min(one) > 60 for one in shades) and shades[0] != shades[1]
    page.click("show-faces")
    assert page.run("document.querySelectorAll('#persons canvas').length") == 0


def check_the_annotated_video(file: Path) -> None:
    """All frames of the upload, with boxes: they differ from it where the faces are."""
    with open_source(file) as source:
        frames = [frame.bgr for frame in iter(source.read, None)]
    assert len(frames) == len(faces())
    changed = np.abs(frames[5].astype(int) - faces()[5]).max(axis=2) > 90
    assert 500 < np.count_nonzero(changed) < changed.size / 5


def play_with_boxes(page: Page) -> None:
    """Two faces are marked, on the picture itself, and the boxes follow them."""
    boxes = "[...document.querySelectorAll('#film-faces .face')].map(box => Number(box.getAttribute('x')))"
    page.until("document.getElementById('film-faces').children.length === 4")  # two boxes and their labels
    first = page.run(boxes)
    page.run("document.getElementById('film').play()")
    page.until("document.getElementById('film').ended")
    last = page.run(boxes)
    assert len(first) == len(last) == 2 and first != last
    assert page.run("document.querySelector('#film-faces .face-name').textContent").startswith("Person ")
    sides = "(({left, right, top, bottom}) => [left, right, top, bottom])"
    area = f"{sides}(document.getElementById('%s').getBoundingClientRect())"
    assert page.run(area % "film-faces") == page.run(area % "film")


def test_a_picture_shows_its_faces(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    cv2.imwrite(str(file), faces()[0])
    send(page, file)
    assert page.run("document.querySelectorAll('#photo .face').length") >= 1
    assert page.until("document.querySelector('#photo img').naturalWidth") == 640
    assert "Happy" in page.run("document.querySelector('#photo .face-name').textContent")
    people = "document.querySelectorAll('#photo-people .person')"
    bars = page.run(f"[...{people}].map(person => person.querySelectorAll('.bar-row').length)")
    assert len(bars) >= 1 and set(bars) == {8}
    page.click("show-photo-faces")
    page.until("document.querySelectorAll('#photo-people canvas').length >= 1")
    assert problems(page) == []
    assert page.run("document.getElementById('time-card').hidden")


def test_a_recording_of_the_browsers_camera_is_analysed(page: Page) -> None:
    page.click("record")
    page.until("document.getElementById('preview').videoWidth > 0")
    page.click("shoot")
    page.until(DONE)  # it stops by itself after the two seconds that are allowed
    assert page.text("result-name").startswith("recording.")
    assert page.run("document.querySelectorAll('#timeline .area').length") > 0
    assert page.run("document.getElementById('preview').srcObject") is None  # the camera is let go


def test_cancelling_clears_everything_away(page: Page, app: App, tmp_path: Path) -> None:
    before = set(app.folder.iterdir())
    page.choose("file", write_clip(tmp_path / "long.webm"))
    page.until("document.getElementById('progress-text').textContent === 'Starting'")
    assert set(app.folder.iterdir()) > before
    page.click("cancel")
    page.until("!document.getElementById('intake').hidden")
    until(lambda: set(app.folder.iterdir()) == before)


def test_a_text_called_mp4_is_told_from_a_video(page: Page, app: App, tmp_path: Path) -> None:
    before = set(app.folder.iterdir())
    file = tmp_path / "film.mp4"
    file.write_text("#EXTM3U\n/etc/passwd\n" * 1000, encoding="ascii")
    send(page, file)
    assert page.text("complaint") == "Unsupported format: the file content is neither a video nor a picture."
    page.forgive("415")
    assert set(app.folder.iterdir()) == before


def test_two_gigabytes_are_refused(page: Page, app: App, tmp_path: Path) -> None:
    before = set(app.folder.iterdir())
    file = tmp_path / "huge.mp4"
    with file.open("wb") as sparse:
        sparse.truncate(2 * 10**9)
    send(page, file)
    assert "larger than 200 MB" in page.text("complaint")
    # A page that does not look at the size itself learns it from the server, or from a closed connection.
    page.run(KEEP)
    page.choose("file", file)
    headers = json.dumps({"Content-Type": "application/octet-stream"})
    sent = f"fetch('api/jobs?name=x', {{method: 'POST', headers: {headers}, body: window.kept}})"
    assert page.run(f"{sent}.then(answer => answer.status, () => 'closed')") in (413, "closed")
    page.forgive("413", "ERR_")
    assert set(app.folder.iterdir()) == before


def test_live_pictures_move_for_two_viewers_of_one_run(app: App, browser: Browser) -> None:
    one, other = browser.open(app.url), browser.open(app.url)
    one.until("document.getElementById('source').options.length > 0")
    one.run("document.getElementById('source').value = 'demo'")
    one.click("start")
    for page in (one, other):
        page.until(f"{SHOWN} > 3")
    seen = one.run(SHOWN)
    one.until(f"{SHOWN} > {seen + 5}")
    one.until("document.querySelectorAll('#people .person').length >= 1")
    other.until("document.getElementById('live-state').textContent === 'Demo'")  # it is not live
    assert problems(one) == []
    one.until("document.getElementById('viewers').textContent === '2'")
    assert one.run("document.querySelectorAll('#people .person .bar-row').length") >= 8
    one.until("document.querySelector('#people strong').textContent === 'Happy'")
    assert "strong" in one.run("document.querySelector('#people .chip').textContent")
    assert one.text("provider") == "CPU" and one.text("precision") in ("FP32", "INT8", "FP32 + INT8")
    one.click("stop")
    other.until("document.getElementById('live-state').textContent === 'Off'")
    assert one.complaints == other.complaints == []
    one.close()
    other.close()


RENDER = """(async () => {
  const { Live } = await import('./live.js'), live = Object.create(Live.prototype);
  live.about = { actions: true };
  const say = (action) => {
    live.renderAction(action, false);
    const ids = ['action', 'action-score', 'action-bar'];
    const [name, score, bar] = ids.map((id) => document.getElementById(id));
    return [name.textContent, score.textContent, bar.parentElement.hidden];
  };
  const look = (emotion) => {
    live.renderPeople([{ track: 7, score: 0.93, emotion }]);
    const person = document.querySelector('#people .person');
    return [person.querySelector('strong').textContent, person.querySelector('.score').textContent,
      person.querySelectorAll('.bar-row').length];
  };
  const probs = { happy: 0.4, sad: 0.35, neutral: 0.25 }, more = { probs, message: '', strength: null };
  return {
    actions: [null, { ready: false, label: 'uncertain', score: 0 },
      { ready: true, label: 'uncertain', score: 0.3 }, { ready: true, label: 'background', score: 1 },
      { ready: true, label: 'Biking', score: 0.81 }].map(say),
    people: [null, { label: 'uncertain', score: 0.4, ...more },
      { label: 'happy', score: 0.4, ...more }].map(look),
  };
})()"""


def test_what_is_not_known_is_told_in_words_and_without_figures(page: Page) -> None:
    """No face read yet, nothing recognised for sure, nothing going on, and a photograph."""
    told = page.run(RENDER)
    assert told["actions"] == [
        ["–", "", False],
        ["Warming up …", "", False],
        ["Not sure", "", False],
        ["No action", "", True],
        ["Biking", "81 %", False],
    ]
    assert told["people"] == [["In view", "", 0], ["Not sure", "", 3], ["Happy", "40 %", 3]]


def test_a_source_that_is_not_there_is_told(app: App, browser: Browser) -> None:
    page = browser.open(app.url)
    page.until("document.getElementById('source').options.length > 0")
    page.run("document.getElementById('source').value = 'other'")
    page.run("document.getElementById('source').dispatchEvent(new Event('change'))")
    page.run("document.getElementById('other').value = '/nowhere/clip.mp4'")
    page.click("start")
    page.until("document.getElementById('live-state').textContent === 'Failed'")
    assert "no such file" in page.text("empty-text") and "--" not in page.text("empty-text")
    page.close()


def test_everything_comes_from_this_app(page: Page, app: App) -> None:
    asked = page.run("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(asked) > 5 and all(address.startswith(app.url) for address in asked)
    assert page.run("document.cookie") == ""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits(page: Page, width: int, dark: bool) -> None:
    page.look(width=width, dark=dark)
    for view in ("live", "analyse", "teach"):
        page.run(f"location.hash = '{view}'")
        page.until(f"!document.getElementById('{view}').hidden")
        assert page.run("document.documentElement.scrollWidth") <= width
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) is dark


def test_tab_leads_through_the_page_and_shows_where_it_is(page: Page) -> None:
    page.run("document.querySelector('.skip').focus()")
    met = []
    for _ in range(5):
        page.key("Tab", 9)
        met.append(page.run("document.activeElement.id"))
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert met == ["tab-live", "tab-analyse", "tab-teach", "choose", "record"]


def test_the_token_opens_the_page(browser: Browser, tmp_path: Path) -> None:
    token = "a token that nobody guesses"
    with running(tmp_path / "uploads", Settings(token=token, sources=("demo",))) as guarded:
        page = browser.open(guarded.url)
        page.until("document.readyState === 'complete' && !!document.getElementById('token')")
        page.run("document.getElementById('token').value = 'wrong, but long enough'")
        page.run("document.getElementById('form').requestSubmit()")
        page.until("!document.getElementById('complaint').hidden")
        assert page.text("complaint") == "Wrong token."
        assert problems(page) == []
        page.run(f"document.getElementById('token').value = '{token}'")
        page.run("document.getElementById('form').requestSubmit()")
        page.until("!document.getElementById('logout').hidden")
        assert page.run("document.cookie") == ""  # scripts cannot read it
        page.click("logout")
        page.until("!!document.getElementById('token')")
        page.close()
