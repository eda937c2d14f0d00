"""Golden files with integer weights on float activations, and with int4 weights:
`python -m tests.golden.make_hybrid [name ...]`.

Needs TensorFlow and, for the files named `..._by_litert`, `ai-edge-quantizer`.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph
from tests.golden.record import record

BATCH = 3
Shape = tuple[int | None, ...]
rng = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """A function of one tensor; ids if `rows` is given, else float values.

    Attributes:
        quantize: the float `.tflite` file to the quantized one; None for TensorFlow's converter.
        embeds: the function gives the table of an EMBEDDING_LOOKUP, which TensorFlow's converter
            does not write, and the quantizer gets a file of that operator.
    """

    function: Callable[..., Any]
    shape: Shape
    rows: int | None = None
    quantize: Callable[[bytes, np.ndarray], bytes] | None = None
    embeds: bool = False


CASES: dict[str, Case] = {}


def case(name: str, shape: Shape, **options: Any) -> Callable[[Any], Any]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        CASES[name] = Case(function, shape, **options)
        return function

    return add


def weights(*shape: int, scale: float = 0.2) -> tf.Tensor:
    """Constant float32 weights, channels of different size."""
    size = scale * rng.uniform(0.3, 1.5, shape[-1:])
    return tf.constant((rng.normal(0, 1, shape) * size).astype(np.float32))


def convert(case: Case) -> bytes:
    if case.embeds:
        return embedding(case)
    dtype = tf.float32 if case.rows is None else tf.int32
    module = tf.Module()
    module.call = tf.function(case.function, input_signature=[tf.TensorSpec(case.shape, dtype)])
    concrete = module.call.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if case.quantize is None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def embedding(case: Case) -> bytes:
    """A float file of EMBEDDING_LOOKUP."""
    graph, table = Graph(), np.asarray(case.function())
    ids = graph.tensor("x", case.shape, "int32")
    output = graph.tensor("y", (*case.shape, table.shape[1]), "float32")
    graph.operator("EMBEDDING_LOOKUP", [ids, graph.constant(table, name="table")], [output])
    return pack(graph, [ids], [output], ["x"], ["y"], "main")


def values(case: Case) -> np.ndarray:
    generator = np.random.default_rng(7)
    shape = [BATCH if size is None else size for size in case.shape]
    if case.rows is not None:
        return generator.integers(0, case.rows, shape).astype(np.int32)
    x = generator.normal(0, 1, shape)
    x.reshape(shape[0], -1)[1] = np.clip(x[1].ravel() * 3, -2, 2)  # a range symmetric around 0
    return x.astype(np.float32)


def dynamic(weights: str) -> Callable[[bytes, np.ndarray], bytes]:
    """The LiteRT quantizer's recipe of dynamic ranges: `"wi8"`, `"wi4"`, `"wi2c"`, `"wi4b32"`."""

    def quantize(content: bytes, sample: np.ndarray) -> bytes:
        from ai_edge_quantizer import quantizer, recipe

        found = quantizer.Quantizer(bytearray(content))
        found.load_quantization_recipe(getattr(recipe, f"dynamic_{weights}_afp32")())
        return bytes(found.quantize().quantized_model)

    return quantize


def static_int4(content: bytes, sample: np.ndarray) -> bytes:
    """The LiteRT quantizer: int8 activations, int4 weights where it has them."""
    from ai_edge_quantizer import qtyping, quantizer

    found = quantizer.Quantizer(bytearray(content))
    names = qtyping.TFLOperationName
    found.add_static_config(".*", names.ALL_SUPPORTED, 8, 8)
    for name in (names.FULLY_CONNECTED, names.CONV_2D):
        found.add_static_config(".*", name, 8, 4)
    calibrated = found.calibrate({"serving_default": [{"x": sample}]})
    return bytes(found.quantize(calibrated).quantized_model)


IMAGE = (BATCH, 7, 6, 8)


@case("fully_connected_hybrid", (None, 32))
def fully_connected(x):
    hidden = tf.nn.relu(tf.nn.bias_add(x @ weights(32, 32), weights(32)))
    return hidden @ weights(32, 40), x @ weights(32, 33)


@case("fully_connected_hybrid_rank_3", (None, 5, 32))
def fully_connected_rank_3(x):
    return tf.nn.relu6(tf.nn.bias_add(tf.linalg.matmul(x, weights(32, 36)), weights(36)))


@case("conv_2d_hybrid", IMAGE)
def conv_2d(x):
    same = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weights(3, 3, 8, 16), 1, "SAME"), weights(16)))
    strided = tf.nn.relu6(tf.nn.conv2d(x, weights(3, 2, 8, 24), 2, "VALID"))
    return same, strided, tf.nn.conv2d(x, weights(3, 3, 8, 16), 1, "SAME", dilations=2)


