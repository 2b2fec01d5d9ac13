"""Build the graphs of a package with TensorRT-RTX on the CPU: shows which graphs TensorRT accepts.

TensorRT-RTX has the parser and the builder of TensorRT and needs neither a GPU nor a driver for them. The
engines are not kept. This shows neither the speed nor the outputs on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.tensorrt import AXES, BATCHES
from edgeharfer.runtime.inference.tuning import read_graph

PROVIDER = "tensorrt"


@dataclass(frozen=True)
class ParserResult:
    """Result of building one graph.

    Attributes:
        role: Role of the graph in its package.
        precision: Its precision.
        layers: Number of layers of the network.
        seconds: Time of parsing and building.
        reason: Why it was refused; None if it was accepted.
    """

    role: str
    precision: str
    layers: int
    seconds: float
    reason: str | None


def check_package(package: Package, clock: Clock | None = None) -> Iterator[ParserResult]:
    """Build each graph of a package in each precision, in the form that the provider gets.

    Raises:
        ImportError: tensorrt_rtx is not installed.
        ModelError: A file is missing, damaged or unsafe.
    """
    clock = clock or SystemClock()
    for precision in package.manifest.precisions:
        for role in package.manifest.files.get(precision, package.manifest.files.get("fp32", {})):
            start_s = clock.monotonic()
            graph = read_graph(package, role, Backend(PROVIDER, precision))
            layers, reason = build(graph)
            yield ParserResult(role, precision, layers, clock.monotonic() - start_s, reason)


def build(graph: Graph) -> tuple[int, str | None]:
    """Parse a graph and build an engine of it.

    Returns:
        The number of layers, and why the graph was refused or None.
    """
    import tensorrt_rtx

    logger = _logger(tensorrt_rtx)
    builder = tensorrt_rtx.Builder(logger)
    network = builder.create_network(1 << int(tensorrt_rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt_rtx.OnnxParser(network, logger)
    if not parser.parse(graph.data):
        return 0, _reason([parser.get_error(number).desc() for number in range(parser.num_errors)])
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        _set_shapes(profile, network.get_input(number), graph.info.inputs[number].shape)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    return network.num_layers, _reason(logger.errors) if engine is None else None


def _set_shapes(profile: Any, tensor: Any, shape: tuple[int | str, ...]) -> None:
    """Set the ranges of the free axes, which are those of `tensorrt.optimization_profile`."""
    sizes = (
        [axis if isinstance(axis, int) else AXES.get(axis, BATCHES)[place] for axis in shape]
        for place in range(len(BATCHES))
    )
    profile.set_shape(tensor.name, *sizes)


def _logger(module: Any) -> Any:
    """Return a logger that keeps errors in place of printing them."""

    class ErrorList(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return ErrorList()


def _reason(errors: list[str]) -> str:
    """Shorten errors to one line. Without a driver there are messages on CUDA, which are no reason."""
    lines = [line.strip() for error in errors for line in error.splitlines() if "cudaError" not in line]
    return next((line for line in lines if line), "TensorRT gives no reason")[:300]
