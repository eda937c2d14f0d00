"""Every quantized layer computes the bits of LiteRT's default interpreter."""

from __future__ import annotations

from itertools import product

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_octet import layers
from keras_octet.arithmetic import ADD_RATIO_RANGE, MULTIPLY_RATIO_RANGE
from keras_octet.builtin_kernels import clip_table
from keras_octet.layers.activation import sequential_sum
from keras_octet.qparams import QParams
from tests.litert import assert_same_bits, fill, keras_outputs, model_of
from tests.strategies import GAPS, hard_swish_qparams, integers, qparams, related_qparams, seeds

SOFTMAX = QParams(scale=1 / 256, zero_point=-128)
TANH = QParams(scale=1 / 128, zero_point=0)
EVERY_INT8 = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
EVERY_PAIR = [
    grid.astype(np.int8) for grid in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
]
bits = settings(max_examples=12, deadline=None)
activations = st.sampled_from([None, "relu", "relu6"])
paddings = st.sampled_from(["same", "valid"])
small = st.integers(1, 3)


def check_linear(layer: layers.QuantizedLinear, seed: int, *shape: int) -> None:
    model = model_of(layer, shape)
    fill(layer, seed)
    assert_same_bits(model, integers(seed + 1, (2, *shape)))


@bits
@given(seeds, related_qparams(2), activations, st.integers(1, 70), st.integers(1, 20))
def test_dense(seed, params, activation, inputs, units):
    layer = layers.QuantizedDense(
        units=units, activation=activation, input_qparams=params[:1], output_qparams=params[1]
    )
    check_linear(layer, seed, inputs)


@bits
@given(seeds, related_qparams(2), st.integers(1, 3))
def test_dense_on_higher_rank(seed, params, extra):
    layer = layers.QuantizedDense(units=5, input_qparams=params[:1], output_qparams=params[1])
    check_linear(layer, seed, *[3] * extra, 7)


@bits
@given(seeds, related_qparams(2), activations, paddings, st.data())
def test_conv2d(seed, params, activation, padding, data):
    groups = data.draw(st.sampled_from([1, 1, 2]))
    dilation = data.draw(small)
    strides = (1, 1) if dilation > 1 else (data.draw(small), data.draw(small))
    layer = layers.QuantizedConv2D(
        filters=groups * data.draw(st.integers(1, 6)),
        kernel_size=(data.draw(small), data.draw(small)),
        strides=strides,
        padding=padding,
        dilation_rate=(dilation, dilation),
        groups=groups,
        activation=activation,
        input_qparams=params[:1],
        output_qparams=params[1],
    )
    check_linear(layer, seed, 9, 8, groups * data.draw(st.integers(1, 5)))


@bits
@given(seeds, related_qparams(2), activations, paddings, st.data())
def test_depthwise_conv2d(seed, params, activation, padding, data):
    dilation = data.draw(small)
    stride = 1 if dilation > 1 else data.draw(small)
    layer = layers.QuantizedDepthwiseConv2D(
        kernel_size=(data.draw(small), data.draw(small)),
        strides=(stride, stride),
        padding=padding,
        dilation_rate=(dilation, dilation),
        depth_multiplier=data.draw(st.integers(1, 2)),
        activation=activation,
        input_qparams=params[:1],
        output_qparams=params[1],
    )
    check_linear(layer, seed, 9, 8, data.draw(st.integers(1, 9)))


@bits
@given(seeds, related_qparams(2), paddings, st.sampled_from([None, "relu"]), st.data())
def test_conv2d_transpose(seed, params, padding, activation, data):
    strides = data.draw(small), data.draw(small)
    # Keras has no transposed convolution with both.
    dilation = small if max(strides) == 1 else st.just(1)
    layer = layers.QuantizedConv2DTranspose(
        filters=data.draw(st.integers(1, 6)),
        kernel_size=(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))),
        strides=strides,
        padding=padding,
        output_padding=data.draw(st.none() | st.tuples(*(st.integers(0, s - 1) for s in strides))),
        dilation_rate=(data.draw(dilation), data.draw(dilation)),
        activation=activation,
        input_qparams=params[:1],
        output_qparams=params[1],
    )
    check_linear(layer, seed, 5, 4, data.draw(st.integers(1, 5)))


@pytest.mark.parametrize("builtin", [False, True])
@pytest.mark.parametrize("window", GAPS)
def test_conv2d_transpose_with_gaps(window, builtin):
    layer = layers.QuantizedConv2DTranspose(
        **window,
        builtin=builtin,
        input_qparams=[QParams(scale=0.5, zero_point=3)],
        output_qparams=QParams(scale=0.25, zero_point=-7),
    )
    check_linear(layer, 0, 5, 4, 3)


