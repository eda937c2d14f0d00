"""A graph in the form that XNNPACK runs fastest, with the same bits."""

from __future__ import annotations

from collections.abc import Sequence

from keras_octet.tflite.graph import Graph
from keras_octet.tflite.xnnpack.activations import activate_in_float
from keras_octet.tflite.xnnpack.columns import convolve_columns
from keras_octet.tflite.xnnpack.common import replace_operators
from keras_octet.tflite.xnnpack.pooling import average_in_float
from keras_octet.tflite.xnnpack.rows import pad_rows, scale_rows


def rewrite_for_xnnpack(graph: Graph, outputs: Sequence[int]) -> None:
    """Rewrite the operators of `graph`, which has these outputs, in place."""
    for replace in (activate_in_float, average_in_float, scale_rows, convolve_columns):
        replace_operators(graph, replace)
    pad_rows(graph, outputs)
