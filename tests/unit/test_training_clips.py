"""Clips as features: found, sampled as the runtime samples, kept on disk, grouped, split into folds."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.evaluate.action import clip_windows, read_frames
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.inference.manifest import InputSpec, WindowSpec
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip
from edgeharfer.training.action.confidence import apply_temperature, choose_threshold, fit_temperature
from edgeharfer.training.action.find import ClipFile, find_clips
from edgeharfer.training.action.folds import (
    SIDE,
    assign_folds,
    check_pattern,
    group_clips,
    join_scenes,
    scene_descriptor,
    thumbnail,
)
from edgeharfer.training.action.store import ClipSpec, ClipStore, Encoder, load_clips
from edgeharfer.training.action.views import ClipView, ViewRanges, draw_views
from films import write_film

FPS = 24
SIZE = (64, 48)
SPEC = ClipSpec(InputSpec(16, 16, "rgb", "symmetric"), WindowSpec(4, 1.0, 0.5), views=2, view_seconds=0.8)
UNIFORM = replace(SPEC, sampling="uniform")


def quarters(batch: Floats) -> Floats:
    """A tiny encoder: the mean of each quarter of the picture, (n, 12)."""
    blocks = batch.reshape(len(batch), 2, 8, 2, 8, 3).mean(axis=(2, 4))
    return np.asarray(blocks.reshape(len(batch), -1), np.float32)


def picture(seed: int, shift: int = 0) -> Image:
    """A scene of blocks, with one white bar that moves."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 200, (6, 8, 3), np.uint8)
    scene = cv2.resize(blocks, SIZE, interpolation=cv2.INTER_NEAREST)
    scene[:, (3 * shift) % SIZE[0]] = 255
    return np.asarray(scene, np.uint8)


def write_clip(path: Path, seed: int, frames: int = 36) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_film(path, (picture(seed, i) for i in range(frames)), FPS)


def store(folder: Path, spec: ClipSpec = SPEC, digest: str = "quarters") -> ClipStore:
    return ClipStore(folder, spec, Encoder(quarters, digest))


def clip(name: str, label: str = "x", scene: Floats | None = None, source: str = "data") -> EncodedClip:
    track = ClipFeatures(np.array([0]), np.zeros((1, 2), np.float32))
    scene = np.zeros(SIDE * SIDE, np.float32) if scene is None else scene
    return EncodedClip(name, label, source, name, np.array([0.0]), track, (), scene)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_clip(root / "Run" / "v_Run_g01_c01.mp4", 1)
    write_clip(root / "Run" / "v_Run_g02_c01.mp4", 2, frames=5)
    write_clip(root / "Sit" / "v_Sit_g01_c01.mp4", 3)
    return root


def only(root: Path, name: str) -> ClipFile:
    return next(file for file in find_clips(root, []) if name in file.name)


def test_clips_are_found_by_class(data: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "calm" / "deep" / "street.mp4", 9, 3)
    single = write_clip(tmp_path / "yard.avi", 8, 3)
    (tmp_path / "calm" / "notes.txt").write_text("no clip")
    found = find_clips(data, [tmp_path / "calm", single])
    assert [(file.name, file.label, file.source) for file in found] == [
        ("Run/v_Run_g01_c01.mp4", "Run", "data"),
        ("Run/v_Run_g02_c01.mp4", "Run", "data"),
        ("Sit/v_Sit_g01_c01.mp4", "Sit", "data"),
        ("background/street.mp4", "background", "calm"),
        ("background/yard.avi", "background", "yard.avi"),
    ]


def test_background_can_count_as_a_class_of_the_data(data: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "calm" / "street.mp4", 9, 3)
    found = find_clips(data, [tmp_path / "calm"], "Sit")
    assert [(file.name, file.label) for file in found[2:]] == [
        ("Sit/v_Sit_g01_c01.mp4", "Sit"),
        ("background/street.mp4", "Sit"),
    ]
    assert clip("background/street.mp4", "Sit").aside
    assert not clip("Sit/v_Sit_g01_c01.mp4", "Sit").aside
    assert not clip("background/street.mp4", "background").aside


def test_only_the_training_split_is_taken(data: Path) -> None:
    split = data.parent / "split"
    for name, part in (("g01", "train"), ("g02", "test")):
        target = split / part / "Run" / f"v_Run_{name}_c01.mp4"
        target.parent.mkdir(parents=True)
        target.write_bytes((data / "Run" / f"v_Run_{name}_c01.mp4").read_bytes())
    assert [file.name for file in find_clips(split, [])] == ["train/Run/v_Run_g01_c01.mp4"]


