"""Golden files in full int8: `python -m tests.golden.make_int8 [name ...]`.

Needs TensorFlow, whose converter makes them, and `ai-edge-quantizer` for those named
`..._by_litert`. One file for an operator; its variants are outputs of one function, so that a
hundred models need not be compiled.
"""

from __future__ import annotations

import inspect
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_octet.tflite.read import parse
from keras_octet.tflite.read.call import qparams_of
from tests.golden.record import record

BATCH = 3
Shape = tuple[int | None, ...]
IMAGE = (None, 9, 8, 6)
ROWS = (None, 5, 12)
rng = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """A function of tensors of `shapes`, calibrated on values between `low` and `high`.

    Attributes:
        bounded: it has no result for other values.
        sparse: zeros of weights are left out.
    """

    function: Callable[..., Any]
    shapes: tuple[Shape, ...]
    low: float = -2.0
    high: float = 2.0
    bounded: bool = False
    float_io: bool = False
    per_tensor: bool = False
    sparse: bool = False


CASES: dict[str, Case] = {}
# What the LiteRT quantizer has in int8 too.
BY_LITERT = """
    add arg_min average_pool_2d broadcast_to comparisons concatenation conv_2d depthwise_conv_2d div
    fully_connected gather gather_nd hard_swish logistic max_pool_2d mean mirror_pad mul pack
    pad padv2 reduce_min relu requantize reshape resize_bilinear resize_nearest_neighbor rsqrt
    select softmax space_to_depth split sqrt squared_difference strided_slice sub sum tanh transpose
    transpose_conv unpack
"""


def case(name: str, *shapes: Shape, **options: Any) -> Callable[[Any], Any]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        CASES[name] = Case(function, shapes, **options)
        return function

    return add


def weights(*shape: int, scale: float = 0.3) -> tf.Tensor:
    """Constant float32 weights, channels of different size."""
    size = scale * rng.uniform(0.3, 1.5, shape[-1:])
    return tf.constant((rng.normal(0, 1, shape) * size).astype(np.float32))


def convert(case: Case, by_litert: bool) -> bytes:
    specs = [tf.TensorSpec(shape, tf.float32) for shape in case.shapes]
    module = tf.Module()
    module.call = tf.function(case.function, input_signature=specs)
    concrete = module.call.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if by_litert:
        return quantized(bytes(converter.convert()), list(samples(case)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if case.sparse:
        converter.optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if not case.float_io:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if case.per_tensor:
        converter._experimental_disable_per_channel = True
    converter.representative_dataset = lambda: samples(case)
    return bytes(converter.convert())


def samples(case: Case) -> Iterator[dict[str, np.ndarray]]:
    names = list(inspect.signature(case.function).parameters)
    for seed in range(10):
        generator = np.random.default_rng(seed)
        yield {
            name: uniform(generator, shape, case.low, case.high)
            for name, shape in zip(names, case.shapes, strict=True)
        }


def quantized(content: bytes, data: list[dict[str, np.ndarray]]) -> bytes:
    """A float file with int8 weights and activations, by the LiteRT quantizer."""
    from ai_edge_quantizer import quantizer, recipe

    found = quantizer.Quantizer(bytearray(content))
    found.load_quantization_recipe(recipe.static_wi8_ai8())
    return bytes(found.quantize(found.calibrate({"serving_default": data})).quantized_model)


def uniform(generator: Any, shape: Shape, low: float, high: float) -> np.ndarray:
    sizes = [BATCH if size is None else size for size in shape]
    return generator.uniform(low, high, sizes).astype(np.float32)


def inputs(case: Case, content: bytes) -> list[np.ndarray]:
    """In the order of the file: int8 values; float values a little beyond the calibrated ones."""
    generator = np.random.default_rng(7)
    graph = parse(content).subgraphs[0]
    found = []
    for index in graph.inputs:
        shape = graph.tensors[index].shape
        if case.float_io:
            found.append(uniform(generator, shape, 1.1 * case.low, 1.1 * case.high))
        elif case.bounded:
            values = uniform(generator, shape, case.low, case.high)
            found.append(qparams_of(graph.tensors[index]).quantize(values))
        else:
            sizes = [BATCH if size is None else size for size in shape]
            found.append(generator.integers(-128, 128, sizes).astype(np.int8))
    return found


@case("fully_connected_int8", (None, 12), (None, 3, 12))
def fully_connected(x, y):
    z = tf.nn.bias_add(x @ weights(12, 5), weights(5))
    wide = tf.matmul(tf.reshape(y, (-1, 12)), weights(12, 7))
    return z, tf.nn.relu(x @ weights(12, 4)), tf.nn.relu6(3 * (x @ weights(12, 4))), wide


@case("fully_connected_int8_per_tensor", (None, 12), per_tensor=True)
def fully_connected_per_tensor(x):
    return x @ weights(12, 5)


@case("fully_connected_int8_float_io", (None, 12), float_io=True)
def fully_connected_float_io(x):
    return tf.nn.bias_add(x @ weights(12, 5), weights(5))


@case("fully_connected_int8_keep_num_dims", (2, 4, 12))
def fully_connected_keep_num_dims(x):
    return tf.einsum("bti,io->bto", x, weights(12, 5)), tf.tensordot(x, weights(12, 6), 1)


@case("fully_connected_int8_sparse", (None, 64), sparse=True)
def fully_connected_sparse(x):
    """In blocks of 16 inputs; otherwise the converter writes DENSIFY, which LiteRT does not run."""
    generator = np.random.default_rng(0)
    kept = np.repeat(generator.random((4, 32)) < 0.2, 16, axis=0)
    return x @ (generator.normal(0, 0.3, (64, 32)) * kept).astype(np.float32)


@case("conv_2d_int8", IMAGE)
def conv_2d(x):
    return (
        tf.nn.bias_add(tf.nn.conv2d(x, weights(3, 2, 6, 5), 1, "SAME"), weights(5)),
        tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 6, 4), (1, 2, 1, 1), "VALID")),
        tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 6, 3), 1, "SAME", dilations=(1, 2, 2, 1))),
        tf.nn.conv2d(x, weights(3, 3, 3, 8), 1, "SAME"),
    )


