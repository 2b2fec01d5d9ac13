"""Summary of the live results for the page: people, action, action history and suggestions."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeharfer.app.likely import LikelyActions, Suggestion, mean_emotion
from edgeharfer.app.messages import MessageComposer
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.tasks.intensity import IntensityEstimator, intensity_word
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Action, TrackedFace

HISTORY = 12
SUGGEST_EVERY_S = 1.0
"""Suggestions change at most this often, so that they can be read."""
_NO_ACTION = frozenset({UNCERTAIN, BACKGROUND})
_GAP_S = 1.0


@dataclass
class ActionSpan:
    """A time span with one action.

    Attributes:
        label: The action.
        start_s: Start, in presentation time.
        end_s: End, in presentation time.
        score: Mean score, 0 to 1.
        readings: Number of results with this action.
    """

    label: str
    start_s: float
    end_s: float
    score: float
    readings: int = 1

    def extend(self, now_s: float, score: float) -> None:
        """Add a further result with the same action."""
        self.readings += 1
        self.end_s = now_s
        self.score += (score - self.score) / self.readings


class ActionHistory:
    """The last `HISTORY` actions, oldest first, without background and uncertain."""

    def __init__(self) -> None:
        self._spans: deque[ActionSpan] = deque(maxlen=HISTORY)

    def add(self, action: Action, now_s: float) -> None:
        """Add the current action. Times must ascend."""
        if not action.ready or action.label in _NO_ACTION:
            return
        last = self._spans[-1] if self._spans else None
        if last is not None and last.label == action.label and now_s - last.end_s <= _GAP_S:
            last.extend(now_s, action.score)
        else:
            self._spans.append(ActionSpan(action.label, now_s, now_s, action.score))

    def to_list(self) -> list[dict[str, Any]]:
        """The spans as JSON-serialisable dictionaries."""
        return [
            {
                "label": one.label,
                "start_s": round(one.start_s, 2),
                "end_s": round(one.end_s, 2),
                "score": round(one.score, 4),
            }
            for one in self._spans
        ]


class SceneSummary:
    """Summarises the results of one run, in order of time.

    Args:
        intensity: Estimates expression intensity.
        likely: Suggests activities.
        messages: Message of each emotion label.
    """

    def __init__(
        self, intensity: IntensityEstimator, likely: LikelyActions, messages: Mapping[str, str]
    ) -> None:
        self._intensity, self._likely = intensity, likely
        self._composer, self._history = MessageComposer(messages), ActionHistory()
        self._suggestions: tuple[Suggestion, ...] = ()
        self._suggested_s: float | None = None

    def update(self, result: Result) -> dict[str, Any]:
        """Update with a result, and return the summary as a JSON-serialisable dictionary."""
        if result.action is not None:
            self._history.add(result.action, result.pts_s)
        self._composer.retain(face.track for face in result.faces)
        self._update_suggestions(result)
        return {
            "pts_s": round(result.pts_s, 3),
            "people": [self._person(face, result.pts_s) for face in result.faces],
            "action": None if result.action is None else action_to_dict(result.action),
            "history": self._history.to_list(),
            "likely": [
                {"activity": one.activity, "probability": round(one.probability, 4)}
                for one in self._suggestions
            ],
        }

    def _person(self, face: TrackedFace, now_s: float) -> dict[str, Any]:
        if face.emotion is None:
            return {"track": face.track, "score": round(face.score, 4), "emotion": None}
        strength = self._intensity.estimate(face.emotion.probs)
        return {
            "track": face.track,
            "score": round(face.score, 4),
            "emotion": {
                "label": face.emotion.label,
                "score": round(face.emotion.score, 4),
                "probs": {label: round(p, 4) for label, p in face.emotion.probs.items()},
                **intensity_to_dict(strength),
                "message": self._composer.update(face.track, face.emotion.label, now_s),
            },
        }

    def _update_suggestions(self, result: Result) -> None:
        now_s = result.pts_s
        if self._suggested_s is not None and 0 <= now_s - self._suggested_s < SUGGEST_EVERY_S:
            return
        self._suggested_s = now_s
        faces = [face.emotion.probs for face in result.faces if face.emotion is not None]
        ready = result.action is not None and result.action.ready
        action = result.action.probs if result.action is not None and ready else {}
        self._suggestions = self._likely.suggest(mean_emotion(faces), action)


def action_to_dict(action: Action) -> dict[str, Any]:
    """The action with its three most probable classes, JSON-serialisable."""
    best = sorted(action.probs.items(), key=lambda item: -item[1])[:3]
    return {
        "label": action.label if action.ready else UNCERTAIN,
        "score": round(action.score, 4),
        "ready": action.ready,
        "best": [[label, round(p, 4)] for label, p in best],
    }


def intensity_to_dict(intensity: float | None) -> dict[str, Any]:
    """The intensity as a number and as a word, JSON-serialisable; both None if unknown."""
    word = None if intensity is None else intensity_word(intensity)
    return {"intensity": None if intensity is None else round(intensity, 4), "strength": word}
