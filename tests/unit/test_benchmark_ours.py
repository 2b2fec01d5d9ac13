"""Candidates of a package: every graph, precision, thread and batch, and the streaming step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny_models
from edgeharfer.benchmark.ours import BenchmarkSetup, package_candidates, pictures, streaming_step
from edgeharfer.runtime.errors import ConfigError, ProviderError
from edgeharfer.runtime.inference import tuning
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.session import make_session


def test_an_emotion_package_gives_one_candidate_for_each_combination(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path)
    made = list(package_candidates(package, BenchmarkSetup(threads=(1, 2), batches=(1, 4))))
    assert [(one.name, one.threads, one.batch) for one in made] == [
        ("tiny-emotion", 1, 1), ("tiny-emotion", 1, 4), ("tiny-emotion", 2, 1), ("tiny-emotion", 2, 4),
    ]  # fmt: skip
    assert {(one.backend, one.precision, one.provider) for one in made} == {
        ("onnxruntime", "fp32", "CPUExecutionProvider")
    }
    assert np.asarray(made[1].run()).shape == (4, 7)
    assert made[0].size_mb == pytest.approx(package.spec("model", "fp32").bytes / 1e6)
    assert made[0].load_ms > 0 and made[0].asked is None


def test_an_action_package_gives_its_parts_and_the_step_of_a_new_frame(tmp_path: Path) -> None:
    made = list(package_candidates(tiny_models.action_package(tmp_path), BenchmarkSetup(batches=(1, 2))))
    assert [(one.name, one.batch) for one in made] == [
        ("tiny-action encoder", 1), ("tiny-action encoder", 2),
        ("tiny-action head", 1), ("tiny-action head", 2),
        ("tiny-action step", 1),
    ]  # fmt: skip
    encoder, head, step = made[0], made[2], made[4]
    assert step.size_mb == pytest.approx(encoder.size_mb + head.size_mb)
    assert np.asarray(step.run()).shape == (1, 3)


def test_a_step_is_the_encoder_and_then_the_head_over_what_it_gave(tmp_path: Path) -> None:
    package = tiny_models.action_package(tmp_path)
    encoder = make_session(package.read("encoder"))
    head = make_session(package.read("head"))
    asked: list[np.ndarray] = []
    head_run = head.run1
    head.run1 = lambda window: asked.append(window.copy()) or head_run(window)  # type: ignore[method-assign, func-returns-value, assignment]
    streaming_step(package.manifest, encoder, head)()
    np.testing.assert_allclose(asked[0][0, -1], encoder.run1(pictures(package.manifest, 1))[0], rtol=1e-6)


def test_what_auto_uses_is_marked_once_the_package_is_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "cache_root", lambda: tmp_path / "cache" / "engines")
    tuning._record.cache_clear()
    package = tiny_models.action_package(tmp_path / "package")
    setup = BenchmarkSetup(threads=(1, 2))
    assert not any(one.auto for one in package_candidates(package, setup))
    key = tuning.package_key(package)
    other = {"encoder": "openvino", "head": "openvino"}
    graphs = {key: {("fp32", 1): other, ("fp32", 2): {**other, "encoder": "cpu"}}}
    tuning.write_record({key: [Backend("auto", "fp32", 2)]}, graphs=graphs)
    made = package_candidates(package, setup)
    assert [(one.name, one.threads) for one in made if one.auto] == [("tiny-action encoder", 2)]
    tuning._record.cache_clear()


def test_pictures_are_prepared_as_the_package_wants_them(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path, input=InputSpec(16, 16, "gray", "symmetric"))
    batch = pictures(package.manifest, 3)
    assert batch.shape == (3, 16, 16, 1)
    assert -1 <= batch.min() < -0.5 and 0.5 < batch.max() <= 1


@pytest.mark.parametrize("name", ["face-yunet", "face-full-range", "face-short-range"])
def test_detectors_that_ship_run_on_pictures_in_their_layout(name: str) -> None:
    (made,) = package_candidates(load_package(name), BenchmarkSetup())
    assert np.isfinite(np.asarray(made.run())).all()


def test_a_precision_that_the_package_lacks_is_named(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path)
    with pytest.raises(ConfigError, match="tiny-emotion: no int8 model; choose from fp32"):
        list(package_candidates(package, BenchmarkSetup(precisions=("fp32", "int8"))))


def test_a_provider_that_does_not_load_is_an_error_or_a_declared_fallback(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in __import__("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime is a GPU build")
    package = tiny_models.emotion_package(tmp_path)
    with pytest.raises(ProviderError) as caught:
        list(package_candidates(package, BenchmarkSetup(providers=("cuda",))))
    assert caught.value.exit_code == 3
    (made,) = package_candidates(package, BenchmarkSetup(providers=("cuda",), fallback=True))
    assert (made.provider, made.asked) == ("CPUExecutionProvider", "cuda")