@case("conv_2d_int8_per_tensor", IMAGE, per_tensor=True)
def conv_2d_per_tensor(x):
    return tf.nn.conv2d(x, weights(3, 2, 6, 5), 2, "SAME")


@case("depthwise_conv_2d_int8", IMAGE)
def depthwise_conv_2d(x):
    strides = (1, 2, 2, 1)
    return (
        tf.nn.bias_add(
            tf.nn.depthwise_conv2d(x, weights(3, 3, 6, 1), (1, 1, 1, 1), "SAME"), weights(6)
        ),
        tf.nn.relu6(tf.nn.depthwise_conv2d(x, weights(3, 2, 6, 2), strides, "VALID")),
        tf.nn.depthwise_conv2d(x, weights(3, 3, 6, 1), (1, 1, 1, 1), "SAME", dilations=(2, 2)),
    )


@case("transpose_conv_int8", (2, 5, 4, 6))
def transpose_conv(x):
    return (
        tf.nn.conv2d_transpose(x, weights(3, 3, 5, 6), (2, 10, 8, 5), 2, "SAME"),
        tf.nn.bias_add(
            tf.nn.conv2d_transpose(x, weights(2, 4, 3, 6), (2, 10, 10, 3), 2, "VALID"), weights(3)
        ),
        tf.nn.relu(tf.nn.conv2d_transpose(x, weights(3, 3, 2, 6), (2, 9, 7, 2), 2, "SAME")),
    )


@case("add_int8", ROWS, ROWS, (None, 1, 12))
def add(x, y, z):
    return (
        x + 0.25 * y,
        tf.nn.relu(x + z),
        tf.nn.relu6(3 * x + weights(12)),
        1.5 + x,
        weights(5, 1) + y,
    )


@case("sub_int8", ROWS, (None, 1, 12))
def sub(x, y):
    return x - y, tf.nn.relu(y - x), x - weights(12), 0.7 - x


@case("mul_int8", ROWS, (None, 1, 12))
def mul(x, y):
    return x * y, tf.nn.relu(x * y), tf.nn.relu6(4 * x * y), weights(5, 12) * x


@case("div_int8", ROWS, ROWS, low=0.5, bounded=True)
def div(x, y):
    return x / y


@case("maximum_int8", ROWS, (None, 1, 12))
def maximum(x, y):
    return tf.maximum(x, y), tf.maximum(x, 0.5), tf.maximum(weights(12), y)


@case("minimum_int8", ROWS, (None, 1, 12))
def minimum(x, y):
    return tf.minimum(x, y), tf.minimum(x, 0.5)


@case("squared_difference_int8", ROWS, (None, 1, 12))
def squared_difference(x, y):
    return tf.math.squared_difference(x, y), tf.math.squared_difference(x, weights(12))


@case("comparisons_int8", ROWS, (None, 1, 12))
def comparisons(x, y):
    return x > y, x >= 0.5, y < x, x <= y, tf.equal(x, y), tf.not_equal(x, y)


@case("select_int8", ROWS, ROWS)
def select(x, y):
    return tf.where(x > y, x, y), tf.where(tf.less_equal(x, 0.3), 1.0, y)


@case("abs_int8", ROWS)
def absolute(x):
    return tf.abs(x)


