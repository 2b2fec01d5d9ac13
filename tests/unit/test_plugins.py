"""Plug-in providers: registered once, no silent fallback, and the real ones where they are installed."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.errors import ProviderError
from edgeharfer.runtime.inference import onnx_runtime, providers, tensorrt
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import shipped_packages
from edgeharfer.runtime.inference.providers import (
    PROVIDERS,
    Provider,
    available_providers,
    fallback_chain,
    open_provider_session,
    probe_providers,
)
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.types import Floats
from scripted_gpu import EXAMPLE, use_gpu_build, use_plugin_build, use_table

HEAD = Graph.scan(tiny_models.head(), "head")
ROW = Provider(EXAMPLE, needs="an example chip", plugin="example_plugin", automatic=False)
AMD = 0x1022
"""The number of the vendor in the PCI database."""
WHEELS = {"openvino": "onnxruntime_ep_openvino", "webgpu": "onnxruntime_ep_webgpu"}


def need(extra: str) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("ONNX Runtime for Python 3.10 has no plug-ins")
    pytest.importorskip(WHEELS[extra], reason=f"needs the {extra} extra")
    if extra == "openvino" and AMD in processor_vendors():
        pytest.skip("OpenVINO's plug-in takes no AMD processor")


def processor_vendors() -> set[int]:
    """Return the vendors of the processors that ONNX Runtime itself lists."""
    listed = onnx_runtime.load().get_ep_devices()
    return {one.device.vendor_id for one in listed if one.device.type.name == "CPU"}


# A plug-in, scripted ------------------------------------------------------------------------------


def test_a_library_is_registered_once_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    use_table(monkeypatch, ROW)
    build = use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, "GPU")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: make_session(HEAD, Backend("example")), range(8)))
    assert {session.provider for session in made} == {EXAMPLE}
    assert build.registered == ["/example_plugin.so"]


def test_a_plugin_without_a_device_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    use_table(monkeypatch, ROW)
    use_plugin_build(monkeypatch, "example_plugin", EXAMPLE)
    with pytest.raises(ProviderError, match=r"^example found no device: it needs an example chip") as caught:
        make_session(HEAD, Backend("example"))
    assert caught.value.exit_code == 3
    assert make_session(HEAD, Backend("example", fallback=True)).provider == PROVIDERS["cpu"].name


def test_a_device_that_is_not_listed_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    use_table(monkeypatch, replace(ROW, devices=("GPU",), default_device="CPU"))
    build = use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, "CPU")
    assert set(probe_providers()) == {"example", "cpu"}, "only listed devices are tried"
    with pytest.raises(ProviderError, match=r"^example:GPU found no device"):
        make_session(HEAD, Backend.parse("example:GPU"))
    assert {device for device, _ in build.told} == {"CPU"}


def test_a_library_that_does_not_load_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    use_table(monkeypatch, ROW)
    use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, refusal="libchip.so.1: not found")
    with pytest.raises(ProviderError, match=r"^example cannot be loaded: libchip\.so\.1: not found: see"):
        make_session(HEAD, Backend("example"))


def test_a_library_that_the_program_has_registered_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    use_table(monkeypatch, ROW)
    build = use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, "GPU")

    def refuse(name: str, path: str) -> None:
        raise RuntimeError(f"EP library is already registered under {name}")

    monkeypatch.setattr(build, "register_execution_provider_library", refuse)
    assert make_session(HEAD, Backend("example")).provider == EXAMPLE


def test_an_onnx_runtime_without_plugins_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldBuild:
        __file__, __version__ = "onnxruntime/__init__.py", "1.20.1"

    use_table(monkeypatch, ROW)
    use_plugin_build(monkeypatch, "example_plugin", EXAMPLE)
    monkeypatch.setattr(onnx_runtime, "load", OldBuild)
    with pytest.raises(ProviderError, match=r"ONNX Runtime 1\.20\.1 is too old for plug-in providers"):
        open_provider_session("example", HEAD, Backend("example"))


def test_a_plugin_that_takes_no_operator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists it as the first provider although everything runs on the CPU."""
    use_table(monkeypatch, ROW)
    build = use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, "GPU")
    build.assigned = {PROVIDERS["cpu"].name: 5}
    with pytest.raises(ProviderError, match="example can run none of the 5 operators of head"):
        make_session(HEAD, Backend("example"))


def test_operators_left_to_the_cpu_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use_table(monkeypatch, ROW)
    build = use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, "GPU")
    build.assigned = {EXAMPLE: 7, PROVIDERS["cpu"].name: 2}
    with caplog.at_level(logging.INFO):
        make_session(HEAD, Backend("example"))
    assert "head: example leaves 2 of 9 operators to the CPU" in caplog.text


@pytest.mark.parametrize("devices", [(), ("GPU",)])
def test_auto_takes_no_provider_that_was_not_measured(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...]
) -> None:
    use_table(monkeypatch, replace(ROW, devices=devices))
    build = use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, "GPU")
    assert make_session(HEAD, Backend("auto")).provider == PROVIDERS["cpu"].name
    assert available_providers(automatic=True) == ("cpu",)
    assert build.registered == [], "its library takes memory"
    assert {"example", "cpu"} <= set(available_providers())


# The rows -----------------------------------------------------------------------------------------


def test_what_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "find_spec", lambda name: None)
    for name in ("openvino", "tensorrt-rtx", "webgpu"):
        line = re.escape(f"{name} is not installed: {install_command(name)}")
        with pytest.raises(ProviderError, match=line):
            make_session(HEAD, Backend(name))


