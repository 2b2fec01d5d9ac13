"""New models: verified, tried, switched by one rename, undone by another, the one before kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from edgeharfer.evaluate.golden import check_golden, write_golden
from edgeharfer.kiosk import update as module
from edgeharfer.kiosk.config import KioskConfig, ModelsConfig
from edgeharfer.kiosk.models import ModelReloader, ModelSelection, load_pipeline, select_models
from edgeharfer.kiosk.update import current_package, install_package, roll_back, try_package
from edgeharfer.runtime.clock import Clock, ManualClock, SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.golden import FRAMES, GOLDEN, golden_frames
from edgeharfer.runtime.inference.package import Package, load_package, sign_package
from edgeharfer.runtime.inference.signature import generate_key_pair
from edgeharfer.runtime.pipeline import Pipeline
from kiosk_parts import FakePipeline
from tiny_models import ACTIONS, action_package, emotion_package, encoder, file_spec


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The packages that a child process would have tried; it takes a second for each (see test_trial)."""
    tried: list[Path] = []
    monkeypatch.setattr(module, "run_trial", lambda package: tried.append(package.path))
    return tried


def packages(folder: Path, count: int = 3) -> list[Path]:
    """Emotion packages that differ in their names."""
    return [emotion_package(folder / f"new-{n}", name=f"tiny-{n}").path for n in range(count)]


def installed(state: Path) -> set[str]:
    return set(os.listdir(state / "models" / "emotion"))  # noqa: PTH208 - hidden ones count as well


