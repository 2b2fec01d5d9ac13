"""`edgeharfer benchmark` as people call it: rows, peers, the whole pipeline, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny_models
from edgeharfer.benchmark.keras_peer import keras_candidates
from edgeharfer.benchmark.peers import PeerGraph
from edgeharfer.cli import run_command
from edgeharfer.export import backend
from edgeharfer.runtime.installation import install_command
from films import write_film

keras: Any = backend.load("keras")
layers: Any = keras.layers

ROW = {
    "name", "backend", "precision", "provider", "threads", "batch", "median_ms", "p95_ms", "size_mb",
    "ratios",
}  # fmt: skip
END_TO_END = {
    "frames", "fps", "cpu_ms_per_frame", "encoder_unit_ms", "cpu_in_encoder_units",
    "cpu_with_decode_in_encoder_units", "latency_ms", "keras_loop_fps", "ratio_to_keras_loop", "rss_mb",
}  # fmt: skip


def benchmark(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """What the command writes with --json."""
    target = tmp_path / "figures.json"
    assert run_command(["benchmark", *map(str, arguments), "--json", str(target)]) == 0
    made: dict[str, Any] = json.loads(target.read_text())
    assert {"machine", "rows", "left_out"} <= set(made)
    assert all(set(row) >= ROW for row in made["rows"])
    return made


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and the one line of a command that ends with an error."""
    code = run_command(["benchmark", *map(str, arguments)])
    (line,) = capsys.readouterr().err.strip().splitlines()
    return code, line


def face_model(folder: Path) -> Path:
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(folder / "face.keras")
    return folder / "face.keras"


def clip_model(folder: Path) -> Path:
    encoder = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    )
    x = layers.TimeDistributed(encoder)(given := keras.Input((4, 16, 16, 3)))
    keras.Model(given, layers.Dense(3, activation="softmax")(layers.LSTM(5)(x))).save(folder / "clip.keras")
    return folder / "clip.keras"


def test_packages_in_several_threads_and_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face = tiny_models.emotion_package(tmp_path / "face").path
    action = tiny_models.action_package(tmp_path / "action").path
    plot = tmp_path / "bars.png"
    made = benchmark(
        tmp_path, face, action, "--threads", "1,2", "--batch", "1,2", "--runs", 3, "--provider", "cpu",
        "--plot", plot,
    )  # fmt: skip
    names = [row["name"] for row in made["rows"]]
    wanted = {"tiny-emotion": 4, "tiny-action encoder": 4, "tiny-action head": 4, "tiny-action step": 2}
    assert {name: names.count(name) for name in names} == wanted
    assert {row["provider"] for row in made["rows"]} == {"CPUExecutionProvider"}
    assert all(0 < row["median_ms"] <= row["p95_ms"] for row in made["rows"])
    assert made["machine"]["versions"]["onnxruntime"]
    assert isinstance(made["machine"]["busy"], bool)
    assert all(row["median_ms"] <= row["p95_ms"] <= row["p99_ms"] for row in made["rows"])
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "median ms" in capsys.readouterr().out


class Told:
    """A Keras model that writes down how it is asked."""

    def __init__(self) -> None:
        self.sizes: list[int | None] = []

    def predict(self, array: Any, *, batch_size: int | None, verbose: int) -> Any:
        self.sizes.append(batch_size)
        return array

    def __call__(self, batch: Any, training: bool) -> Any:
        return batch

    def count_params(self) -> int:
        return 0


def test_keras_is_asked_as_programs_ask_it_and_for_all_at_once() -> None:
    model = Told()
    part = PeerGraph("net", np.zeros((2, 2, 1), np.float32), model=model)
    assert [one.batch for one in keras_candidates(part, 1, [1, 32, 64])] == [1, 1, 32, 32, 64, 64]
    assert model.sizes == [None, None, 64]


