"""Operator layers against NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_octet.layers import operators

some = settings(max_examples=40, deadline=None)


def values(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def same(layer: Any, x: np.ndarray, expected: np.ndarray) -> None:
    """The layer gives these values, of the shape that it says."""
    received = ops.convert_to_numpy(layer(x))
    np.testing.assert_array_equal(received, expected)
    assert received.dtype == expected.dtype
    assert tuple(layer.compute_output_spec(ops.convert_to_tensor(x)).shape) == expected.shape


@some
@given(data=st.data(), mode=st.sampled_from(["reflect", "symmetric"]))
def test_mirror_pad(data: Any, mode: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    border = int(mode == "reflect")
    widths = [data.draw(st.tuples(*[st.integers(0, size - border)] * 2)) for size in shape]
    x = values(*shape, dtype=data.draw(st.sampled_from(["float32", "int8"])))
    layer = operators.MirrorPad(paddings=widths, mode=mode)
    same(layer, x, np.pad(x, widths, mode=mode))


bounds = st.none() | st.integers(-7, 7)


@some
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    data=st.data(),
    dtype=st.sampled_from(["float32", "int8"]),
)
def test_strided_slice(shape: list[int], data: Any, dtype: str) -> None:
    steps = st.integers(-3, 3).filter(bool)
    key = tuple(slice(*data.draw(st.tuples(bounds, bounds, steps))) for _ in shape)
    layer = operators.StridedSlice(
        begin=[item.start or 0 for item in key],
        end=[item.stop or 0 for item in key],
        strides=[item.step for item in key],
        begin_mask=sum(1 << i for i, item in enumerate(key) if item.start is None),
        end_mask=sum(1 << i for i, item in enumerate(key) if item.stop is None),
    )
    x = values(*shape, dtype=dtype)
    same(layer, x, x[key])


def test_strided_slice_backwards_with_other_masks() -> None:
    x = values(4, 3, 5)
    layer = operators.StridedSlice(
        begin=[0, -1, 0, 1],
        end=[0, 0, 0, 2],
        strides=[1, -2, 1, 1],
        new_axis_mask=0b1,
        ellipsis_mask=0b100,
        shrink_axis_mask=0b1000,
    )
    same(layer, x, x[None, -1:0:-2, ..., 1])


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        ([(None, 5), (2, 3)], (1, 0)),
        ([(4, 5), (3,)], (1, 0)),
        ([(4, 5), (5,)], (1, 1)),
        ([(4, 5), (4,)], (1, 2)),
        ([(4, 5), (4,)], (-1, 0)),
    ],
)
def test_reversed_sequences_fit_their_lengths(shapes: Any, axes: tuple[int, int]) -> None:
    layer = operators.ReverseSequence(axis=axes[0], batch_axis=axes[1])
    with pytest.raises(ValueError, match="Received: "):
        layer.compute_output_spec([keras.KerasTensor(shape) for shape in shapes])


def test_reversed_sequences() -> None:
    x, lengths = values(2, 4), np.array([3, 1], np.int32)
    layer = operators.ReverseSequence(axis=1, batch_axis=0)
    expected = [[2, 1, 0, 3], [4, 5, 6, 7]]
    np.testing.assert_array_equal(ops.convert_to_numpy(layer([x, lengths])), expected)
    spec = layer.compute_output_spec([keras.KerasTensor((None, 4)), keras.KerasTensor((None,))])
    assert spec.shape == (None, 4)


@pytest.mark.parametrize("layer", ["pool", "resize"])
def test_images_of_a_fixed_size(layer: str) -> None:
    """Where pixels come from is worked out in NumPy."""
    made = {
        "pool": lambda: operators.L2Pooling2D(pool_size=(2, 2), strides=(1, 1), padding="same"),
        "resize": lambda: operators.ResizeImage(height=3, width=3, interpolation="nearest"),
    }[layer]()
    with pytest.raises(ValueError, match="fixed height and width"):
        made.compute_output_spec(keras.KerasTensor((1, None, 4, 1)))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_one_hot(axis: int) -> None:
    x = np.array([[1, -1, 3], [0, 4, 2]], np.int32)
    hot = np.where(x[..., None] == np.arange(4), 2, -3).astype("float32")
    layer = operators.OneHot(depth=4, axis=axis, on=2, off=-3)
    same(layer, x, np.moveaxis(hot, -1, axis))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("window", "stride"), [(2, 1), (2, 2), (3, 2), (1, 3)])
def test_shape_of_pooling(padding: str, window: int, stride: int) -> None:
    layer = operators.L2Pooling2D(pool_size=(window, 2), strides=(stride, 1), padding=padding)
    x = values(2, 5, 4, 3)
    assert layer.compute_output_spec(x).shape == tuple(layer(x).shape)


def test_pooling_that_pads_nothing_has_no_limit() -> None:
    layer = operators.L2Pooling2D(pool_size=(2, 2), strides=(1, 1), padding="valid")
    for edge in (2**13, None):
        spec = layer.compute_output_spec(keras.KerasTensor((None, edge, edge, 1)))
        assert spec.shape == (None, edge and edge - 1, edge and edge - 1, 1)


def test_diagonals() -> None:
    x = values(2, 3)
    same(operators.MatrixDiag(), x, x[..., None] * np.eye(3, dtype="float32"))
    matrices = values(2, 3, 4)
    expected = matrices.copy()
    expected[:, range(3), range(3)] = x
    layer = operators.MatrixSetDiag()
    np.testing.assert_array_equal(ops.convert_to_numpy(layer([matrices, x])), expected)
    spec = layer.compute_output_spec([keras.KerasTensor((None, 3, 4)), values(1, 3)])
    assert spec.shape == (None, 3, 4)
    with pytest.raises(ValueError, match=r"have diagonals \(2, 3\)"):
        layer.compute_output_spec([matrices, values(2, 4)])
