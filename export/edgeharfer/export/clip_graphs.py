"""Splitting of an imported clip graph into a frame encoder and a head, like `split` for Keras models.

Graphs from PyTorch and TensorFlow put the frames of a clip into the batch with a Reshape, and take them out
of it with another one before the layers that combine frames. The nodes between the two are the encoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeharfer.calib.nodes import read_names
from edgeharfer.export import backend
from edgeharfer.export.convert import pass_on, tidy
from edgeharfer.export.onnx_graph import OnnxGraph, copy_model, rename_tensors
from edgeharfer.export.onnx_import import CLOSE, ImportedGraph, opset_of
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import Session, make_session

_SEED = 20_26


def clip_graphs(imported: ImportedGraph, name: str) -> tuple[Any, Any, str | None]:
    """Return encoder and head of a clip graph, and why the head is the whole graph; None if it is not.

    The encoder reads "image" and gives "features", the head reads "window" and gives "scores".
    """
    frames, *picture = imported.axes.shape
    try:
        encoder, head = _split(imported, frames, picture, name)
    except _NotSplitError as error:
        reason = f"{name}: cannot be split: {error}"
        return pass_on("image", picture, "features", opset_of(imported.model)), _whole(imported), reason
    return encoder, head, None


class _NotSplitError(Exception):
    """A graph does not consist of a frame encoder and a head; the message gives the reason."""


def _whole(imported: ImportedGraph) -> Any:
    """Return the graph with flattened pictures as its input."""
    model = copy_model(imported.model)
    graph, given = OnnxGraph(model), model.graph.input[0]
    frames, *picture = imported.axes.shape
    shape = graph.add_constant("window/shape", np.array([-1, frames, *picture]))
    given.name = "window"
    reshape = backend.load("onnx.helper").make_node(
        "Reshape", ["window", shape], ["image"], name="Reshape_window"
    )
    model.graph.node.insert(0, reshape)
    dims = given.type.tensor_type.shape.dim
    dims[2].dim_value = int(np.prod(picture))
    del dims[3:]
    return model


def _split(imported: ImportedGraph, frames: int, picture: list[int], name: str) -> tuple[Any, Any]:
    whole = imported.model
    if imported.batch is not None:
        raise _NotSplitError("its batch size is fixed")
    graph = OnnxGraph(whole)
    entry = graph.only_consumer("image")
    if entry is None or entry.op_type != "Reshape" or graph.shape(entry.output[0])[1:] != picture:
        raise _NotSplitError("frames are not put into the batch by one Reshape")
    for exit_ in graph.nodes("Reshape"):
        shape = graph.shape(exit_.output[0])
        if len(shape) != 3 or shape[1] != frames or shape[2] is None or exit_ is entry:
            continue
        before = _ancestors(graph, exit_)
        if id(entry) in before and _is_cut(whole, graph, before, exit_):
            made = _cut(whole, before, entry, exit_, (frames, int(shape[2])), picture, name)
            _check(imported, *made)
            return made
    raise _NotSplitError("no Reshape takes the frames out of the batch before layers that combine them")


def _ancestors(graph: OnnxGraph, node: Any) -> dict[int, Any]:
    """Return the nodes that a node depends on, by their id."""
    found: dict[int, Any] = {}
    names = list(read_names(node))
    while names:
        maker = graph.producer(names.pop())
        if maker is not None and id(maker) not in found:
            found[id(maker)] = maker
            names += read_names(maker)
    return found


def _is_cut(whole: Any, graph: OnnxGraph, before: dict[int, Any], exit_: Any) -> bool:
    """Whether later nodes read nothing of the encoder but its last output."""
    inside = {name for node in before.values() for name in node.output} | {"image"}
    later = [node for node in whole.graph.node if id(node) not in before and node is not exit_]
    return not any(inside.intersection(read_names(node)) for node in later)


def _cut(
    whole: Any,
    before: dict[int, Any],
    entry: Any,
    exit_: Any,
    window: tuple[int, int],
    picture: list[int],
    name: str,
) -> tuple[Any, Any]:
    helper, kind = backend.load("onnx.helper"), backend.load("onnx").TensorProto.FLOAT
    encoder, head = copy_model(whole), copy_model(whole)
    places = {id(node): place for place, node in enumerate(whole.graph.node)}
    inside = {places[one] for one in before} - {places[id(entry)]}
    middle = exit_.input[0]
    of_encoder = [node for place, node in enumerate(whole.graph.node) if place in inside]
    of_head = [
        node
        for place, node in enumerate(whole.graph.node)
        if place not in inside and place not in (places[id(entry)], places[id(exit_)])
    ]
    flatten = helper.make_node("Flatten", [middle], ["features"], axis=1)
    for made, nodes, feed, shape, result, size in (
        (encoder, [*of_encoder, flatten], "image", picture, "features", window[1:]),
        (head, of_head, "window", window, "scores", None),
    ):
        del made.graph.node[:], made.graph.input[:]
        made.graph.node.extend(nodes)
        made.graph.input.append(helper.make_tensor_value_info(feed, kind, ["batch", *shape]))
        if size is not None:
            made.graph.output[0].CopyFrom(helper.make_tensor_value_info(result, kind, ["batch", *size]))
        rename_tensors(made.graph, {(entry if made is encoder else exit_).output[0]: feed})
    return (
        tidy(encoder, picture, "image", "features", name),
        tidy(head, window, "window", "scores", name),
    )


def _session(model: Any) -> Session:
    return make_session(Graph.scan(model.SerializeToString()))


def _check(imported: ImportedGraph, encoder: Any, head: Any) -> None:
    """Compare the two graphs with the whole one on noise."""
    try:
        clip = np.random.default_rng(_SEED).standard_normal((1, *imported.axes.shape), np.float32)
        with backend.quiet():
            whole = _session(imported.model).run1(clip)
            features = _session(encoder).run1(clip[0])
            scores = _session(head).run1(features[None])
    except ModelError as error:
        raise _NotSplitError(str(error)) from error
    if not np.abs(scores - whole).max() <= CLOSE * max(1.0, float(np.abs(whole).max())):
        raise _NotSplitError("frames are not encoded separately")
