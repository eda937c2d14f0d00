"""Float layers and operations: LiteRT computes what Keras computes, at any batch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_octet.errors import ExportError
from keras_octet.tflite.write import to_tflite
from tests.strategies import GAPS
from tests.tflite.support import assert_close, pair, sequence

L = keras.layers

IMAGE = (8, 7, 4)
# Each model with the operators expected of it, in order.
CANONICAL: dict[str, tuple[Callable[[], Any], str]] = {
    "Dense": (lambda: sequence((6,), L.Dense(5)), "FULLY_CONNECTED"),
    "Dense rank 4": (lambda: sequence((3, 4, 6), L.Dense(5)), "FULLY_CONNECTED"),
    "Conv2D": (
        lambda: sequence(IMAGE, L.Conv2D(5, (3, 2), strides=(2, 1), padding="same")),
        "CONV_2D",
    ),
    "Conv2D dilated": (lambda: sequence(IMAGE, L.Conv2D(5, 3, dilation_rate=2)), "CONV_2D"),
    "Conv2D grouped": (lambda: sequence(IMAGE, L.Conv2D(6, 3, groups=2)), "CONV_2D"),
    "DepthwiseConv2D": (
        lambda: sequence(IMAGE, L.DepthwiseConv2D(3, strides=2, padding="same")),
        "DEPTHWISE_CONV_2D",
    ),
    "DepthwiseConv2D multiplier": (
        lambda: sequence(IMAGE, L.DepthwiseConv2D(3, depth_multiplier=2, dilation_rate=2)),
        "DEPTHWISE_CONV_2D",
    ),
    "Rescaling": (
        lambda: sequence((3, 2), L.Rescaling([0.5, 2.0], [1.0, -1.0])),
        "MUL ADD",
    ),
    "Rescaling scale": (lambda: sequence((3,), L.Rescaling(0.5)), "MUL"),
    "BatchNormalization": (lambda: sequence(IMAGE, L.BatchNormalization()), "MUL ADD"),
    "BatchNormalization axis": (lambda: sequence((5, 3), L.BatchNormalization(axis=1)), "MUL ADD"),
    "Add": (lambda: pair(L.Add(), (4, 3), (4, 3)), "ADD"),
    "Subtract": (lambda: pair(L.Subtract(), (4, 3), (4, 3)), "SUB"),
    "Multiply": (lambda: pair(L.Multiply(), (4, 4, 3), (1, 1, 3)), "MUL"),
    "Maximum": (lambda: pair(L.Maximum(), (4, 3), (4, 3)), "MAXIMUM"),
    "Minimum": (lambda: pair(L.Minimum(), (4, 3), (4, 3)), "MINIMUM"),
    "Average": (lambda: pair(L.Average(), (4, 3), (4, 3)), "ADD MUL"),
    "Concatenate": (lambda: pair(L.Concatenate(), (4, 3), (4, 5)), "CONCATENATION"),
    "Concatenate axis": (lambda: pair(L.Concatenate(axis=1), (2, 3), (4, 3)), "CONCATENATION"),
    "Matmul": (lambda: pair(lambda x: ops.matmul(x[0], x[1]), (4, 3), (3, 5)), "BATCH_MATMUL"),
    "AveragePooling2D": (
        lambda: sequence((7, 7, 4), L.AveragePooling2D(3, 2, padding="same")),
        "AVERAGE_POOL_2D",
    ),
    "MaxPooling2D": (lambda: sequence(IMAGE, L.MaxPooling2D((2, 3))), "MAX_POOL_2D"),
    "GlobalAveragePooling2D": (lambda: sequence(IMAGE, L.GlobalAveragePooling2D()), "MEAN"),
    "GlobalMaxPooling2D": (
        lambda: sequence(IMAGE, L.GlobalMaxPooling2D(keepdims=True)),
        "REDUCE_MAX",
    ),
    "Reshape": (lambda: sequence(IMAGE, L.Reshape((14, -1))), "RESHAPE"),
    "Flatten": (lambda: sequence(IMAGE, L.Flatten()), "RESHAPE"),
    "Permute": (lambda: sequence(IMAGE, L.Permute((3, 1, 2))), "TRANSPOSE"),
    "Cropping2D": (lambda: sequence(IMAGE, L.Cropping2D(((1, 2), (0, 3)))), "STRIDED_SLICE"),
    "ZeroPadding2D": (lambda: sequence(IMAGE, L.ZeroPadding2D(((1, 2), (0, 3)))), "PAD"),
    "UpSampling2D nearest": (
        lambda: sequence(IMAGE, L.UpSampling2D((3, 5))),
        "RESIZE_NEAREST_NEIGHBOR",
    ),
    "UpSampling2D bilinear": (
        lambda: sequence(IMAGE, L.UpSampling2D(2, interpolation="bilinear")),
        "RESIZE_BILINEAR",
    ),
    "Resizing bilinear": (lambda: sequence(IMAGE, L.Resizing(5, 11)), "RESIZE_BILINEAR"),
    "Resizing nearest": (
        lambda: sequence(IMAGE, L.Resizing(5, 11, interpolation="nearest")),
        "RESIZE_NEAREST_NEIGHBOR",
    ),
    "ReLU": (lambda: sequence((9,), L.ReLU()), "RELU"),
    "ReLU 6": (lambda: sequence((9,), L.ReLU(6)), "RELU6"),
    "ReLU 1": (lambda: sequence((9,), L.ReLU(1)), "RELU MINIMUM"),
    "LeakyReLU": (lambda: sequence((9,), L.LeakyReLU(0.2)), "LEAKY_RELU"),
    "PReLU": (lambda: sequence(IMAGE, L.PReLU(shared_axes=[1, 2])), "PRELU"),
    "ELU": (lambda: sequence((9,), L.ELU()), "ELU"),
    "ELU alpha": (lambda: sequence((9,), L.ELU(0.5)), "MINIMUM ELU MUL RELU ADD"),
    "Softmax": (lambda: sequence((3, 5), L.Softmax()), "SOFTMAX"),
    "Softmax axis": (lambda: sequence((3, 5), L.Softmax(axis=1)), "TRANSPOSE SOFTMAX TRANSPOSE"),
    "sigmoid": (lambda: sequence((9,), L.Activation("sigmoid")), "LOGISTIC"),
    "tanh": (lambda: sequence((9,), L.Activation("tanh")), "TANH"),
    "hard_silu": (lambda: sequence((9,), L.Activation("hard_silu")), "HARD_SWISH"),
    "gelu": (lambda: sequence((9,), L.Activation("gelu")), "GELU"),
}
NOT_DELEGATED = {"UpSampling2D nearest", "Resizing nearest"}


@pytest.mark.parametrize("name", CANONICAL)
def test_canonical_layer(name: str) -> None:
    make, operators = CANONICAL[name]
    interpreter = assert_close(make())
    assert " ".join(interpreter.operators()) == operators
    assert interpreter.left() == ([] if name not in NOT_DELEGATED else operators.split())


TRANSPOSED = [
    # kernel, stride, output_padding, padding, dilation
    (3, 2, None, "same", 1),
    (4, 2, None, "same", 1),
    (2, 3, None, "same", 1),
    (3, 2, None, "valid", 1),
    (2, 3, None, "valid", 1),
    (3, 2, 1, "valid", 1),
    (3, 2, 1, "same", 1),
    (5, 3, 1, "same", 1),
    (3, 1, None, "same", 2),
    (3, 1, None, "valid", 3),
]


@pytest.mark.parametrize(("kernel", "stride", "output_padding", "padding", "dilation"), TRANSPOSED)
def test_transposed_convolution(
    kernel: int, stride: int, output_padding: int | None, padding: str, dilation: int
) -> None:
    layer = L.Conv2DTranspose(
        3,
        (kernel, 1),
        strides=(stride, 1),
        padding=padding,
        output_padding=None if output_padding is None else (output_padding, 0),
        dilation_rate=(dilation, 1),
    )
    model = sequence((5, 4, 2), layer)
    if dilation > 1 and keras.backend.backend() == "tensorflow":
        try:
            model(np.zeros((1, 5, 4, 2), np.float32))
        except Exception as error:
            if "do not yet support dilation" not in str(error):
                raise
            pytest.skip("TensorFlow has no such kernel on this processor")
    interpreter = assert_close(model)
    assert interpreter.operators() == ["TRANSPOSE_CONV"]
    assert interpreter.left() == []


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="TensorFlow refuses these output sizes"
)
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (4, 3), (2, 3), (6, 2)])
def test_transposed_convolution_shorter_than_same_padding(kernel: int, stride: int) -> None:
    layer = L.Conv2DTranspose(
        3, (kernel, 1), strides=(stride, 1), padding="same", output_padding=(0, 0)
    )
    interpreter = assert_close(sequence((5, 4, 2), layer))
    assert interpreter.operators() == ["TRANSPOSE_CONV", "STRIDED_SLICE"]
    assert interpreter.left() == []


@pytest.mark.parametrize("window", GAPS)
def test_transposed_convolution_of_gaps_begins_as_in_keras(window: dict[str, Any]) -> None:
    """A kernel as wide as the stride, with zeros at its end, would be cropped at its beginning."""
    interpreter = assert_close(sequence((5, 4, 2), L.Conv2DTranspose(**window)))
    assert interpreter.operators() == ["TRANSPOSE_CONV", "STRIDED_SLICE"]
    assert interpreter.left() == []


ACTIVATIONS = (
    "linear relu relu6 sigmoid tanh hard_silu exponential log_softmax elu selu celu gelu "
    "leaky_relu silu softmax softplus softsign mish hard_sigmoid log_sigmoid hard_tanh tanh_shrink"
)


@pytest.mark.parametrize("name", ACTIVATIONS.split())
def test_activation(name: str) -> None:
    assert_close(sequence((9,), L.Activation(name)))
    assert_close(sequence((5,), L.Dense(4, activation=name)))


FLOAT_LAYERS: dict[str, Callable[[], Any]] = {
    "LayerNormalization": lambda: sequence((8, 4), L.LayerNormalization()),
    "LayerNormalization axes": lambda: sequence((5, 4, 3), L.LayerNormalization(axis=(2, 3))),
    "RMSNormalization": lambda: sequence((8, 4), L.RMSNormalization()),
    "UnitNormalization": lambda: sequence((8, 4), L.UnitNormalization()),
    "Normalization": lambda: sequence((2,), L.Normalization(mean=[1.0, 2.0], variance=[0.5, 3.0])),
    "Embedding": lambda: sequence((8,), L.Embedding(10, 4), dtype="int32"),
    "Embedding uint8": lambda: sequence((8,), L.Embedding(10, 4), dtype="uint8"),
    "Conv3D": lambda: sequence((5, 6, 7, 2), L.Conv3D(4, 3, padding="same", activation="relu")),
    "Dot": lambda: pair(L.Dot(axes=1, normalize=True), (4,), (4,)),
    "Dot matrices": lambda: pair(L.Dot(axes=(1, 2)), (4, 3), (5, 4)),
    "RepeatVector": lambda: sequence((4,), L.RepeatVector(3)),
    "Dropout": lambda: sequence((4,), L.Dropout(0.5)),
    "MultiHeadAttention": lambda: pair(
        lambda x: L.MultiHeadAttention(2, 3)(x[0], x[1]), (5, 8), (6, 8)
    ),
    "MultiHeadAttention causal": lambda: sequence(
        (5, 8), lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    ),
    "GlobalAveragePooling1D masked": lambda: sequence(
        (6,), L.Embedding(10, 4, mask_zero=True), L.GlobalAveragePooling1D(), dtype="int32"
    ),
}


@pytest.mark.parametrize("name", FLOAT_LAYERS)
def test_float_layer(name: str) -> None:
    assert_close(FLOAT_LAYERS[name]())


@pytest.mark.parametrize(
    ("equation", "shape", "output_shape", "bias_axes"),
    [
        ("abc,cd->abd", (5, 6), (None, 4), "d"),
        ("abc,cde->abde", (5, 6), (None, 4, 3), "de"),
        ("abcd,cde->abe", (5, 4, 3), (None, 7), "e"),
        ("abc,bd->adc", (5, 6), (7, 6), "d"),
        ("...x,xy->...y", (5, 6), 4, "y"),
        ("abc,cde->adbe", (5, 6), (4, None, 3), "e"),
        ("abc,cd->abd", (5, 6), (5, 4), "bd"),
    ],
)
def test_einsum_dense(equation: str, shape: Any, output_shape: Any, bias_axes: str) -> None:
    layer = L.EinsumDense(equation, output_shape, bias_axes=bias_axes, activation="relu")
    assert_close(sequence(shape, layer))


CELLS: dict[str, Callable[..., Any]] = {
    "LSTM": L.LSTM,
    "GRU": L.GRU,
    "GRU reset before": lambda *args, **kwargs: L.GRU(*args, reset_after=False, **kwargs),
    "SimpleRNN": L.SimpleRNN,
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options",
    [{}, {"return_sequences": True, "go_backwards": True}, {"return_state": True}],
    ids=["last", "backwards", "state"],
)
def test_recurrent_layer(cell: str, options: dict[str, bool]) -> None:
    interpreter = assert_close(sequence((4, 3), CELLS[cell](5, **options)))
    arrays = [np.ones((2, 4, 3), np.float32)]
    first, second = interpreter(*arrays)[0], interpreter(*arrays)[0]
    np.testing.assert_array_equal(first, second)  # no state is kept


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional_layer(merge_mode: str, return_sequences: bool) -> None:
    layer = L.Bidirectional(L.LSTM(3, return_sequences=return_sequences), merge_mode=merge_mode)
    assert_close(sequence((4, 3), layer))


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: x + 1,
    "reversed subtract": lambda x: 1 - x,
    "divide": lambda x: x / 3,
    "reversed divide": lambda x: 3 / (ops.abs(x) + 1),
    "power": lambda x: ops.abs(x) ** 1.5,
    "square": lambda x: x**2,
    "exp": ops.exp,
    "sqrt": lambda x: ops.sqrt(ops.abs(x)),
    "rsqrt": lambda x: ops.rsqrt(ops.abs(x) + 0.1),
    "log": lambda x: ops.log(ops.abs(x) + 0.1),
    "log1p": lambda x: ops.log1p(ops.abs(x)),
    "log2": lambda x: ops.log2(ops.abs(x) + 0.1),
    "sin": ops.sin,
    "cos": ops.cos,
    "negative": ops.negative,
    "floor": ops.floor,
    "ceil": ops.ceil,
    "round": ops.round,
    "sign": ops.sign,
    "reciprocal": lambda x: ops.reciprocal(ops.abs(x) + 1),
    "clip": lambda x: ops.clip(x, -0.5, 0.7),
    "where": lambda x: ops.where(x > 0, x, -2 * x),
    "logical": lambda x: ops.cast(ops.logical_and(x > 0, x < 1), "float32"),
    "cast": lambda x: ops.cast(ops.cast(x, "int32"), "float32"),
    "mean": lambda x: ops.mean(x, axis=-1),
    "sum": lambda x: ops.sum(x, axis=(1, 2)),
    "max": lambda x: ops.max(x, axis=1, keepdims=True),
    "min": lambda x: ops.min(x, axis=1),
    "prod": lambda x: ops.prod(x, axis=1),
    "var": lambda x: ops.var(x, axis=-1),
    "std": lambda x: ops.std(x, axis=-1),
    "gelu": ops.gelu,
    "log_softmax": ops.log_softmax,
    "softmax": lambda x: ops.softmax(x, axis=1),
    "transpose": lambda x: ops.transpose(x, (0, 2, 1)),
    "swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "expand_dims": lambda x: ops.expand_dims(x, 1),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 2))),
    "pad reflect": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 2)), mode="reflect"),
    "pad value": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 2)), constant_values=2.0),
    "flip": lambda x: ops.flip(x, axis=1),
    "tile": lambda x: ops.tile(x, (1, 2, 1)),
    "take": lambda x: ops.take(x, np.array([0, 2]), axis=1),
    "einsum": lambda x: ops.einsum("bij,bkj->bik", x, x),
    "matmul constant": lambda x: ops.matmul(x, np.ones((3, 5), np.float32)),
    "split": lambda x: ops.split(x, 2, axis=1),
    "unstack": lambda x: ops.unstack(x, 4, axis=1),
    "stack": lambda x: ops.stack([x, 2 * x], axis=1),
    "slice": lambda x: x[:, 1:-1, ::2],
    "last": lambda x: x[:, -1],
    "ellipsis": lambda x: x[..., 0],
    "new axis": lambda x: x[:, None, 1:3, ..., -2:],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str) -> None:
    assert_close(sequence((4, 3), OPERATIONS[name]))


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch has no negative steps")
def test_slice_backwards() -> None:
    assert_close(sequence((4, 3), lambda x: x[:, ::-1, 2:0:-1]))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: sequence((4,), L.ReLU(threshold=0.5)), "threshold=0.5"),
        (lambda: sequence((4,), L.Activation("squareplus")), "squareplus"),
        (lambda: sequence((4, 4, 2), L.Resizing(2, 3, crop_to_aspect_ratio=True)), "crop_to"),
        (lambda: sequence((None, None, 2), L.UpSampling2D()), "static sizes"),
        (lambda: sequence((3, 2), L.LSTM(2, stateful=True), batch_size=2), "stateful"),
    ],
)
def test_what_has_no_form_is_refused(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        to_tflite(make())
