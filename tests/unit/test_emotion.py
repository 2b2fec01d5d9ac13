"""Emotions: batches, class weights, and what is remembered of each track."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.tasks.emotion import EmotionModel, EmotionRecognizer, prior_weights, reweight
from edgeharfer.runtime.tasks.pictures import BATCHES
from edgeharfer.runtime.tasks.smoothing import FACE_HYSTERESIS, HYSTERESIS
from edgeharfer.runtime.types import Box, Emotion, Face, Floats, Image
from tiny_models import FER7

SHARES = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return tiny_models.emotion_package(
        tmp_path_factory.mktemp("emotion"),
        model=tiny_models.classifier(16, 1, 7, output="logits"),
        output="logits",
        temperature=1.5,
        threshold=0.1,
        prior={"data": SHARES},
    )


def crops(count: int) -> list[Image]:
    """Faces of unlike sizes and light."""
    random = np.random.default_rng(count)
    return [
        random.integers(15 * i, 15 * i + 60, (16 + i, 20, 3)[: 2 + i % 2], np.uint8) for i in range(count)
    ]


def expected(pictures: list[Image], temperature: float) -> Floats:
    """What tiny_models.classifier answers, worked out in NumPy: one weight for each class times the mean."""
    means = preprocess_images(pictures, tiny_models.emotion_manifest().input).mean(axis=(1, 2))
    exponents = np.exp(means @ tiny_models.class_weights(1, 7) / temperature)
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("count", range(1, 10))
def test_a_padded_batch_answers_like_one_face_after_the_other(package: Package, count: int) -> None:
    model = EmotionModel(package, prior="data")
    faces = crops(count)
    together = model.classify(faces)
    one_by_one = np.concatenate([model.classify([face]) for face in faces])
    assert together.shape == (count, 7)
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)
    np.testing.assert_allclose(together, expected(faces, 1.5), atol=1e-5)


def test_no_faces_make_no_rows(package: Package) -> None:
    assert EmotionModel(package).classify([]).shape == (0, 7)


class Listening:
    """A session that notes the batch sizes it gets."""

    def __init__(self, session: Session) -> None:
        self._session, self.sizes = session, []  # type: ignore[var-annotated]

    def run1(self, array: Floats) -> Floats:
        self.sizes.append(len(array))
        return self._session.run1(array)


def test_only_a_few_batch_sizes_reach_the_session(package: Package) -> None:
    model = EmotionModel(package)
    model.session = listening = Listening(model.session)  # type: ignore[assignment]
    for count in range(1, 12):
        model.classify(crops(count))
    assert set(listening.sizes) == set(BATCHES)
    listening.sizes.clear()
    model.classify(crops(9))
    assert listening.sizes == [8, 1]


def test_warm_up_runs_every_batch_size(package: Package) -> None:
    model = EmotionModel(package)
    shapes: list[list[tuple[int, ...]]] = []
    model.session.warm_up = shapes.append  # type: ignore[method-assign, assignment]
    model.warm_up()
    assert shapes == [[(n, 16, 16, 1) for n in BATCHES]]


def test_another_prior_reweighs_as_bayes_says() -> None:
    """By hand: p = (.5, .3, .2) trained at (.5, .25, .25), wanted at thirds: weights (2/3, 4/3, 4/3)."""
    labels = ("a", "b", "c")
    manifest = replace(tiny_models.emotion_manifest(labels), prior={"data": (0.5, 0.25, 0.25)})
    weights = prior_weights(manifest, "balanced")
    assert weights is not None
    np.testing.assert_allclose(weights, [2 / 3, 4 / 3, 4 / 3], rtol=1e-6)
    result = reweight(np.array([[0.5, 0.3, 0.2], [1, 0, 0]], np.float32), weights)
    np.testing.assert_allclose(result, np.array([[1 / 3, 0.4, 4 / 15], [1, 0, 0]]), atol=1e-6)


def test_the_packages_own_prior_is_the_default() -> None:
    labels = ("a", "b")
    manifest = replace(
        tiny_models.emotion_manifest(labels), prior={"data": (0.8, 0.2), "package": (0.4, 0.6)}
    )
    weights = prior_weights(manifest, "package")
    assert weights is not None and weights.tolist() == pytest.approx([0.5, 3])
    np.testing.assert_allclose(reweight(np.array([[0.6, 0.4]], np.float32), weights), [[0.2, 0.8]], atol=1e-6)
    assert prior_weights(manifest, "data") is None
    balanced, uniform = prior_weights(manifest, "balanced"), prior_weights(manifest, "uniform")
    assert balanced is not None and uniform is not None
    assert balanced.tolist() == weights.tolist()
    np.testing.assert_allclose(uniform, [0.5 / 0.8, 0.5 / 0.2], rtol=1e-6)
    bare = replace(manifest, prior={"data": (0.8, 0.2)})
    assert prior_weights(bare, "package") is None
    balanced = prior_weights(bare, "balanced")
    assert balanced is not None and balanced.tolist() == uniform.tolist()


def test_a_class_that_training_lacked_does_not_divide_by_zero() -> None:
    manifest = replace(tiny_models.emotion_manifest(("a", "b")), prior={"data": (1.0, 0.0)})
    weights = prior_weights(manifest, "balanced")
    assert weights is not None and np.isfinite(weights).all()


def test_priors_that_cannot_be_are_named() -> None:
    manifest = replace(tiny_models.emotion_manifest(("a", "b")), prior={})
    with pytest.raises(ConfigError, match=r"unknown prior 'flat'.*balanced"):
        prior_weights(manifest, "flat")
    with pytest.raises(ConfigError, match="class shares"):
        prior_weights(manifest, "balanced")


def test_the_prior_reaches_the_answer(package: Package) -> None:
    faces = crops(3)
    plain = EmotionModel(package, prior="data").classify(faces)
    weighted = plain / np.array(SHARES, np.float32)
    weighted /= weighted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(EmotionModel(package, prior="balanced").classify(faces), weighted, atol=1e-5)


def test_a_precision_that_is_not_there_is_an_error(package: Package) -> None:
    with pytest.raises(ModelError, match="no int8 files"):
        EmotionModel(package, Backend("cpu", "int8"))


def test_faces_are_cut_to_the_models_size(package: Package) -> None:
    model = EmotionModel(package)
    face = Face(Box(-10, 5, 30, 30), 0.9, np.array([(0, 15), (10, 15)] + [(5, 20)] * 4, np.float32))
    (crop,) = model.crop_faces(np.zeros((40, 40, 3), np.uint8), [face])
    assert crop.shape == (16, 16, 3)
    assert model.crop_faces(np.zeros((40, 40, 3), np.uint8), []) == []


def one_hot(label: str, share: float = 1.0) -> Floats:
    row = np.full(7, (1 - share) / 6, np.float32)
    row[FER7.index(label)] = share
    return row


def known(recognizer: EmotionRecognizer, number: int) -> Emotion:
    found = recognizer.latest(number)
    assert found is not None, f"face {number} was never read"
    return found


def test_each_track_is_averaged_by_itself(package: Package) -> None:
    recognizer = EmotionRecognizer(EmotionModel(package), threshold=0.5)
    one, two = 1, 2
    recognizer.update(np.stack([one_hot("happy"), one_hot("sad")]), [one, two], [1, 2], 0.0)
    recognizer.update(np.stack([one_hot("sad"), one_hot("sad")]), [two, one], [1, 2], 0.1)
    first, second = known(recognizer, 1), known(recognizer, 2)
    assert (first.label, second.label) == ("happy", "sad")
    assert first.probs["sad"] == pytest.approx(1 - math.exp(-0.1 / 0.25), abs=1e-5)
    assert list(first.probs) == list(FER7)
    assert sum(first.probs.values()) == pytest.approx(1, abs=1e-5)
    assert second.score == pytest.approx(1)


def test_an_uncertain_reading_counts_less(package: Package) -> None:
    def after(reading: Floats) -> float:
        recognizer = EmotionRecognizer(EmotionModel(package))
        recognizer.update(one_hot("happy", 0.9)[None], [1], [1], 0.0)
        recognizer.update(reading[None], [1], [1], 0.2)
        return known(recognizer, 1).probs["happy"]

    certain, uncertain = one_hot("sad", 0.9), one_hot("sad", 0.3)
    share = (0.9 - after(uncertain)) / (0.9 - uncertain[FER7.index("happy")])
    assert 0 < share < 0.2
    assert after(certain) == pytest.approx(0.9 + (1 - math.exp(-0.2 / 0.25)) * (certain[3] - 0.9), abs=1e-5)


def test_the_label_of_a_face_changes_with_a_larger_lead_than_that_of_an_action(package: Package) -> None:
    def share(sad: float) -> Floats:
        return (1 - sad) * one_hot("happy") + sad * one_hot("sad")

    recognizer = EmotionRecognizer(EmotionModel(package), threshold=0.4, time_constant_s=0)
    labels = []
    for number, sad in enumerate((0.4, 0.53, 0.55, 0.57, 0.45, 0.43)):
        recognizer.update(share(sad)[None], [1], [1], number / 10)
        labels.append(known(recognizer, 1).label)
    assert HYSTERESIS < 0.1 < FACE_HYSTERESIS < 0.14
    assert labels == ["happy", "happy", "happy", "sad", "sad", "happy"]


def test_what_is_known_of_a_face_that_is_gone_is_forgotten(package: Package) -> None:
    recognizer = EmotionRecognizer(EmotionModel(package), threshold=0.5)
    recognizer.update(one_hot("happy")[None], [1], [1], 0.0)
    recognizer.update(one_hot("sad")[None], [1], [1, 2], 0.03)
    assert known(recognizer, 1).label == "happy"
    recognizer.update(one_hot("sad")[None], [2], [2], 0.06)
    assert recognizer.latest(1) is None
    recognizer.update(one_hot("sad")[None], [1], [1, 2], 0.09)
    assert known(recognizer, 1).probs["sad"] == pytest.approx(1)


def test_nothing_is_known_of_a_face_that_was_never_read(package: Package) -> None:
    assert EmotionRecognizer(EmotionModel(package)).latest(1) is None


def test_a_reset_forgets_all_faces(package: Package) -> None:
    recognizer = EmotionRecognizer(EmotionModel(package), threshold=0.5)
    recognizer.update(one_hot("happy")[None], [1], [1], 0.0)
    recognizer.reset()
    assert recognizer.latest(1) is None
    recognizer.update(one_hot("sad")[None], [1], [1], 0.03)
    assert known(recognizer, 1).probs["sad"] == pytest.approx(1)


def test_the_threshold_is_the_packages_unless_another_is_given(package: Package) -> None:
    weak = one_hot("fear", 0.2)[None]
    usual, strict = (
        EmotionRecognizer(EmotionModel(package)),
        EmotionRecognizer(EmotionModel(package), threshold=0.3),
    )
    for recognizer in (usual, strict):
        recognizer.update(weak, [1], [1], 0.0)
    told, untold = known(usual, 1), known(strict, 1)
    assert (told.label, untold.label) == ("fear", "uncertain")
    assert untold.score == pytest.approx(0.2)
