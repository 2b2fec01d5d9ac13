"""Motion as the network is shown it: where most of it is, enlarged, wherever that is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.runtime.errors import ConfigError  # noqa: E402
from edgeharfer.runtime.types import Floats  # noqa: E402
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip  # noqa: E402
from edgeharfer.training.action.motion import MotionSpec, motion_trunk, picture_encoder, truncate_network  # noqa: E402
from edgeharfer.training.action.recipe import ActionRecipe  # noqa: E402
from edgeharfer.training.action.sampling import EncodedWindows  # noqa: E402

FRAMES, WIDTH, HEIGHT = 8, 64, 48
SPEC = MotionSpec(looks=2, width=20, height=16, gain=1.0, layer="x")


def window(left: int, top: int, size: int = 4) -> Floats:
    """Pictures with a white square that jumps right by its own size, and back after the third."""
    pictures = np.zeros((1, FRAMES, HEIGHT, WIDTH), np.float32)
    for i in range(FRAMES):
        x = left + size * (i % 3)
        pictures[0, i, top : top + size, x : x + size] = 1.0
    return pictures.reshape(1, FRAMES, -1)


def shown(spec: MotionSpec) -> Any:
    """What the network gets to see: mean of each colour, from 0 for no motion to 1."""
    picture = keras.Input((spec.height, spec.width, 3))
    eye = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(picture))
    trunk = motion_trunk(FRAMES, WIDTH, HEIGHT, eye, spec)
    return lambda pictures: (np.asarray(trunk(pictures))[:, 0] + 1) / 2


def test_where_nothing_moves_there_is_nothing_to_see() -> None:
    still = np.random.default_rng(0).random((1, 1, HEIGHT * WIDTH)).astype(np.float32).repeat(FRAMES, axis=1)
    np.testing.assert_allclose(shown(SPEC)(still), 0, atol=1e-6)


def test_the_part_that_moves_is_enlarged() -> None:
    near = shown(SPEC)(window(12, 16))
    whole = shown(replace(SPEC, least=1.0))(window(12, 16))
    assert near.min() > 3 * whole.max() > 0


def test_it_follows_the_motion_to_another_place() -> None:
    see = shown(SPEC)
    np.testing.assert_allclose(see(window(16, 16)), see(window(32, 24)), rtol=1e-3)


def test_a_box_stays_inside_the_picture() -> None:
    assert shown(SPEC)(window(52, 44)).min() > 0.01


def test_what_cannot_be_looked_at() -> None:
    eye = keras.Sequential([keras.Input((16, 20, 3)), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(ConfigError, match="the window has 3 frames: at least 4 are needed"):
        motion_trunk(3, WIDTH, HEIGHT, eye, SPEC)
    with pytest.raises(ConfigError, match="multiples of 8, not 60x48"):
        motion_trunk(FRAMES, 60, HEIGHT, eye, SPEC)
    with pytest.raises(ConfigError, match=r"motion.layer = 'x': .* has no such layer"):
        truncate_network(eye, "x")
    with pytest.raises(ConfigError, match="looks must be at least 1"):
        MotionSpec(looks=0)
    with pytest.raises(ConfigError, match="requires sampling = 'time'"):
        ActionRecipe(arch="motion", sampling="uniform")
    with pytest.raises(ConfigError, match="set linear_branch = true"):
        ActionRecipe(arch="motion", linear_branch=False)


def test_a_picture_is_handed_over_as_it_is() -> None:
    pictures = np.random.default_rng(1).random((2, HEIGHT, WIDTH, 1)).astype(np.float32)
    vectors = np.asarray(picture_encoder(WIDTH, HEIGHT)(pictures))
    np.testing.assert_array_equal(vectors, pictures.reshape(2, -1))


def test_windows_are_those_of_the_runtime() -> None:
    recipe = ActionRecipe(arch="motion", frames=8, seconds=1.0)
    times = np.arange(40) / 12.5
    numbers = np.arange(40)
    plain = ClipFeatures(numbers, numbers[:, None].astype(np.float32))
    clip = EncodedClip("a", "x", "data", "0", times, plain, (), np.zeros(1024, np.float32))
    rows = clip.rows(recipe.clip_spec.window)
    np.testing.assert_array_equal(rows, clip.windows(recipe.clip_spec.window)[..., 0])
    assert rows.shape[1] == 8
    assert set(np.diff(rows[0])) == {1, 2}


def test_windows_that_were_encoded_whole_are_only_read() -> None:
    plain = ClipFeatures(np.array([7, 8]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    view = ClipFeatures(np.array([8, 8]), np.array([[5.0, 6.0], [7.0, 8.0]], np.float16))
    clip = EncodedClip("a", "x", "data", "0", np.arange(9) / 8, plain, (view,), np.zeros(1024, np.float32))
    assert EncodedWindows().evaluation_windows(clip).tolist() == [[[1.0, 2.0]], [[3.0, 4.0]]]
    drawn = {tuple(EncodedWindows().draw(clip, view, np.random.default_rng(i))[0]) for i in range(20)}
    assert drawn == {(5.0, 6.0), (7.0, 8.0)}
    assert EncodedWindows().tracks(clip) == (plain, view)
