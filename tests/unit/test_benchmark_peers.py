"""Other engines: named where they are missing, set up to be comparable where they are not."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeharfer.benchmark import peers
from edgeharfer.benchmark.openvino_peer import openvino_candidates
from edgeharfer.benchmark.peers import PeerGraph, check_installed, import_peer, parse_peers
from edgeharfer.runtime.errors import ConfigError, MissingExtra
from edgeharfer.runtime.installation import install_command


def test_peers_are_read_from_a_list() -> None:
    assert parse_peers("") == []
    assert parse_peers("openvino, keras,openvino") == ["openvino", "keras"]
    with pytest.raises(ConfigError, match="unknown peer 'torch': choose from keras, openvino, litert"):
        parse_peers("keras,torch")


def test_a_peer_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(peers, "_MODULES", {**peers._MODULES, "litert": ("no_such_module",), "keras": ()})
    check_installed(["keras"])
    for peer in ("openvino", "litert"):
        with pytest.raises(MissingExtra) as caught:
            check_installed(["keras", peer])
        assert str(caught.value) == f"{peer} is not installed: {install_command('compare')}"


class FakeOpenVino(ModuleType):
    """Writes down what it was told; its telemetry package must not be loadable when it is imported."""

    def __init__(self) -> None:
        super().__init__("openvino")
        self.told: list[Any] = []

    def Core(self) -> FakeOpenVino:  # noqa: N802
        return self

    def read_model(self, model: bytes, weights: bytes) -> FakeOpenVino:
        self.told.append(model)
        return self

    def reshape(self, shape: list[int]) -> None:
        self.told.append(shape)

    def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> FakeOpenVino:
        self.told.append((device, settings["INFERENCE_NUM_THREADS"], settings["INFERENCE_PRECISION_HINT"]))
        return self

    def create_infer_request(self) -> FakeOpenVino:
        return self

    def infer(self, inputs: list[Any], share_inputs: bool) -> None:
        self.told.append(inputs[0].shape)

    def get_output_tensor(self, index: int) -> Any:
        return np.zeros(3)


def test_openvino_gets_the_packages_own_bytes_and_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeOpenVino()
    monkeypatch.setitem(sys.modules, "openvino", fake)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    part = PeerGraph("net", np.zeros((8, 8, 3), np.float32), {"fp32": b"one", "int8": b"two!"})
    made = list(openvino_candidates(part, [2], [1, 4]))
    made[1].run()
    assert [(one.precision, one.threads, one.batch) for one in made] == [
        ("fp32", 2, 1), ("fp32", 2, 4), ("int8", 2, 1), ("int8", 2, 4),
    ]  # fmt: skip
    assert fake.told[:3] == [b"one", [1, 8, 8, 3], ("CPU", 2, "f32")]
    assert fake.told[-1] == (4, 8, 8, 3)
    with pytest.raises(ImportError):
        import_peer("openvino_telemetry")
    monkeypatch.delitem(sys.modules, "openvino_telemetry")


def test_litert_is_not_asked_for_int8_of_a_recurrent_network() -> None:
    """Its converter would end the whole process, out of reach of any `except`."""
    keras = pytest.importorskip("keras")
    from edgeharfer.benchmark.litert_peer import _is_recurrent

    window, picture = keras.Input((4, 3)), keras.Input((8, 8, 1))
    inner = keras.Model(window, keras.layers.LSTM(2)(window))
    assert _is_recurrent(keras.Sequential([window, inner, keras.layers.Dense(2)]))
    assert not _is_recurrent(keras.Sequential([picture, keras.layers.Conv2D(2, 3)]))
