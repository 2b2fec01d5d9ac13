"""What a person may well be doing, from how the face looks and what the action model sees: a suggestion.

A small naive Bayes model. For activities a of a table of counts, emotions e and labels l of the action model:

    P(a | action)     = (1 - t k) P(a) + t sum_l r(l) m(a | l)
    P(emotion | a)    proportional to  sum_e q(e) P(e | a) / P(e)
    P(a | both)       proportional to  P(a | action) P(emotion | a)

r(l) is what the action model says and m deals a label out to the activities that it stands for; k is the
part of r that stands for any, so that "background" tells nothing. t is how far the action model is trusted.
q(e) is the distribution of the emotion itself, not its label: soft evidence (Pearl 1988, section 2.2.2).
That the two are independent given the activity is an assumption, and the table is small: hence a suggestion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from edgeharfer.app.context import ContextTable

TRUST = 0.75
"""Of the action model: the share of windows in which the one that ships is right (0.7497)."""
MIN_PROBABILITY = 0.4
"""Less probable activities are not worth a word."""
MAX_SUGGESTIONS = 3

Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An activity that may be going on, and how probable the model finds it."""

    activity: str
    probability: float


class LikelyActions:
    """The model with one table. trust: of the action model, 0 to 1."""

    def __init__(self, table: ContextTable, trust: float = TRUST) -> None:
        self._table, self._trust = table, trust
        joint = table.joint
        self._prior: Shares = joint.sum(axis=0)
        self._lift: Shares = joint / np.outer(joint.sum(axis=1), self._prior)  # P(e | a) / P(e)
        self._indices = {_normalize(name): index for index, name in enumerate(table.actions)}

    def posterior(self, emotion: Mapping[str, float], action: Mapping[str, float]) -> dict[str, float]:
        """P(activity | both), sums to 1; an empty mapping tells nothing, and both empty gives the prior."""
        weights = self._action_posterior(action) * self._emotion_likelihood(emotion)
        shares = weights / weights.sum()
        return dict(zip(self._table.actions, shares.tolist(), strict=True))

    def suggest(self, emotion: Mapping[str, float], action: Mapping[str, float]) -> tuple[Suggestion, ...]:
        """The likeliest activities, best first; none where nothing stands out or nothing is known."""
        if not emotion and not action:
            return ()
        found = self.posterior(emotion, action)
        best = sorted(found, key=lambda name: -found[name])[:MAX_SUGGESTIONS]
        if found[best[0]] < MIN_PROBABILITY:
            return ()
        return tuple(Suggestion(name, found[name]) for name in best if found[name] >= found[best[0]] / 3)

    def _action_posterior(self, action: Mapping[str, float]) -> Shares:
        evidence = np.zeros(len(self._table.actions))
        for label, p in action.items():
            indices = [self._indices[name] for name in activities_of(label) if name in self._indices]
            for index in indices:
                evidence[index] += p / len(indices)
        known = min(1.0, float(evidence.sum()))
        return (1 - self._trust * known) * self._prior + self._trust * evidence

    def _emotion_likelihood(self, emotion: Mapping[str, float]) -> Shares:
        q = np.array([max(0.0, emotion.get(name, 0.0)) for name in self._table.emotions])
        if q.sum() <= 0:
            return np.ones(len(self._table.actions))
        likelihood: Shares = q / q.sum() @ self._lift
        return likelihood


def mean_emotion(faces: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean distribution of everybody in view; empty where nobody is."""
    labels = dict.fromkeys(label for probs in faces for label in probs)
    return {label: sum(probs.get(label, 0.0) for probs in faces) / len(faces) for label in labels}


def activities_of(label: str) -> tuple[str, ...]:
    """The activities that an action model's label stands for, in plain form: itself, and what is listed."""
    return (_normalize(label), *_load_activities().get(_normalize(label), ()))


@cache
def _load_activities() -> dict[str, tuple[str, ...]]:
    text = resources.files(__package__).joinpath("activities.json").read_text(encoding="utf-8")
    return {_normalize(label): tuple(map(_normalize, names)) for label, names in json.loads(text).items()}


def _normalize(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
