"""Golden files of float, integer and bool operators: `python -m tests.golden.make_float [name]`.

Needs TensorFlow, whose converter makes them; operators that it never emits are written by hand.
The batch is open in all of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import Graph
from keras_octet.tflite.read import parse
from tests.golden.record import record

L = keras.layers
BATCH = 3


def floats(*shape: int, seed: int = 0, low: float | None = None) -> np.ndarray:
    """Normal values, or values from `low` up; shape without the batch."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (BATCH, *shape))
    return (values if low is None else np.abs(values) + low).astype(np.float32)


def ints(high: int, *shape: int, seed: int = 0, low: int = 0, dtype: str = "int32") -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (BATCH, *shape)).astype(dtype)


def bools(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (BATCH, *shape)).astype(bool)


@dataclass
class Case:
    """A golden file.

    Attributes:
        make: a function of the inputs, with TensorFlow or Keras; or a Keras layer; or what writes
            the bytes, for an operator that the converter does not emit.
        inputs: arrays.
        fixed: the batch is not open.
        float16: weights are stored so.
        sparse: zeros of weights are left out.
    """

    make: Any
    inputs: Sequence[np.ndarray]
    fixed: bool = False
    float16: bool = False
    sparse: bool = False


def converted(case: Case) -> bytes:
    """What TensorFlow's converter makes of a case."""
    specs = [
        tf.TensorSpec((x.shape[0] if case.fixed else None, *x.shape[1:]), x.dtype, name=f"x{i}")
        for i, x in enumerate(case.inputs)
    ]
    if isinstance(case.make, keras.layers.Layer):
        inputs = [
            keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=spec.name) for spec in specs
        ]
        output = case.make(inputs if len(inputs) > 1 else inputs[0])
        model = randomized(keras.Model(inputs, output))
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if case.float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())
    function = tf.function(case.make).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if case.sparse:
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    return bytes(converter.convert())


