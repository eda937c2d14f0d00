"""Multi-head attention in float, as matrix products and a softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.activation import softmax
from keras_octet.tflite.emit.arithmetic import binary, cast
from keras_octet.tflite.emit.common import argument
from keras_octet.tflite.emit.dense import einsum, emit_einsum_dense
from keras_octet.tflite.graph import Graph

_MASKED = 1e9


def emit_multi_head_attention(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """Project, `softmax(q k / sqrt(key_dim) + mask) v`, project; one attention axis, rank 3."""
    query, value, key = (argument(graph, name) for name in ("query", "value", "key"))
    _require_supported(layer, graph)
    query, value = graph.index(query), graph.index(value)
    key = value if key is None else graph.index(key)
    heads, size = layer.num_heads, layer.key_dim

    def project(dense: Any, source: int, width: int, name: str) -> int:
        batch, length, _ = graph.shape(source)
        target = graph.temporary((batch, length, heads, width), like=source, name=name)
        emit_einsum_dense(dense, graph, [source], target)
        return target

    q = project(layer.query_dense, query, size, "query")
    k = project(layer.key_dense, key, size, "key")
    v = project(layer.value_dense, value, layer.value_dim, "value")
    scaled = binary(graph, "MUL", q, float(1.0 / np.sqrt(float(size))))
    scores = einsum(graph, "btnh,bsnh->bnts", scaled, k)
    mask = _additive_mask(graph, scores)
    if mask is not None:
        scores = binary(graph, "ADD", scores, mask)
    weights = graph.temporary(like=scores, name="weights")
    softmax(graph, scores, weights)
    attended = einsum(graph, "bnts,bsnh->btnh", weights, v)
    emit_einsum_dense(layer.output_dense, graph, [attended], output)


def _require_supported(layer: Any, graph: Graph) -> None:
    if any(graph.rank(index) != 3 for index in [graph.index(argument(graph, "query"))]):
        raise ExportError("attends over a tensor that is not (batch, length, features).")
    for name in ("_sliding_window", "_use_gate"):
        if getattr(layer, name, None):
            raise ExportError(f"has {name[1:]}, which has no .tflite form here.")
    for name in ("query_mask", "value_mask", "key_mask"):
        if argument(graph, name) is not None:
            raise ExportError(f"is called with {name}; pass attention_mask instead.")
    if argument(graph, "return_attention_scores", False):
        raise ExportError("returns its attention scores, which has no .tflite form here.")


def _additive_mask(graph: Graph, scores: int) -> int | None:
    """0 where attention is allowed and a large negative number elsewhere, or None."""
    mask = argument(graph, "attention_mask")
    total: int | None = None
    if mask is not None:
        allowed = cast(graph, graph.operand(mask), "float32")
        missing = binary(graph, "SUB", allowed, 1.0)
        total = binary(graph, "MUL", missing, _MASKED)
        shape = graph.shape(total)
        if len(shape) == 3:
            total = graph.reshape(total, (shape[0], 1, *shape[1:]))
    if argument(graph, "use_causal_mask", False):
        length, span = graph.static_shape(scores, 2, 3)
        causal = np.where(np.tri(length, span, dtype=bool), 0.0, -_MASKED).astype(np.float32)
        constant = graph.constant(causal[None, None], name="causal_mask")
        total = constant if total is None else binary(graph, "ADD", total, constant)
    return total
