"""What nobody may see or know: blurred faces, ignored zones, forgotten names."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeharfer.kiosk.config import KioskConfig, PrivacyConfig, ScreenConfig
from edgeharfer.kiosk.privacy import (
    BLUR_CELLS,
    MAX_DECLINED_S,
    EphemeralIds,
    PrivacyNotice,
    blur_faces,
    hide_zones,
)
from edgeharfer.kiosk.state import KioskState, ScreenContent, shown_picture
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Box, Frame, Image, TrackedFace
from kiosk_parts import FakePipeline


def noise(height: int = 120, width: int = 160) -> Image:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def test_a_blurred_face_has_a_few_squares_and_the_rest_is_untouched() -> None:
    picture = noise()
    blurred = blur_faces(picture, [TrackedFace(1, Box(50, 40, 40, 40), 0.9)])
    face = blurred[32:88, 42:98]
    assert len(np.unique(face.reshape(-1, 3), axis=0)) <= BLUR_CELLS**2
    outside = np.ones(picture.shape[:2], bool)
    outside[32:88, 42:98] = False
    assert np.array_equal(blurred[outside], picture[outside])
    assert not np.array_equal(face, picture[32:88, 42:98])


def test_faces_over_the_edge_are_blurred_too() -> None:
    blurred = blur_faces(
        noise(), [TrackedFace(1, Box(-20, -20, 60, 60), 0.9), TrackedFace(2, Box(900, 0, 9, 9), 0.9)]
    )
    assert len(np.unique(blurred[:50, :50].reshape(-1, 3), axis=0)) <= BLUR_CELLS**2


def test_zones_are_black_and_the_frame_itself_is_not_touched() -> None:
    frame = Frame(0, 0.0, 0.0, noise())
    before = frame.bgr.copy()
    hidden = hide_zones(frame, [(0.0, 0.0, 0.25, 0.5)]).bgr
    assert not hidden[:60, :40].any() and np.array_equal(hidden[60:], frame.bgr[60:])
    assert np.array_equal(frame.bgr, before)
    assert hide_zones(frame, []) is frame


def test_names_are_random_and_forgotten_with_the_track() -> None:
    names = EphemeralIds()
    first = names.name(1)
    assert names.name(1) == first != names.name(2)
    names.retain({2})
    assert names.name(1) != first


def test_the_notice_is_asked_again_when_everybody_has_gone() -> None:
    clock = ManualClock()
    notice = PrivacyNotice(required=True, forget_s=60, clock=clock)
    assert not notice.given
    notice.confirm()
    for _ in range(10):
        clock.sleep(30)
        notice.observe(1)
    assert notice.given
    clock.sleep(59)
    notice.observe(0)
    assert notice.given
    clock.sleep(2)
    notice.observe(0)
    assert not notice.given


def test_after_a_refusal_nothing_is_analysed_until_the_visitor_has_left() -> None:
    clock = ManualClock()
    notice = PrivacyNotice(required=True, forget_s=60, decline_forget_s=10, clock=clock)
    pipeline: Any = FakePipeline()
    notice.confirm()
    notice.decline()
    for _ in range(6):
        clock.sleep(9)
        notice.observe(1)
        notice.apply(pipeline)
        assert notice.declined and not notice.given
        assert pipeline.disabled == {"action", "emotion"}
    clock.sleep(11)
    notice.observe(0)
    notice.observe(1)
    notice.apply(pipeline)
    assert not notice.declined and not notice.given, "the next visitor is asked"
    assert pipeline.disabled == {"emotion"}
    notice.confirm()
    notice.apply(pipeline)
    assert notice.given and not pipeline.disabled


def test_a_refusal_ends_although_something_stays_in_view() -> None:
    clock = ManualClock()
    notice = PrivacyNotice(required=False, forget_s=60, clock=clock)
    notice.decline()
    for _ in range(round(MAX_DECLINED_S / 5) - 1):
        clock.sleep(5)
        notice.observe(1)
        assert notice.declined and not notice.given
    clock.sleep(5)
    assert not notice.declined and notice.given


def test_the_notice_is_asked_again_after_a_camera_was_away_for_long() -> None:
    clock = ManualClock()
    notice = PrivacyNotice(required=True, forget_s=60, clock=clock)
    notice.confirm()
    notice.observe(1)
    clock.sleep(61)
    assert not notice.given, "before the first frame that comes again"
    notice.observe(1)
    assert not notice.given


def test_no_view_shows_a_face_unless_it_was_configured() -> None:
    frame = Frame(0, 0.0, 0.0, noise())
    result = Result(0, 0.0, 1.0, (TrackedFace(1, Box(50, 40, 40, 40), 0.9),))
    assert not np.array_equal(
        shown_picture(frame, result, blur=True), shown_picture(frame, result, blur=False)
    )
    state = KioskState(KioskConfig(), ManualClock())
    assert state.picture() == b""
    state.show(ScreenContent("live"), (frame, result))
    assert state.picture()[:2] == b"\xff\xd8"
    assert KioskConfig().privacy.blur_faces


def test_a_screen_without_camera_never_has_a_picture() -> None:
    config = KioskConfig(screen=ScreenConfig(show_camera=False), privacy=PrivacyConfig(blur_faces=False))
    state = KioskState(config, ManualClock())
    state.show(ScreenContent("live"), (Frame(0, 0.0, 0.0, noise()), Result(0, 0.0, 1.0)))
    assert state.picture() == b"" and state.content()["camera"] is False