def test_a_background_without_clips_is_an_error(data: Path, tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    with pytest.raises(SourceError, match="no clip"):
        find_clips(data, [tmp_path / "calm"])
    with pytest.raises(SourceError, match="no such file or folder"):
        find_clips(data, [tmp_path / "nowhere"])


def test_an_empty_class_folder_is_an_error(data: Path) -> None:
    (data / "Swim").mkdir()
    with pytest.raises(SourceError, match="no clip of class Swim"):
        find_clips(data, [])


def test_windows_are_those_of_the_runtime(data: Path, tmp_path: Path) -> None:
    for name in ("g01", "g02"):
        file = only(data, f"Run_{name}")
        loaded = store(tmp_path / "features").load(file)

        def encode(bgr: Image) -> Floats:
            features: Floats = quarters(preprocess_images([bgr], SPEC.input))[0]
            return features

        frames = ((frame.pts_s, frame.bgr) for frame in read_frames(data / file.name))
        np.testing.assert_array_equal(loaded.windows(SPEC.window), clip_windows(frames, SPEC.window, encode))


def test_views_are_half_a_step_apart_and_end_early(data: Path, tmp_path: Path) -> None:
    loaded = store(tmp_path / "features").load(only(data, "Run_g01"))
    assert loaded.times[loaded.plain.frames] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0, 1.25])
    first, second = (loaded.times[view.frames] for view in loaded.views)
    assert first == pytest.approx([0, 0.25, 0.5, 0.75])
    assert second == pytest.approx([0.125, 0.375, 0.625])
    assert loaded.views[0].features.dtype == np.float16


def test_uniform_sampling_spreads_over_the_whole_clip(data: Path, tmp_path: Path) -> None:
    long = store(tmp_path / "features", UNIFORM).load(only(data, "Run_g01"))
    assert long.full_clip is not None
    assert long.full_clip.frames.tolist() == [0, 9, 18, 27]
    assert [view.frames.tolist() for view in long.views] == [[0, 9, 18, 27]] * 2
    assert long.times[long.plain.frames] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0, 1.25])
    assert long.full_clip.features.dtype == np.float32
    assert long.views[0].features.dtype == np.float16
    short = store(tmp_path / "features", replace(UNIFORM, window=WindowSpec(8, 1.0, 0.5)))
    whole = short.load(only(data, "Run_g02")).full_clip
    assert whole is not None
    assert whole.frames.tolist() == [0, 1, 2, 3, 4]


def test_the_first_view_is_the_mirror_image(data: Path, tmp_path: Path) -> None:
    loaded = store(tmp_path / "features").load(only(data, "Run_g01"))
    plain = loaded.plain.features[:4].reshape(4, 2, 2, 3)
    mirrored = loaded.views[0].features.reshape(4, 2, 2, 3)
    np.testing.assert_allclose(mirrored, plain[:, :, ::-1], atol=0.01)


def test_a_clip_of_one_picture_has_no_later_view(tmp_path: Path) -> None:
    write_clip(tmp_path / "data" / "Run" / "one.mp4", 5, frames=1)
    loaded = store(tmp_path / "features").load(only(tmp_path / "data", "one"))
    assert len(loaded.views) == 1
    assert loaded.windows(SPEC.window).shape == (1, 4, 12)
    assert loaded.window_at(loaded.plain, 0.5, 0.25 * np.arange(4, dtype=np.float64)).shape == (4, 12)


def test_features_are_kept_and_used_again(data: Path, tmp_path: Path) -> None:
    first, second = store(tmp_path / "features"), store(tmp_path / "features")
    file = only(data, "Run_g01")
    one, two = first.load(file), second.load(file)
    assert (first.encoded, second.encoded) == (1, 0)
    np.testing.assert_array_equal(one.plain.features, two.plain.features)
    np.testing.assert_array_equal(one.views[1].features, two.views[1].features)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "other"},
        {"spec": replace(SPEC, views=1)},
        {"spec": UNIFORM},
        {"spec": replace(SPEC, window=WindowSpec(5, 1.0, 0.5))},
        {"spec": replace(SPEC, ranges=ViewRanges(gamma=0.1))},
    ],
)
def test_other_encoders_and_settings_encode_again(
    data: Path, tmp_path: Path, change: dict[str, ClipSpec | str]
) -> None:
    file = only(data, "Run_g01")
    store(tmp_path / "features").load(file)
    other = store(tmp_path / "features", **change)  # type: ignore[arg-type]
    other.load(file)
    assert other.encoded == 1


def test_features_that_were_cut_off_are_made_again(data: Path, tmp_path: Path) -> None:
    file = only(data, "Run_g01")
    store(tmp_path / "features").load(file)
    kept = next((tmp_path / "features").glob("*.npz"))
    kept.write_bytes(kept.read_bytes()[:200])
    again = store(tmp_path / "features")
    again.load(file)
    assert again.encoded == 1


