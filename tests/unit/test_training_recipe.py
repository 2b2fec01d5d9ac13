"""Recipes in TOML: those that ship, changes on top, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.training.recipe import make_recipe, shipped_recipes


@dataclass(frozen=True)
class Light:
    """A nested table."""

    gamma: float = 0.4


@dataclass(frozen=True)
class Settings:
    """A kind of recipe with every type of value."""

    arch: str = "one"
    rate: float | None = 0.1
    epochs: int = 3
    even: bool = False
    notes: tuple[str, ...] = ()
    light: Light = field(default_factory=Light)


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    file = written(tmp_path, 'arch = "two"\nrate = 1\nnotes = ["a", "b"]\n[light]\ngamma = 0\n')
    assert make_recipe(Settings, "none", file, {}, ()) == Settings(
        "two", 1.0, 3, False, ("a", "b"), Light(0.0)
    )


def test_changes_win_over_settings_and_settings_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'arch = "two"\nepochs = 5\n[light]\ngamma = 0.2\n')
    changes = ("light.gamma=0.1", "arch=plain text", "even=true")
    found = make_recipe(Settings, "none", file, {"epochs": 7, "arch": "three"}, changes)
    assert found == Settings("plain text", 0.1, 7, True, (), Light(0.1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("speed = 1", "unknown key 'speed'; known keys: arch, rate"),
        ('epochs = "many"', "epochs: must be an integer"),
        ("epochs = true", "epochs: must be an integer"),
        ("[light]\nhue = 1", "light: unknown key 'hue'"),
        ("light = 3", "light: must be an object"),
        ("notes = [1]", r"notes\[0\]: must be text"),
        ("epochs = ", "Invalid value"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        make_recipe(Settings, "none", written(tmp_path, text), {}, ())
    assert "recipe.toml" in str(caught.value)


def test_a_recipe_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match="mini-xception"):
        make_recipe(Settings, "emotion", "no-such", {}, ())


@pytest.mark.parametrize("change", ["arch", "=3", "a b=c"])
def test_a_change_must_be_key_and_value(change: str) -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        make_recipe(Settings, "none", None, {}, (change,))


def test_the_student_systems_have_recipes() -> None:
    wanted = {"resnet50v2", "mini-xception", "cnn4", "lenet", "vgg16", "hybrid"}
    assert wanted <= set(shipped_recipes("emotion"))


def test_every_shipped_recipe_of_emotions_can_be_read() -> None:
    pytest.importorskip("keras")
    from edgeharfer.training.emotion.networks import EMOTION_NETWORKS
    from edgeharfer.training.emotion.recipe import EmotionRecipe

    for name in shipped_recipes("emotion"):
        assert make_recipe(EmotionRecipe, "emotion", name, {}, ()).arch in EMOTION_NETWORKS


def test_the_parts_of_an_emotion_run_follow_each_other() -> None:
    """Each with draws of its own, the last ones on smaller batches whose faces are not mixed."""
    pytest.importorskip("keras")
    from edgeharfer.training.emotion.recipe import EmotionRecipe, FinishingPhase

    finish = (FinishingPhase(3), FinishingPhase(4, batch_share=1.0, learning_rate=1e-4))
    parts = EmotionRecipe(frozen_epochs=2, epochs=5, cycles=2, finish=finish).phases()
    assert {name: part.epochs for name, part in parts.items()} == {
        "frozen": 2, "main": 5, "main-2": 5, "finish": 3, "finish-2": 4,
    }  # fmt: skip
    assert len({part.seed for part in parts.values()}) == 5
    assert parts["main-2"].learning_rate == pytest.approx(3e-4)
    assert [parts[name].batch for name in ("finish", "finish-2")] == [32, 64]
    assert [parts[name].learning_rate for name in ("finish", "finish-2")] == [3e-4, 1e-4]
    assert parts["finish-2"].augmentation.mixup_probability == 0
    assert list(EmotionRecipe(finish=()).phases()) == ["main"]


def test_parts_of_a_run_can_stand_in_a_file(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from edgeharfer.training.emotion.recipe import LIGHT_AUGMENTATION, EmotionRecipe, FinishingPhase

    file = tmp_path / "mine.toml"
    file.write_text("[[finish]]\nepochs = 3\n[[finish]]\nepochs = 2\naugmentation.rotation_deg = 5\n")
    first, second = make_recipe(EmotionRecipe, "emotion", str(file), {}, ()).finish
    assert (first, first.augmentation) == (FinishingPhase(3), LIGHT_AUGMENTATION)
    assert (second.epochs, second.augmentation.rotation_deg) == (2, 5.0)
