"""int8 HARD_SWISH, PRELU, RELU and RELU6 as float32 operators.

XNNPACK has none of them for int8. LiteRT's own compute one value after another, on one thread, and
cut XNNPACK's graph in two. XNNPACK's float32 operators together are several times as fast.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_octet.in_float import (
    clip_correction,
    hard_swish_correction,
    hard_swish_in_parts,
    prelu_correction,
)
from keras_octet.tflite.emit.arithmetic import binary, unary
from keras_octet.tflite.emit.common import FUSED_ACTIVATIONS
from keras_octet.tflite.graph import Graph, Operator
from keras_octet.tflite.storage import dequantized
from keras_octet.tflite.xnnpack.common import quantize_affine, to_float, usual_qparams

# Added to float32 and subtracted, it leaves an integer.
_ROUND = 1.5 * 2.0**23


def activate_in_float(graph: Graph, operator: Operator) -> bool:
    """Add float32 operators that give the bits of an int8 activation, if any are found."""
    return operator.code in _ACTIVATIONS and _ACTIVATIONS[operator.code](graph, operator)


def _clip(graph: Graph, operator: Operator) -> bool:
    (source,), (target,) = operator.inputs, operator.outputs
    qparams = usual_qparams(graph, source, target)
    found = qparams and clip_correction(*qparams, 6.0 if operator.code == "RELU6" else None)
    if not found:
        return False
    clipped = unary(graph, operator.code, to_float(graph, source))
    quantize_affine(graph, clipped, *found, target)
    return True


def _hard_swish(graph: Graph, operator: Operator) -> bool:
    (source,), (target,) = operator.inputs, operator.outputs
    qparams = usual_qparams(graph, source, target)
    if qparams is None:
        return False
    if found := hard_swish_correction(*qparams):
        value = unary(graph, "HARD_SWISH", to_float(graph, source))
        quantize_affine(graph, value, *found, target)
        return True
    if in_parts := hard_swish_in_parts(*qparams):
        parts, factor, offset = in_parts
        x = to_float(graph, source)
        rounded = binary(graph, "ADD", binary(graph, "MUL", x, parts), _ROUND)
        rounded = binary(graph, "SUB", rounded, _ROUND)
        gate = binary(graph, "ADD", x, 3.0, activation=FUSED_ACTIVATIONS["relu6"])
        quantize_affine(graph, binary(graph, "MUL", rounded, gate), factor, offset, target)
        return True
    return False


def _prelu(graph: Graph, operator: Operator) -> bool:
    (source, alpha), (target,) = operator.inputs, operator.outputs
    qparams = usual_qparams(graph, source, alpha, target)
    slopes, quantization = graph.tensors[alpha].data, graph.tensors[alpha].quantization
    if qparams is None or slopes is None or quantization is None:
        return False
    # XNNPACK takes one slope a channel.
    if not slopes.size == slopes.shape[-1] == graph.shape(source)[-1]:
        return False
    found = [prelu_correction(*qparams, int(slope)) for slope in slopes.flat]
    if None in found:
        return False
    factors, offsets = (graph.constant(x) for x in np.array(found, np.float32).T)
    reals = graph.constant(dequantized(slopes, quantization), name="alpha")
    value = graph.then("PRELU", [to_float(graph, source), reals])
    quantize_affine(graph, value, factors, offsets, target)
    return True


_ACTIVATIONS: dict[str, Callable[[Graph, Operator], bool]] = {
    "HARD_SWISH": _hard_swish,
    "PRELU": _prelu,
    "RELU": _clip,
    "RELU6": _clip,
}