def randomized(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(1)
    for variable in model.weights:
        shape = tuple(variable.shape)
        positive = variable.name in ("gamma", "moving_variance")
        variable.assign(rng.uniform(0.5, 2.0, shape) if positive else rng.normal(0, 0.5, shape))
    return model


def written(
    code: str,
    outputs: Sequence[tuple[Any, ...]],
    *operands: Any,
    options: Any = None,
    dtype: str = "float32",
) -> Callable[[Sequence[np.ndarray]], bytes]:
    """What writes a file of one operator.

    Args:
        code: the operator.
        outputs: shapes, None for the batch.
        operands: an int for that input of the model, an array for a constant.
        options: an options object of the schema.
        dtype: of the outputs.
    """

    def write(arrays: Sequence[np.ndarray]) -> bytes:
        graph = Graph()
        inputs = [
            graph.tensor(f"x{i}", (None, *x.shape[1:]), x.dtype.name) for i, x in enumerate(arrays)
        ]
        results = [graph.tensor(f"y{i}", shape, dtype) for i, shape in enumerate(outputs)]
        indices = [inputs[x] if isinstance(x, int) else graph.constant(x) for x in operands]
        graph.operator(code, indices, results, options)
        names = [graph.tensors[i].name for i in inputs], [graph.tensors[i].name for i in results]
        return pack(graph, inputs, results, *names, name="main")

    return write


def pruned(*shape: int, block: int = 1) -> np.ndarray:
    """A matrix with few values that are not 0, in blocks along its first axis."""
    rng = np.random.default_rng(0)
    rows, columns = shape
    kept = np.repeat(rng.random((rows // block, columns)) < 0.15, block, axis=0)
    return (rng.normal(size=shape) * kept).astype(np.float32)


def parts(values: Any) -> list[Any]:
    """Real and imaginary parts of complex values."""
    return [tf.math.real(values), tf.math.imag(values)]


def unary(function: Callable[[Any], Any], *inputs: np.ndarray) -> Case:
    return Case(lambda x: function(x), inputs or [floats(4, 9)])


def binary(function: Callable[[Any, Any], Any], low: float | None = None) -> Case:
    """Two tensors, a constant on either side, and broadcasting."""
    row = np.array([0.5, -1.5, 2.0], np.float32) if low is None else np.array([0.5, 1.5, 2.0], "f4")
    return Case(
        lambda x, y: {
            "tensors": function(x, y),
            "right": function(x, row),
            "left": function(row * 2, x),
            "scalar": function(x, np.float32(0.3)),
            "broadcast": function(x, y[:, :1]),
        },
        [floats(4, 3, low=low), floats(4, 3, seed=1, low=low)],
    )


def integer_binary(function: Callable[[Any, Any], Any]) -> Case:
    return Case(
        lambda x, y: {"tensors": function(x, y), "scalar": function(x, np.int32(3))},
        [ints(50, 4, 3, low=-50), ints(9, 4, 3, seed=1, low=1)],
    )


def fused(function: Callable[[Any, Any], Any]) -> Case:
    """The same with each activation that an operator can take in."""
    return Case(
        lambda x, y: {
            "relu": tf.nn.relu(function(x, y)),
            "relu6": tf.nn.relu6(function(x, y)),
            "relu_n1_to_1": tf.maximum(tf.minimum(function(x, y), 1.0), -1.0),
        },
        [floats(4, 3), floats(4, 3, seed=1, low=0.5)],
    )


IMAGE = (8, 7, 4)

CASES: dict[str, Case] = {
    # Elements of one tensor
    "abs_float": unary(tf.abs),
    "ceil_float": unary(tf.math.ceil),
    "cos_float": unary(tf.cos),
    "densify_float": Case(lambda x: x @ pruned(64, 32), [floats(64)], sparse=True),
    "fully_connected_float_sparse": Case(
        lambda x: x @ pruned(64, 32, block=4), [floats(64)], sparse=True
    ),
    "elu_float": Case(L.ELU(), [floats(4, 9)]),
    "exp_float": unary(tf.exp),
    "floor_float": unary(tf.floor),
    "gelu_float": Case(
        written("GELU", [(None, 4, 9)], 0, options=schema.GeluOptionsT(approximate=False)),
        [floats(4, 9)],
    ),
    "gelu_float_tanh": Case(
        written("GELU", [(None, 4, 9)], 0, options=schema.GeluOptionsT(approximate=True)),
        [floats(4, 9)],
    ),
    "hard_swish_float": Case(L.Activation("hard_silu"), [floats(4, 9)]),
    "leaky_relu_float": Case(L.LeakyReLU(0.3), [floats(4, 9)]),
    "log_float": unary(tf.math.log, floats(4, 9, low=0.01)),
    "log_softmax_float": Case(L.Activation("log_softmax"), [floats(4, 9)]),
    "logistic_float": Case(L.Activation("sigmoid"), [floats(4, 9)]),
    "neg_float": unary(tf.negative),
    "prelu_float": Case(L.PReLU(shared_axes=[1, 2]), [floats(*IMAGE)]),
    "prelu_float_full": Case(L.PReLU(), [floats(4, 9)]),
    "relu_float": Case(L.ReLU(), [floats(4, 9)]),
    "relu6_float": Case(L.ReLU(6), [floats(4, 9)]),
    "relu_n1_to_1_float": unary(lambda x: tf.maximum(tf.minimum(x, 1.0), -1.0)),
    "relu_0_to_1_float": Case(written("RELU_0_TO_1", [(None, 4, 9)], 0), [floats(4, 9)]),
    "round_float": unary(tf.round),
    "rsqrt_float": unary(tf.math.rsqrt, floats(4, 9, low=0.01)),
    "sign_float": unary(tf.sign),
    "sin_float": unary(tf.sin),
    "softmax_float": Case(L.Softmax(), [floats(4, 9)]),
    "softmax_float_axis": Case(L.Softmax(axis=1), [floats(4, 9)]),
    "softmax_float_beta": Case(
        written("SOFTMAX", [(None, 4, 9)], 0, options=schema.SoftmaxOptionsT(beta=0.5)),
        [floats(4, 9)],
    ),
    "sqrt_float": unary(tf.sqrt, floats(4, 9, low=0.0)),
    "square_float": unary(tf.square),
    "tanh_float": Case(L.Activation("tanh"), [floats(4, 9)]),
    "zeros_like_float": Case(
        written("ZEROS_LIKE", [(None, 4, 9)], 0, options=schema.ZerosLikeOptionsT()),
        [floats(4, 9)],
    ),
    "l2_normalization_float": Case(
        written("L2_NORMALIZATION", [(None, 4, 9)], 0, options=schema.L2NormOptionsT()),
        [floats(4, 9)],
    ),
    "local_response_normalization_float": Case(
        lambda x: tf.nn.lrn(x, depth_radius=2, bias=1.5, alpha=0.3, beta=0.6), [floats(5, 5, 8)]
    ),
    # Elements of two tensors
    "add_float": binary(tf.add),
    "sub_float": binary(tf.subtract),
    "mul_float": binary(tf.multiply),
    "div_float": binary(tf.divide, low=0.5),
    "add_float_fused": fused(tf.add),
    "sub_float_fused": fused(tf.subtract),
    "mul_float_fused": fused(tf.multiply),
    "div_float_fused": fused(tf.divide),
    "maximum_float": binary(tf.maximum),
    "minimum_float": binary(tf.minimum),
    "pow_float": binary(tf.pow, low=0.1),
    "squared_difference_float": Case(
        tf.math.squared_difference, [floats(4, 3), floats(4, 3, seed=1)]
    ),
    "floor_div_float": binary(tf.math.floordiv, low=0.5),
    "floor_mod_float": binary(tf.math.floormod, low=0.5),
    "atan2_float": Case(tf.math.atan2, [floats(4, 3), floats(4, 3, seed=1)]),
    "add_n_float": Case(lambda x, y, z: tf.add_n([x, y, z]), [floats(4, seed=i) for i in range(3)]),
    **{
        f"{name}_float": binary(function)
        for name, function in {
            "equal": lambda x, y: tf.equal(tf.round(x), tf.round(y)),
            "not_equal": lambda x, y: tf.not_equal(tf.round(x), tf.round(y)),
            "less": tf.less,
            "less_equal": tf.less_equal,
            "greater": tf.greater,
            "greater_equal": tf.greater_equal,
        }.items()
    },
    # Integers and bools
    **{
        f"{name}_integer": integer_binary(function)
        for name, function in {
            "add": tf.add,
            "sub": tf.subtract,
            "mul": tf.multiply,
            "maximum": tf.maximum,
            "minimum": tf.minimum,
            "floor_div": tf.math.floordiv,
            "floor_mod": tf.math.floormod,
            "equal": tf.equal,
            "not_equal": tf.not_equal,
            "less": tf.less,
            "less_equal": tf.less_equal,
            "greater": tf.greater,
            "greater_equal": tf.greater_equal,
            "squared_difference": tf.math.squared_difference,
        }.items()
    },
    "abs_integer": unary(tf.abs, ints(50, 4, 9, low=-50)),
    "neg_integer": unary(tf.negative, ints(50, 4, 9, low=-50)),
    "sign_integer": unary(tf.sign, ints(50, 4, 9, low=-50)),
    "bitwise_xor_integer": Case(tf.bitwise.bitwise_xor, [ints(99, 4), ints(99, 4, seed=1)]),
    "right_shift_integer": Case(
        written("RIGHT_SHIFT", [(None, 4)], 0, 1, dtype="int32"), [ints(999, 4), ints(5, 4, seed=1)]
    ),
    "logical_and_integer": Case(tf.logical_and, [bools(4, 3), bools(4, 3, seed=1)]),
    "logical_or_integer": Case(tf.logical_or, [bools(4, 3), bools(4, 3, seed=1)]),
    "logical_not_integer": unary(tf.logical_not, bools(4, 3)),
    "cast_float": Case(
        lambda x: {"int32": tf.cast(x, tf.int32), "bool": tf.cast(x, tf.bool)}, [floats(4, 3)]
    ),
    "cast_integer": Case(
        lambda x, y: {
            "float": tf.cast(x, tf.float32),
            "int8": tf.cast(x, tf.int8),
            "bool": tf.cast(y, tf.float32),
            "uint8": tf.cast(x, tf.uint8),
        },
        [ints(50, 4, 3), bools(4, 3)],
    ),
    "cast_integer_int64": Case(
        lambda x: {"float": tf.cast(x, tf.float32), "sum": x + tf.constant(5, tf.int64)},
        [ints(50, 4, 3, dtype="int64")],
    ),
    "select_v2_float": Case(
        lambda x, y: {
            "tensors": tf.where(x > 0, x, y),
            "scalars": tf.where(x > 0, 1.0, -1e9),
            "mask": tf.where(tf.constant([True, False, True]), x, y[:, :1]),
        },
        [floats(4, 3), floats(4, 3, seed=1)],
    ),
    "select_v2_integer": Case(
        lambda x, y: tf.where(x > 3, x, y), [ints(9, 4, 3), ints(9, 4, 3, seed=1)]
    ),
    "select_float": Case(
        lambda c, x, y: {
            "full": tf.raw_ops.Select(condition=x > 0, x=x, y=y),
            "rows": tf.raw_ops.Select(condition=c, x=x, y=y),
        },
        [bools(), floats(4, 3), floats(4, 3, seed=1)],
    ),
    # Reductions
    **{
        f"{name}_float": Case(
            lambda x, function=function: {
                "last": function(x, axis=-1),
                "middle": function(x, axis=[1, 2]),
                "kept": function(x, axis=[1], keepdims=True),
                "all": function(x, axis=[1, 2, 3]),
            },
            [floats(5, 4, 3)],
        )
        for name, function in {
            "mean": tf.reduce_mean,
            "sum": tf.reduce_sum,
            "reduce_max": tf.reduce_max,
            "reduce_min": tf.reduce_min,
            "reduce_prod": tf.reduce_prod,
        }.items()
    },
    "mean_float_1d": Case(L.GlobalAveragePooling1D(), [floats(5, 4)]),
    "mean_float_3d": Case(L.GlobalAveragePooling3D(), [floats(5, 4, 3, 2)]),
    "sum_integer": unary(lambda x: tf.reduce_sum(x, 1), ints(50, 4, 3)),
    "reduce_max_integer": unary(lambda x: tf.reduce_max(x, 1), ints(50, 4, 3)),
    "reduce_min_integer": unary(lambda x: tf.reduce_min(x, 1), ints(50, 4, 3)),
    "reduce_any_integer": unary(lambda x: tf.reduce_any(x, 1), bools(4, 3)),
    "reduce_all_integer": unary(lambda x: tf.reduce_all(x, [1], True), bools(4, 3)),
    # Positions
    "arg_max_float": Case(
        lambda x: {
            "last": tf.argmax(x, -1, output_type=tf.int32),
            "middle": tf.argmax(x, 1, output_type=tf.int32),
        },
        [floats(5, 4)],
    ),
    "arg_max_float_int64": Case(lambda x: tf.argmax(x, 1), [floats(5, 4)]),
    "arg_min_float": Case(lambda x: tf.argmin(x, 1, output_type=tf.int32), [floats(5, 4)]),
    "topk_v2_float": Case(lambda x: tuple(tf.math.top_k(x, 3)), [floats(5, 6)]),
    "cumsum_float": Case(
        lambda x: {
            "plain": tf.cumsum(x, 1),
            "exclusive": tf.cumsum(x, 1, exclusive=True),
            "reverse": tf.cumsum(x, 2, reverse=True),
            "both": tf.cumsum(x, 2, exclusive=True, reverse=True),
        },
        [floats(5, 4)],
    ),
    "cumsum_integer": unary(lambda x: tf.cumsum(x, 1), ints(9, 5)),
    "one_hot_integer": Case(
        lambda x: {
            "last": tf.one_hot(x, 5),
            "first": tf.one_hot(x, 5, axis=1),
            "values": tf.one_hot(x, 5, on_value=2.0, off_value=-1.0),
            "integers": tf.one_hot(x, 5, dtype=tf.int32),
        },
        [ints(6, 4)],
    ),
    "bucketize_float": Case(L.Discretization([-1.0, 0.0, 1.5]), [floats(4)]),
    "gather_integer": Case(L.Embedding(10, 4), [ints(10, 5)]),
    "gather_float": Case(
        lambda x, i: {
            "constant": tf.gather(x, [2, 0], axis=1),
            "one": tf.gather(x, 1, axis=2),
            "batch": tf.gather(x, i, axis=1, batch_dims=1),
            "batch_2": tf.gather(x, i, axis=2, batch_dims=1),
        },
        [floats(5, 4), ints(4, 2)],
    ),
    "gather_nd_float": Case(lambda x, i: tf.gather_nd(x, i), [floats(5, 4), ints(3, 6, 2)]),
    "embedding_lookup_integer": Case(
        written(
            "EMBEDDING_LOOKUP", [(None, 4)], 0, np.arange(40, dtype=np.float32).reshape(10, 4) / 7
        ),
        [ints(10)],
    ),
    "scatter_nd_float": Case(lambda i, x: tf.scatter_nd(i, x, (6, 4)), [ints(6, 1), floats(4)]),
    "reverse_sequence_float": Case(
        lambda x, n: tf.reverse_sequence(x, n, seq_axis=1, batch_axis=0),
        [floats(5, 4), ints(6, low=1)],
    ),
    "matrix_diag_float": Case(tf.linalg.diag, [floats(4)]),
    "matrix_set_diag_float": Case(tf.linalg.set_diag, [floats(4, 4), floats(4, seed=1)]),
    # Moving values
    "reshape_float": Case(
        lambda x: {
            "sample": tf.reshape(x, (-1, 6, 2)),
            "rows": tf.reshape(x, (-1, 3)),
        },
        [floats(4, 3)],
    ),
    "reshape_float_split_shape": Case(
        lambda x: tf.reshape(x, tf.concat(tf.split(tf.shape(x), [2, -1])[::-1], 0)),
        [floats(4, 3)],
    ),
    "reshape_float_shape": Case(L.Reshape((2, -1)), [floats(4, 3)]),
    "expand_dims_float": Case(
        written("EXPAND_DIMS", [(None, 1, 4)], 0, np.int32(1), options=schema.ExpandDimsOptionsT()),
        [floats(4)],
    ),
    "squeeze_float": Case(
        written(
            "SQUEEZE",
            [(None, 4)],
            0,
            options=schema.SqueezeOptionsT(squeezeDims=np.array([1, -1], np.int32)),
        ),
        [floats(1, 4, 1)],
    ),
    "transpose_float": Case(
        lambda x: {
            "sample": tf.transpose(x, (0, 3, 1, 2)),
            "batch": tf.transpose(x, (3, 0, 2, 1)),
        },
        [floats(*IMAGE)],
    ),
    "transpose_float_rank_5": Case(
        lambda x: tf.transpose(x, (0, 4, 2, 1, 3)), [floats(2, 3, 4, 5)]
    ),
    "concatenation_float": Case(
        lambda x, y: {
            "last": tf.concat([x, y], -1),
            "three": tf.concat([x, y, x], 2),
        },
        [floats(4, 3), floats(4, 5, seed=1)],
    ),
    "pack_float": Case(
        lambda x, y: {"last": tf.stack([x, y], -1), "second": tf.stack([x, y, x], 1)},
        [floats(4, 3), floats(4, 3, seed=1)],
    ),
    "unpack_float": Case(lambda x: tuple(tf.unstack(x, axis=1)), [floats(3, 4)]),
    "split_float": Case(lambda x: tuple(tf.split(x, 3, 2)), [floats(4, 6)]),
    "split_v_float": Case(lambda x: tuple(tf.split(x, [1, 3, 2], 2)), [floats(4, 6)]),
    "slice_float": Case(
        lambda x: {
            "part": tf.slice(x, (0, 1, 0), (-1, 2, 3)),
            "rest": tf.slice(x, (0, 2, 1), (-1, -1, -1)),
        },
        [floats(4, 5)],
    ),
    "strided_slice_float": Case(
        lambda x: {
            "part": x[:, 1:-1, ::2],
            "index": x[:, 2],
            "last": x[:, -1, 1:3],
            "new": x[:, tf.newaxis, 1:3, ..., -2:],
            "ellipsis": x[..., 0],
            "backwards": x[:, ::-1, 3:0:-1],
            "batch": x[1:],
            "first": x[0],
        },
        [floats(4, 5)],
    ),
    "strided_slice_float_lengths": Case(lambda x: x[: tf.shape(x)[0], 1:], [floats(4, 5)]),
    "pad_float": Case(
        lambda x: {
            "image": tf.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
            "channels": tf.pad(x, ((0, 0), (0, 0), (0, 0), (1, 2))),
        },
        [floats(4, 3, 2)],
    ),
    "pad_float_1d": Case(L.ZeroPadding1D((1, 2)), [floats(4, 3)]),
    "pad_float_3d": Case(L.ZeroPadding3D(1), [floats(3, 3, 3, 2)]),
    "padv2_float": Case(
        lambda x: tf.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=-1.5), [floats(4, 3)]
    ),
    "mirror_pad_float": Case(
        lambda x: {
            "reflect": tf.pad(x, ((0, 0), (1, 2), (2, 1)), "REFLECT"),
            "symmetric": tf.pad(x, ((0, 0), (1, 2), (3, 1)), "SYMMETRIC"),
        },
        [floats(4, 3)],
    ),
    "tile_float": Case(lambda x: tf.tile(x, (1, 2, 3)), [floats(4, 3)]),
    "broadcast_to_float": Case(
        lambda x: tf.broadcast_to(x, (tf.shape(x)[0], 5, 4)), [floats(1, 4)]
    ),
    "reverse_v2_float": Case(lambda x: tf.reverse(x, [1, 2]), [floats(4, 3)]),
    "fill_float": Case(lambda x: tf.concat([x, tf.fill((tf.shape(x)[0], 2), 0.5)], 1), [floats(4)]),
    "space_to_depth_float": Case(lambda x: tf.nn.space_to_depth(x, 2), [floats(4, 6, 3)]),
    "depth_to_space_float": Case(lambda x: tf.nn.depth_to_space(x, 2), [floats(4, 3, 8)]),
    "space_to_batch_nd_float": Case(
        lambda x: tf.space_to_batch(x, (2, 3), ((0, 1), (1, 1))), [floats(5, 4, 2)]
    ),
    "batch_to_space_nd_float": Case(
        lambda x: tf.batch_to_space(
            tf.space_to_batch(x, (2, 2), ((0, 1), (0, 0))) * 2.0, (2, 2), ((0, 1), (0, 0))
        ),
        [floats(5, 4, 2)],
    ),
    # Fourier transforms
    "rfft2d_float": Case(
        lambda x, y: {
            "squares": sum(tf.square(part) for part in parts(tf.signal.rfft(x))),
            "magnitude": tf.abs(tf.signal.rfft(x, [16])),
            "image": tf.concat(parts(tf.signal.rfft2d(y)), -1),
            "expanded": tf.math.imag(tf.expand_dims(tf.signal.rfft2d(y, [16, 32]), 1)),
            "cut": tf.math.real(tf.reshape(tf.signal.rfft2d(y, [4, 2]), (-1, 8))),
            "cast": tf.abs(tf.cast(y, tf.complex64)),
        },
        [floats(3, 32), floats(8, 16, seed=1)],
    ),
    "rfft2d_float_cast": Case(
        lambda x: tf.cast(tf.signal.rfft2d(x), tf.float32), [floats(8, 16, seed=1)]
    ),
    "rfft2d_float_filled": Case(
        written(
            "RFFT2D",
            [(None, 8, 9)],
            0,
            np.array([8, 16], np.int32),
            options=schema.Rfft2dOptionsT(),
            dtype="complex64",
        ),
        [floats(3, 5)],
    ),
    # Matrix products
    "fully_connected_float": Case(L.Dense(5, activation="relu"), [floats(6)]),
    "fully_connected_float_rank_3": Case(L.Dense(5, use_bias=False), [floats(4, 6)]),
    "fully_connected_float_relu6": Case(L.Dense(5, activation="relu6"), [floats(4, 6)]),
    "fully_connected_float_flattens": Case(
        written(
            "FULLY_CONNECTED",
            [(None, 5)],
            0,
            np.linspace(-1, 1, 60, dtype=np.float32).reshape(5, 12),
            np.linspace(-1, 1, 5, dtype=np.float32),
            options=schema.FullyConnectedOptionsT(keepNumDims=False),
        ),
        [floats(2, 3, 2)],
    ),
    "fully_connected_float_computed": Case(
        lambda x, y: tf.matmul(x, y, transpose_b=True), [floats(6), floats(6, seed=1)], fixed=True
    ),
    "batch_matmul_float": Case(
        lambda x, y: {
            "plain": tf.matmul(x, tf.reshape(y, (-1, 3, 4))),
            "second": tf.matmul(x, y, transpose_b=True),
            "first": tf.matmul(x, y, transpose_a=True),
            "constant": tf.matmul(
                x, tf.constant(np.linspace(-1, 1, 15, dtype="f4").reshape(1, 3, 5))
            ),
        },
        [floats(4, 3), floats(4, 3, seed=1)],
    ),
    "batch_matmul_float_einsum": Case(
        lambda x, y: tf.einsum("bqhd,bkhd->bhqk", x, y), [floats(4, 2, 3), floats(4, 2, 3, seed=1)]
    ),
    # Convolutions and windows
    "conv_2d_float": Case(
        L.Conv2D(5, (3, 2), strides=(2, 1), padding="same", activation="relu"), [floats(*IMAGE)]
    ),
    "conv_2d_float16": Case(L.Conv2D(5, 3, activation="relu"), [floats(*IMAGE)], float16=True),
    "fully_connected_float16": Case(L.Dense(5), [floats(6)], float16=True),
    "conv_2d_float_dilated": Case(
        L.Conv2D(5, 3, dilation_rate=2, activation="relu6"), [floats(*IMAGE)], fixed=True
    ),
    "conv_2d_float_dilated_same": Case(
        L.Conv2D(5, (3, 2), dilation_rate=2, padding="same"), [floats(*IMAGE)]
    ),
    "conv_2d_float_dilated_1d": Case(
        L.Conv1D(5, 3, dilation_rate=2, padding="causal"), [floats(9, 4)]
    ),
    "depthwise_conv_2d_float_dilated": Case(
        L.DepthwiseConv2D(3, dilation_rate=2, padding="same"), [floats(*IMAGE)]
    ),
    "conv_2d_float_grouped": Case(L.Conv2D(6, 3, groups=2), [floats(*IMAGE)]),
    "conv_2d_float_1d": Case(L.Conv1D(5, 3, padding="same"), [floats(8, 4)]),
    "depthwise_conv_2d_float": Case(
        L.DepthwiseConv2D(3, strides=2, padding="same", activation="relu6"), [floats(*IMAGE)]
    ),
    "depthwise_conv_2d_float_multiplier": Case(
        L.DepthwiseConv2D(3, depth_multiplier=2), [floats(*IMAGE)]
    ),
    "transpose_conv_float": Case(
        L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu"), [floats(4, 5, 2)]
    ),
    "transpose_conv_float_valid": Case(
        L.Conv2DTranspose(3, (4, 2), strides=(2, 3)), [floats(4, 5, 2)]
    ),
    "transpose_conv_float_1d": Case(L.Conv1DTranspose(3, 3, strides=2), [floats(4, 2)]),
    "conv_3d_float": Case(
        L.Conv3D(4, 3, strides=2, padding="same", activation="relu"), [floats(5, 6, 7, 2)]
    ),
    "conv_3d_transpose_float": Case(
        L.Conv3DTranspose(3, 3, strides=2, padding="same"), [floats(3, 4, 3, 2)]
    ),
    "average_pool_2d_float": Case(L.AveragePooling2D(3, 2, padding="same"), [floats(*IMAGE)]),
    "average_pool_2d_float_relu": Case(
        lambda x: tf.nn.relu(tf.nn.avg_pool2d(x, 2, 2, "VALID")), [floats(*IMAGE)]
    ),
    "max_pool_2d_float": Case(L.MaxPooling2D((2, 3), padding="same"), [floats(*IMAGE)]),
    "max_pool_2d_float_1d": Case(L.MaxPooling1D(2), [floats(8, 4)]),
    "l2_pool_2d_float": Case(
        written(
            "L2_POOL_2D",
            [(None, 4, 4, 4)],
            0,
            options=schema.Pool2DOptionsT(
                padding=schema.Padding.SAME, strideH=2, strideW=2, filterHeight=3, filterWidth=3
            ),
        ),
        [floats(*IMAGE)],
    ),
    "resize_bilinear_float": Case(
        lambda x: {
            "twice": tf.image.resize(x, (16, 14)),
            "centres": tf.image.resize(x, (5, 11)),
            "corners": tf.compat.v1.image.resize_bilinear(x, (5, 11), align_corners=True),
            "plain": tf.compat.v1.image.resize_bilinear(x, (5, 11)),
        },
        [floats(*IMAGE)],
    ),
    "resize_nearest_neighbor_float": Case(
        lambda x: {
            "twice": tf.image.resize(x, (16, 14), "nearest"),
            "centres": tf.image.resize(x, (5, 11), "nearest"),
            "corners": tf.compat.v1.image.resize_nearest_neighbor(x, (5, 11), align_corners=True),
            "plain": tf.compat.v1.image.resize_nearest_neighbor(x, (5, 11)),
        },
        [floats(*IMAGE)],
    ),
    "tile_float_up_sampling": Case(L.UpSampling2D(2), [floats(3, 4, 2)]),
}


def operator_of(name: str) -> str:
    """The operator that a file is named after."""
    for kind in ("_float", "_integer"):
        if kind in name:
            return name[: name.index(kind)].upper()
    raise ValueError(name)


def main(names: Sequence[str]) -> None:
    for name in names or CASES:
        case = CASES[name]
        # What writes bytes takes the arrays.
        by_hand = getattr(case.make, "__qualname__", "").startswith("written.")
        content = case.make(case.inputs) if by_hand else converted(case)
        codes = {operator.code for operator in parse(content).subgraphs[0].operators}
        if operator_of(name) not in codes:
            print(f"{name}: has only {sorted(codes)}")
        record(name, content, case.inputs)


if __name__ == "__main__":
    main(sys.argv[1:])