def test_a_keras_model_against_itself_and_two_engines(tmp_path: Path) -> None:
    made = benchmark(tmp_path, face_model(tmp_path), "--against", "keras,openvino,litert", "--runs", 2)
    backends = {row["backend"]: row for row in made["rows"]}
    assert {"onnxruntime", "keras predict", "keras tf.function", "openvino", "litert"} == set(backends)
    assert made["left_out"] == []
    assert set(backends["onnxruntime"]["ratios"]) == {"keras", "keras_function", "openvino", "litert"}
    ratio = backends["keras predict"]["median_ms"] / backends["onnxruntime"]["median_ms"]
    assert backends["onnxruntime"]["ratios"]["keras"] == pytest.approx(ratio, rel=0.05)


def test_the_step_of_a_new_frame_stands_against_the_whole_window(tmp_path: Path) -> None:
    made = benchmark(tmp_path, clip_model(tmp_path), "--against", "keras", "--runs", 2)
    steps = {row["backend"]: row for row in made["rows"] if row["name"].endswith(" step")}
    assert set(steps) == {"onnxruntime", "keras predict", "keras tf.function"}
    assert set(steps["onnxruntime"]["ratios"]) == {"keras", "keras_function"}


def test_a_package_with_its_keras_model_and_one_with_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    model, other = face_model(tmp_path), face_model(tmp_path / "other")
    package = tmp_path / "package"
    labels = tmp_path / "labels.json"
    labels.write_text('["a", "b", "c"]')
    exported = ["export", str(model), "--out", str(package), "--labels", str(labels), "--normalize", "unit"]
    assert run_command(exported) == 0
    made = benchmark(tmp_path, package, "--keras-model", model, "--against", "keras", "--runs", 1)
    assert "keras predict" in {row["backend"] for row in made["rows"]}
    capsys.readouterr()
    code, line = failure(capsys, package, "--keras-model", other, "--against", "keras")
    assert code == 2
    assert f"{other}: package was exported from another model" in line


def test_peers_that_cannot_take_part_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tiny_models.emotion_package(tmp_path / "face").path
    code, line = failure(capsys, package, "--against", "keras")
    assert code == 2
    assert "--against keras: requires the Keras model of the package" in line
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    code, line = failure(capsys, package, "--against", "openvino")
    assert code == 2
    assert f"openvino is not installed: {install_command('compare')}" in line


def test_nothing_is_measured_for_files_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeharfer.benchmark.measure.measure", None)
    package = tiny_models.emotion_package(tmp_path / "face").path
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (("--plot", tmp_path / "bars.doc"), "bars.doc: unknown file type: choose from "),
        (("--plot", tmp_path / "no" / "bars.png"), "does not exist"),
        (("--json", tmp_path), "is a folder"),
        (("--profile", tmp_path / "file"), "is a file"),
        ((tmp_path / "nowhere.keras",), "no such model"),
    ):
        code, line = failure(capsys, package, *arguments)
        assert code == 2
        assert words in line


def test_data_of_other_classes_is_refused_before_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tiny_models.emotion_package(tmp_path / "face").path
    (tmp_path / "data" / "cat").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "data" / "cat" / "a.png"), np.zeros((8, 8), np.uint8))
    code, line = failure(capsys, package, "--data", tmp_path / "data")
    assert code == 2
    assert "none of its classes (cat) is a class of tiny-emotion" in line


def test_streams_run_at_the_same_time_for_a_duration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tiny_models.action_package(tmp_path / "action").path
    made = benchmark(tmp_path, package, "--streams", 2, "--duration", 0.01, "--provider", "cpu")
    assert {row["streams"] for row in made["rows"]} == {2}
    assert all(row["per_second"] > 0 for row in made["rows"])
    assert "streams" in capsys.readouterr().out