def test_clips_come_out_of_a_zip(data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in data.rglob("*.mp4"):
            file.write(path, path.relative_to(data))
    clips, skipped = load_clips(find_clips(archive, []), store(tmp_path / "features"), lambda line: None)
    assert len(clips) == 3
    assert not skipped


def test_unreadable_clips_and_copies_are_skipped_and_told(data: Path, tmp_path: Path) -> None:
    (data / "Run" / "v_Run_g07_c01.mp4").write_bytes(b"not a video")
    (data / "Run" / "v_Run_g08_c01.mp4").write_bytes(b"")
    (data / "Sit" / "v_Sit_g09_c01.mp4").write_bytes((data / "Run/v_Run_g01_c01.mp4").read_bytes())
    told: list[str] = []
    clips, skipped = load_clips(find_clips(data, []), store(tmp_path / "features"), told.append)
    assert [one.name for one in clips] == [
        *("Run/v_Run_g01_c01.mp4", "Run/v_Run_g02_c01.mp4", "Sit/v_Sit_g01_c01.mp4")
    ]
    assert set(skipped) == {"Run/v_Run_g07_c01.mp4", "Run/v_Run_g08_c01.mp4", "Sit/v_Sit_g09_c01.mp4"}
    assert skipped["Sit/v_Sit_g09_c01.mp4"] == "duplicate of Run/v_Run_g01_c01.mp4"
    assert told[-1] == "features of 6 of 6 clips (3 encoded now, 3 skipped)"


def test_a_window_plays_at_another_speed_and_is_held_at_the_end() -> None:
    times = np.arange(9) / 8
    features = np.arange(0, 9, 2, dtype=np.float32)[:, None]
    track = ClipFeatures(np.arange(0, 9, 2), features)
    one = replace(clip("a"), times=times, plain=track)
    steps = np.arange(4, dtype=np.float64)
    assert one.window_at(track, 0.0, 0.25 * steps)[:, 0].tolist() == [0, 2, 4, 6]
    assert one.window_at(track, 1.0, 0.25 * steps)[:, 0].tolist() == [2, 4, 6, 8]
    assert one.window_at(track, 0.0, 0.125 * steps)[:, 0].tolist() == [0, 2, 2, 4]
    assert one.window_at(track, 1.0, 0.5 * steps)[:, 0].tolist() == [0, 4, 8, 8]


def test_named_groups_hold_within_their_class() -> None:
    clips = [
        clip("v_Run_g01_c01.mp4", "Run"),
        clip("v_Run_g01_c02.mp4", "Run"),
        clip("v_Sit_g01_c01.mp4", "Sit"),
    ]
    assert group_clips(clips) == ["Run g01", "Run g01", "Sit g01"]


def test_clips_of_one_scene_are_one_group_in_whatever_class() -> None:
    scenes = [
        scene_descriptor([thumbnail(picture(seed, i)) for i in range(shift, 30, 3)])
        for seed, shift in ((1, 0), (2, 0), (1, 1), (3, 0))
    ]
    labels = ("fight", "fight", "noFight", "noFight")
    clips = [
        clip(f"{label}{i}.mp4", label, scene)
        for i, (label, scene) in enumerate(zip(labels, scenes, strict=True))
    ]
    groups = group_clips(clips)
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3


def test_likeness_carries_over_a_chain() -> None:
    a, b, c = np.eye(3, dtype=np.float32)
    near = np.stack([a, a + b, b, c])
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    groups = join_scenes(near, 0.7)
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_flat_pictures_are_no_scene() -> None:
    flat = scene_descriptor([np.full((SIDE, SIDE), 90, np.uint8)])
    assert join_scenes(np.stack([flat, flat]), 0.5) == [0, 1]


def test_blocks_of_ten_numbers() -> None:
    names = ("fi001.mp4", "fi010.mp4", "fi011.mp4", "other.mp4")
    groups = group_clips([clip(name, "fight") for name in names], by="numbers")
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_subjects_are_kept_together_in_all_classes() -> None:
    names = ("person01_run_d1", "person01_sit_d2", "person12_run_d1", "v_Run_g01_c01", "yard")
    clips = [clip(f"{name}.mp4", "Run") for name in names]
    groups = group_clips(clips, by="subject", pattern=r"person(\d+)")
    assert groups[:3] == ["subject 01", "subject 01", "subject 12"]
    assert groups[3].startswith("scene")
    assert groups[3] != groups[4]


def test_a_subject_pattern_that_cannot_work_is_told() -> None:
    with pytest.raises(ConfigError, match="matches no clip name, such as walk1"):
        group_clips([clip("walk1.mp4")], by="subject", pattern=r"person(\d+)")
    with pytest.raises(ConfigError, match="expected one group, found 0"):
        check_pattern(r"person\d+")
    with pytest.raises(ConfigError, match="unterminated"):
        check_pattern("person(")
    check_pattern(r"(?:person|p)(\d+)")


def test_single_clips_tear_groups() -> None:
    names = ("v_Run_g01_c01.mp4", "v_Run_g01_c02.mp4")
    assert len(set(group_clips([clip(name, "Run") for name in names], by="clips"))) == 2


def test_folds_never_tear_a_group_and_spread_each_class() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(4), 30)
    groups = [f"{label} {rng.integers(10)}" for label in labels]
    folds = assign_folds(labels, groups, 5, seed=1)
    for group in set(groups):
        assert len({fold for fold, one in zip(folds, groups, strict=True) if one == group}) == 1
    counts = np.zeros((4, 5))
    np.add.at(counts, (labels, folds), 1)
    assert counts.min() >= 3
    assert counts.max() <= 9
    np.testing.assert_array_equal(folds, assign_folds(labels, groups, 5, seed=1))