@case("conv_2d_hybrid_1x1", (BATCH, 4, 5, 32))
def conv_2d_1x1(x):
    y = tf.nn.conv2d(x, weights(1, 1, 32, 32), 1, "SAME")
    return y, tf.nn.conv2d(x, weights(1, 1, 32, 32), 2, "SAME")


@case("conv_2d_hybrid_grouped", (BATCH, 4, 5, 16))
def conv_2d_grouped(x):
    return tf.nn.conv2d(x, weights(3, 3, 8, 16), 1, "SAME")


@case("depthwise_conv_2d_hybrid", (BATCH, 4, 5, 128))
def depthwise_conv_2d(x):
    y = tf.nn.depthwise_conv2d(x, weights(3, 3, 128, 1), [1, 1, 1, 1], "SAME")
    return tf.nn.relu(tf.nn.bias_add(y, weights(128)))


@case("transpose_conv_hybrid", IMAGE)
def transpose_conv(x):
    y = tf.nn.conv2d_transpose(x, weights(3, 3, 16, 8), (BATCH, 14, 12, 16), 2, "SAME")
    z = tf.nn.conv2d_transpose(x, weights(3, 3, 16, 8), (BATCH, 15, 13, 16), 2, "VALID")
    return y, tf.nn.bias_add(z, weights(16))


@case("batch_matmul_hybrid", (BATCH, 4, 16))
def batch_matmul(x):
    return x @ weights(BATCH, 16, 24)


@case("gather_hybrid", (BATCH, 4), rows=64)
def gather(ids):
    return tf.gather(weights(64, 32), ids)


@case("fully_connected_hybrid_by_litert", (None, 32), quantize=dynamic("wi8"))
@case("fully_connected_int4_by_litert", (None, 32), quantize=dynamic("wi4"))
@case("fully_connected_int4_static_by_litert", (None, 32), quantize=static_int4)
def fully_connected_by_litert(x):
    return tf.nn.relu(tf.nn.bias_add(x @ weights(32, 18), weights(18))) @ weights(18, 7)


@case("fully_connected_int4_odd_by_litert", (None, 33), quantize=dynamic("wi4"))
def fully_connected_odd(x):
    return tf.nn.bias_add(x @ weights(33, 18), weights(18))


@case("fully_connected_int4_odd_static_by_litert", (None, 33), quantize=static_int4)
def fully_connected_odd_static(x):
    return tf.nn.relu6(tf.nn.bias_add(x @ weights(33, 18), weights(18)))


@case("fully_connected_int2_by_litert", (None, 64), quantize=dynamic("wi2c"))
@case("fully_connected_blockwise_by_litert", (None, 64), quantize=dynamic("wi4b32"))
def fully_connected_narrow(x):
    return tf.nn.relu(tf.nn.bias_add(x @ weights(64, 32), weights(32))) @ weights(32, 9)


@case("embedding_lookup_hybrid_by_litert", (None,), rows=64, quantize=dynamic("wi8"), embeds=True)
@case("embedding_lookup_int4_by_litert", (None,), rows=64, quantize=dynamic("wi4"), embeds=True)
def embedding_lookup():
    return weights(64, 24)


@case("embedding_lookup_int4_odd_by_litert", (None,), rows=64, quantize=dynamic("wi4"), embeds=True)
def embedding_lookup_odd():
    return weights(64, 25)


@case("conv_2d_hybrid_by_litert", IMAGE, quantize=dynamic("wi8"))
@case("conv_2d_int4_by_litert", IMAGE, quantize=dynamic("wi4"))
@case("conv_2d_int4_static_by_litert", IMAGE, quantize=static_int4)
def conv_2d_by_litert(x):
    return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weights(3, 3, 8, 9), 1, "SAME"), weights(9)))


@case("depthwise_conv_2d_hybrid_by_litert", (BATCH, 5, 6, 7), quantize=dynamic("wi8"))
def depthwise_by_litert(x):
    return tf.nn.depthwise_conv2d(x, weights(3, 3, 7, 2), [1, 2, 2, 1], "SAME")


@case("transpose_conv_hybrid_by_litert", IMAGE, quantize=dynamic("wi8"))
def transpose_conv_by_litert(x):
    return tf.nn.conv2d_transpose(x, weights(3, 3, 5, 8), (BATCH, 14, 12, 5), 2, "SAME")


def main(names: list[str]) -> None:
    global rng
    for name in names or CASES:
        found = CASES[name]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        content, sample = convert(found), values(found)
        if found.quantize is not None:
            content = found.quantize(content, sample)
        if found.quantize is static_int4:
            sample = rng.integers(-128, 128, sample.shape).astype(np.int8)
        record(name, content, [sample])


if __name__ == "__main__":
    main(sys.argv[1:])
