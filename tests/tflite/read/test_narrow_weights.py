"""int8 and int16 activations with int4 weights: the bits of LiteRT, and int4 when written again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.qparams import QParams
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph, Quantization
from keras_octet.tflite.run import Interpreter
from keras_octet.windows import output_length
from tests.strategies import inexact_inverse
from tests.tflite.read.test_golden import run_layers
from tests.tflite.read.test_hostile import repacked

ROWS, IMAGE = 40, (2, 9, 8)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operator with a random kernel.

    Attributes:
        inputs: shape of the input.
        kernel: shape in the file, output channels along `axis`.
        window: of the options of convolutions: strides and dilation.
        scales: of the input, of the kernel (None: at random) and of the output.
        bias: None: at random.
        activations, sums: their types; int16 is summed in int32 or int64.
    """

    code: str = "CONV_2D"
    inputs: tuple[int, ...]
    kernel: tuple[int, ...]
    axis: int = 0
    per_tensor: bool = False
    activation: int = schema.ActivationFunctionType.NONE
    strides: int = 1
    dilation: int = 1
    scales: tuple[float, float | None, float] = (0.05, None, 0.25)
    bias: np.ndarray | None = None
    activations: str = "int8"
    sums: str = "int32"


def file_of(case: Case) -> bytes:
    rng, graph = np.random.default_rng(0), Graph()
    channels = case.kernel[case.axis]
    input_scale, kernel_scale, output_scale = case.scales
    # Powers of two, for ties to be rounded.
    exponents = rng.integers(-6, -3, 1 if case.per_tensor else channels)
    scale = np.exp2(exponents) if kernel_scale is None else np.full(exponents.shape, kernel_scale)
    scale = scale.astype(np.float32)
    zeros = (-3, 5) if case.activations == "int8" else (0, 0)
    before, after = (
        Quantization.of(QParams(scale=scale, zero_point=zero, dtype=case.activations))
        for scale, zero in zip((input_scale, output_scale), zeros, strict=True)
    )
    source = graph.tensor("x", case.inputs, case.activations, before)
    kernel = graph.constant(
        rng.integers(-8, 8, case.kernel).astype(np.int8),
        name="kernel",
        quantization=Quantization.symmetric(scale, case.axis),
    )
    graph.tensors[kernel].dtype = "int4"
    bias = graph.constant(
        (rng.integers(-50, 50, channels) if case.bias is None else case.bias).astype(case.sums),
        name="bias",
        quantization=Quantization.symmetric(np.float32(input_scale) * scale, 0),
    )
    output = graph.tensor("y", (*_outer(case), channels), case.activations, after)
    graph.operator(case.code, [source, kernel, bias], [output], _options(case))
    return pack(graph, [source], [output], ["x"], ["y"], "main")


def _outer(case: Case) -> tuple[int, ...]:
    if case.code == "FULLY_CONNECTED":
        return case.inputs[:-1]
    sizes = zip(case.inputs[1:3], case.kernel[1:3], strict=True)
    return (
        case.inputs[0],
        *(output_length(n, k, case.strides, "same", case.dilation) for n, k in sizes),
    )


def _options(case: Case) -> Any:
    if case.code == "FULLY_CONNECTED":
        return schema.FullyConnectedOptionsT(
            fusedActivationFunction=case.activation, quantizedBiasType=_bias_type(case)
        )
    window = {
        "padding": schema.Padding.SAME,
        "strideH": case.strides,
        "strideW": case.strides,
        "dilationHFactor": case.dilation,
        "dilationWFactor": case.dilation,
        "fusedActivationFunction": case.activation,
    }
    if case.code == "CONV_2D":
        return schema.Conv2DOptionsT(**window, quantizedBiasType=_bias_type(case))
    return schema.DepthwiseConv2DOptionsT(
        depthMultiplier=case.kernel[3] // case.inputs[3], **window
    )


def _bias_type(case: Case) -> int:
    """Only int16 operators say how wide they sum."""
    wide = case.activations == "int16" and case.sums == "int32"
    return schema.TensorType.INT32 if wide else schema.TensorType.FLOAT32


