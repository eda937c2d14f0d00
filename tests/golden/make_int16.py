"""Golden files in 16x8: `python -m tests.golden.make_int16 [name ...]`.

int16 activations and int8 weights. Needs TensorFlow and, for `..._by_litert`, `ai-edge-quantizer`.
One file for an operator; its variants are outputs of one function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_octet.tflite.read import parse
from tests.golden.record import record

BATCH = 2
Shape = tuple[int | None, ...]
rng = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """A function of tensors of `shapes`, whose values lie between -2 and 2.

    Attributes:
        bias_bits: of the integer biases.
        float_io: float inputs and outputs.
        by_litert: quantized by `ai-edge-quantizer`.
    """

    function: Callable[..., Any]
    shapes: tuple[Shape, ...]
    bias_bits: int = 64
    float_io: bool = False
    by_litert: bool = False


CASES: dict[str, Case] = {}


def case(name: str, *shapes: Shape, **options: Any) -> Callable[[Any], Any]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        CASES[name] = Case(function, shapes, **options)
        return function

    return add


def weights(*shape: int, scale: float = 0.3) -> tf.Tensor:
    """Constant float32 weights, channels of different size."""
    size = scale * rng.uniform(0.3, 1.5, shape[-1:])
    return tf.constant((rng.normal(0, 1, shape) * size).astype(np.float32))


def draw(shape: Shape, seed: int) -> np.ndarray:
    sizes = [BATCH if size is None else size for size in shape]
    return np.random.default_rng(seed).uniform(-2, 2, sizes).astype(np.float32)


def convert(case: Case) -> bytes:
    specs = [tf.TensorSpec(shape, tf.float32, name=f"x{i}") for i, shape in enumerate(case.shapes)]
    module = tf.Module()
    module.call = tf.function(case.function, input_signature=specs)
    concrete = module.call.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if case.by_litert:
        return quantize(bytes(converter.convert()), case)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    if case.bias_bits == 32:
        converter._experimental_full_integer_quantization_bias_type = tf.int32
    if not case.float_io:
        converter.inference_input_type = converter.inference_output_type = tf.int16

    def samples() -> Iterator[list[np.ndarray]]:
        for seed in range(10):
            yield [draw(s, 10 * seed + i) for i, s in enumerate(case.shapes)]

    converter.representative_dataset = samples
    return bytes(converter.convert())


def quantize(content: bytes, case: Case) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    found = quantizer.Quantizer(bytearray(content))
    found.load_quantization_recipe(recipe.static_wi8_ai16())
    sample = {f"x{i}": draw(shape, i) for i, shape in enumerate(case.shapes)}
    calibrated = found.calibrate({"serving_default": [sample]})
    return bytes(found.quantize(calibrated).quantized_model)


def inputs(case: Case, content: bytes) -> list[np.ndarray]:
    """In the order of the file, which is not always that of the function."""
    generator = np.random.default_rng(7)
    found = []
    for number, shape in enumerate(case.shapes):
        sizes = [BATCH if size is None else size for size in shape]
        if case.float_io:
            found.append(np.float32(1.1) * draw(shape, number + 999))
        else:
            found.append(generator.integers(-(2**15), 2**15, sizes).astype(np.int16))
    graph = parse(content).subgraphs[0]
    names = [graph.tensors[index].name for index in graph.inputs]
    return [found[int(name.split("x")[1].split(":")[0])] for name in names]


IMAGE = (BATCH, 7, 6, 4)
ROWS = (None, 5, 12)


@case("fully_connected_int16", (None, 12), (None, 3, 12))
@case("fully_connected_int16_bias_32", (None, 12), (None, 3, 12), bias_bits=32)
@case("fully_connected_int16_float_io", (None, 12), (None, 3, 12), float_io=True)
def fully_connected(x, y):
    z = tf.nn.bias_add(x @ weights(12, 5), weights(5))
    wide = tf.matmul(tf.reshape(y, (-1, 12)), weights(12, 7))
    return z, tf.nn.relu(x @ weights(12, 4)), tf.nn.relu6(3 * (x @ weights(12, 4))), wide


@case("conv_2d_int16", IMAGE)
@case("conv_2d_int16_bias_32", IMAGE, bias_bits=32)
def conv_2d(x):
    y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weights(3, 3, 4, 9), 2, "SAME"), weights(9)))
    return y, tf.nn.bias_add(tf.nn.conv2d(x, weights(2, 3, 4, 5), 1, "VALID"), weights(5))


@case("depthwise_conv_2d_int16", IMAGE)
def depthwise_conv_2d(x):
    y = tf.nn.depthwise_conv2d(x, weights(3, 3, 4, 2), [1, 1, 1, 1], "SAME")
    return tf.nn.relu6(tf.nn.bias_add(y, weights(8)))


@case("transpose_conv_int16", IMAGE)
@case("transpose_conv_int16_bias_32", IMAGE, bias_bits=32)
def transpose_conv(x):
    y = tf.nn.conv2d_transpose(x, weights(3, 3, 9, 4), (BATCH, 14, 12, 9), 2, "SAME")
    return tf.nn.bias_add(y, weights(9))


@case("batch_matmul_int16", (BATCH, 4, 6), (BATCH, 6, 5), (BATCH, 5, 6))
def batch_matmul(x, y, z):
    return x @ y, tf.matmul(x, z, transpose_b=True)


@case("add_int16", ROWS, ROWS)
def add(x, y):
    return x + y, tf.nn.relu(x + 3 * y), x + weights(12)


@case("sub_int16", ROWS, ROWS)
def sub(x, y):
    return x - y, tf.nn.relu6(2 * x - y)


@case("mul_int16", ROWS, ROWS)
def mul(x, y):
    return x * y, tf.nn.relu(x * weights(12))


@case("average_pool_2d_int16", IMAGE)
def average_pool_2d(x):
    return tf.nn.avg_pool2d(x, 3, 2, "SAME"), tf.nn.avg_pool2d(x, [2, 3], 1, "VALID")


@case("max_pool_2d_int16", IMAGE)
def max_pool_2d(x):
    return tf.nn.max_pool2d(x, 3, 2, "SAME"), tf.nn.max_pool2d(x, [2, 3], 1, "VALID")


@case("mean_int16", IMAGE)
def mean(x):
    return tf.reduce_mean(x, (1, 2)), tf.reduce_mean(x, 3, keepdims=True)


@case("logistic_int16", ROWS)
def logistic(x):
    return tf.sigmoid(x), tf.sigmoid(5 * x)


@case("tanh_int16", ROWS)
def tanh(x):
    return tf.tanh(x), tf.tanh(5 * x)


@case("softmax_int16", ROWS)
def softmax(x):
    return tf.nn.softmax(x), tf.nn.softmax(9 * x)


@case("relu_int16", ROWS)
def relu(x):
    return tf.nn.relu(tf.reshape(x, (-1, 6))), tf.nn.relu6(5 * tf.reshape(x, (-1, 6)))


@case("leaky_relu_int16", ROWS)
def leaky_relu(x):
    return tf.nn.leaky_relu(x, 0.3)


@case("concatenation_int16", ROWS, ROWS)
def concatenation(x, y):
    return tf.concat([x, y], -1)


@case("moves_int16", (BATCH, 4, 6))
def moves(x):
    y = tf.transpose(tf.pad(x, ((0, 0), (1, 0), (2, 1))), (0, 2, 1))
    return tf.reshape(y, (BATCH, -1)), x[:, 1:3, ::2]


@case("maximum_int16", ROWS, ROWS)
def maximum(x, y):
    return tf.maximum(x, y), tf.minimum(x, y)


@case("resize_bilinear_int16", IMAGE)
def resize_bilinear(x):
    return tf.image.resize(x, (5, 11)), tf.compat.v1.image.resize_bilinear(x, (9, 4), True)


@case("resize_nearest_neighbor_int16", IMAGE)
def resize_nearest_neighbor(x):
    return tf.image.resize(x, (5, 11), "nearest")


@case("functions_int16", ROWS)
def functions(x):
    return tf.abs(x), tf.exp(x), tf.nn.gelu(x), tf.reduce_sum(x, 2), tf.sigmoid(tf.exp(x))


@case("rsqrt_int16", ROWS)
def rsqrt(x):
    y = tf.nn.relu(x) + 0.5
    return tf.math.rsqrt(y), tf.math.log(y)


@case("conv_2d_int16_dilated", (None, 7, 6, 4))
def conv_2d_dilated(x):
    return tf.nn.conv2d(x, weights(3, 3, 4, 8), 1, "SAME", dilations=2)


@case("fully_connected_int16_by_litert", (None, 12), by_litert=True)
def fully_connected_by_litert(x):
    return tf.nn.relu(tf.nn.bias_add(x @ weights(12, 9), weights(9))) @ weights(9, 5)


@case("conv_2d_int16_by_litert", IMAGE, by_litert=True)
def conv_2d_by_litert(x):
    y = tf.nn.conv2d(x, weights(3, 3, 4, 8), 1, "SAME")
    return tf.nn.softmax(tf.reduce_mean(tf.nn.relu(tf.nn.bias_add(y, weights(8))), (1, 2)))


def main(names: list[str]) -> None:
    for name in names or CASES:
        content = convert(CASES[name])
        record(name, content, inputs(CASES[name], content))


if __name__ == "__main__":
    main(sys.argv[1:])