def test_a_group_may_hold_several_classes() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    folds = assign_folds(labels, ["a", "a", "b", "b", "c", "c"], 3, seed=1)
    assert folds[0] == folds[1]
    assert sorted(set(folds.tolist())) == [0, 1, 2]


def test_too_few_groups_are_an_error() -> None:
    with pytest.raises(ConfigError, match="2 groups of clips are too few for 3 folds"):
        assign_folds(np.array([0, 0, 1]), ["a", "a", "b"], 3, seed=1)


def test_views_depend_on_the_seed_alone() -> None:
    assert draw_views(4, ViewRanges(), (7,)) == draw_views(4, ViewRanges(), (7,))
    assert draw_views(4, ViewRanges(), (7,)) != draw_views(4, ViewRanges(), (8,))
    assert draw_views(0, ViewRanges(), (7,)) == []
    assert draw_views(1, ViewRanges(), (7,)) == [ClipView(mirror=True)]


def test_a_view_changes_every_picture_alike() -> None:
    for view in draw_views(12, ViewRanges(), (5,)):
        one, two = view.apply(picture(1)), view.apply(picture(1))
        np.testing.assert_array_equal(one, two)
        assert one.dtype == np.uint8
        assert one.shape[0] * one.shape[1] >= 0.4 * SIZE[0] * SIZE[1]
    same = picture(1)
    assert ClipView().apply(same) is same
    gray = ClipView(gray=True).apply(same)
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])


def test_a_view_turns_hides_and_adds_grain() -> None:
    same = picture(1)
    np.testing.assert_array_equal(ClipView(angle=180).apply(same), same[::-1, ::-1])
    hidden = ClipView(box=(0.25, 0.5, 0.5, 0.25)).apply(same)
    changed = (hidden != same).any(axis=2)
    assert set(hidden[24:36, 16:48].ravel()) == {127}
    changed[24:36, 16:48] = False
    assert not changed.any()
    flat = np.full((48, 64, 3), 128, np.uint8)
    assert ClipView(noise=0.05).apply(flat).std() == pytest.approx(0.05 * 255, rel=0.05)


def test_further_changes_leave_the_others_as_they_were() -> None:
    plain = draw_views(2, ViewRanges(), (7,))[1]
    more = draw_views(2, ViewRanges(rotation=10, noise=0.05, erase=0.2), (7,))[1]
    assert replace(more, angle=0.0, noise=0.0, box=(0.0,) * 4) == plain
    assert 0 < abs(more.angle) <= 10
    assert 0 < more.noise <= 0.05
    assert 0 < more.box[2] * more.box[3] <= 0.2
    assert more.box[0] + more.box[2] <= 1
    assert more.box[1] + more.box[3] <= 1


def test_the_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (4000, 5))
    honest = apply_temperature(np.exp(logits).astype(np.float32), 1.0)
    truth = np.array([rng.choice(5, p=row / row.sum()) for row in honest.astype(np.float64)])
    sure = apply_temperature(honest, 0.5)
    assert fit_temperature([row[None] for row in sure], truth) == pytest.approx(2.0, rel=0.1)


def test_the_threshold_keeps_the_background_quiet() -> None:
    # Right actions score 0.9, background called an action scores 0.5: a threshold between them is best.
    actions = [np.array([[0.9, 0.05, 0.05]], np.float32)] * 5
    calm = [np.array([[0.5, 0.1, 0.4]], np.float32)] * 5
    truth = np.array([0] * 5 + [2] * 5)
    best = choose_threshold([*actions, *calm], truth, background=2)
    assert 0.5 < best <= 0.9
    assert choose_threshold([*actions, *calm], truth, background=2, slack=1.0) == 0.05 < best
