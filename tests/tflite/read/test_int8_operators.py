"""int8 operators that converters seldom write, and parameters that XNNPACK does not take."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import example, given, settings
from hypothesis import strategies as st

import keras_octet as ko
from keras_octet.qparams import QParams
from keras_octet.tflite.graph import Quantization
from tests.strategies import integers, qparams, related_qparams, seeds
from tests.tflite.read.single import assert_reads, file_of, tensor

bits = settings(max_examples=3, deadline=None)
EVERY = np.arange(-128, 128, dtype=np.int8).reshape(4, 64)
PAIRS = [grid.astype(np.int8) for grid in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))]
ACTIVATIONS = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "hard_tanh": schema.ActivationFunctionType.RELU_N1_TO_1,
}
activations = st.sampled_from(list(ACTIVATIONS.values()))


def one(code, source, target, options=None, arrays=EVERY):
    shape = (None, *arrays.shape[1:])
    content = file_of(code, [tensor(shape, source)], [tensor(shape, target)], options)
    return content, arrays


def two(code, first, second, target, options=None, dtype="int8"):
    shape = (None, 256)
    operands = [tensor(shape, first), tensor(shape, second)]
    return file_of(code, operands, [tensor(shape, target, dtype)], options)


def away(qparams_: QParams, factor: float) -> QParams:
    return QParams(scale=qparams_.scale * factor, zero_point=qparams_.zero_point)


UNARY = {
    "ABS": None,
    "NEG": None,
    "LOG": None,
    "EXP": schema.ExpOptionsT(),
    "RELU": None,
    "RELU6": None,
    "RELU_N1_TO_1": None,
    "RELU_0_TO_1": None,
    "ELU": None,
    "GELU": schema.GeluOptionsT(approximate=False),
    "GELU tanh": schema.GeluOptionsT(approximate=True),
}


@pytest.mark.parametrize("name", UNARY)
@bits
@given(related_qparams(2))
# Values near a tie, where float32 decides.
@example([QParams(scale=1.0, zero_point=0), QParams(scale=2.0, zero_point=0)])
@example([QParams(scale=1 / 32, zero_point=-128), QParams(scale=1 / 16, zero_point=-32)])
def test_function(name, params):
    content, arrays = one(name.split()[0], *params, UNARY[name])
    assert_reads(content, arrays, delegated=name == "ELU")


@pytest.mark.parametrize("code", ["SQRT", "RSQRT"])
@bits
@given(related_qparams(2))
def test_function_of_what_is_not_negative(code, params):
    content, arrays = one(code, *params)
    assert_reads(content, np.maximum(arrays, params[0].zero_point).astype(np.int8))


@bits
@given(related_qparams(2), st.floats(9.0, 10.0), st.sampled_from([0.3, -0.5, 0.0, 1e-4]))
def test_leaky_relu_that_is_not_delegated(params, exponent, slope):
    target = away(params[0], 2.0**exponent)
    options = schema.LeakyReluOptionsT(alpha=slope)
    assert_reads(*one("LEAKY_RELU", params[0], target, options), delegated=False)


@bits
@given(related_qparams(2), st.sampled_from([8.3, 9.0, -8.2, -9.0]), st.integers(1, 40))
def test_requantize_that_is_not_delegated(params, exponent, length):
    """Of any length: the kernel rounds whole blocks of 16 otherwise than the rest."""
    target = QParams(scale=params[0].scale * 2.0**exponent, zero_point=params[1].zero_point)
    arrays = EVERY.reshape(-1)[: 4 * length].reshape(4, -1)
    content, arrays = one("QUANTIZE", params[0], target, schema.QuantizeOptionsT(), arrays)
    assert_reads(content, arrays, delegated=False)


@bits
@given(related_qparams(1), st.sampled_from([1.0, 0.4, 3.0]), st.integers(0, 255))
def test_quantize_between_int8_and_uint8(params, ratio, zero_point):
    signed = params[0]
    unsigned = QParams(scale=signed.scale * ratio, zero_point=zero_point, dtype="uint8")
    same = QParams(scale=signed.scale, zero_point=signed.zero_point + 128, dtype="uint8")
    options = schema.QuantizeOptionsT()
    shape = (None, 64)
    for other in (unsigned, same):
        outward = file_of(
            "QUANTIZE", [tensor(shape, signed)], [tensor(shape, other, "uint8")], options
        )
        assert_reads(outward, EVERY)
        inward = file_of(
            "QUANTIZE", [tensor(shape, other, "uint8")], [tensor(shape, signed)], options
        )
        assert_reads(inward, (EVERY.astype(np.int16) + 128).astype(np.uint8))


@bits
@given(st.integers(0, 255), st.floats(0.001, 0.1))
def test_quantize_and_dequantize_uint8(zero_point, scale):
    qparams_ = QParams(scale=scale, zero_point=zero_point, dtype="uint8")
    shape = (None, 64)
    values = np.linspace(-3, 3, 256, dtype=np.float32).reshape(4, 64)
    content = file_of(
        "QUANTIZE",
        [tensor(shape, None, "float32")],
        [tensor(shape, qparams_, "uint8")],
        schema.QuantizeOptionsT(),
    )
    assert_reads(content, values)
    content = file_of(
        "DEQUANTIZE",
        [tensor(shape, qparams_, "uint8")],
        [tensor(shape, None, "float32")],
        schema.DequantizeOptionsT(),
    )
    assert_reads(content, (EVERY.astype(np.int16) + 128).astype(np.uint8))


def _arithmetic(code, activation):
    options = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT}
    extra = {} if code == "MUL" else {"potScaleInt16": False}
    return options[code](fusedActivationFunction=activation, **extra)


@pytest.mark.parametrize("code", ["ADD", "SUB"])
@bits
@given(related_qparams(3), activations, st.sampled_from([10.5, 13.0]))
def test_sums_that_are_not_delegated(code, params, activation, exponent):
    first, second, target = params
    scale = max(first.scale, second.scale) * 2.0**exponent
    target = QParams(scale=scale, zero_point=target.zero_point)
    content = two(code, first, second, target, _arithmetic(code, activation))
    assert_reads(content, *PAIRS, delegated=False)


@bits
@given(related_qparams(3), activations, st.floats(16.1, 18.0))
def test_products_that_are_not_delegated(params, activation, exponent):
    first, second, target = params
    scale = first.scale * second.scale * 2.0**exponent
    target = QParams(scale=scale, zero_point=target.zero_point)
    content = two("MUL", first, second, target, _arithmetic("MUL", activation))
    assert_reads(content, *PAIRS, delegated=False)


@pytest.mark.parametrize("code", ["ADD", "SUB", "MUL"])
@bits
@given(related_qparams(3))
def test_a_sum_or_product_between_minus_one_and_one(code, params):
    first, second, target = (away(x, 0.05 / params[0].scale) for x in params)
    if code == "MUL":
        target = away(target, 0.05)
    options = _arithmetic(code, schema.ActivationFunctionType.RELU_N1_TO_1)
    assert_reads(two(code, first, second, target, options), *PAIRS, delegated=True)


def test_a_product_on_which_litert_overflows():
    small = QParams(scale=0.1, zero_point=0)
    content = two("MUL", small, small, away(small, 1e-4), _arithmetic("MUL", 0))
    with pytest.raises(ko.ModelFileError, match="LiteRT overflows"):
        ko.load_model(content)


@bits
@given(related_qparams(3), activations)
def test_division(params, activation):
    first, second, target = params
    target = QParams(scale=first.scale / second.scale / 8, zero_point=target.zero_point)
    options = schema.DivOptionsT(fusedActivationFunction=activation)
    content = two("DIV", first, second, target, options)
    divisor = np.where(PAIRS[1] == second.zero_point, second.zero_point ^ 1, PAIRS[1])
    assert_reads(content, PAIRS[0], divisor.astype(np.int8))


@bits
@given(related_qparams(3))
def test_squared_difference(params):
    first, second, target = params
    target = QParams(scale=first.scale * second.scale * 60, zero_point=target.zero_point)
    options = schema.SquaredDifferenceOptionsT()
    assert_reads(two("SQUARED_DIFFERENCE", first, second, target, options), *PAIRS)


COMPARISONS = {
    "EQUAL": schema.EqualOptionsT,
    "NOT_EQUAL": schema.NotEqualOptionsT,
    "LESS": schema.LessOptionsT,
    "LESS_EQUAL": schema.LessEqualOptionsT,
    "GREATER": schema.GreaterOptionsT,
    "GREATER_EQUAL": schema.GreaterEqualOptionsT,
}


@pytest.mark.parametrize("code", COMPARISONS)
@settings(max_examples=3, deadline=None)
@given(related_qparams(2, spread=1.0))
def test_comparison(code, params):
    first, second = (away(x, 0.1 / max(p.scale for p in params)) for x in params)
    assert_reads(two(code, first, second, None, COMPARISONS[code](), "bool"), *PAIRS)


def test_a_comparison_on_which_litert_aborts():
    large = QParams(scale=1.0, zero_point=0)
    content = two("LESS", large, large, None, schema.LessOptionsT(), "bool")
    with pytest.raises(ko.ModelFileError, match="scale 1 or more"):
        ko.load_model(content)


# The smallest output scale for inputs of scale 1, and what LiteRT does below.
SMALLEST = {
    "ADD": (2**-8 + 1e-6, schema.AddOptionsT(), "overflows"),
    "SUB": (1.92e-6, schema.SubOptionsT(), "overflows"),
    "SQUARED_DIFFERENCE": (2.45e-4, schema.SquaredDifferenceOptionsT(), "ends the process"),
}


@pytest.mark.parametrize("code", SMALLEST)
def test_a_scale_too_small(code):
    scale, options, reason = SMALLEST[code]
    one, target = QParams(scale=1.0, zero_point=0), QParams(scale=scale, zero_point=3)
    assert_reads(two(code, one, one, target, options), *PAIRS)
    with pytest.raises(ko.ModelFileError, match=reason):
        ko.load_model(two(code, one, one, away(target, 0.99), options))


def test_a_factor_that_rounds_to_one():
    """Just below 1, on which LiteRT ends the process."""
    one = QParams(scale=1.1933809518814087, zero_point=0)
    target = QParams(scale=0.00034769484773278236, zero_point=0)
    options = schema.SquaredDifferenceOptionsT()
    with pytest.raises(ko.ModelFileError, match="ends the process"):
        ko.load_model(two("SQUARED_DIFFERENCE", one, one, target, options))


@pytest.mark.parametrize(
    ("code", "options"), [("ADD", schema.AddOptionsT()), ("SUB", schema.SubOptionsT())]
)
def test_an_int16_scale_too_small(code, options):
    one = QParams(scale=1.0, zero_point=0, dtype="int16")

    def file(scale):
        operand = tensor((None, 64), one, "int16")
        target = tensor((None, 64), QParams(scale=scale, zero_point=0, dtype="int16"), "int16")
        return file_of(code, [operand, operand], [target], options)

    arrays = np.random.default_rng(0).integers(-(2**15), 2**15, (2, 4, 64)).astype(np.int16)
    assert_reads(file(6.2e-5), *arrays, delegated=False)
    with pytest.raises(ko.ModelFileError, match="overflows"):
        ko.load_model(file(6e-5))


@bits
@given(seeds, related_qparams(2), qparams, activations, st.integers(1, 9), st.integers(1, 70))
def test_fully_connected_with_a_zero_point_of_the_weights(
    seed, params, weight, activation, units, depth
):
    source, target = params
    weight = QParams(scale=0.01, zero_point=weight.zero_point or 3)
    target = QParams(scale=source.scale * 0.3, zero_point=target.zero_point)
    kernel = integers(seed, (units, depth))
    bias = np.random.default_rng(seed).integers(-5000, 5000, units).astype(np.int32)
    content = file_of(
        "FULLY_CONNECTED",
        [
            tensor((None, depth), source),
            (kernel, weight),
            (bias, Quantization.symmetric(np.float32(source.scale * weight.scale), 0)),
        ],
        [tensor((None, units), target)],
        schema.FullyConnectedOptionsT(fusedActivationFunction=activation),
    )
    assert_reads(content, integers(seed + 1, (6, depth)), delegated=False)


@pytest.mark.parametrize("keeps", [False, True])
def test_fully_connected_on_rows(keeps):
    source, target = QParams(scale=0.05, zero_point=-3), QParams(scale=0.1, zero_point=7)
    kernel = integers(0, (5, 12)), Quantization.symmetric(np.float32([0.01]), 0)
    options = schema.FullyConnectedOptionsT(keepNumDims=keeps)
    x = tensor((2, 3, 12 if keeps else 4), source)
    y = tensor((2, 3, 5) if keeps else (2, 5), target)
    content = file_of("FULLY_CONNECTED", [x, kernel, None], [y], options)
    assert_reads(content, integers(1, x[0]), delegated=True)


@pytest.mark.parametrize("adjoints", [(False, False), (True, False), (False, True), (True, True)])
@bits
@given(seeds, related_qparams(3), st.booleans())
def test_matrix_product_of_any_operands(adjoints, seed, params, constant):
    first, second, target = params
    target = QParams(scale=first.scale * second.scale * 300, zero_point=target.zero_point)
    options = schema.BatchMatMulOptionsT(adjX=adjoints[0], adjY=adjoints[1])
    left, right = [
        (2, b, a) if adjoint else (2, a, b)
        for (a, b), adjoint in zip(((4, 300), (300, 5)), adjoints, strict=True)
    ]
    given_right = (integers(seed + 1, right), second) if constant else tensor(right, second)
    operands = [tensor(left, first), given_right]
    content = file_of("BATCH_MATMUL", operands, [tensor((2, 4, 5), target)], options)
    arrays = [integers(seed, left), integers(seed + 2, right)][: 1 if constant else 2]
    assert_reads(content, *arrays, delegated=second.zero_point == 0)


@bits
@given(seeds, related_qparams(2), st.integers(1, 11), activations)
def test_transposed_convolution_smaller_than_its_stride(seed, params, filters, activation):
    source, target = params
    kernel = integers(seed, (filters, 1, 2, 3))
    scale = np.random.default_rng(seed).uniform(0.01, 0.05, filters).astype(np.float32)
    content = file_of(
        "TRANSPOSE_CONV",
        [
            np.array([2, 8, 9, filters], np.int32),
            (kernel, Quantization.symmetric(scale, 0)),
            tensor((2, 4, 3, 3), source),
            (
                np.random.default_rng(seed).integers(-99, 99, filters).astype(np.int32),
                Quantization.symmetric(np.float32(source.scale) * scale, 0),
            ),
        ],
        [tensor((2, 8, 9, filters), target)],
        schema.TransposeConvOptionsT(
            padding=schema.Padding.SAME,
            strideH=2,
            strideW=3,
            fusedActivationFunction=activation,
        ),
    )
    assert_reads(content, integers(seed + 1, (2, 4, 3, 3)), delegated=False)


@pytest.mark.parametrize("code", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@pytest.mark.parametrize("stride", [1, 3])
@bits
@given(seeds, activations, st.sampled_from([schema.Padding.SAME, schema.Padding.VALID]))
def test_pooling_with_an_activation(code, stride, seed, activation, padding):
    both = QParams(scale=0.08, zero_point=-7)
    height = 3 if padding == schema.Padding.VALID and stride == 3 else -(-9 // stride)
    if padding == schema.Padding.VALID and stride == 1:
        height = 8
    options = schema.Pool2DOptionsT(
        padding=padding,
        filterHeight=2,
        filterWidth=2,
        strideH=stride,
        strideW=stride,
        fusedActivationFunction=activation,
    )
    x, y = tensor((None, 9, 9, 5), both), tensor((None, height, height, 5), both)
    content = file_of(code, [x], [y], options)
    assert_reads(content, integers(seed, (2, 9, 9, 5)))


@bits
@given(seeds, related_qparams(1), st.sampled_from([0.5, 2.0]))
def test_softmax_with_beta(seed, params, beta):
    target = QParams(scale=1 / 256, zero_point=-128)
    options = schema.SoftmaxOptionsT(beta=beta)
    assert_reads(*one("SOFTMAX", params[0], target, options, integers(seed, (5, 20))))


@bits
@given(seeds, related_qparams(1), st.integers(1, 300))
def test_l2_normalization(seed, params, length):
    target = QParams(scale=1 / 128, zero_point=0)
    options = schema.L2NormOptionsT()
    arrays = integers(seed, (9, length))
    arrays[0] = params[0].zero_point
    assert_reads(*one("L2_NORMALIZATION", params[0], target, options, arrays))


@bits
@given(seeds, related_qparams(3), st.sampled_from([(4,), (1, 4), (3, 1, 4), (1, 3, 1, 4)]))
def test_prelu(seed, params, shape):
    source, target, slope = params
    alpha = integers(seed, shape), slope
    x = tensor((None, 3, 5, 4), source)
    content = file_of("PRELU", [x, alpha], [tensor((None, 3, 5, 4), target)])
    assert_reads(content, integers(seed + 1, (2, 3, 5, 4)), delegated=False)


@pytest.mark.parametrize("code", ["SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN"])
@bits
@given(
    seeds,
    related_qparams(2),
    st.sets(st.integers(-4, 3), min_size=1, max_size=5),
    st.booleans(),
)
def test_reduction_over_any_axes(code, seed, params, axes, keeps):
    source, target = params
    if code.startswith("REDUCE"):
        target = source
    shape = (2, 3, 5, 4)
    sizes = [1 if i in axes or i - 4 in axes else size for i, size in enumerate(shape)]
    kept = [size for i, size in enumerate(shape) if not (i in axes or i - 4 in axes)]
    content = file_of(
        code,
        [tensor(shape, source), np.array(sorted(axes), np.int32)],
        [tensor(sizes if keeps else kept, target)],
        schema.ReducerOptionsT(keepDims=keeps),
    )
    assert_reads(content, integers(seed, shape), delegated=True)


def test_rows_of_a_constant_table():
    table = integers(0, (7, 4)), QParams(scale=0.05, zero_point=3)
    content = file_of(
        "GATHER",
        [table, tensor((None, 3), None, "int32")],
        [tensor((None, 3, 4), table[1])],
        schema.GatherOptionsT(),
    )
    assert_reads(content, np.array([[1, 0, 6], [2, 2, 5]], np.int32))


def test_select_with_a_constant():
    both = QParams(scale=0.05, zero_point=3)
    shape = (None, 4)
    content = file_of(
        "SELECT_V2",
        [tensor(shape, None, "bool"), tensor(shape, both), (integers(0, (4,)), both)],
        [tensor(shape, both)],
        schema.SelectV2OptionsT(),
    )
    assert_reads(content, np.random.default_rng(0).random((5, 4)) < 0.5, integers(1, (5, 4)))


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_cast(dtype):
    x, y = tensor((None, 64), QParams(scale=0.05, zero_point=3)), tensor((None, 64), None, dtype)
    assert_reads(file_of("CAST", [x], [y], schema.CastOptionsT()), EVERY)


@pytest.mark.parametrize("code", ["EXPAND_DIMS", "SQUEEZE"])
def test_axes_that_come_and_go(code):
    both = QParams(scale=0.05, zero_point=3)
    options = schema.ExpandDimsOptionsT()
    if code == "SQUEEZE":
        options = schema.SqueezeOptionsT(squeezeDims=np.array([2], np.int32))
    operands = [tensor((3, 5, 1, 4), both)]
    shape = (3, 5, 4)
    if code == "EXPAND_DIMS":
        operands.append(np.array([2], np.int32))
        shape = (3, 5, 1, 1, 4)
    content = file_of(code, operands, [tensor(shape, both)], options)
    assert_reads(content, integers(0, (3, 5, 1, 4)))


def test_a_reshape_that_changes_the_parameters_keeps_the_integers():
    source, target = QParams(scale=0.05, zero_point=3), QParams(scale=0.1, zero_point=-9)
    shape = np.array([-1, 32], np.int32)
    content = file_of(
        "RESHAPE",
        [tensor((None, 4, 8), source), shape],
        [tensor((None, 32), target)],
        schema.ReshapeOptionsT(newShape=shape),
    )
    assert_reads(content, integers(0, (3, 4, 8)))
