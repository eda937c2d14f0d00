"""int8 AVERAGE_POOL_2D as float32 operators, see `activations`.

LiteRT rounds an average of the stored integers, ties away from their zero, and QUANTIZE rounds ties
to even. A factor a little above 1 decides all ties.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.graph import Graph, Operator
from keras_octet.tflite.xnnpack.common import quantize_affine, to_float, usual_qparams

# The factor less 1. It moves a tie by at least half of that, 2e-4 steps: more than float32 rounds
# away of 255 steps in 13 roundings, 5 of them in the sum. It moves what is no tie by at most 128
# times that, 0.051: less than 1/18, how near other averages of 9 values or less come to a tie.
EXCESS = 4e-4
MOST_VALUES = 9


def average_in_float(graph: Graph, operator: Operator) -> bool:
    """Add float32 operators that give the bits of an int8 average of few values."""
    if operator.code != "AVERAGE_POOL_2D":
        return False
    (source,), (target,), options = operator.inputs, operator.outputs, operator.options
    qparams = usual_qparams(graph, source, target)
    if (
        qparams is None
        or qparams[0] != qparams[1]  # LiteRT averages the integers all the same
        or options.filterHeight * options.filterWidth > MOST_VALUES
        # XNNPACK does not take what skips values.
        or options.strideH > options.filterHeight
        or options.strideW > options.filterWidth
        or options.fusedActivationFunction != schema.ActivationFunctionType.NONE
    ):
        return False
    offset = EXCESS * qparams[0].scale * qparams[0].zero_point
    shape = graph.shape(target)
    value = graph.then("AVERAGE_POOL_2D", [to_float(graph, source)], options, shape=shape)
    quantize_affine(graph, value, 1 + EXCESS, offset, target)
    return True