RELU6 = schema.ActivationFunctionType.RELU6
DENSE = {"code": "FULLY_CONNECTED"}
DEPTHWISE = {"code": "DEPTHWISE_CONV_2D", "axis": 3}
INT16 = {"activations": "int16", "sums": "int64", "scales": (2.0**-10, None, 2.0**-9)}
CASES = {
    "dense even": Case(inputs=(ROWS, 8), kernel=(11, 8), **DENSE),
    "dense odd": Case(inputs=(ROWS, 7), kernel=(11, 7), activation=RELU6, **DENSE),
    "dense odd, one scale": Case(inputs=(ROWS, 33), kernel=(5, 33), per_tensor=True, **DENSE),
    "dense even, int16": Case(inputs=(ROWS, 8), kernel=(11, 8), **DENSE, **INT16),
    "dense odd, int16": Case(
        inputs=(ROWS, 7), kernel=(11, 7), activation=RELU6, **DENSE, **(INT16 | {"sums": "int32"})
    ),
    "dense, one scale, int16": Case(
        inputs=(ROWS, 33), kernel=(5, 33), per_tensor=True, **DENSE, **INT16
    ),
    "conv": Case(inputs=(*IMAGE, 8), kernel=(9, 3, 3, 8)),
    "conv, int16": Case(inputs=(*IMAGE, 7), kernel=(9, 3, 3, 7), strides=2, **INT16),
    "conv, int16, one scale": Case(
        inputs=(*IMAGE, 8),
        kernel=(9, 3, 3, 8),
        per_tensor=True,
        activation=RELU6,
        **(INT16 | {"sums": "int32"}),
    ),
    "conv, grouped, int16": Case(inputs=(*IMAGE, 8), kernel=(8, 3, 3, 4), **INT16),
    "conv, dilated, int16": Case(inputs=(*IMAGE, 6), kernel=(8, 3, 3, 6), dilation=2, **INT16),
    "conv, odd, one scale": Case(
        inputs=(*IMAGE, 7), kernel=(5, 3, 2, 7), per_tensor=True, strides=2, activation=RELU6
    ),
    "conv, dilated": Case(inputs=(*IMAGE, 6), kernel=(8, 3, 3, 6), dilation=2),
    "conv, 1x1": Case(inputs=(*IMAGE, 8), kernel=(16, 1, 1, 8)),
    "conv, grouped": Case(inputs=(*IMAGE, 8), kernel=(8, 3, 3, 4)),
    "depthwise": Case(inputs=(*IMAGE, 17), kernel=(1, 3, 3, 17), **DEPTHWISE),
    "depthwise, multiplied": Case(
        inputs=(*IMAGE, 5), kernel=(1, 3, 3, 15), activation=RELU6, **DEPTHWISE
    ),
}


def assert_same_bits(case: Case) -> None:
    content = file_of(case)
    model, before = ko.load_model(content), Interpreter(content)
    again = model.to_tflite()
    after = Interpreter(again)
    assert after.delegated() == before.delegated()
    # Operators on int16 say how wide they sum.
    assert len(again) <= len(content) + (32 if case.activations == "int16" else 0)
    rng = np.random.default_rng(1)
    for _ in range(3):
        limits = np.iinfo(case.activations)
        x = rng.integers(limits.min, limits.max + 1, case.inputs).astype(case.activations)
        (expected,) = before(x)
        np.testing.assert_array_equal(run_layers(model, [x])[0], expected)
        np.testing.assert_array_equal(after(x)[0], expected)


@pytest.mark.parametrize("name", CASES)
def test_same_bits(name: str) -> None:
    assert_same_bits(CASES[name])


def test_scales_are_multiplied_in_float32() -> None:
    """Their product is a power of two as float32, a little less as float64: large sums tell."""
    scale, inverse = inexact_inverse()
    assert_same_bits(
        Case(
            inputs=(ROWS, 7),
            kernel=(11, 7),
            per_tensor=True,
            scales=(scale, inverse / 32, 2.0**19),
            bias=(2 * np.arange(10, 120, 10) + 1) * 2**23,  # sums near ties
            **DENSE,
        )
    )


def as_int2(model: Any) -> None:
    kernel = model.subgraphs[0].tensors[1]
    kernel.type = schema.TensorType.INT2
    stored = model.buffers[kernel.buffer]
    stored.data = stored.data[: len(stored.data) // 2]


def test_the_file_says_what_runtime_it_needs() -> None:
    for activations, version in (({}, 10), (INT16, 13)):
        content = file_of(Case(inputs=(ROWS, 8), kernel=(11, 8), **DENSE, **activations))
        again = ko.load_model(content).to_tflite()
        codes = schema.ModelT.InitFromPackedBuf(again, 0).operatorCodes
        assert [x.version for x in codes] == [version]


def test_depthwise_on_int16_is_refused() -> None:
    """LiteRT reads each byte as one weight."""
    case = Case(inputs=(*IMAGE, 17), kernel=(1, 3, 3, 17), **DEPTHWISE, **INT16)
    with pytest.raises(ko.ModelFileError, match=r"int4 weights .* on int16 activations"):
        ko.load_model(file_of(case))


def test_int2_is_refused() -> None:
    content = repacked(file_of(Case(inputs=(ROWS, 8), kernel=(11, 8), **DENSE)), as_int2)
    with pytest.raises(ko.ModelFileError, match=r"int2 weights of shape \(11, 8\) on int8"):
        ko.load_model(content)