@case("rsqrt_int8", ROWS, low=0.1, high=9.0, bounded=True)
def rsqrt(x):
    return tf.math.rsqrt(tf.nn.relu(x) + 0.05)


@case("exp_int8", ROWS)
def exp(x):
    return tf.exp(x)


@case("log_int8", ROWS, low=0.01, high=5)
def log(x):
    return tf.math.log(x)


@case("sqrt_int8", ROWS, low=0.0, high=5, bounded=True)
def sqrt(x):
    return tf.sqrt(x)


@case("mean_int8", IMAGE)
def mean(x):
    return (
        tf.reduce_mean(x, (1, 2)),
        tf.reduce_mean(x, (1, 2), keepdims=True),
        tf.reduce_mean(x, 3),
        tf.reduce_mean(x, (2, 3), keepdims=True),
        tf.reduce_mean(x, (1, 2, 3)),
        tf.reduce_mean(x, 0),
    )


@case("sum_int8", IMAGE)
def total(x):
    return tf.reduce_sum(x, (1, 2)), tf.reduce_sum(x, 3, keepdims=True), tf.reduce_sum(x, 0)


@case("reduce_max_int8", IMAGE)
def reduce_max(x):
    return tf.reduce_max(x, (1, 2)), tf.reduce_max(x, 3, keepdims=True), tf.reduce_max(x, (1, 3))


@case("reduce_min_int8", IMAGE)
def reduce_min(x):
    return tf.reduce_min(x, (1, 2)), tf.reduce_min(x, 3, keepdims=True), tf.reduce_min(x, 0)


@case("max_pool_2d_int8", IMAGE)
def max_pool(x):
    return tf.nn.max_pool2d(x, 2, 2, "VALID"), tf.nn.max_pool2d(x, (3, 2), (2, 1), "SAME")


@case("average_pool_2d_int8", IMAGE)
def average_pool(x):
    return tf.nn.avg_pool2d(x, 2, 2, "VALID"), tf.nn.avg_pool2d(x, (3, 2), (2, 1), "SAME")


@case("l2_normalization_int8", ROWS)
def l2_normalization(x):
    return tf.math.l2_normalize(x, -1)


@case("logistic_int8", ROWS, low=-6, high=6)
def logistic(x):
    return tf.sigmoid(x)


@case("tanh_int8", ROWS)
def tanh(x):
    return tf.tanh(x)


@case("softmax_int8", (None, 12), (None, 2, 3, 12))
def softmax(x, y):
    return tf.nn.softmax(x), tf.nn.softmax(4 * x), tf.nn.softmax(y)


@case("log_softmax_int8", ROWS)
def log_softmax(x):
    return tf.nn.log_softmax(x)


@case("relu_int8", ROWS)
def relu(x):
    return tf.nn.relu(x)


@case("relu6_int8", ROWS, low=-8, high=8)
def relu6(x):
    return tf.nn.relu6(x)


@case("relu_n1_to_1_int8", ROWS)
def relu_n1_to_1(x):
    return tf.minimum(tf.maximum(x, -1.0), 1.0)


@case("leaky_relu_int8", ROWS)
def leaky_relu(x):
    return tf.nn.leaky_relu(x, 0.3), tf.nn.leaky_relu(x, 0.001), tf.nn.leaky_relu(2 * x, 0.2)


@case("hard_swish_int8", ROWS, low=-5, high=5)
def hard_swish(x):
    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


@case("reshape_int8", (None, 6, 4))
def reshape(x):
    return tf.reshape(x, (-1, 24)), tf.reshape(x, (-1, 2, 3, 4)), tf.reshape(x, (-1, 8))


@case("transpose_int8", (2, 3, 4, 5))
def transpose(x):
    return tf.transpose(x, (0, 3, 1, 2)), tf.transpose(x, (1, 0, 2, 3)), tf.transpose(x)


@case("pad_int8", IMAGE)
def pad(x):
    return (
        tf.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
        tf.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1))),
        tf.pad(x, ((0, 1), (0, 0), (0, 0), (0, 0))),
    )


@case("padv2_int8", IMAGE)
def padv2(x):
    return tf.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=1.5)


@case("mirror_pad_int8", IMAGE)
def mirror_pad(x):
    widths = ((0, 0), (1, 2), (3, 0), (0, 1))
    return tf.pad(x, widths, "REFLECT"), tf.pad(x, widths, "SYMMETRIC")


@case("concatenation_int8", (2, 3, 4), (2, 1, 4), (2, 3, 2))
def concatenation(x, y, z):
    return tf.concat((x, y, x), 1), tf.concat((z, x), -1), tf.concat((x, x, x, x, x, x), 0)


@case("requantize_int8", (None, 6), (None, 6))
def requantize(x, y):
    return tf.concat((tf.maximum(x, y), 3 * y), 1)


