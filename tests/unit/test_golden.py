"""INT8 by default: compared once for each device, left where it is wrong, never where products saturate."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from edgeharfer.benchmark.tune import wrong_int8
from edgeharfer.evaluate.golden import write_golden
from edgeharfer.runtime import golden
from edgeharfer.runtime.doctor import check_precisions
from edgeharfer.runtime.golden import GOLDEN, checked_backend, precision_reason, record_path
from edgeharfer.runtime.inference import processor
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI
from edgeharfer.runtime.inference.package import Package, load_package, write_manifest
from edgeharfer.runtime.inference.tuning import resolve_backend
from edgeharfer.runtime.pipeline import Pipeline

AUTO = Backend("cpu")


@pytest.fixture(autouse=True)
def empty_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "record_path", lambda: tmp_path / "cache" / "compared.json")


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A package whose INT8 graph, here its FP32 graph, is the default on a CPU."""
    made = tiny_models.emotion_package(tmp_path / "package")
    floats = made.manifest.files["fp32"]
    write_manifest(
        made.path, replace(made.manifest, files={"fp32": floats, "int8": floats}, auto={"cpu": "int8"})
    )
    made = load_package(made.path)
    write_golden(made)
    return made


def shift(package: Package, by: float) -> None:
    """Let the golden outputs in INT8 be those of another machine."""
    path = package.path / GOLDEN
    content = json.loads(path.read_text())
    content["int8"] = (np.array(content["int8"]) + by).tolist()
    path.write_text(json.dumps(content))


def saturating(monkeypatch: pytest.MonkeyPatch, saturates: bool = True) -> None:
    for module in ("golden", "inference.tuning", "doctor"):
        monkeypatch.setattr(f"edgeharfer.runtime.{module}.products_saturate", lambda: saturates)
    monkeypatch.setattr("edgeharfer.benchmark.tune.products_saturate", lambda: saturates)


def test_int8_with_the_golden_outputs_is_used_and_compared_once(
    package: Package, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert checked_backend(package, AUTO) == AUTO
    (difference,) = json.loads(golden.record_path().read_text())["differences"].values()
    assert difference < 1e-5
    monkeypatch.setattr(golden, "make_classifier", lambda *_: pytest.fail("it is known already"))
    assert checked_backend(package, AUTO) == AUTO
    assert not caplog.records


def test_int8_with_other_outputs_gives_way_to_fp32_with_one_line(
    package: Package, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shift(package, 0.3)
    with caplog.at_level(logging.WARNING):
        assert checked_backend(package, AUTO).precision == "fp32"
    (record,) = caplog.records
    assert record.message.endswith(
        "INT8 on this device differs by 0.30 from the machine that made the package: using FP32"
    )
    monkeypatch.setattr(golden, "make_classifier", lambda *_: pytest.fail("it is known already"))
    assert checked_backend(package, AUTO).precision == "fp32"
    assert "differs by 0.30" in wrong_int8(package)["cpu", "int8"]
    with Pipeline(emotion=package, action=None, provider="cpu") as pipeline:
        assert pipeline.models == {"emotion": f"{package.manifest.name} fp32"}


def test_a_requested_precision_is_not_compared(package: Package) -> None:
    shift(package, 0.3)
    for precision in ("int8", "fp32"):
        asked = replace(AUTO, precision=precision)
        assert checked_backend(package, asked) == asked
    assert not golden.record_path().exists()


def test_the_record_is_of_one_device(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    checked_backend(package, AUTO)
    shift(package, 0.3)
    monkeypatch.setattr(golden, "device_info", lambda: {"processor": "another"})
    assert checked_backend(package, AUTO).precision == "fp32"


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 0, "differences": {}}'])
def test_a_record_that_cannot_be_used_is_written_again(package: Package, content: str) -> None:
    golden.record_path().parent.mkdir()
    golden.record_path().write_text(content)
    assert checked_backend(package, AUTO) == AUTO
    assert json.loads(golden.record_path().read_text())["differences"]


def test_a_cache_that_cannot_be_written_is_done_without(package: Package) -> None:
    golden.record_path().parent.write_text("a file, not a folder")
    assert checked_backend(package, AUTO) == AUTO


def test_a_package_without_golden_outputs_is_used_as_it_is(package: Package) -> None:
    (package.path / GOLDEN).unlink()
    assert checked_backend(package, AUTO) == AUTO


@pytest.mark.parametrize(("saturates", "precision"), [(True, "fp32"), (False, "int8")])
def test_a_processor_on_which_products_saturate_has_its_own_precision(
    package: Package, monkeypatch: pytest.MonkeyPatch, saturates: bool, precision: str
) -> None:
    saturating(monkeypatch, saturates)
    assert resolve_backend(package, AUTO).precision == "int8", "the package is made for all processors"
    write_manifest(package.path, replace(package.manifest, auto={"cpu": "int8", CPU_WITHOUT_VNNI: "fp32"}))
    package = load_package(package.path)
    assert resolve_backend(package, AUTO).precision == precision
    assert resolve_backend(package, replace(AUTO, precision="int8")).precision == "int8"
    assert bool(wrong_int8(package)) is saturates
    reason = precision_reason(package, precision)
    assert reason == (
        "8-bit products saturate on this processor, so its INT8 graphs are not used" if saturates else None
    )
    with Pipeline(emotion=package, action=None, provider="cpu") as pipeline:
        assert pipeline.precision_reasons == ({"emotion": reason} if saturates else {})


@pytest.mark.parametrize(
    ("saturates", "message"),
    [(False, ": 8-bit products are exact"), (True, "8-bit products saturate on this")],
)
def test_doctor_says_what_8_bit_products_are(
    monkeypatch: pytest.MonkeyPatch, saturates: bool, message: str
) -> None:
    saturating(monkeypatch, saturates)
    (finding,) = check_precisions()
    assert finding.topic == "int8" and finding.ok is True
    assert message in finding.message


def test_the_products_are_computed_on_this_processor() -> None:
    """Every processor with VNNI, and every one that is not x86, adds them exactly."""
    exact = ("AVX512VNNI", "AVX_VNNI", "NEON")
    if any(name in processor.instruction_set() for name in exact):
        assert not processor.products_saturate()
    assert processor.instruction_set().split(" ", 1)[0]


def test_the_record_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert record_path().name == "compared.json"
