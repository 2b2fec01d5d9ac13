"""A recurrent head read frame by frame says what it says of each whole window, however frames come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import tiny_models
from edgeharfer.benchmark.ours import BenchmarkSetup, package_candidates
from edgeharfer.export.rolling import rolling_form
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.golden import golden_frames, make_classifier
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import ROLLING
from edgeharfer.runtime.inference.package import Package, verify_package
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.rolling import RollingHead
from edgeharfer.runtime.types import Action, Floats, Frame
from tiny_models import rolling

FRAMES, FEATURES = 4, 8
TOLERANCE = 1e-6
LOGITS = {"output": "logits", "temperature": 1.7}


def noise(*shape: int) -> Floats:
    return np.random.default_rng(4).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    "head",
    [
        tiny_models.lstm_head(FRAMES),
        tiny_models.lstm_head(FRAMES, bias=False, output="logits"),
        tiny_models.lstm_head(FRAMES, direction="forward", activations=["Sigmoid", "Relu", "Tanh"]),
        tiny_models.lstm_head(1),
    ],
    ids=["as Keras", "without a bias", "other activations", "one frame"],
)
def test_each_frame_completes_a_window(head: bytes) -> None:
    whole = make_session(Graph.scan(head))
    frames = whole.input_shape[1]
    assert isinstance(frames, int)
    one = RollingHead(make_session(Graph.scan(rolling(head))), frames)
    stream = noise(40, FEATURES)
    for end, features in enumerate(stream, 1):
        scores = one.push(features)
        if end >= frames:
            np.testing.assert_allclose(scores, whole.run1(stream[None, end - frames : end]), atol=TOLERANCE)


def test_two_streams_do_not_meet() -> None:
    session = make_session(Graph.scan(rolling(tiny_models.lstm_head(FRAMES))))
    one, other, alone = (RollingHead(session, FRAMES) for _ in range(3))
    for features in noise(9, FEATURES):
        mixed = one.push(features)
        other.push(-features)
        np.testing.assert_array_equal(mixed, alone.push(features))


def test_the_head_stays_as_it_is_and_its_weights_are_taken_over() -> None:
    head = onnx.load_from_string(tiny_models.lstm_head(FRAMES, 200, 3, 16))
    before = head.SerializeToString()
    made = rolling_form(head)
    assert head.SerializeToString() == before
    assert made.SerializeToString() == rolling_form(head).SerializeToString()
    assert len(made.SerializeToString()) < 1.05 * len(before) + 2000
    assert [node.op_type for node in made.graph.node].count("LSTM") == 1


def changed(*edits: tuple[str, str, object]) -> onnx.ModelProto:
    """The head with attributes of an operator set."""
    model = onnx.load_from_string(tiny_models.lstm_head(FRAMES))
    for operator, name, value in edits:
        (node,) = (one for one in model.graph.node if one.op_type == operator)
        kept = [one for one in node.attribute if one.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])
    return model


def with_all_states() -> onnx.ModelProto:
    model = changed()
    model.graph.node[1].output[0] = "all"
    model.graph.output.append(
        helper.make_tensor_value_info("all", TensorProto.FLOAT, [FRAMES, 1, "batch", 5])
    )
    return model


def with_a_second_look_at_the_window() -> onnx.ModelProto:
    model = changed()
    model.graph.node.append(helper.make_node("ReduceMean", ["window"], ["mean"], axes=[1], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", FEATURES]))
    return model


def with_a_start() -> onnx.ModelProto:
    model = changed()
    model.graph.node[1].input.extend(["", "start"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1, 5), np.float32), "start"))
    return model


def with_a_computed_kernel() -> onnx.ModelProto:
    model = changed()
    model.graph.node[1].input[1] = "doubled"
    model.graph.node.insert(0, helper.make_node("Add", ["kernel", "kernel"], ["doubled"]))
    return model


@pytest.mark.parametrize(
    "head",
    [
        onnx.load_from_string(tiny_models.head(FRAMES)),
        changed(("LSTM", "direction", "reverse")),
        changed(("LSTM", "layout", 1)),
        changed(("Transpose", "perm", [0, 1, 2])),
        with_all_states(),
        with_a_second_look_at_the_window(),
        with_a_start(),
        with_a_computed_kernel(),
    ],
    ids=["no LSTM", "backwards", "layout", "order", "all states", "window", "start", "kernel"],
)
def test_other_heads_have_no_rolling_form(head: onnx.ModelProto) -> None:
    assert rolling_form(head) is None


# In a package


def package(folder: Path, rolls: bool, **changes: Any) -> Package:
    head = tiny_models.lstm_head(FRAMES, output=str(changes.get("output", "probs")))
    graphs = {"head": head, **({ROLLING: rolling(head)} if rolls else {})}
    tiny_models.action_package(folder, frames=FRAMES, seconds=0.4, graphs=graphs, **changes)
    return verify_package(folder)


@pytest.fixture(scope="module")
def film() -> list[Frame]:
    pictures = np.random.default_rng(5).integers(0, 256, (90, 20, 24, 3), np.uint8)
    return [Frame(i, i / 30, 0.0, picture) for i, picture in enumerate(pictures)]


def watched(made: Package | ActionModel, frames: Sequence[Frame]) -> list[tuple[bool, Action]]:
    task = tiny_models.action_task(made if isinstance(made, ActionModel) else ActionModel(made))
    answers: list[tuple[bool, Action]] = []
    for frame in frames:
        step = task.step(frame, ())
        action = step.readings if isinstance(step.readings, Action) else answers[-1][1]
        answers.append(("head" in step.stages_ms, action))
    return answers


def assert_alike(one: Sequence[tuple[bool, Action]], other: Sequence[tuple[bool, Action]]) -> None:
    for (read, action), (also_read, also) in zip(one, other, strict=True):
        assert (read, action.ready, action.label) == (also_read, also.ready, also.label)
        np.testing.assert_allclose(list(action.probs.values()), list(also.probs.values()), atol=1e-5)


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(lost=st.sets(st.integers(1, 89)), skip=st.integers(1, 12), gap=st.integers(0, 89))
def test_a_stream_is_told_as_from_whole_windows(
    tmp_path_factory: pytest.TempPathFactory, film: list[Frame], lost: set[int], skip: int, gap: int
) -> None:
    """Slow sources fill several points of a window with one frame; a gap of a second empties it."""
    folder = tmp_path_factory.mktemp("p")
    frames = [
        replace(frame, pts_s=frame.pts_s + (frame.seq > gap))
        for frame in film[::skip]
        if frame.seq not in lost
    ]
    assert_alike(
        watched(package(folder / "rolls", True), frames), watched(package(folder / "whole", False), frames)
    )


def test_logits_become_probabilities_at_the_package_s_temperature(tmp_path: Path, film: list[Frame]) -> None:
    rolls, whole = package(tmp_path / "rolls", True, **LOGITS), package(tmp_path / "whole", False, **LOGITS)
    answers = watched(rolls, film)
    assert any(read for read, _ in answers)
    assert_alike(answers, watched(whole, film))


def test_warming_up_leaves_nothing_behind(tmp_path: Path, film: list[Frame]) -> None:
    made = package(tmp_path, True)
    warm = ActionModel(made)
    warm.warm_up()
    assert_alike(watched(made, film), watched(warm, film))


def test_golden_answers_are_those_of_a_stream(tmp_path: Path) -> None:
    whole, rolls = (
        make_classifier(package(tmp_path / name, rolls))(golden_frames())
        for name, rolls in (("whole", False), ("rolls", True))
    )
    assert rolls.shape == (1, 3)
    np.testing.assert_allclose(rolls, whole, atol=1e-5)
    other = rolling(tiny_models.lstm_head(FRAMES, bias=False))
    graphs = {"head": tiny_models.lstm_head(FRAMES), ROLLING: other}
    mixed = make_classifier(tiny_models.action_package(tmp_path / "mixed", frames=FRAMES, graphs=graphs))
    assert np.abs(mixed(golden_frames()) - whole).max() > 1e-3


def test_a_benchmark_s_step_is_what_a_stream_costs(tmp_path: Path) -> None:
    rolls = package(tmp_path, True)
    made = {one.name: one for one in package_candidates(rolls, BenchmarkSetup())}
    assert set(made) == {"tiny-action encoder", "tiny-action head", "tiny-action step"}
    used = rolls.spec("encoder", "fp32").bytes + rolls.spec(ROLLING, "fp32").bytes
    assert made["tiny-action step"].size_mb * 1e6 == pytest.approx(used)
    for _ in range(FRAMES):
        scores = made["tiny-action step"].run()
    assert np.asarray(scores).shape == (1, 3)
    np.testing.assert_allclose(np.asarray(scores).sum(), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (rolling(tiny_models.lstm_head(FRAMES + 1)), "h is 1 x 5 x 5, but .* requires 1 x 4 x [?]"),
        (rolling(tiny_models.lstm_head(FRAMES, classes=4)), "probs is 1 x 4, but .* 1 x 3"),
        (tiny_models.lstm_head(FRAMES), "1 inputs and 1 outputs, expected pairs of states"),
    ],
    ids=["frames", "classes", "whole windows"],
)
def test_a_rolling_head_that_does_not_fit_is_refused(tmp_path: Path, graph: bytes, message: str) -> None:
    graphs = {"head": tiny_models.lstm_head(FRAMES), ROLLING: graph}
    tiny_models.action_package(tmp_path, frames=FRAMES, graphs=graphs)
    with pytest.raises(ModelError, match=message):
        verify_package(tmp_path)


def without_an_output() -> bytes:
    model = onnx.load_from_string(rolling(tiny_models.lstm_head(FRAMES)))
    del model.graph.output[-1]
    return bytes(model.SerializeToString())


def swapped_shapes() -> bytes:
    """States that come back as they were not."""
    nodes = [
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1]),
        helper.make_node("Identity", ["mean"], ["probs"]),
        helper.make_node("Transpose", ["h"], ["next_h"], perm=[0, 2, 1]),
    ]
    return tiny_models.to_bytes(
        nodes,
        {"features": [1, FEATURES], "h": [1, FRAMES, FEATURES]},
        {"probs": [1, 1], "next_h": [1, "a", "b"]},
    )


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (tiny_models.head(FRAMES), "cannot run"),
        (
            rolling(tiny_models.lstm_head(FRAMES + 1)),
            r"rolling\.onnx: not a rolling head: a state has the shape .*, not \(1, 4, units\)",
        ),
        (without_an_output(), "not a rolling head: 2 states as inputs, 1 as outputs"),
        (swapped_shapes(), r"next_h has the shape .*, not "),
    ],
    ids=["whole windows", "frames", "outputs", "shapes"],
)
def test_a_package_that_nobody_verified_ends_in_one_line(
    tmp_path: Path, film: list[Frame], graph: bytes, message: str
) -> None:
    graphs = {"head": tiny_models.lstm_head(FRAMES), ROLLING: graph}
    made = tiny_models.action_package(tmp_path, frames=FRAMES, graphs=graphs)
    with pytest.raises(ModelError, match=message):
        watched(made, film)


def test_pictures_have_no_rolling_head(tmp_path: Path) -> None:
    made = tiny_models.emotion_package(tmp_path)
    spec = made.manifest.files["fp32"]["model"]
    with pytest.raises(ModelError, match=r"files\.fp32: must contain exactly model"):
        tiny_models.emotion_package(tmp_path, files={"fp32": {"model": spec, ROLLING: spec}})