@case("split_int8", (2, 6, 4))
def split(x):
    return (*tf.split(x, 3, 1), *tf.split(x, 2, 0))


@case("split_v_int8", (None, 6, 4))
def split_v(x):
    return tf.split(x, (1, 3, 2), 1)


@case("slice_int8", (None, 6, 4))
def slices(x):
    return tf.slice(x, (0, 1, 2), (-1, 3, 2)), tf.slice(x, (1, 0, 0), (1, 6, 4))


@case("strided_slice_int8", (None, 6, 5))
def strided_slice(x):
    return x[:, 1:5:2, ::-1], x[:, -1], x[:, 1:-1, 2], x[1:, 4:1:-2], x[:, tf.newaxis, 2:, ..., 1:]


@case("pack_int8", (2, 3), (2, 3))
def pack(x, y):
    return tf.stack((x, y)), tf.stack((y, x, y), -1)


@case("unpack_int8", (2, 3, 4))
def unpack(x):
    return (*tf.unstack(x, axis=1), *tf.unstack(x))


@case("tile_int8", (2, 3, 4))
def tile(x):
    return tf.tile(x, (1, 2, 1)), tf.tile(x, (2, 1, 3))


@case("gather_int8", (2, 6, 4))
def gather(x):
    return (
        tf.gather(x, (2, 0, 5), axis=1),
        tf.gather(x, ((1, 0), (0, 0)), axis=0),
        tf.gather(x, ((1, 0), (3, 5)), axis=1, batch_dims=1),
    )


@case("gather_nd_int8", (2, 6, 4))
def gather_nd(x):
    return tf.gather_nd(x, ((0, 1), (1, 5), (1, 0)))


@case("expand_dims_int8", (2, 6))
def expand_dims(x):
    return tf.expand_dims(x, 0), tf.expand_dims(x, -1)


@case("squeeze_int8", (1, 6, 1, 2))
def squeeze(x):
    return tf.squeeze(x), tf.squeeze(x, 2)


@case("reverse_v2_int8", (2, 6, 4))
def reverse(x):
    return tf.reverse(x, (1,)), tf.reverse(x, (1, 2)), tf.reverse(x, (0,))


@case("broadcast_to_int8", (1, 6))
def broadcast_to(x):
    return tf.broadcast_to(x, (4, 3, 6))


@case("resize_nearest_neighbor_int8", (None, 5, 4, 3))
def resize_nearest(x):
    nearest = tf.compat.v1.image.resize_nearest_neighbor
    return (
        nearest(x, (10, 7)),
        nearest(x, (3, 9), align_corners=True),
        nearest(x, (10, 8), half_pixel_centers=True),
    )


@case("resize_bilinear_int8", (None, 5, 4, 3))
def resize_bilinear(x):
    bilinear = tf.compat.v1.image.resize_bilinear
    return (
        bilinear(x, (10, 7)),
        bilinear(x, (3, 9), align_corners=True),
        bilinear(x, (10, 7), half_pixel_centers=True),
    )


@case("space_to_depth_int8", (None, 4, 6, 3))
def space_to_depth(x):
    return tf.nn.space_to_depth(x, 2)


@case("depth_to_space_int8", (None, 2, 3, 12))
def depth_to_space(x):
    return tf.nn.depth_to_space(x, 2)


@case("space_to_batch_nd_int8", (2, 4, 6, 3))
def space_to_batch(x):
    return tf.space_to_batch(x, (2, 3), ((0, 0), (2, 1)))


@case("batch_to_space_nd_int8", (12, 2, 3, 3))
def batch_to_space(x):
    return tf.batch_to_space(x, (2, 3), ((1, 0), (0, 2)))


@case("batch_matmul_int8", (2, 4, 6), (2, 6, 5), (2, 5, 6), (2, 6, 4))
def batch_matmul(x, y, z, w):
    return (
        tf.matmul(x, y),
        tf.matmul(x, z, transpose_b=True),
        tf.matmul(w, y, transpose_a=True),
        tf.matmul(x, tf.nn.relu(y)),
        tf.matmul(x, weights(2, 6, 3)),
    )


@case("arg_max_int8", (None, 5, 4))
def arg_max(x):
    return tf.argmax(x, 1, output_type=tf.int32), tf.argmax(x, -1, output_type=tf.int32)


@case("arg_min_int8", (None, 5, 4))
def arg_min(x):
    return tf.argmin(x, 1, output_type=tf.int32)


def main() -> None:
    global rng
    every = [*CASES, *(f"{name}_int8_by_litert" for name in BY_LITERT.split())]
    for name in sys.argv[1:] or every:
        case = CASES[name.removesuffix("_by_litert")]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        content = convert(case, name.endswith("_by_litert"))
        record(name, content, inputs(case, content))


if __name__ == "__main__":
    main()
