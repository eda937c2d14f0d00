"""Quantized layers: the operator each becomes, its version, and whether XNNPACK takes it.

Their values are compared to the bit in `tests/layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet import layers
from keras_octet.qparams import QParams
from keras_octet.tflite.run import Interpreter
from keras_octet.tflite.write import to_tflite
from tests.tflite.support import parsed, versions

Q = layers
SOURCE = QParams(scale=0.031, zero_point=-7)
OTHER = QParams(scale=0.024, zero_point=11)
TARGET = QParams(scale=0.083, zero_point=5)
SYMMETRIC = QParams(scale=0.02, zero_point=0)
WIDE = QParams(scale=0.01, zero_point=0, dtype="int16")
PROBABILITY = QParams(scale=1 / 256, zero_point=-128)
MOVED: dict[str, Any] = {"input_qparams": [SOURCE], "output_qparams": TARGET}
KEPT: dict[str, Any] = {"input_qparams": [SOURCE], "output_qparams": SOURCE}
TWO: dict[str, Any] = {"input_qparams": [SOURCE, OTHER], "output_qparams": TARGET}
ALIKE: dict[str, Any] = {"input_qparams": [SOURCE, SOURCE], "output_qparams": SOURCE}
IMAGE = (7, 6, 4)


def model_of(layer: Any, *shapes: Sequence[int]) -> keras.Model:
    """One layer on int8 inputs, random int8 weights."""
    inputs = [keras.Input(shape, dtype="int8") for shape in shapes]
    model = keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    rng = np.random.default_rng(0)
    if isinstance(layer, Q.QuantizedLinear):
        layer.assign_weights(
            rng.integers(-127, 128, layer.kernel.shape).astype(np.int8),
            rng.integers(-2000, 2000, layer.bias.shape).astype(np.int32),
            rng.uniform(0.002, 0.004, layer.kernel_scale.shape).astype(np.float32),
        )
    return model


def convolution(**options: Any) -> Q.QuantizedConv2D:
    return Q.QuantizedConv2D(kernel_size=(3, 2), **options, **MOVED)


def transposed(**options: Any) -> Q.QuantizedConv2DTranspose:
    return Q.QuantizedConv2DTranspose(filters=3, kernel_size=(3, 3), strides=(2, 2), **options)


# The model, the operators with their versions, and whether XNNPACK takes them.
CASES: dict[str, tuple[Callable[[], keras.Model], dict[str, int], bool]] = {
    "Dense": (
        lambda: model_of(Q.QuantizedDense(5, activation="relu", **MOVED), (9,)),
        {"FULLY_CONNECTED": 4},
        True,
    ),
    "Dense rank 3": (
        lambda: model_of(Q.QuantizedDense(5, **MOVED), (4, 9)),
        {"FULLY_CONNECTED": 5},
        True,
    ),
    "Conv2D": (lambda: model_of(convolution(filters=5), IMAGE), {"CONV_2D": 3}, True),
    "Conv2D grouped": (
        lambda: model_of(convolution(filters=6, groups=2), IMAGE),
        {"CONV_2D": 6},
        True,
    ),
    "DepthwiseConv2D": (
        lambda: model_of(
            Q.QuantizedDepthwiseConv2D(kernel_size=(3, 3), dilation_rate=(2, 2), **MOVED), IMAGE
        ),
        {"DEPTHWISE_CONV_2D": 3},
        True,
    ),
    "Conv2DTranspose": (
        lambda: model_of(transposed(padding="same", **MOVED), IMAGE),
        {"TRANSPOSE_CONV": 3},
        True,
    ),
    "Conv2DTranspose relu": (
        lambda: model_of(transposed(activation="relu", **MOVED), IMAGE),
        {"TRANSPOSE_CONV": 4},
        True,
    ),
    "Scale": (
        lambda: model_of(Q.QuantizedScale(**MOVED), IMAGE),
        {"DEPTHWISE_CONV_2D": 3},
        True,
    ),
    "Scale rank 2": (
        lambda: model_of(Q.QuantizedScale(**MOVED), (6,)),
        {"RESHAPE": 1, "DEPTHWISE_CONV_2D": 3},
        True,
    ),
    "Matmul": (
        lambda: model_of(
            Q.QuantizedMatmul(input_qparams=[SOURCE, SYMMETRIC], output_qparams=TARGET),
            (4, 6),
            (6, 5),
        ),
        {"BATCH_MATMUL": 2},
        True,
    ),
    "Add": (lambda: model_of(Q.QuantizedAdd(**TWO), (4, 3), (4, 3)), {"ADD": 2}, True),
    "Subtract": (lambda: model_of(Q.QuantizedSubtract(**TWO), (4, 3), (4, 3)), {"SUB": 2}, True),
    "Multiply": (lambda: model_of(Q.QuantizedMultiply(**TWO), (4, 3), (1, 3)), {"MUL": 2}, True),
    "Maximum": (
        lambda: model_of(Q.QuantizedMaximum(**ALIKE), (4, 3), (4, 3)),
        {"MAXIMUM": 2},
        False,
    ),
    "Concatenate": (
        lambda: model_of(Q.QuantizedConcatenate(axis=-1, **ALIKE), (4, 3), (4, 5)),
        {"CONCATENATION": 2},
        True,
    ),
    "AveragePooling2D": (
        lambda: model_of(
            Q.QuantizedAveragePooling2D(pool_size=(3, 3), strides=(2, 2), padding="same", **KEPT),
            IMAGE,
        ),
        {"AVERAGE_POOL_2D": 2},
        False,
    ),
    "MaxPooling2D": (
        lambda: model_of(Q.QuantizedMaxPooling2D(pool_size=(3, 2), strides=(2, 2), **KEPT), IMAGE),
        {"MAX_POOL_2D": 2},
        True,
    ),
    "Mean": (lambda: model_of(Q.QuantizedMean(axis=(1, 2), **MOVED), IMAGE), {"MEAN": 2}, True),
    "GlobalMaxPooling2D": (
        lambda: model_of(Q.QuantizedGlobalMaxPooling2D(**KEPT), IMAGE),
        {"REDUCE_MAX": 2},
        True,
    ),
    "Reshape": (
        lambda: model_of(Q.QuantizedReshape(target_shape=(2, -1), **KEPT), IMAGE),
        {"RESHAPE": 1},
        True,
    ),
    "Permute": (
        lambda: model_of(Q.QuantizedPermute(dims=(3, 1, 2), **KEPT), IMAGE),
        {"TRANSPOSE": 2},
        True,
    ),
    "Cropping2D": (
        lambda: model_of(Q.QuantizedCropping2D(cropping=((1, 2), (0, 3)), **KEPT), IMAGE),
        {"STRIDED_SLICE": 2},
        True,
    ),
    "ZeroPadding2D": (
        lambda: model_of(Q.QuantizedZeroPadding2D(padding=((1, 2), (0, 3)), **KEPT), IMAGE),
        {"PAD": 2},
        True,
    ),
    "UpSampling2D": (
        lambda: model_of(
            Q.QuantizedUpSampling2D(size=(2, 3), interpolation="nearest", **KEPT), IMAGE
        ),
        {"RESIZE_NEAREST_NEIGHBOR": 3},
        False,
    ),
    "Resizing": (
        lambda: model_of(
            Q.QuantizedResizing(height=5, width=11, interpolation="bilinear", **KEPT), IMAGE
        ),
        {"RESIZE_BILINEAR": 3},
        True,
    ),
    "ReLU 6": (lambda: model_of(Q.QuantizedReLU(max_value=6, **MOVED), (9,)), {"RELU6": 2}, False),
    "LeakyReLU": (
        lambda: model_of(Q.QuantizedLeakyReLU(negative_slope=0.2, **MOVED), (9,)),
        {"LEAKY_RELU": 1},
        True,
    ),
    "PReLU": (
        lambda: model_of(
            Q.QuantizedPReLU(alpha_qparams=SYMMETRIC, shared_axes=(1, 2), **MOVED), IMAGE
        ),
        {"PRELU": 1},
        False,
    ),
    "ELU": (lambda: model_of(Q.QuantizedELU(**MOVED), (9,)), {"ELU": 1}, True),
    "sigmoid": (
        lambda: model_of(
            Q.QuantizedActivation(
                activation="sigmoid", input_qparams=[SOURCE], output_qparams=PROBABILITY
            ),
            (9,),
        ),
        {"LOGISTIC": 2},
        True,
    ),
    "gelu": (
        lambda: model_of(Q.QuantizedActivation(activation="gelu", **MOVED), (9,)),
        {"GELU": 2},
        False,
    ),
    "hard_silu": (
        lambda: model_of(Q.QuantizedActivation(activation="hard_silu", **MOVED), (9,)),
        {"HARD_SWISH": 1},
        False,
    ),
    "Softmax": (
        lambda: model_of(
            Q.QuantizedSoftmax(input_qparams=[SOURCE], output_qparams=PROBABILITY), (9,)
        ),
        {"SOFTMAX": 2},
        False,
    ),
    "Requantize": (lambda: model_of(Q.Requantize(**MOVED), (9,)), {"QUANTIZE": 1}, True),
    "Dequantize": (
        lambda: model_of(Q.Dequantize(input_qparams=[SOURCE]), (9,)),
        {"DEQUANTIZE": 2},
        True,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operator_of_a_quantized_layer(name: str) -> None:
    make, operators, delegated = CASES[name]
    model = make()
    content = to_tflite(model)
    assert versions(content) == operators
    interpreter = Interpreter(content)
    assert (interpreter.left() == []) is delegated
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        arrays = [
            rng.integers(-128, 128, (batch, *x.shape[1:])).astype(np.int8) for x in model.inputs
        ]
        (received,) = interpreter(*arrays)
        expected = model(arrays if len(arrays) > 1 else arrays[0])
        np.testing.assert_array_equal(received, keras.ops.convert_to_numpy(expected))


@pytest.mark.parametrize("largest", [8.0, 3.0])
def test_quantizing_a_relu6_gives_a_relu_because_the_range_ends_there(largest: float) -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.ReLU(6.0)])
    data = np.linspace(-largest, largest, 64, dtype=np.float32).reshape(8, 8)
    content = ko.quantize(model, data).to_tflite()
    assert "RELU" in versions(content)
    (received,) = Interpreter(content)(data)
    np.testing.assert_allclose(received, np.clip(data, 0, 6), atol=largest / 64)


def test_every_quantized_layer_has_a_case_or_shares_one() -> None:
    from keras_octet.tflite.emit import EMITTERS

    missing = [
        name
        for name in Q.__all__
        if isinstance(getattr(Q, name), type) and getattr(Q, name) not in EMITTERS
    ]
    bases = ["QuantizedLayer", "QuantizedLinear", "StatefulLayer"]
    assert sorted(missing) == bases


def test_parameters_of_weights_and_activations() -> None:
    layer = convolution(filters=5)
    model = model_of(layer, IMAGE)
    source, kernel, bias, target = _tensors(model, "CONV_2D")
    np.testing.assert_array_equal(source.quantization.scale, np.float32([SOURCE.scale]))
    assert list(source.quantization.zeroPoint) == [SOURCE.zero_point]
    np.testing.assert_array_equal(target.quantization.scale, np.float32([TARGET.scale]))
    scale = keras.ops.convert_to_numpy(layer.kernel_scale)
    np.testing.assert_array_equal(kernel.quantization.scale, scale)
    assert kernel.quantization.quantizedDimension == 0
    assert list(kernel.quantization.zeroPoint) == [0] * 5
    np.testing.assert_array_equal(bias.quantization.scale, np.float32(SOURCE.scale) * scale)
    assert list(kernel.shape) == [5, 3, 2, 4]


def test_depthwise_scales_run_along_the_last_axis() -> None:
    layer = Q.QuantizedDepthwiseConv2D(kernel_size=(3, 3), depth_multiplier=2, **MOVED)
    _, kernel, _, _ = _tensors(model_of(layer, IMAGE), "DEPTHWISE_CONV_2D")
    assert list(kernel.shape) == [1, 3, 3, 8]
    assert kernel.quantization.quantizedDimension == 3
    assert len(kernel.quantization.scale) == 8


def test_float_islands_between_quantized_layers() -> None:
    inputs = keras.Input((6,))
    x = Q.Quantize(output_qparams=SOURCE)(inputs)
    x = Q.Dequantize(input_qparams=[SOURCE])(x)
    x = keras.layers.Activation("softplus")(x)
    x = Q.Quantize(output_qparams=OTHER)(x)
    outputs = Q.Dequantize(input_qparams=[OTHER])(x)
    model = keras.Model(inputs, outputs)
    values = np.linspace(-3, 3, 12, dtype=np.float32).reshape(2, 6)
    (received,) = Interpreter(to_tflite(model))(values)
    expected = keras.ops.convert_to_numpy(model(values))
    np.testing.assert_allclose(received, expected, atol=OTHER.scale * 1.01)


def _tensors(model: keras.Model, code: str) -> list[Any]:
    """The input, kernel, bias and output tensors of the only operator."""
    subgraph = parsed(to_tflite(model)).subgraphs[0]
    (operator,) = subgraph.operators
    return [subgraph.tensors[i] for i in (*operator.inputs, *operator.outputs)]


@pytest.mark.parametrize("kind", ["int8", "int16"])
@pytest.mark.parametrize(("padding", "extra"), [("same", 1), ("same", 2), ("valid", 0)])
def test_transposed_convolution_of_the_builtin_kernel_keeps_its_gaps(
    kind: str, padding: str, extra: int
) -> None:
    """A window smaller than its stride is stored as it is, and read and written again the same."""
    cls, options = (
        (Q.QuantizedConv2DTranspose, {"builtin": True, **MOVED})
        if kind == "int8"
        else (Q.Int16Conv2DTranspose, {"input_qparams": [WIDE], "output_qparams": WIDE})
    )
    layer = cls(
        filters=3,
        kernel_size=(2, 1),
        strides=(4, 1),
        padding=padding,
        output_padding=(extra, 0),
        **options,
    )
    inputs = keras.Input((5, 4, 2), batch_size=1, dtype=kind)
    content = to_tflite(keras.Model(inputs, layer(inputs)))
    for file in (content, ko.load_model(content).to_tflite()):
        interpreter = Interpreter(file)
        assert interpreter.operators()[-1] == "TRANSPOSE_CONV"
        assert "TRANSPOSE_CONV" in interpreter.left()
        operator = parsed(file).subgraphs[0].operators[-1]
        assert list(parsed(file).subgraphs[0].tensors[operator.inputs[1]].shape) == [3, 2, 1, 2]
