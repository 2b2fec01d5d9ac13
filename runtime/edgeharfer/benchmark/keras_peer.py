"""Keras candidates: `predict`, as most programs call it, and the same model as a tf.function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgeharfer.benchmark.peers import PeerGraph, import_peer
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ConfigError, ModelError

_FLOAT_BYTES = 4
_KERAS_BATCH = 32
"""Default batch size of `predict`."""


@dataclass(frozen=True)
class KerasModel:
    """A Keras model, split like its package.

    Attributes:
        by_role: Submodel by role of the package's graphs.
        whole: The unsplit model.
        input_shape: Input shape without the batch axis.
    """

    by_role: dict[str, Any]
    whole: Any
    input_shape: tuple[int, ...]


def set_threads(threads: int) -> int:
    """Set the number of TensorFlow threads, which is fixed once TensorFlow runs.

    Returns:
        The number of threads in use.
    """
    config = import_peer("tensorflow").config.threading
    try:
        config.set_intra_op_parallelism_threads(threads)
        config.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # TensorFlow runs already
        pass
    return int(config.get_intra_op_parallelism_threads()) or threads


def load_keras(path: Path, name: str | None = None) -> KerasModel:
    """Load a model and split it as the exporter does.

    Raises:
        ModelError: The file cannot be loaded as a Keras model.
        ConfigError: The input size is not fixed.
    """
    from edgeharfer.export.loading import load_model
    from edgeharfer.export.source import find_source
    from edgeharfer.export.split import split_model

    source = find_source(path, name)
    loaded = load_model(source)
    if loaded.keras is None:
        raise ModelError(f"{path}: a SavedModel cannot be benchmarked in Keras: pass its .keras file")
    shape = tuple(loaded.input_shape[1:])
    if len(shape) == 3:
        return KerasModel({"model": loaded.keras}, loaded.keras, _fixed(shape, path))
    window = source.facts.get("window")
    frames = window.get("frames") if isinstance(window, dict) else None
    split = split_model(loaded.keras, loaded.name, frames)
    shape = (split.frames, *shape[1:])
    return KerasModel({"encoder": split.encoder, "head": split.head}, loaded.keras, _fixed(shape, path))


def _fixed(shape: tuple[int | None, ...], path: Path) -> tuple[int, ...]:
    if any(axis is None for axis in shape):
        raise ConfigError(f"{path}: the input size is not fixed; a benchmark needs a fixed input size")
    return tuple(int(axis) for axis in shape if axis is not None)


def keras_candidates(
    part: PeerGraph, threads: int, batches: Sequence[int], clock: Clock | None = None
) -> Iterator[Candidate]:
    """Yield `predict` and tf.function for each batch. The load time includes the first inference."""
    clock = clock or SystemClock()
    tf = import_peer("tensorflow")
    for batch in batches:
        array = part.batch(batch)
        size = batch if batch > _KERAS_BATCH else None
        tensor = tf.constant(array)
        function = tf.function(partial(part.model, training=False), reduce_retracing=True)
        runs = {
            "keras predict": partial(part.model.predict, array, batch_size=size, verbose=0),
            "keras tf.function": partial(_call, function, tensor),
        }
        for backend, run in runs.items():
            start_s = clock.monotonic()
            run()
            load_ms = (clock.monotonic() - start_s) * 1e3
            size_mb = part.model.count_params() * _FLOAT_BYTES / 1e6
            yield part.candidate(backend, "fp32", threads, batch, size_mb, load_ms, run)


def _call(function: Any, tensor: Any) -> Any:
    return function(tensor).numpy()