def sums_of_windows(inputs, kernel, strides, rates, sizes):
    """What a transposed convolution adds up, cropped in the middle or followed by zeros."""
    batch, *lengths, _ = inputs.shape
    steps = [(n - 1) * stride for n, stride in zip(lengths, strides, strict=True)]
    reach = [(n - 1) * rate + 1 for n, rate in zip(kernel.shape, rates, strict=False)]
    whole = np.zeros((batch, steps[0] + reach[0], steps[1] + reach[1], kernel.shape[2]))
    for i, j in np.ndindex(*kernel.shape[:2]):
        rows, columns = (
            slice(at * rate, at * rate + step + 1, stride)
            for at, rate, step, stride in zip((i, j), rates, steps, strides, strict=True)
        )
        whole[:, rows, columns] += inputs @ kernel[i, j].T
    y, x = (max(n - size, 0) // 2 for n, size in zip(whole.shape[1:3], sizes, strict=True))
    middle = whole[:, y : y + sizes[0], x : x + sizes[1]]
    after = [(0, size - n) for n, size in zip(middle.shape[1:3], sizes, strict=True)]
    return np.pad(middle, ((0, 0), *after, (0, 0)))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv2d_transpose_adds_what_keras_adds(padding):
    shape = (2, 4, 3, 3)
    inputs = integers(1, shape).astype(np.float32)
    for size, stride, dilation in product(range(1, 5), range(1, 5), (1, 2, 3)):
        if stride > 1 and dilation > 1:
            continue
        for extra in (None, *range(stride)):
            window = {
                "kernel_size": (size, 2),
                "strides": (stride, max(stride - 1, 1)),
                "padding": padding,
                "output_padding": None if extra is None else (extra, 0),
                "dilation_rate": (dilation, 1),
            }
            layer = layers.QuantizedConv2DTranspose(
                filters=2,
                **window,
                input_qparams=[QParams(scale=0.5, zero_point=0)],
                output_qparams=QParams(scale=0.5, zero_point=0),
            )
            layer.build(shape)
            fill(layer, 0)
            expected = keras.layers.Conv2DTranspose(2, **window).compute_output_shape(shape)
            assert layer.compute_output_shape(shape) == tuple(expected), window
            kernel = keras.ops.convert_to_numpy(layer.kernel).astype(np.float32)
            sums = sums_of_windows(
                inputs, kernel, layer.strides, layer.dilation_rate, expected[1:3]
            )
            received = keras.ops.convert_to_numpy(layer._sum(keras.ops.convert_to_tensor(inputs)))
            np.testing.assert_array_equal(received, sums, err_msg=str(window))


def test_conv2d_transpose_has_no_strides_with_dilation():
    with pytest.raises(ValueError, match=r"strides=\(2, 1\), dilation_rate=\(1, 2\)"):
        layers.QuantizedConv2DTranspose(
            filters=1, kernel_size=(1, 1), strides=(2, 1), dilation_rate=(1, 2)
        )


@bits
@given(seeds, related_qparams(2), activations, st.integers(0, 2))
def test_scale(seed, params, activation, extra):
    layer = layers.QuantizedScale(
        activation=activation, input_qparams=params[:1], output_qparams=params[1]
    )
    check_linear(layer, seed, *[4] * extra, 11)


@pytest.mark.parametrize("shape", [(1, 1, 4096), (3, 3, 512)])
def test_worst_case_accumulation(shape):
    """Sums far beyond 2**24, where float32 alone would lose bits."""
    height, width, channels = shape
    source = QParams(scale=0.5, zero_point=-128)
    layer = layers.QuantizedConv2D(
        filters=4,
        kernel_size=(height, width),
        input_qparams=[source],
        output_qparams=QParams(scale=1.0, zero_point=0),
    )
    model = model_of(layer, shape)
    kernel = np.full((height, width, channels, 4), 127, np.int8)
    kernel[..., 1] = -127
    kernel[:, :, ::2, 2] = -126
    kernel[..., 3] = integers(0, kernel.shape[:3], 100, 127)
    largest = 255 * 127 * height * width * channels
    assert largest > 2**26
    # One output step is about 97 of the accumulator: an error of 100 must show.
    bias = np.array([-largest, largest, 77, -(largest * 9 // 10)], np.int32)
    layer.assign_weights(kernel, bias, np.full(4, 0.0206, np.float32))
    inputs = integers(1, (64, *shape), 100, 127)
    inputs[0] = 127
    assert_same_bits(model, inputs)
    assert layer._pieces[0] > 1


def test_worst_case_accumulation_in_groups_and_windows():
    source = QParams(scale=0.5, zero_point=-128)
    target = QParams(scale=1.0, zero_point=0)
    grouped = layers.QuantizedConv2D(
        filters=2, kernel_size=(2, 2), groups=2, input_qparams=[source], output_qparams=target
    )
    window = layers.QuantizedDepthwiseConv2D(
        kernel_size=(32, 32), input_qparams=[source], output_qparams=target
    )
    patches = layers.QuantizedConv2D(
        filters=2, kernel_size=(32, 32), input_qparams=[source], output_qparams=target
    )
    row = layers.QuantizedDepthwiseConv2D(
        kernel_size=(1, 1024), input_qparams=[source], output_qparams=target
    )
    transposed = layers.QuantizedConv2DTranspose(
        filters=2, kernel_size=(32, 32), input_qparams=[source], output_qparams=target
    )
    channels = layers.QuantizedConv2DTranspose(
        filters=2, kernel_size=(1, 1), input_qparams=[source], output_qparams=target
    )
    for layer, shape, products in [
        (grouped, (2, 2, 1024), 2048),
        (window, (32, 32, 2), 1024),
        (patches, (32, 32, 2), 2048),
        (row, (1, 1024, 2), 1024),
        (transposed, (32, 32, 2), 2048),
        (channels, (2, 2, 2048), 2048),
    ]:
        model = model_of(layer, shape)
        kernel = np.full(layer.kernel.shape, 127, np.int8)
        bias = np.full(2, -255 * 127 * products, np.int32)
        layer.assign_weights(kernel, bias, np.full(2, 0.0206, np.float32))
        inputs = integers(1, (8, *shape), 120, 127)
        inputs[0] = 127
        assert_same_bits(model, inputs)
        assert max(layer._pieces) > 1


def is_out_of_range(name: str, params: list[QParams]) -> bool:
    """Whether the output scale is one with which LiteRT overflows; such files are refused."""
    first, second, target = (x.scale for x in params)
    low, high = MULTIPLY_RATIO_RANGE if name == "Multiply" else (0, ADD_RATIO_RANGE[1])
    ratio = (first * second if name == "Multiply" else max(first, second)) / target
    return not low <= ratio < high


@bits
@given(related_qparams(3), st.sampled_from(["Add", "Subtract", "Multiply"]), activations)
def test_binary_on_every_pair(params, name, activation):
    if is_out_of_range(name, params):
        return
    layer = getattr(layers, f"Quantized{name}")(
        activation=activation, input_qparams=params[:2], output_qparams=params[2]
    )
    first, second = (grid.reshape(1, 256, 256, 1) for grid in EVERY_PAIR)
    assert_same_bits(model_of(layer, (256, 256, 1), (256, 256, 1)), first, second)


@bits
@given(seeds, related_qparams(3), st.sampled_from(["Add", "Subtract", "Multiply"]), st.data())
def test_binary_broadcasts(seed, params, name, data):
    shapes = data.draw(
        st.sampled_from([((4, 3, 5), (1, 1, 5)), ((1, 1, 5), (4, 3, 5)), ((4, 3, 5), (4, 3, 1))])
    )
    if is_out_of_range(name, params):
        return
    layer = getattr(layers, f"Quantized{name}")(input_qparams=params[:2], output_qparams=params[2])
    arrays = [integers(seed + i, (2, *shape)) for i, shape in enumerate(shapes)]
    assert_same_bits(model_of(layer, *shapes), *arrays)


@bits
@given(seeds, qparams, st.sampled_from(["Maximum", "Minimum"]))
def test_extremum(seed, params, name):
    layer = getattr(layers, f"Quantized{name}")(input_qparams=[params] * 2, output_qparams=params)
    arrays = [integers(seed + i, (2, 4, 3, 5)) for i in (0, 1)]
    assert_same_bits(model_of(layer, (4, 3, 5), (4, 3, 5)), *arrays)


@bits
@given(related_qparams(2), st.data())
def test_tables_on_every_input(params, data):
    source, target = params
    layer = data.draw(
        st.sampled_from(
            [
                layers.Requantize(input_qparams=[source], output_qparams=target),
                layers.QuantizedReLU(input_qparams=[source], output_qparams=target),
                layers.QuantizedReLU(max_value=6.0, input_qparams=[source], output_qparams=target),
                layers.QuantizedELU(input_qparams=[source], output_qparams=target),
                layers.QuantizedActivation(
                    activation="gelu", input_qparams=[source], output_qparams=target
                ),
                layers.QuantizedActivation(
                    activation="hard_silu", input_qparams=[source], output_qparams=target
                ),
                layers.QuantizedActivation(
                    activation="sigmoid", input_qparams=[source], output_qparams=SOFTMAX
                ),
                layers.QuantizedActivation(
                    activation="tanh", input_qparams=[source], output_qparams=TANH
                ),
                layers.QuantizedLeakyReLU(
                    negative_slope=0.3, input_qparams=[source], output_qparams=target
                ),
            ]
        )
    )
    if isinstance(layer, layers.QuantizedLeakyReLU) and source.scale * 0.3 / target.scale < 1 / 200:
        return
    if isinstance(layer, layers.QuantizedActivation) and source.scale / target.scale >= 128:
        return
    assert_same_bits(model_of(layer, (16, 16, 1)), EVERY_INT8)


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (0.0, 6.0), (0.0, 1.0), (-1.0, 1.0)])
@bits
@given(related_qparams(2))
def test_relu_is_its_table(low, high, params):
    source, target = params
    layer = layers.QuantizedReLU(
        min_value=low, max_value=high, input_qparams=[source], output_qparams=target
    )
    (outputs,) = keras_outputs(model_of(layer, (16, 16, 1)), EVERY_INT8)
    expected = clip_table(source, target, low, high)
    np.testing.assert_array_equal(outputs, expected[EVERY_INT8.astype(int) + 128])


@bits
@given(st.floats(-16, -1), st.floats(0.5, 16))
def test_hard_swish_of_calibrated_values(low, high):
    source, target = hard_swish_qparams(low, high)
    layer = layers.QuantizedActivation(
        activation="hard_silu", input_qparams=[source], output_qparams=target
    )
    assert_same_bits(model_of(layer, (16, 16, 1)), EVERY_INT8)


@pytest.mark.parametrize("scale", [1e-6, 1.8e-7, 1.7e-7, 1e-7, 1e-9, 1e-12])
def test_hard_swish_of_tiny_values(scale):
    source, target = QParams(scale=scale, zero_point=3), QParams(scale=scale / 64, zero_point=-5)
    layer = layers.QuantizedActivation(
        activation="hard_silu", input_qparams=[source], output_qparams=target
    )
    assert_same_bits(model_of(layer, (16, 16, 1)), EVERY_INT8)


@bits
@given(seeds, related_qparams(3), st.sampled_from([None, (1, 2)]))
def test_prelu(seed, params, shared_axes):
    layer = layers.QuantizedPReLU(
        alpha_qparams=params[0],
        shared_axes=shared_axes,
        input_qparams=params[1:2],
        output_qparams=params[2],
    )
    model = model_of(layer, (4, 3, 5))
    layer.alpha.assign(integers(seed, tuple(layer.alpha.shape)))
    assert_same_bits(model, integers(seed + 1, (3, 4, 3, 5)))


@bits
@given(seeds, qparams, st.sampled_from([2, 10, 64, 65, 128, 300]))
def test_softmax(seed, source, classes):
    layer = layers.QuantizedSoftmax(input_qparams=[source], output_qparams=SOFTMAX)
    assert_same_bits(model_of(layer, (classes,)), integers(seed, (50, classes)))


@pytest.mark.parametrize("length", [1, 3, 64, 65, 128, 1000])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("jit_compile", [True, False])
def test_sums_from_left_to_right(length, known, jit_compile):
    """As every compiler leaves them: in another order one bit in many differs."""
    if jit_compile and keras.backend.backend() == "torch":
        pytest.skip("PyTorch compiles each for a quarter of a minute.")
    values = np.random.default_rng(length).random((32, length), np.float32)
    expected = np.zeros((32, 1), np.float32)
    for column in values.T:
        expected += column[:, None]
    inputs = keras.Input((length if known else None,))
    total = keras.layers.Lambda(sequential_sum)(inputs)  # traced for any batch to find its shape
    model = keras.Model(inputs, total)
    model.compile(jit_compile=jit_compile)
    if not known:  # TensorFlow does not trace for any length before it has seen two
        model.predict_on_batch(np.ones((32, length + 1), np.float32))
    np.testing.assert_array_equal(model.predict_on_batch(values), expected)


@pytest.mark.parametrize("scale", [2.0**-7, 0.05, 0.3])
def test_softmax_on_every_pair(scale):
    source = QParams(scale=scale, zero_point=0)
    layer = layers.QuantizedSoftmax(input_qparams=[source], output_qparams=SOFTMAX)
    pairs = np.stack([grid.reshape(-1) for grid in EVERY_PAIR], axis=1)
    assert_same_bits(model_of(layer, (2,)), pairs)


@bits
@given(seeds, qparams, paddings, st.sampled_from(["Average", "Max"]), st.data())
def test_pooling(seed, params, padding, name, data):
    layer = getattr(layers, f"Quantized{name}Pooling2D")(
        pool_size=(data.draw(small), data.draw(small)),
        strides=(data.draw(small), data.draw(small)),
        padding=padding,
        input_qparams=[params],
        output_qparams=params,
    )
    assert_same_bits(model_of(layer, (9, 8, 5)), integers(seed, (2, 9, 8, 5)))


@bits
@given(seeds, related_qparams(2), st.booleans(), st.integers(1, 9), st.integers(1, 9))
def test_mean(seed, params, keepdims, height, width):
    layer = layers.QuantizedMean(
        axis=(1, 2), keepdims=keepdims, input_qparams=params[:1], output_qparams=params[1]
    )
    assert_same_bits(model_of(layer, (height, width, 33)), integers(seed, (3, height, width, 33)))


@bits
@given(seeds, qparams, st.data())
def test_movement(seed, params, data):
    same = {"input_qparams": [params], "output_qparams": params}
    layer = data.draw(
        st.sampled_from(
            [
                layers.QuantizedGlobalMaxPooling2D(**same),
                layers.QuantizedReshape(target_shape=(3, -1), **same),
                layers.QuantizedFlatten(**same),
                layers.QuantizedPermute(dims=(3, 1, 2), **same),
                layers.QuantizedCropping2D(cropping=((1, 0), (2, 1)), **same),
                layers.QuantizedZeroPadding2D(padding=((1, 0), (2, 3)), **same),
                layers.QuantizedUpSampling2D(size=(2, 3), interpolation="nearest", **same),
                layers.QuantizedUpSampling2D(size=(2, 3), interpolation="bilinear", **same),
                layers.QuantizedResizing(height=9, width=5, interpolation="nearest", **same),
                layers.QuantizedResizing(height=9, width=5, interpolation="bilinear", **same),
            ]
        )
    )
    assert_same_bits(model_of(layer, (6, 7, 4)), integers(seed, (2, 6, 7, 4)))


@bits
@given(seeds, qparams, st.sampled_from([-1, 1, 2, 3]))
def test_concatenate(seed, params, axis):
    layer = layers.QuantizedConcatenate(
        axis=axis, input_qparams=[params] * 3, output_qparams=params
    )
    arrays = [integers(seed + i, (2, 4, 4, 4)) for i in range(3)]
    assert_same_bits(model_of(layer, *[(4, 4, 4)] * 3), *arrays)


@bits
@given(seeds, related_qparams(3), st.sampled_from([3, 700]))
def test_matmul(seed, params, inner):
    second = QParams(scale=params[1].scale, zero_point=0)
    target = QParams(
        scale=params[0].scale * second.scale * 75 * np.sqrt(inner), zero_point=params[2].zero_point
    )
    layer = layers.QuantizedMatmul(input_qparams=[params[0], second], output_qparams=target)
    arrays = [integers(seed, (2, 3, 4, inner)), integers(seed + 1, (2, 3, inner, 5), -127, 127)]
    assert_same_bits(model_of(layer, (3, 4, inner), (3, inner, 5)), *arrays)


def test_quantize_and_dequantize():
    rng = np.random.default_rng(0)
    for scale, zero_point in [(0.1, 3), (0.25, -128), (1e-6, 127), (33.3, 0)]:
        params = QParams(scale=scale, zero_point=zero_point)
        source = keras.Input((50,), name="x")
        integer = layers.Quantize(output_qparams=params)(source)
        model = keras.Model(source, layers.Dequantize(input_qparams=[params])(integer))
        values = np.concatenate(
            [
                rng.normal(0, 100 * scale, 2000),
                scale * (np.arange(-300, 300) / 2),  # exact ties
                [0.0, -0.0, 1e30, -1e30, np.nan, np.inf, -np.inf],
                np.zeros(43),
            ]
        )
        values = np.resize(values, (54, 50)).astype(np.float32)
        assert_same_bits(model, values)
        np.testing.assert_array_equal(
            params.dequantize(params.quantize(values)), keras.Model.predict_on_batch(model, values)
        )