def test_a_package_is_tried_in_a_child_first_and_not_kept_where_that_fails(
    tmp_path: Path, tried: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = packages(tmp_path)
    state = tmp_path / "state"
    update = install_package(first, state, replaces="off", clock=ManualClock())
    assert tried == [update.folder]
    before = installed(state)
    for error in (ModelError("never ends"), KeyboardInterrupt()):

        def fail(package: Package, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(module, "run_trial", fail)
        with pytest.raises(type(error)):
            install_package(second, state, replaces="off", clock=ManualClock())
        assert installed(state) == before
        assert current_package(state, "emotion") == update.folder


def test_a_copy_that_is_interrupted_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: Path) -> None:
        raise KeyboardInterrupt

    (package,) = packages(tmp_path, 1)
    monkeypatch.setattr(module, "sync_folder", stop)
    with pytest.raises(KeyboardInterrupt):
        install_package(package, tmp_path / "state", replaces="off")
    assert not list((tmp_path / "state").glob("**/*.onnx"))


def test_a_package_is_installed_and_the_one_before_is_kept(tmp_path: Path) -> None:
    first, second, third = packages(tmp_path)
    state = tmp_path / "state"
    update = install_package(first, state, replaces="off", clock=ManualClock())
    assert (update.task, update.previous, update.previous_trial) == ("emotion", None, None)
    assert current_package(state, "emotion") == update.folder
    install_package(second, state, replaces="off", clock=ManualClock())
    last = install_package(third, state, replaces="off", clock=ManualClock())
    names = installed(state)
    assert {name.rpartition("-")[0] for name in names if name.startswith("tiny")} == {"tiny-1", "tiny-2"}
    assert names & {"current", "previous"} == {"current", "previous"} and len(names) == 4
    assert last.previous_trial is not None
    assert np.array_equal(last.trial.probs, last.previous_trial.probs)


def test_a_roll_back_returns_to_the_one_before_and_then_to_the_configurations(tmp_path: Path) -> None:
    state = tmp_path / "state"
    updates = [
        install_package(path, state, replaces="off", clock=ManualClock()) for path in packages(tmp_path, 2)
    ]
    assert roll_back(state, "emotion") == updates[0].folder == current_package(state, "emotion")
    assert roll_back(state, "emotion") is None
    assert current_package(state, "emotion") is None


def test_the_same_package_twice_is_one(tmp_path: Path) -> None:
    state, path = tmp_path / "state", packages(tmp_path, 1)[0]
    first = install_package(path, state, replaces="off", clock=ManualClock())
    assert install_package(path, state, replaces="off", clock=ManualClock()).folder == first.folder
    assert len(installed(state)) == 2


def test_two_installations_at_once_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins and ends while the first one copies."""
    one, other = packages(tmp_path, 2)
    state, real = tmp_path / "state", module._copy_file
    second: list[module.InstalledUpdate] = []

    def interrupted(source: Path, target: Path) -> None:
        monkeypatch.setattr(module, "_copy_file", real)
        for path in (other, one):
            second.append(install_package(path, state, replaces="off", clock=ManualClock()))
        real(source, target)

    monkeypatch.setattr(module, "_copy_file", interrupted)
    first = install_package(one, state, replaces="off", clock=ManualClock())
    assert current_package(state, "emotion") == first.folder == second[-1].folder
    assert not any(name.endswith(".part") for name in installed(state))


def test_a_damaged_package_changes_nothing(tmp_path: Path) -> None:
    good, bad = packages(tmp_path, 2)
    state = tmp_path / "state"
    update = install_package(good, state, replaces="off", clock=ManualClock())
    before = installed(state)
    data = bytearray((bad / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bad / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        install_package(bad, state, replaces="off", clock=ManualClock())
    assert installed(state) == before and current_package(state, "emotion") == update.folder


def test_golden_answers_decide(tmp_path: Path) -> None:
    package = emotion_package(tmp_path / "new")
    probs = try_package(package, ManualClock()).probs
    golden = package.path / "golden.json"
    golden.write_text(json.dumps({"probs": probs.tolist()}), encoding="utf-8")
    update = install_package(package.path, tmp_path / "state", replaces="off", clock=ManualClock())
    assert (update.folder / "golden.json").exists()
    golden.write_text(json.dumps({"probs": (1 - probs).tolist()}), encoding="utf-8")
    with pytest.raises(ModelError, match="outputs of the package differ"):
        install_package(package.path, tmp_path / "other", replaces="off", clock=ManualClock())
    assert installed(tmp_path / "other") == set()


@pytest.mark.parametrize("text", ["[]", '{"probs": "x"}', '{"probs": [[1]]}', "{"])
def test_golden_answers_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    package = emotion_package(tmp_path / "new")
    (package.path / "golden.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"golden\.json"):
        install_package(package.path, tmp_path / "state", replaces="off", clock=ManualClock())


@pytest.mark.parametrize("make", [emotion_package, action_package])
def test_golden_answers_are_written_as_they_are_checked(
    make: Callable[[Path], Package], tmp_path: Path
) -> None:
    package = make(tmp_path / "new")
    write_golden(package)
    golden = json.loads((package.path / GOLDEN).read_text(encoding="utf-8"))
    assert golden["frames"] == list(FRAMES) and golden["precision"] == "fp32"
    assert (package.path / GOLDEN).stat().st_size < 10_000, "numbers of pictures, not pictures"
    check_golden(package)
    golden["frames"][0] += 1
    (package.path / GOLDEN).write_text(json.dumps(golden), encoding="utf-8")
    with pytest.raises(ModelError, match="frames must be"):
        check_golden(package)


def test_a_package_that_is_much_slower_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = packages(tmp_path, 2)
    speeds = {"tiny-0": 10.0, "tiny-1": 21.0}
    real = module.try_package

    def timed(package: Package, clock: Clock) -> module.PackageTrial:
        return module.PackageTrial(real(package, clock).probs, speeds[package.manifest.name])

    monkeypatch.setattr(module, "try_package", timed)
    with pytest.raises(ModelError, match=r"21\.0 ms per inference.*limit is 20\.0 ms"):
        install_package(new, tmp_path / "state", replaces=str(old))
    speeds["tiny-1"] = 19.0
    assert install_package(new, tmp_path / "state", replaces=str(old)).trial.median_ms == 19.0


def test_an_action_package_is_tried_as_a_whole(tmp_path: Path) -> None:
    package = action_package(tmp_path / "action")
    update = install_package(package.path, tmp_path / "state", replaces="off", clock=SystemClock())
    assert update.task == "action" and update.trial.probs.shape == (1, len(ACTIONS))


def test_the_golden_inputs_are_always_the_same() -> None:
    first, second = golden_frames(), golden_frames.__wrapped__()
    assert len(first) == len(FRAMES)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[-1])


def test_other_tasks_cannot_be_installed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="action and emotion can be installed"):
        install_package(
            load_package("face-short-range").path, tmp_path / "state", replaces="off", clock=ManualClock()
        )


def test_a_package_for_a_lineup_follows_the_link(tmp_path: Path) -> None:
    config = KioskConfig(models=ModelsConfig(action="off"))
    assert select_models(config, tmp_path / "state") == ModelSelection(None, "emotion-fer8")
    update = install_package(
        packages(tmp_path, 1)[0], tmp_path / "state", replaces="off", clock=ManualClock()
    )
    assert select_models(config, tmp_path / "state") == ModelSelection(None, str(update.folder))


def test_a_package_that_does_not_start_is_rolled_back(tmp_path: Path) -> None:
    config, state = KioskConfig(models=ModelsConfig(action="off")), tmp_path / "state"
    good, bad = (
        install_package(path, state, replaces="off", clock=ManualClock()).folder
        for path in packages(tmp_path, 2)
    )
    file_spec(bad, "model.onnx", encoder())  # damaged on the disk after it was installed

    def load(_: KioskConfig, selection: ModelSelection, clock: Clock) -> Pipeline:
        package = load_package(str(selection.emotion))
        package.read("model")
        return cast(Pipeline, FakePipeline())

    models = ModelReloader(config, state, ManualClock(), load=load)
    assert models.selection.emotion == str(good) and models.failures == 1
    assert current_package(state, "emotion") == good


def test_a_signed_package_is_copied_whole(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the sign extra")
    key = tmp_path / "key"
    generate_key_pair(key)
    package = emotion_package(tmp_path / "new")
    write_golden(package)
    (package.path / "NOTES.txt").write_text("trained at night", encoding="utf-8")
    sign_package(package.path, key)
    update = install_package(package.path, tmp_path / "state", replaces="off", clock=ManualClock())
    names = {path.name for path in package.path.iterdir()}
    assert {"NOTES.txt", "golden.json"} < names == {path.name for path in update.folder.iterdir()}


def test_a_stop_is_heeded_between_the_parts_of_what_loads(tmp_path: Path) -> None:
    asked: list[bool] = []

    def stopping() -> bool:
        asked.append(len(asked) == 2)  # at the third question, which is before the warm-up
        return asked[-1]

    config = KioskConfig(models=ModelsConfig(action="off", emotion=str(packages(tmp_path, 1)[0])))
    with pytest.raises(KeyboardInterrupt):
        ModelReloader(
            config, tmp_path / "state", ManualClock(), load=partial(load_pipeline, stopping=stopping)
        )
    assert asked == [False, False, True]


def test_a_stop_while_other_models_load_is_no_failure_of_theirs(tmp_path: Path) -> None:
    config, state, clock = KioskConfig(models=ModelsConfig(action="off")), tmp_path / "state", ManualClock()
    made: list[ModelSelection] = []

    def load(_: KioskConfig, selection: ModelSelection, clock: Clock) -> Pipeline:
        made.append(selection)
        if len(made) > 1:
            raise KeyboardInterrupt
        return cast(Pipeline, FakePipeline())

    models = ModelReloader(config, state, clock, load=load)
    update = install_package(packages(tmp_path, 1)[0], state, replaces="off", clock=clock)
    clock.sleep(2.0)
    models.poll()
    models.close()
    assert len(made) == 2 and models.failures == 0
    assert current_package(state, "emotion") == update.folder, "it is taken at the next start"