def test_an_extra_without_a_wheel_for_this_system_is_not_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "extras", lambda: ["openvino"])
    monkeypatch.setattr(providers, "dependencies", lambda extra: [])
    assert PROVIDERS["openvino"].fix() == "it is not available for this system"


def test_the_libraries_of_tensorrt_rtx_are_not_loaded_without_a_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = PROVIDERS["tensorrt-rtx"]
    assert row.plugin is not None
    build = use_plugin_build(monkeypatch, row.plugin, row.name, "GPU")
    monkeypatch.setattr(providers, "gpu_environment", tensorrt.GpuEnvironment)
    with pytest.raises(ProviderError, match="tensorrt-rtx found no device: no NVIDIA driver found"):
        make_session(HEAD, Backend("tensorrt-rtx"))
    monkeypatch.setattr(providers, "gpu_environment", lambda: tensorrt.GpuEnvironment("RTX", "580.1"))
    make_session(HEAD, Backend("tensorrt-rtx"))
    (told,) = build.told
    assert told[1]["nv_profile_max_shapes"] == "window:8x4x8"


def test_openvino_computes_in_fp32_with_as_many_threads_as_asked_for() -> None:
    def settings(backend: Backend) -> dict[str, dict[str, str]]:
        parsed: dict[str, dict[str, str]] = json.loads(
            PROVIDERS["openvino"].options(HEAD, backend)["load_config"]
        )
        return parsed

    on_cpu = settings(Backend("openvino", "fp32", 2))["CPU"]
    assert (on_cpu["INFERENCE_PRECISION_HINT"], on_cpu["INFERENCE_NUM_THREADS"]) == ("f32", "2")
    assert settings(Backend("openvino", "fp32", device="GPU"))["GPU"]["INFERENCE_PRECISION_HINT"] == "f32"
    assert "INFERENCE_PRECISION_HINT" not in settings(Backend("openvino", "fp16"))["CPU"]
    assert "INFERENCE_PRECISION_HINT" not in settings(Backend("openvino", "fp32", device="NPU"))["NPU"]


def test_providers_of_other_systems_are_not_probed_and_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    use_gpu_build(monkeypatch, tmp_path)
    assert not {"coreml", "directml"} & {one.provider for one in providers._backends_here()}
    with pytest.raises(ProviderError, match="does not include coreml: only ONNX Runtime for macOS"):
        make_session(HEAD, Backend("coreml"))
    with pytest.raises(ProviderError, match="does not include directml: it is available for Windows only"):
        make_session(HEAD, Backend("directml"))


def test_each_provider_falls_back_to_automatic_ones() -> None:
    assert fallback_chain(Backend("openvino", device="GPU")) == ["openvino", "cpu"]
    assert fallback_chain(Backend("webgpu")) == ["webgpu", "cpu"]
    assert fallback_chain(Backend("cuda")) == ["cuda", "tensorrt-rtx", "cpu"]
    assert fallback_chain(Backend()) == ["tensorrt", "cuda", "tensorrt-rtx", "cpu"]


# The real ones ------------------------------------------------------------------------------------


def test_webgpu_registers_and_says_that_it_finds_no_device() -> None:
    need("webgpu")
    devices = providers._plugin_devices(onnx_runtime.load(), "webgpu")
    reason = probe_providers()["webgpu"]
    if devices:
        assert reason is None, "this machine has a GPU for it"
    else:
        assert reason is not None and reason.startswith("webgpu found no device: it needs a GPU")


def graphs() -> Iterator[Graph]:
    for package in shipped_packages():
        for role in package.manifest.files["fp32"]:
            yield package.read(role, "fp32")


def feeds(graph: Graph) -> dict[str, Floats]:
    rng = np.random.default_rng(3)
    sizes = {"side": 96, "height": 96, "width": 96}
    shapes = {one.name: [sizes.get(str(axis), axis) for axis in one.shape] for one in graph.info.inputs}
    return {
        name: rng.random([axis if isinstance(axis, int) else 1 for axis in shape], np.float32)
        for name, shape in shapes.items()
    }


def test_openvino_runs_every_shipped_graph_whole_and_in_fp32() -> None:
    """Without the precision hint, features would differ by up to 0.5 on a processor with AMX."""
    need("openvino")
    for graph in graphs():
        found = open_provider_session("openvino", graph, Backend("openvino", "fp32", 1))
        assert set(onnx_runtime.count_operators(found)) == {PROVIDERS["openvino"].name}, graph.name
        given, wanted = feeds(graph), make_session(graph, CPU).run(feeds(graph))
        answers = dict(zip(wanted, found.run(None, given), strict=True))
        for name, value in wanted.items():
            np.testing.assert_allclose(answers[name], value, atol=1e-3, rtol=1e-5, err_msg=graph.name)


def test_a_run_on_openvino_ends_well_and_writes_nothing(tmp_path: Path) -> None:
    need("openvino")
    stats, home = tmp_path / "stats.json", tmp_path / "home"
    home.mkdir()
    program = "from edgeharfer.cli import main; main()"
    options = ["--source", "demo", "--view", "none", "--max-frames", "2", "--provider", "openvino"]
    options += ["--precision", "fp32", "--action", "off", "--detector", "blazeface"]
    done = subprocess.run(
        [sys.executable, "-c", program, "run", *options, "--stats", str(stats)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=home,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home),
             "XDG_CACHE_HOME": str(home), "TMPDIR": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(json.loads(stats.read_text())["provider"].values()) == {"OpenVINOExecutionProvider"}
    assert list(home.iterdir()) == []
