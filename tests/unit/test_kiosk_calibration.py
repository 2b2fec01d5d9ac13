"""Calibration: an idle site that fools the models tells nothing afterwards, and a real action still does."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeharfer.kiosk import calibrate as calibrate_module
from edgeharfer.kiosk.calibrate import calibrate_site, summarize
from edgeharfer.kiosk.calibration import (
    MARGIN,
    MAX_FLOOR,
    false_alarms,
    learn_floors,
    load_floors,
    save_calibration,
)
from edgeharfer.kiosk.config import DecisionConfig, KioskConfig, ModelsConfig, SiteConfig, SourceConfig
from edgeharfer.kiosk.decisions import Decisions
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import UNCERTAIN, Action, Box, Emotion, TrackedFace
from kiosk_parts import FilmSource
from tiny_models import ACTIONS, action_package, emotion_package

RULES = DecisionConfig(min_duration_s=0.5, cooldown_s=1.0, min_score=0.5)


def result(number: int, score: float, happy: float = 0.2) -> Result:
    label = "Biking" if score >= 0.5 else UNCERTAIN
    probs = {"Biking": score, "Archery": 0.1, "background": 0.9 - score}
    felt = Emotion(
        "happy" if happy >= 0.5 else "neutral", max(happy, 1 - happy), {"happy": happy, "neutral": 1 - happy}
    )
    face = TrackedFace(1, Box(0, 0, 9, 9), 0.9, {"emotion": felt})
    return Result(number, number / 10, 1.0, (face,), {"action": Action(label, score, True, probs)})


def idle(seconds: int = 120) -> list[Result]:
    """A poster that looks like biking for 3 s of every 6, and a happy face on it."""
    return [result(n, 0.62 if n // 30 % 2 else 0.2, 0.7) for n in range(10 * seconds)]


def test_false_alarms_go_and_a_surer_action_stays() -> None:
    found = learn_floors(idle(), RULES)
    assert found.alarms_before > 500 and found.alarms_after == 0
    assert found.seconds == pytest.approx(119.9)
    assert found.floors["action"]["Biking"] == pytest.approx(0.62 + MARGIN)
    assert found.floors["emotion"] == {"happy": pytest.approx(0.7 + MARGIN)}
    assert "background" not in found.floors["action"]
    sure = [result(n, 0.9) for n in range(20)]
    assert false_alarms(sure, Decisions(RULES, found.floors)) == ["Biking"]
    assert found.remaining == ()


def test_a_quiet_site_changes_next_to_nothing() -> None:
    found = learn_floors([result(n, 0.1) for n in range(600)], RULES)
    assert (found.alarms_before, found.alarms_after) == (0, 0)
    assert max(found.floors["action"].values()) < RULES.min_score


def test_a_label_that_the_site_causes_with_near_certainty_goes_too() -> None:
    smile = [result(n, 0.1, 0.985 if n // 30 % 2 else 0.93) for n in range(1200)]
    found = learn_floors(smile, RULES)
    assert found.floors["emotion"]["happy"] == pytest.approx((1 + 0.985) / 2, abs=1e-4)
    assert found.alarms_before > 0 and found.alarms_after == 0


def test_no_floor_makes_a_label_impossible() -> None:
    found = learn_floors([result(n, 0.999) for n in range(600)], RULES)
    assert found.floors["action"]["Biking"] == MAX_FLOOR
    assert found.remaining == ("Biking",)
    assert summarize(found, 0.5).splitlines()[1:] == [
        "minimum scores: Biking 0.995",
        "still reported: Biking; hide what causes it with privacy.ignore_zones",
    ]


def test_too_little_footage_is_told() -> None:
    for results in ([], idle()[:3]):
        with pytest.raises(ConfigError, match="too little footage"):
            learn_floors(results, RULES)


def test_the_service_reads_what_was_kept(tmp_path: Path) -> None:
    assert load_floors(tmp_path) == {}
    found = learn_floors(idle(), RULES)
    save_calibration(found, tmp_path / "state")
    assert load_floors(tmp_path / "state") == found.floors


@pytest.mark.parametrize(
    "text", ["{", '{"floors": {"action": {"Biking": 7}}}', '{"floors": {"action": {"Biking": "x"}}}']
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"calibration\.json"):
        load_floors(tmp_path)


def test_a_site_is_calibrated_from_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelsConfig(
        str(action_package(tmp_path / "action").path), str(emotion_package(tmp_path / "emotion").path)
    )
    monkeypatch.setattr(calibrate_module, "open_source", lambda *_, **__: FilmSource(6))
    config = KioskConfig(source=SourceConfig(source="film"), models=models)
    found = calibrate_site(config, tmp_path / "state", seconds=4)
    assert found.seconds == pytest.approx(3.9)
    assert set(found.floors["action"]) == set(ACTIONS) - {"background"}
    assert load_floors(tmp_path / "state") == found.floors
    assert "4 s of idle footage" in summarize(found, 0.5)
    with pytest.raises(ConfigError, match="5\\(1\\)"):
        calibrate_site(KioskConfig(site=SiteConfig(purpose="education")), tmp_path, seconds=1)