def test_a_profile_has_times_by_operator_and_traces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tiny_models.emotion_package(tmp_path / "face").path
    folder = tmp_path / "traces"
    made = benchmark(tmp_path, package, "--runs", 5, "--provider", "cpu", "--profile", folder)
    (profile,) = made["profile"]
    assert profile["runs"] == 5
    assert sum(one["share"] for one in profile["operators"]) == pytest.approx(1, abs=0.01)
    trace = json.loads((folder / "tiny-emotion-fp32-cpu.json").read_text())
    assert any(event["name"] == "model_run" for event in trace)
    assert f"x {profile['operators'][0]['operator']}" in capsys.readouterr().out


def test_accuracy_where_data_is_given(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path / "face")
    for number, label in enumerate(("happy", "sad")):
        folder = tmp_path / "data" / "test" / label
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), np.full((48, 48), 200 * number, np.uint8))
    made = benchmark(tmp_path, package.path, "--data", tmp_path / "data", "--runs", 1, "--provider", "cpu")
    (row,) = made["rows"]
    assert 0 <= row["top1"] <= 1
    assert row["provider"] == "CPUExecutionProvider"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    return write_film(
        path, (np.full((120, 160, 3), 25 * number, np.uint8) for number in range(8)), 30, "MJPG"
    )


def test_end_to_end_without_keras(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    action = tiny_models.action_package(tmp_path / "action").path
    made = benchmark(tmp_path, action, "--end-to-end", "--source", clip, "--runs", 2)
    figures = made["end_to_end"]
    assert set(figures) >= END_TO_END
    assert figures["frames"] > 0 and figures["fps"] > 0 and figures["rss_mb"] > 0
    assert figures["cpu_in_encoder_units"] == pytest.approx(
        figures["cpu_ms_per_frame"] / figures["encoder_unit_ms"], rel=0.01
    )
    assert (figures["keras_loop_fps"], figures["ratio_to_keras_loop"]) == (None, None)
    assert figures["models"] == {"action": "tiny-action fp32"}
    assert {"p50", "p95", "p99"} <= set(figures["latency_ms"]["total"])
    assert "end to end: tiny-action fp32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--against", "torch"), "unknown peer 'torch'"),
        (("--end-to-end",), "--end-to-end and --source FILE require each other"),
        (("--faces", "3"), "--faces requires --end-to-end"),
        (("--threads", "0"), "is not a comma-separated list of numbers from 1 to 256"),
        (("--batch", "1,x"), "is not a comma-separated list of numbers from 1 to 256"),
        (("--provider", "npu"), "choose from auto, cpu, openvino, "),
        (("--precision", "fp8"), "choose from all, fp32, fp16, int8"),
        (("no-such-package",), "no model package 'no-such-package'"),
        (("nowhere.keras",), "nowhere.keras: no such model"),
        (("--json", "no/such/folder/a.json"), "folder no/such/folder does not exist"),
        (("--keras-model", "a.keras"), "--keras-model requires exactly one PACKAGE"),
    ],
)
def test_usage_is_told_in_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = failure(capsys, *arguments)
    assert code == 2
    assert words in line


def test_a_clip_that_cannot_be_read_ends_the_end_to_end_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    action = tiny_models.action_package(tmp_path / "action").path
    (tmp_path / "text.mp4").write_text("no video")
    code, line = failure(capsys, action, "--end-to-end", "--source", tmp_path / "text.mp4", "--runs", 1)
    assert code == 2
    assert "text.mp4" in line


def test_a_provider_that_does_not_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "CUDAExecutionProvider" in __import__("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime is a GPU build")
    package = tiny_models.emotion_package(tmp_path / "face").path
    code, line = failure(capsys, package, "--provider", "cuda", "--runs", 1)
    assert code == 3
    assert "cuda" in line and install_command("gpu") in line
    made = benchmark(tmp_path, package, "--provider", "cuda", "--allow-fallback", "--runs", 1)
    assert made["rows"][0]["provider"] == "CPUExecutionProvider"
    assert made["rows"][0]["asked_provider"] == "cuda"
    assert "CPU (not cuda)" in capsys.readouterr().out
