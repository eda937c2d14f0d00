"""FULLY_CONNECTED on int16: the bias says how wide LiteRT sums, where the operator does not."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.qparams import QParams
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import NO_TENSOR, Graph, Quantization
from keras_octet.tflite.run import Interpreter
from tests.strategies import inexact_inverse
from tests.tflite.read.test_golden import run_layers

ROWS, FEATURES, UNITS = 2000, 32, 9
TYPES = {"unsaid": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}


def dense_file(
    bias: str | None,
    said: str,
    *,
    per_tensor: bool,
    scales: tuple[float, float] = (2**-10, 2**-8),
    kernel_scale: float | None = None,
) -> bytes:
    """A file with these scales of input and output, and of the kernel by default random ones."""
    rng, graph = np.random.default_rng(0), Graph()
    qparams = [QParams(scale=scale, zero_point=0, dtype="int16") for scale in scales]
    source, output = (Quantization.of(x) for x in qparams)
    # Powers of two, for ties to be rounded.
    scale = np.exp2(rng.integers(-7, -4, 1 if per_tensor else UNITS)).astype(np.float32)
    if kernel_scale is not None:
        scale = np.full_like(scale, kernel_scale)
    x = graph.tensor("x", (ROWS, FEATURES), "int16", source)
    kernel = rng.integers(-127, 128, (UNITS, FEATURES)).astype(np.int8)
    inputs = [x, graph.constant(kernel, quantization=Quantization.symmetric(scale, 0)), NO_TENSOR]
    if bias is not None:
        inputs[2] = graph.constant(
            rng.integers(-1000, 1000, UNITS).astype(bias),
            quantization=Quantization.symmetric(np.float32(qparams[0].scale) * scale, 0),
        )
    y = graph.tensor("y", (ROWS, UNITS), "int16", output)
    options = schema.FullyConnectedOptionsT(quantizedBiasType=TYPES[said])
    graph.operator("FULLY_CONNECTED", inputs, [y], options)
    return pack(graph, [x], [y], ["x"], ["y"], "main")


FILES = {
    "no bias": (None, "unsaid"),
    "32 bits": ("int32", "unsaid"),
    "64 bits": ("int64", "unsaid"),
    "no bias, said": (None, "int32"),
}


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_same_bits(name: str, per_tensor: bool) -> None:
    assert_same_bits(dense_file(*FILES[name], per_tensor=per_tensor))


def test_scales_are_multiplied_in_float32() -> None:
    """Their product is a power of two as float32, a little less as float64: large sums tell."""
    number, inverse = inexact_inverse()
    assert_same_bits(
        dense_file(
            None,
            "unsaid",
            per_tensor=True,
            scales=(number, 64.0),
            kernel_scale=inverse / 32,
        )
    )


def assert_same_bits(content: bytes) -> None:
    model = ko.load_model(content)
    values = np.random.default_rng(1).integers(-(2**15), 2**15, (ROWS, FEATURES)).astype(np.int16)
    (expected,) = Interpreter(content)(values)
    np.testing.assert_array_equal(run_layers(model, [values])[0], expected)
    np.testing.assert_array_equal(Interpreter(model.to_tflite())(values)[0], expected)
