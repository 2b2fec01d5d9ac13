"""The overlay: nothing leaves the picture, everything can be read, and words are words."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.overlay import (
    annotate,
    bars,
    canvas,
    draw,
    faces,
    humanise,
    label_color,
    readings,
    style,
)
from edgeharfer.runtime.overlay.canvas import Rect, put_text, shorten, text_width, wrap
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import (
    BACKGROUND,
    UNCERTAIN,
    Action,
    Box,
    Emotion,
    Frame,
    Image,
    Reading,
    TrackedFace,
)

SIZES = [(320, 240), (640, 480), (1920, 1080), (480, 854), (160, 120)]
HAPPY = Emotion("happy", 0.88, {"happy": 0.88, "neutral": 0.07, "sad": 0.03, "angry": 0.02})
BUSY = Status(
    fps=7.34,
    latency_ms=112.9,
    frames_dropped=12_345,
    provider="CUDA",
    source_state="lost",
    source_name="rtsp://camera.example/a/very/long/path/of/a/stream",
)
LONG = Action("HammerThrowingWithAnExtremelyLongNameThatFitsNowhereAtAll", 0.99, ready=True)


def blank(width: int, height: int, level: int = 128) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def said(emotion: Emotion | None) -> dict[str, Reading]:
    return {} if emotion is None else {"emotion": emotion}


def one_face(box: Box, emotion: Emotion | None = HAPPY, track: int = 1) -> Result:
    return Result(0, 0.0, 1.0, (TrackedFace(track, box, 0.93, said(emotion)),))


def changed(before: Image, after: Image) -> Rect:
    rows, columns = np.nonzero((before != after).any(axis=2))
    return Rect(int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)


@contextmanager
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Rect]]]:
    """What is written meanwhile, and where."""
    found: list[tuple[str, Rect]] = []

    def spy(image: Image, text: str, x: int, middle: int, size: int, *more: object) -> None:
        weight = more[1] if len(more) > 1 else canvas.REGULAR
        assert isinstance(weight, int)
        found.append((text, Rect(x, middle - size // 2, text_width(text, size, weight), size)))

    with monkeypatch.context() as patch:
        patch.setattr(faces, "put_text", spy)
        patch.setattr(bars, "put_text", spy)
        patch.setattr(readings, "put_text", spy)
        yield found


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("BoxingPunchingBag", "Boxing punching bag"),
        ("noFight", "No fight"),
        ("happy", "Happy"),
        ("TaiChi", "Tai chi"),
        ("HTTPServer", "HTTP server"),
        ("jump_rope-now", "Jump rope now"),
        ("", ""),
        ("a\nb\x1b", "A b"),
    ],
)
def test_humanise(label: str, words: str) -> None:
    assert humanise(label) == words


def test_colours_differ_and_stay() -> None:
    emotions = ["angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise", UNCERTAIN]
    assert len({label_color(label) for label in emotions}) == len(emotions)
    assert label_color("bored") == label_color("bored")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", [(0.4, 0.4), (-0.1, -0.1), (0.95, 0.9), (0.0, 0.9), (0.9, 0.0)])
def test_text_never_leaves_the_picture(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], place: tuple[float, float]
) -> None:
    width, height = size
    box = Box(place[0] * width, place[1] * height, width / 4, height / 3)
    worried = Emotion("slightlyWorriedButHopeful", 1.0, {"slightlyWorriedButHopeful": 1.0})
    crowd = tuple(TrackedFace(98_760 + i, box, 0.9, said(worried)) for i in range(3))
    with written(monkeypatch) as texts:
        draw(blank(width, height), Result(0, 0.0, 1.0, crowd, {"action": LONG}), BUSY)
    assert len(texts) >= 9
    for text, rect in texts:
        assert rect.inside(Rect(0, 0, width, height)), text


def test_a_narrow_picture_keeps_the_label_before_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as texts:
        draw(blank(130, 130), one_face(Box(30, 60, 30, 30), track=98_765_432_100), Status())
    words = [text for text, _ in texts]
    assert any(word.startswith("Ha") for word in words), words
    assert "#98765432100" not in words


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (40, 30), (98, 400), (99, 66), (3, 3)])
def test_tiny_pictures_do_no_harm(size: tuple[int, int]) -> None:
    image = blank(*size)
    full = Result(0, 0.0, 1.0, one_face(Box(0, 0, *size)).faces * 3, {"action": LONG})
    assert draw(image, full, BUSY).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("size", SIZES)
def test_the_same_picture_in_every_size(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    with written(monkeypatch) as texts:
        draw(
            blank(*size),
            Result(0, 0.0, 1.0, readings={"action": Action("Biking", 0.81, ready=True)}),
            Status(fps=24.06),
        )
    words = [text for text, _ in texts]
    assert {"Live", "24.1 fps", "Biking", "81%"} <= set(words)
    share = next(rect.height for text, rect in texts if text == "Biking") / min(size[1], 0.75 * size[0])
    assert 0.02 < share < 0.12


def test_the_figures_of_the_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as texts:
        draw(blank(640, 480), Result(0, 0.0, 1.0), BUSY)
    words = [text for text, _ in texts]
    assert {"Lost", "7.3 fps", "112.9 ms", "12345 dropped", "CUDA"} <= set(words)
    with written(monkeypatch) as texts:
        draw(blank(640, 480), Result(0, 0.0, 1.0), Status(source_name="/videos/one/clip.mp4"))
    words = [text for text, _ in texts]
    assert "clip.mp4" in words
    assert not any("dropped" in word for word in words)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Action("Biking", 0.81, ready=True), ["Biking", "81%"]),
        (Action(UNCERTAIN, 0.31, ready=True), ["Not sure", ""]),
        (Action(BACKGROUND, 1.0, ready=True), ["No action"]),
        (Action(UNCERTAIN, 0.0, ready=False), ["Warming up…", ""]),
    ],
)
def test_the_action_bar_says_what_it_knows(
    monkeypatch: pytest.MonkeyPatch, action: Action, words: list[str]
) -> None:
    with written(monkeypatch) as texts:
        draw(blank(640, 480), Result(0, 0.0, 1.0, readings={"action": action}), Status())
    assert [text for text, rect in texts if rect.y > 240] == words


def test_the_fill_of_the_action_bar_follows_its_score() -> None:
    def filled(score: float) -> int:
        image = draw(
            blank(640, 480, 0),
            Result(0, 0.0, 1.0, readings={"action": Action("A", score, ready=True)}),
            Status(),
        )
        return int((image[470 - 7] == np.array(style.MINT)).all(axis=1).sum())

    assert filled(0.0) == 0
    assert filled(0.5) == pytest.approx(filled(1.0) / 2, abs=3)
    assert filled(1.0) > 400


def test_the_waiting_bar_moves_with_the_source() -> None:
    waiting = Action(UNCERTAIN, 0.0, ready=False)
    early = draw(blank(640, 480), Result(0, 0.1, 1.0, readings={"action": waiting}), Status())
    again = draw(blank(640, 480), Result(0, 0.1, 1.0, readings={"action": waiting}), Status())
    later = draw(blank(640, 480), Result(0, 0.6, 1.0, readings={"action": waiting}), Status())
    assert np.array_equal(early, again)
    assert not np.array_equal(early, later)


def test_no_action_no_bar() -> None:
    image = draw(blank(640, 480), Result(0, 0.0, 1.0), Status())
    assert (image[100:] == 128).all()


def test_a_face_without_emotion_shows_its_own_score(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as texts:
        draw(blank(640, 480), one_face(Box(200, 150, 150, 150), emotion=None, track=7), Status())
    assert {"#7", "Face", "93%"} <= {text for text, _ in texts}


def test_a_face_that_was_not_read_yet_is_a_box_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read, unread = Box(80, 150, 120, 120), Box(420, 150, 120, 120)
    pair = TrackedFace(1, read, 0.9, said(HAPPY)), TrackedFace(2, unread, 0.9)
    with written(monkeypatch) as texts:
        image = draw(blank(640, 480), Result(0, 0.0, 1.0, pair), Status())
    assert "#1" in [text for text, _ in texts]
    assert [text for text, rect in texts if rect.x > 380 and rect.y > 60] == []
    box = changed(blank(240, 380), image[100:, 400:])
    assert (box.width, box.height) == (122, 122)  # the outline with its dark edge, and nothing else


def test_an_uncertain_face_has_no_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    unsure = Emotion(UNCERTAIN, 0.35, {"happy": 0.35, "sad": 0.33, "neutral": 0.32})
    with written(monkeypatch) as texts:
        draw(blank(640, 480), one_face(Box(200, 150, 150, 150), unsure), Status())
    words = [text for text, _ in texts]
    assert "Not sure" in words and not any("%" in word for word in words)
    assert {"Happy", "Sad", "Neutral"} <= set(words)


def test_no_action_is_said_quietly() -> None:
    """A small grey panel without a bar, a tenth of what an action takes."""
    ground = blank(640, 480)
    calm, busy = (
        draw(blank(640, 480), Result(0, 0.0, 1.0, readings={"action": action}), Status())
        for action in (Action(BACKGROUND, 1.0, ready=True), Action("Biking", 1.0, ready=True))
    )
    taken = [np.count_nonzero((one != ground).any(axis=2)[240:]) for one in (calm, busy)]
    assert 0 < taken[0] < taken[1] / 8
    assert not (calm == np.array(style.MINT)).all(axis=2)[240:].any()


def test_the_three_likeliest_emotions_stand_beside_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as texts:
        draw(blank(640, 480), one_face(Box(200, 150, 150, 150)), Status())
    beside = [text for text, rect in texts if rect.x > 350 and rect.y > 100]
    assert beside == ["Happy", "Neutral", "Sad"]


@pytest.mark.parametrize("box", [Box(200, 150, 30, 30), Box(-10, -10, 660, 500)])
def test_no_room_no_bars(monkeypatch: pytest.MonkeyPatch, box: Box) -> None:
    with written(monkeypatch) as texts:
        draw(blank(640, 480), one_face(box), Status())
    assert "Neutral" not in [text for text, _ in texts]


def test_panels_of_two_faces_do_not_cover_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = tuple(TrackedFace(i, Box(150 + 100 * i, 150, 90, 90), 0.9, said(HAPPY)) for i in range(3))
    with written(monkeypatch) as texts:
        draw(blank(640, 480), Result(0, 0.0, 1.0, pair), Status())
    for index, (text, rect) in enumerate(texts):
        for other, place in texts[index + 1 :]:
            assert not rect.overlaps(place), (text, other)


def test_a_box_beyond_the_picture_is_left_out() -> None:
    plain = draw(blank(640, 480), Result(0, 0.0, 1.0), Status())
    with_face = draw(blank(640, 480), one_face(Box(700, 10, 50, 50)), Status())
    assert np.array_equal(plain, with_face)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_text_stands_out_on_any_ground(level: int) -> None:
    image = draw(
        blank(640, 480, level),
        Result(0, 0.0, 1.0, readings={"action": Action("Biking", 0.5, ready=True)}),
        Status(),
    )
    bar = image[435:460, 60:130].max(axis=2)
    ground, letters = np.percentile(bar, 20), bar.max()
    assert contrast(letters, ground) > 7  # WCAG 2.2, AAA for text


def contrast(light: float, dark: float) -> float:
    """Of two greys (WCAG 2.2, "contrast ratio", with the sRGB curve taken as 2.2)."""
    return float(((light / 255) ** 2.2 + 0.05) / ((dark / 255) ** 2.2 + 0.05))


@pytest.mark.parametrize("level", [0, 255])
def test_a_box_stands_out_on_any_ground(level: int) -> None:
    before = blank(640, 480, level)
    after = draw(before.copy(), one_face(Box(200, 200, 100, 100)), Status())
    corner = after[199:206, 199:221].reshape(-1, 3).astype(int).sum(axis=1)
    assert corner.max() - corner.min() > 300


def test_annotate_leaves_the_frame_alone_and_enlarges_it_on_request() -> None:
    frame = Frame(0, 0.0, 0.0, blank(320, 240))
    frame.bgr.setflags(write=False)
    face = one_face(Box(100, 80, 60, 60))
    assert annotate(frame, face, Status()).shape == (240, 320, 3)
    large = annotate(frame, face, Status(), min_height=480)
    assert large.shape == (480, 640, 3)
    assert changed(blank(640, 480)[170:285], large[170:285]).x == 199  # the box at 200, with its dark edge


def test_numbers_that_are_no_numbers_do_no_harm() -> None:
    odd = Emotion("happy", float("nan"), {"happy": float("nan"), "sad": 2.0})
    draw(blank(640, 480), one_face(Box(200, 150, 150, 150), odd), Status(fps=float("inf")))


def test_shorten_cuts_to_the_width() -> None:
    text = "Boxing punching bag"
    assert shorten(text, 1000, 15) == text
    cut = shorten(text, 80, 15)
    assert cut.endswith("…")
    assert text.startswith(cut[:-1])
    assert text_width(cut, 15) <= 80
    assert shorten(text, 3, 15) == ""


@pytest.fixture
def older_opencv(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    text_width.cache_clear()
    yield
    text_width.cache_clear()


def test_opencv_4_draws_with_its_strokes(older_opencv: None, monkeypatch: pytest.MonkeyPatch) -> None:
    image = draw(blank(640, 480), one_face(Box(200, 150, 150, 150)), BUSY)
    assert image.max() > 240
    with written(monkeypatch) as texts:
        draw(
            blank(320, 240), Result(0, 0.0, 1.0, one_face(Box(90, 80, 60, 60)).faces, {"action": LONG}), BUSY
        )
    assert all(rect.inside(Rect(0, 0, 320, 240)) for _, rect in texts)


def test_threads_draw_the_same_text_at_once() -> None:
    """OpenCV's typeface changes while it draws, so that threads must not share one."""

    def lines(seed: int) -> bytes:
        image = np.zeros((60, 300, 3), np.uint8)
        for size in range(10, 30):
            put_text(image, f"seed {seed} size {size}", 5, 30, size, weight=400 + 20 * (size % 11))
        return image.tobytes()

    expected = [lines(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(40):
            assert list(pool.map(lines, range(4))) == expected


def test_readings_of_other_tasks_are_lines_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pose = Reading(values={"yaw": -12.34, "pitch": 123.4, "roll": 0.456})
    faces = tuple(
        TrackedFace(n, Box(x, 150, 90, 90), 0.9, {"emotion": HAPPY, "headpose": pose})
        for n, x in ((1, 60), (2, 420))
    )
    width, odd = Reading("wide", {"wide": 0.7, "narrow": 0.3}), Reading(values={"of": float("nan")})
    scene = {"action": LONG, "width": width, "share": odd}
    with written(monkeypatch) as texts:
        draw(blank(640, 480), Result(0, 0.0, 1.0, faces, scene), BUSY)
    lines = [(text, rect) for text, rect in texts if ":" in text and "//" not in text]
    assert [text for text, _ in lines] == [
        "Width: Wide 70%", "Share: of -", *["Headpose: yaw -12.3, pitch 123, roll 0.46"] * 2
    ]  # fmt: skip
    for index, (_, rect) in enumerate(lines):
        assert rect.inside(Rect(0, 0, 640, 480))
        assert not any(rect.overlaps(other) for _, other in lines[index + 1 :])


def test_lines_are_broken_between_words() -> None:
    text = "Come closer: this display responds to what you do"
    lines = wrap(text, 200, 24)
    assert " ".join(lines) == text and len(lines) > 1
    assert all(text_width(line, 24) <= 200 for line in lines)
    assert wrap("Donaudampfschifffahrt", 10, 24) == ["Donaudampfschifffahrt"]
    assert wrap("", 10, 24) == []
