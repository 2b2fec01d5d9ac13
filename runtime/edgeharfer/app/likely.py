"""Suggests likely activities from emotions and recognised actions.

A naive Bayes model, for activities a of a table of counts, emotions e and labels l of the action model:

    P(a | action)     = (1 - t k) P(a) + t sum_l r(l) m(a | l)
    P(emotion | a)    proportional to  sum_e q(e) P(e | a) / P(e)
    P(a | both)       proportional to  P(a | action) P(emotion | a)

r(l) is the action model's probability of a label, m(a | l) spreads a label evenly over its activities, and k
is the total probability of the labels that have any, so that "background" has no influence. t is the trust in
the action model. q(e) is the full emotion distribution rather than its label, as soft evidence (Pearl 1988,
section 2.2.2). The model assumes that emotion and action are independent given the activity.
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
"""Trust in the action model: the accuracy per window of the shipped one (0.7497), rounded."""
MIN_PROBABILITY = 0.4
"""Smallest probability of the best activity for a suggestion."""
MAX_SUGGESTIONS = 3

Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A likely activity and its probability."""

    activity: str
    probability: float


class LikelyActions:
    """The naive Bayes model for one table.

    Args:
        table: The co-occurrence counts.
        trust: Trust in the action model, 0 to 1.
    """

    def __init__(self, table: ContextTable, trust: float = TRUST) -> None:
        self._table, self._trust = table, trust
        joint = table.joint
        self._prior: Shares = joint.sum(axis=0)
        self._lift: Shares = joint / np.outer(joint.sum(axis=1), self._prior)  # P(e | a) / P(e)
        self._indices = {_normalize(name): index for index, name in enumerate(table.actions)}

    def posterior(self, emotion: Mapping[str, float], action: Mapping[str, float]) -> dict[str, float]:
        """P(activity | emotion, action), which sums to 1. An empty mapping means no evidence."""
        weights = self._action_posterior(action) * self._emotion_likelihood(emotion)
        shares = weights / weights.sum()
        return dict(zip(self._table.actions, shares.tolist(), strict=True))

    def suggest(self, emotion: Mapping[str, float], action: Mapping[str, float]) -> tuple[Suggestion, ...]:
        """The most likely activities, best first; empty if none is likely enough or there is no evidence."""
        if not emotion and not action:
            return ()
        posterior = self.posterior(emotion, action)
        best = sorted(posterior, key=lambda name: -posterior[name])[:MAX_SUGGESTIONS]
        if posterior[best[0]] < MIN_PROBABILITY:
            return ()
        return tuple(
            Suggestion(name, posterior[name]) for name in best if posterior[name] >= posterior[best[0]] / 3
        )

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
    """The mean emotion distribution of all faces; empty without faces."""
    labels = dict.fromkeys(label for probs in faces for label in probs)
    return {label: sum(probs.get(label, 0.0) for probs in faces) / len(faces) for label in labels}


def activities_of(label: str) -> tuple[str, ...]:
    """The activities of an action label, normalised: the label itself, and those of activities.json."""
    return (_normalize(label), *_load_activities().get(_normalize(label), ()))


@cache
def _load_activities() -> dict[str, tuple[str, ...]]:
    text = resources.files(__package__).joinpath("activities.json").read_text(encoding="utf-8")
    return {_normalize(label): tuple(map(_normalize, names)) for label, names in json.loads(text).items()}


def _normalize(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
