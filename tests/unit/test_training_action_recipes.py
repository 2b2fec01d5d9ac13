"""The action recipes that ship: every file can be read and says what it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("keras")

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.training.action.recipe import ActionRecipe
from edgeharfer.training.recipe import make_recipe, shipped_recipes

NAMES = {"fight", "mobilenetv2-lstm", "ucf20"}


def test_these_recipes_ship() -> None:
    assert set(shipped_recipes("action")) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_recipe_can_be_read_and_names_its_package(name: str) -> None:
    recipe = make_recipe(ActionRecipe, "action", name, {}, ())
    assert recipe.name == f"action-{name}"
    assert f"--recipe {name} " in shipped_recipes("action")[name].read_text(encoding="utf-8")


def test_the_students_system_is_what_students_build() -> None:
    recipe = make_recipe(ActionRecipe, "action", "mobilenetv2-lstm", {}, ())
    assert (recipe.width, recipe.height, recipe.frames, recipe.sampling) == (112, 112, 16, "uniform")
    assert (recipe.arch, recipe.units, recipe.linear_branch, recipe.squash) == ("lstm", 128, False, 0.0)
    assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("adam", 1e-3, "constant")
    assert "LEAK" in recipe.split


def test_an_honest_split_is_one_setting_away() -> None:
    students = make_recipe(ActionRecipe, "action", "mobilenetv2-lstm", {}, ())
    honest = make_recipe(ActionRecipe, "action", "mobilenetv2-lstm", {"grouping": "scenes"}, [])
    assert honest == replace(students, grouping="scenes")
    assert "LEAK" not in honest.split


def test_tables_set_the_augmentation(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('arch = "tcn"\n[ranges]\nrotation = 10\nerase = 0.2\n')
    recipe = make_recipe(ActionRecipe, "action", str(path), {}, ())
    assert (recipe.arch, recipe.ranges.rotation, recipe.ranges.erase) == ("tcn", 10.0, 0.2)
    path.write_text('arch = "transformer"\n')
    with pytest.raises(ConfigError, match="choose from lstm, mean, tcn"):
        make_recipe(ActionRecipe, "action", str(path), {}, ())
