"""What a student is taught: teachers' answers, joined and uncertain labels, and how faces are drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.evaluate import ferplus  # noqa: E402
from edgeharfer.runtime.errors import ConfigError, SourceError  # noqa: E402
from edgeharfer.runtime.inference.manifest import InputSpec  # noqa: E402
from edgeharfer.runtime.inference.preprocess import preprocess_images  # noqa: E402
from edgeharfer.runtime.tasks.smoothing import softmax  # noqa: E402
from edgeharfer.runtime.types import Box, Face, Floats  # noqa: E402
from edgeharfer.training.emotion.augment import FaceAugmentation  # noqa: E402
from edgeharfer.training.emotion.data import HeadTargets  # noqa: E402
from edgeharfer.training.emotion.distill import (  # noqa: E402
    Teacher,
    bias_offsets,
    class_shares,
    distil,
    inform_answers,
    join_labels,
    parse_teacher,
    read_uncertain,
    read_unlabelled,
    sampling_chances,
    teach,
    uncertain_targets,
)
from edgeharfer.training.emotion.expressions import MadeFaces  # noqa: E402
from edgeharfer.training.emotion.face_mesh import FaceMesh  # noqa: E402
from edgeharfer.training.emotion.faces import NO_LABEL, Faces  # noqa: E402
from edgeharfer.training.emotion.kaggle import FER7  # noqa: E402
from edgeharfer.training.emotion.recipe import EmotionRecipe  # noqa: E402
from edgeharfer.training.emotion.train import Lessons, loss_weights, make_batches, make_lessons  # noqa: E402
from edgeharfer.training.temperature import cross_entropy, fit_biases  # noqa: E402
from films import write_film  # noqa: E402
from tiny_faces import NoFaces  # noqa: E402

SPEC = InputSpec(48, 48, "gray", "standardize")
NEUTRAL, ANGRY = FER7.index("neutral"), FER7.index("angry")


def rows(classes: int, *labels: int) -> Any:
    return np.eye(classes, dtype=np.float32)[list(labels)]


def test_joined_labels_give_a_share_to_anger_that_voters_call_neutral() -> None:
    targets = HeadTargets({"fer7": rows(7, ANGRY, NEUTRAL, ANGRY), "fer8": rows(8, NEUTRAL, NEUTRAL, ANGRY)})
    targets.by_head["fer8"][2] = 0  # no votes
    join_labels(targets, np.array([ANGRY, NEUTRAL, ANGRY]), 0.25)
    votes = targets.by_head["fer8"]
    assert votes[0, NEUTRAL] == 0.75
    assert votes[0, ANGRY] == 0.25
    np.testing.assert_array_equal(votes[1], rows(8, NEUTRAL)[0])
    assert not votes[2].any()


def test_votes_move_the_answers_to_the_labels_that_such_votes_have() -> None:
    # Faces that the voters call neutral are labelled as angry in two of three cases, others as happy.
    happy = FER7.index("happy")
    votes = rows(8, *[NEUTRAL] * 30, *[happy] * 30) * 0.5  # weights of classes scale the rows
    labels = np.array([ANGRY, ANGRY, NEUTRAL] * 10 + [happy] * 30)
    votes[0] = 0
    answers = {"fer7": np.full((61, 7), 1 / 7, np.float32), "fer8": np.full((61, 8), 1 / 8, np.float32)}
    informed = inform_answers(answers, HeadTargets({"fer8": votes}), labels, 0.5)
    known = informed["fer7"][1:60]
    np.testing.assert_allclose(known.sum(axis=1), 1, rtol=1e-6)
    assert known[0, ANGRY] / known[0, NEUTRAL] == pytest.approx(2**0.5, rel=0.1)
    assert (known[29:].argmax(axis=1) == happy).all()
    np.testing.assert_array_equal(informed["fer7"][[0, 60]], answers["fer7"][[0, 60]])  # without votes
    np.testing.assert_array_equal(informed["fer8"], answers["fer8"])
    assert (answers["fer7"] == np.float32(1 / 7)).all()


@pytest.mark.parametrize("targets", [{"fer7": rows(7, 0, 1)}, {"fer8": rows(8, 0, 1)}])
def test_without_votes_or_their_share_answers_stay(targets: dict[str, Any]) -> None:
    answers = {"fer7": rows(7, 2, 3)}
    share = 0.0 if "fer8" in targets else 0.5
    assert inform_answers(answers, HeadTargets(targets), np.array([0, 1]), share)["fer7"] is answers["fer7"]


def test_labels_may_count_more_than_votes() -> None:
    assert loss_weights(["fer7", "fer8"], 1.25) == {"fer7": 1.25, "fer8": 0.75}
    assert loss_weights(["fer7"], 1.25) == {"fer7": 1}


@pytest.mark.parametrize(("key", "value", "limit"), [("label_weight", 2.5, 2), ("votes_share", -0.1, 1)])
def test_a_share_outside_its_range_is_refused_before_anything_is_read(
    key: str, value: float, limit: int
) -> None:
    with pytest.raises(ConfigError, match=f"{key} = {value}: choose a number from 0 to {limit}"):
        EmotionRecipe(**{key: value})  # type: ignore[arg-type]


def test_a_face_without_votes_is_taught_the_answer_alone() -> None:
    targets = HeadTargets({"fer8": np.stack([rows(8, 3)[0], np.zeros(8, np.float32)])})
    distil(targets, {"fer8": np.full((2, 8), 0.125, np.float32)}, 0.5)
    np.testing.assert_allclose(targets.by_head["fer8"].sum(axis=1), [1, 0.5])
    assert targets.by_head["fer8"][0, 3] == pytest.approx(0.5625)


def test_an_uncertain_label_counts_where_the_teachers_find_it_likely() -> None:
    disgust, contempt = ferplus.LABELS.index("disgust"), ferplus.LABELS.index("contempt")
    answers = {"fer7": np.full((3, 7), 1 / 7, np.float32), "fer8": np.full((3, 8), 1 / 8, np.float32)}
    means = {"fer7": np.full(7, 1 / 7), "fer8": np.full(8, 1 / 8)}
    means["fer8"][disgust] = means["fer8"][contempt] = 0.01
    made = uncertain_targets(np.array([disgust, ANGRY, contempt]), answers, means, 0.5, 1.5)
    assert made.counted.tolist() == [True, False, True]
    found = made.targets
    assert found["fer8"][0, disgust] == pytest.approx(0.5625)
    np.testing.assert_allclose(
        found["fer7"].sum(axis=1), [1, 0.5, 0.5], rtol=1e-6
    )  # contempt is none of the seven
    np.testing.assert_allclose(found["fer8"].sum(axis=1), [1, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(answers["fer8"], 1 / 8)


def test_faces_of_clips_are_taught_the_answers_alone(tmp_path: Path) -> None:
    class TwoFaces(NoFaces):
        def detect(self, bgr: np.ndarray, region: Any = None, *, close_up: bool = False) -> list[Face]:
            points = np.full((6, 2), np.nan, np.float32)
            return [Face(Box(5, 5, 20, 20), 0.9, points), Face(Box(60, 20, 60, 60), 0.8, points)]

    picture = np.zeros((120, 160, 3), np.uint8)
    picture[20:80, 60:120] = 200
    (tmp_path / "more").mkdir()
    write_film(tmp_path / "more" / "clip.mp4", [picture] * 12, fps=10)
    found = read_unlabelled(tmp_path, TwoFaces())
    assert len(found) == 6  # every second frame of ten a second
    assert found.pictures.shape == (6, 48, 48)
    assert found.pictures.mean() > 150, "the larger face"
    assert (found.labels == NO_LABEL).all()
    answers = {"fer7": rows(7, 3), "fer8": rows(8, 7)}
    taught = uncertain_targets(
        found.labels[:1], answers, {head: answers[head][0] for head in answers}, 0.5, 0
    )
    assert not taught.counted.any()
    for head, answer in answers.items():
        np.testing.assert_allclose(taught.targets[head], 0.5 * answer)
    with pytest.raises(SourceError, match="no clips with faces"):
        read_unlabelled(tmp_path, NoFaces())


def test_a_head_that_no_teacher_has_gets_no_target_for_uncertain_faces() -> None:
    means = {"fer7": np.full(7, 1 / 7), "fer8": np.full(8, 1 / 8)}
    found = uncertain_targets(
        np.array([ANGRY]), {"fer7": np.full((1, 7), 1 / 7, np.float32)}, means, 0.5, 1.0
    ).targets
    assert found["fer7"].sum() > 0 and found["fer8"].shape == (1, 8) and not found["fer8"].any()


def test_rare_classes_are_drawn_more_often_and_the_shares_say_so() -> None:
    targets = HeadTargets({"fer7": rows(7, *[0] * 90, *[1] * 10)})
    plain = class_shares(targets)
    chances = sampling_chances(targets, plain, 0.5)
    assert chances.sum() == pytest.approx(1)
    assert chances[-1] / chances[0] == pytest.approx(3)  # (0.9 / 0.1) ** 0.5
    assert class_shares(targets, chances)["fer7"][1] == pytest.approx(0.25)


def test_lessons_correct_the_biases_for_what_was_drawn() -> None:
    faces = SimpleNamespace(labels=np.array([0] * 90 + [1] * 10), names=[str(i) for i in range(100)])
    prepared: Any = SimpleNamespace(train=faces, votes=None)
    lessons = make_lessons(prepared, EmotionRecipe(sampling_power=0.5, label_smoothing=0), ())
    assert lessons.offsets["fer7"][1] == pytest.approx(np.log(0.1 / 0.25), abs=1e-5)
    plain = make_lessons(prepared, EmotionRecipe(), ())
    assert plain.chances is None
    assert not plain.offsets


def test_answers_of_teachers_need_no_correction_of_the_biases() -> None:
    labels = rows(7, *[0] * 90, *[1] * 10)
    answers = np.tile(np.array([0.9, 0.1, 0, 0, 0, 0, 0], np.float32), (100, 1))
    plain = class_shares(HeadTargets({"fer7": labels}))
    chances = sampling_chances(HeadTargets({"fer7": labels}), plain, 0.5)
    for share, taught in ((1.0, 0.1), (0.0, 0.25), (0.5, 0.175)):
        targets = HeadTargets({"fer7": labels.copy()})
        distil(targets, {"fer7": answers}, share)
        offsets = bias_offsets(targets, {"fer7": answers}, plain, chances)
        assert offsets["fer7"][1] == pytest.approx(np.log(0.1 / taught), abs=1e-5)


class UndecidedTeacher(Teacher):
    """A teacher that finds all classes equally likely."""

    def probabilities(self, pictures: Any) -> Any:
        return {"fer7": np.full((len(pictures), 7), 1 / 7, np.float32)}


def test_answers_take_in_votes_that_do_not_know_the_label() -> None:
    """With labels joined to the votes first, the votes would give each label away."""
    happy = FER7.index("happy")
    labels = np.array([ANGRY, NEUTRAL] * 20 + [happy] * 20)
    pictures = np.zeros((60, 48, 48), np.uint8)
    faces = Faces([str(i) for i in range(60)], pictures, labels, pictures)
    column = {NEUTRAL: 0, happy: 1}  # in the order of the table: neutral, happiness ...
    votes = {str(i): 10 * rows(10, column[NEUTRAL if i < 40 else happy])[0] for i in range(60)}
    prepared: Any = SimpleNamespace(train=faces, votes=votes)
    recipe = EmotionRecipe(distillation=1.0, votes_share=1.0, joined_share=1.0, sampling_power=0.5)
    lessons = make_lessons(prepared, recipe, [UndecidedTeacher(Path("run"))])
    taught = lessons.targets.by_head["fer7"]
    np.testing.assert_allclose(taught[:40][:, [ANGRY, NEUTRAL]], 0.5, atol=0.05)
    assert (taught[40:, happy] > 0.8).all()
    assert lessons.targets.by_head["fer8"][0, ANGRY] == 1


def test_blended_faces_are_taught_the_answers_alone_in_their_share() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (10, 48, 48)).astype(np.uint8)
    faces = Faces([str(i) for i in range(10)], pictures, np.arange(10) % 7, pictures)
    prepared: Any = SimpleNamespace(train=faces, votes=None)
    recipe = EmotionRecipe(blends=30, blend_share=0.75, distillation=0.0, label_smoothing=0, batch=5)
    lessons = make_lessons(prepared, recipe, [UndecidedTeacher(Path("run"))])
    assert len(lessons.faces) == 40
    assert lessons.drawn == 10
    assert lessons.counts == {"uncertain": 0, "counted": 0, "unlabelled": 0, "blends": 30, "expressions": 0}
    assert lessons.chances is not None
    assert lessons.chances[:10].sum() == pytest.approx(0.25)
    np.testing.assert_allclose(lessons.targets.by_head["fer7"][10:], 1 / 7, rtol=1e-6)
    batches = list(make_batches(lessons, recipe, SPEC)(0))
    assert [len(x) for x, _ in batches] == [5, 5]
    with pytest.raises(ConfigError, match="--teacher"):
        make_lessons(prepared, recipe, ())


def test_made_expressions_change_neither_the_other_targets_nor_the_biases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (10, 48, 48)).astype(np.uint8)
    faces = Faces([str(i) for i in range(10)], pictures, np.arange(10) % 7, pictures)
    votes = {str(i): 10 * rows(10, i % 8)[0] for i in range(10)}
    prepared: Any = SimpleNamespace(train=faces, votes=votes)
    teachers = [UndecidedTeacher(Path("run"))]
    sources: list[Any] = []

    def made(faces: Faces, votes: Floats, number: int, mesh: FaceMesh, rng: Any) -> MadeFaces:
        sources.append((len(faces), len(votes)))
        shown = Faces(["made"] * number, pictures[:number], np.full(number, NO_LABEL), pictures[:number])
        return MadeFaces(shown, np.full(number, ANGRY), np.full(number, 0.5, np.float32))

    monkeypatch.setattr("edgeharfer.training.emotion.train.make_expressions", made)
    mesh: Any = object()
    plain = EmotionRecipe(sampling_power=0.5, blends=6)
    recipe = replace(plain, expressions=4, expression_share=0.25)
    lessons = make_lessons(prepared, recipe, teachers, mesh=mesh)
    without = make_lessons(prepared, plain, teachers)
    assert sources == [(16, 10)]
    assert len(lessons.faces) == 20
    assert lessons.drawn == without.drawn
    assert lessons.counts["expressions"] == 4
    assert lessons.chances is not None
    assert lessons.chances[16:].sum() == pytest.approx(0.25)
    for head, taught in lessons.targets.by_head.items():
        np.testing.assert_array_equal(taught[:16], without.targets.by_head[head])
        np.testing.assert_array_equal(lessons.offsets[head], without.offsets[head])
    assert (lessons.targets.by_head["fer7"][16:, ANGRY] > 0.5).all()
    for options in ({"mesh": None}, {"teachers": ()}, {"prepared": SimpleNamespace(train=faces, votes=None)}):
        settings: Any = {"prepared": prepared, "recipe": recipe, "teachers": teachers, "mesh": mesh} | options
        with pytest.raises(ConfigError, match="expressions"):
            make_lessons(**settings)


def test_faces_are_drawn_by_their_chances() -> None:
    pictures = np.zeros((4, 48, 48), np.uint8)
    faces = Faces(["a", "b", "c", "d"], pictures, np.arange(4), pictures)
    targets = HeadTargets({"fer7": rows(7, 0, 1, 2, 3)})
    chances = np.array([0, 0, 1.0, 0])
    recipe = EmotionRecipe(batch=4)
    ((_, taught),) = make_batches(Lessons(faces, targets, 4, {}, chances), recipe, SPEC)(0)
    np.testing.assert_allclose(taught["fer7"], rows(7, 2, 2, 2, 2))


def test_a_teacher_answers_for_a_face_and_its_mirror_image_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"input": SPEC.to_dict(), "packages": {"one": {"head": "fer7", "temperature": 2.0}}}
    (tmp_path / "package.json").write_text(json.dumps(facts))
    model = SimpleNamespace(predict_on_batch=lambda x: {"fer7": x[:, 0, :7, 0]})  # reads the left side only
    monkeypatch.setattr("edgeharfer.training.emotion.distill.keras.models.load_model", lambda path: model)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8)
    answers: Any = Teacher(tmp_path).probabilities(pictures)["fer7"]
    x = preprocess_images(list(pictures), SPEC)[:, 0, :, 0]
    mean: Any = np.mean([x[:, :7], x[:, :-8:-1]], axis=0, dtype=np.float32)
    np.testing.assert_allclose(answers, softmax(mean, 2.0), rtol=1e-5)
    np.testing.assert_allclose(
        Teacher(tmp_path).probabilities(pictures[:, :, ::-1])["fer7"], answers, rtol=1e-5
    )


def test_mixup_ends_after_its_epochs() -> None:
    pictures = np.zeros((4, 48, 48), np.uint8)
    faces = Faces(["a", "b", "c", "d"], pictures, np.arange(4), pictures)
    targets = HeadTargets({"fer7": rows(7, 0, 1, 2, 3)})
    recipe = EmotionRecipe(batch=4, mixup_epochs=1, augmentation=FaceAugmentation(mixup_probability=1))
    batches = make_batches(Lessons(faces, targets, 4, {}), recipe, SPEC)
    largest = [next(batches(epoch))[1]["fer7"].max(axis=1).min() for epoch in (0, 1)]
    assert largest[0] < 1
    assert largest[1] == 1


def test_uncertain_labels_need_a_teacher() -> None:
    with pytest.raises(ConfigError, match="--teacher"):
        make_lessons(SimpleNamespace(), EmotionRecipe(), (), SimpleNamespace())  # type: ignore[arg-type]


def test_photographs_in_folders_are_read_with_their_classes(tmp_path: Path) -> None:
    for label in ("contempt", "anger"):
        (tmp_path / label).mkdir()
        cv2.imwrite(str(tmp_path / label / "face.png"), np.full((60, 50, 3), 90, np.uint8))
    faces = read_uncertain(tmp_path, NoFaces())
    assert [ferplus.LABELS[i] for i in faces.labels] == ["angry", "contempt"]
    assert faces.aligned.shape == faces.pictures.shape == (2, 48, 48)
    (tmp_path / "boredom").mkdir()
    cv2.imwrite(str(tmp_path / "boredom" / "face.png"), np.full((60, 50, 3), 90, np.uint8))
    with pytest.raises(SourceError, match="boredom"):
        read_uncertain(tmp_path, NoFaces())


@pytest.mark.parametrize(
    ("text", "teacher"),
    [("runs/a", Teacher(Path("runs/a"))), ("runs/a=0.4", Teacher(Path("runs/a"), 0.4))],
)
def test_a_teacher_may_have_a_weight(text: str, teacher: Teacher) -> None:
    assert parse_teacher(text) == teacher


@pytest.mark.parametrize("text", ["runs/a=", "runs/a=much", "runs/a=0", "runs/a=nan"])
def test_a_weight_is_a_positive_number(text: str) -> None:
    with pytest.raises(ConfigError, match="weight above 0"):
        parse_teacher(text)


def test_a_teacher_answers_with_calibrated_probabilities(tmp_path: Path) -> None:
    image = keras.Input((48, 48, 1))
    flat = keras.layers.Flatten()(image)
    keras.Model(image, {"fer7": keras.layers.Dense(7, name="fer7")(flat)}).save(tmp_path / "model.keras")
    facts = {
        "input": SPEC.to_dict(),
        "packages": {"emotion-fer7": {"head": "fer7", "temperature": 1e6}},
    }
    (tmp_path / "package.json").write_text(json.dumps(facts))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    answers = teach([Teacher(tmp_path), Teacher(tmp_path, 3.0)], pictures)
    np.testing.assert_allclose(answers["fer7"], np.full((3, 7), 1 / 7), atol=1e-4)


def test_a_folder_without_a_run_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished emotion run"):
        Teacher(tmp_path).probabilities(np.zeros((1, 48, 48), np.uint8))


def test_a_class_that_no_held_back_face_has_keeps_its_bias() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (90, 3)).astype(np.float32)
    biases = fit_biases(logits, rows(3, *[0, 2, 2] * 30), 1.0)
    assert np.isfinite(biases).all()
    assert biases[1] == 0
    assert biases[2] > biases[0]
    probs = softmax(logits + biases, 1.0).sum(axis=0)
    assert probs[2] / probs[0] == pytest.approx(2, rel=1e-3)
    assert probs[1] > 10, "not driven to zero"


def test_biases_give_the_classes_their_shares() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 900, p=[0.6, 0.3, 0.1])
    targets = rows(3, *truth)
    logits: Any = (rng.normal(0, 1, (900, 3)) + 2 * targets + [0.0, 1.0, -1.5]).astype(np.float32)
    targets[:100] = 0  # without a label
    targets[100:200] *= 3
    biases = fit_biases(logits, targets, 1.5)
    probs = softmax(logits + biases, 1.5)
    weights = targets.sum(axis=1)
    np.testing.assert_allclose((probs * weights[:, None]).sum(axis=0), targets.sum(axis=0), rtol=1e-3)
    corrected: Any = logits + biases
    for change in np.eye(3) * 0.1:
        for worse in (corrected + change, corrected - change):
            assert cross_entropy(worse, targets, 1.5) > cross_entropy(corrected, targets, 1.5)
