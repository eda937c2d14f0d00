from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import pytest
from keras import ops

from tests.capture.support import captured, functional, islands, kinds, operations, sequential

L = keras.layers

FORMS: dict[str, tuple[Any, tuple[int | None, ...], dict[str, int]]] = {
    "flatten": (L.Flatten(), (4, 5, 3), {"Reshape": 1}),
    "flatten of a vector": (lambda x: L.Flatten()(ops.abs(x)), (4,), {"Absolute": 1}),
    "flatten of unknown size": (L.Flatten(), (None, 5, 3), {"Flatten": 1}),
    "reshape": (L.Reshape((15, 4)), (4, 5, 3), {"Reshape": 1}),
    "reshape with unknown size": (L.Reshape((-1, 3)), (None, 5, 3), {"Reshape": 1}),
    "reshape operation": (lambda x: ops.reshape(x, (-1, 12, 5)), (4, 5, 3), {"Reshape": 1}),
    "expand": (lambda x: ops.expand_dims(x, 1), (4, 5), {"Reshape": 1}),
    "squeeze": (lambda x: ops.squeeze(x, 2), (4, 1, 3), {"Reshape": 1}),
    "permute": (L.Permute((2, 3, 1)), (4, 5, 3), {"Permute": 1}),
    "transpose": (lambda x: ops.transpose(x, (0, 3, 1, 2)), (4, 5, 3), {"Permute": 1}),
    "swapaxes": (lambda x: ops.swapaxes(x, 1, -1), (4, 5, 3), {"Permute": 1}),
    "moveaxis": (lambda x: ops.moveaxis(x, -1, 1), (4, 5, 3), {"Permute": 1}),
    "pad operation": (
        lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0))),
        (4, 5, 3),
        {"ZeroPadding2D": 1},
    ),
    "pad of channels_first": (
        lambda x: ops.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3))),
        (3, 4, 5),
        {"ZeroPadding2D": 1, "Permute": 2},
    ),
    "pad of a sequence": (
        lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0))),
        (4, 3),
        {"ZeroPadding2D": 1, "Reshape": 2},
    ),
    "repeat": (L.RepeatVector(4), (3,), {"Reshape": 2, "UpSampling2D": 1}),
    "tile": (lambda x: ops.tile(x, (1, 2, 3)), (4, 3), {"Reshape": 3, "UpSampling2D": 2}),
    "tile an axis": (
        lambda x: ops.tile(ops.expand_dims(x, 2), (1, 1, 2, 1)),
        (4, 3),
        {"Reshape": 1, "UpSampling2D": 1},
    ),
    "crop": (L.Cropping2D(((1, 0), (1, 1))), (4, 5, 3), {"Cropping2D": 1}),
    "slice": (lambda x: x[:, 1:, ..., 0], (4, 5, 3), {"GetItem": 1}),
    "split": (lambda x: ops.split(x, 3, axis=-1), (4, 6), {"GetItem": 3}),
    "split at": (lambda x: ops.split(x, [1, 4], axis=1), (6, 4), {"GetItem": 3}),
    "stack": (lambda x: ops.stack([x, x], axis=1), (4,), {"Reshape": 1, "Concatenate": 1}),
    "concatenate": (
        lambda x: ops.concatenate([x, ops.abs(x)], axis=1),
        (4, 3),
        {"Concatenate": 1, "Absolute": 1},
    ),
    "resize": (lambda x: ops.image.resize(x, (7, 9)), (4, 5, 3), {"Resizing": 1}),
    "resizing": (L.Resizing(8, 10, interpolation="nearest"), (4, 5, 3), {"Resizing": 1}),
    "upsampling": (L.UpSampling2D(2, interpolation="bilinear"), (4, 5, 3), {"UpSampling2D": 1}),
    "center crop": (L.CenterCrop(3, 2), (6, 5, 3), {"Cropping2D": 1}),
}


class Reshaped(keras.Model):
    """A subclassed model that reshapes as `sizes(batch, x)` says."""

    def __init__(self, sizes: Any) -> None:
        super().__init__()
        self.sizes = sizes
        self.head = L.Dense(3)

    def call(self, x: Any) -> Any:
        return self.head(ops.reshape(x, self.sizes(ops.shape(x)[0], x)))


@pytest.mark.parametrize(
    ("sizes", "shape", "expected"),
    [
        (lambda batch, x: (batch, -1), (4, 6), "Reshape"),
        (lambda batch, x: (batch, 3, 8), (4, 6), "Reshape"),
        (lambda batch, x: (batch, -1, 6), (None, 5, 6), "Reshape"),
        (lambda batch, x: (-1, 4 * 6), (4, 6), "Reshape"),
    ],
)
def test_the_batch_size_in_a_new_shape(sizes: Any, shape: Any, expected: str) -> None:
    model = Reshaped(sizes)
    concrete = [7 if size is None else size for size in shape]
    model(keras.ops.ones((2, *concrete)))
    inputs = keras.KerasTensor((None, *shape))
    assert kinds(captured(model, inputs=inputs)) == {expected: 1, "Dense": 1}


def test_the_batch_size_that_undoes_a_merged_batch() -> None:
    class Steps(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = L.Dense(2)

        def call(self, x: Any) -> Any:
            merged = self.head(ops.reshape(x, (-1, 6)))
            return ops.reshape(merged, (ops.shape(x)[0], 4, 2))

    model = Steps()
    model(keras.ops.ones((2, 4, 6)))
    assert islands(captured(model)) == ["Reshape", "Reshape"]


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str) -> None:
    form, shape, expected = FORMS[name]
    assert kinds(captured(functional(form, shape))) == Counter(expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0),
        lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"),
        L.UpSampling2D(2, interpolation="bicubic"),
        L.Resizing(3, 3, antialias=True),
    ],
    ids=["pad with ones", "reflect", "bicubic", "antialias"],
)
def test_what_has_no_canonical_form_is_an_island(function: Any) -> None:
    assert len(islands(captured(functional(function, (6, 6, 3))))) == 1


def test_a_batch_axis_that_moves_is_an_island() -> None:
    model = functional(lambda x: ops.transpose(ops.transpose(x)), (4,), batch_size=3)
    assert islands(captured(model)) == ["Transpose", "Transpose"]


POOLING: dict[str, tuple[Any, tuple[int | None, ...], dict[str, int]]] = {
    "average": (L.AveragePooling2D(2, padding="same"), (5, 5, 3), {"AveragePooling2D": 1}),
    "maximum": (L.MaxPooling2D(3, strides=1), (5, 5, 3), {"MaxPooling2D": 1}),
    "maximum operation": (
        lambda x: ops.max_pool(x, (2, 2), (2, 2)),
        (4, 4, 3),
        {"MaxPooling2D": 1},
    ),
    "average operation": (
        lambda x: ops.average_pool(x, (2, 2), (1, 1)),
        (4, 4, 3),
        {"AveragePooling2D": 1},
    ),
    "maximum of a sequence": (L.MaxPooling1D(2), (6, 3), {"MaxPooling2D": 1, "Reshape": 2}),
    "global": (L.GlobalAveragePooling2D(), (5, 5, 3), {"GlobalAveragePooling2D": 1}),
    "global, kept": (
        L.GlobalMaxPooling2D(keepdims=True),
        (None, None, 3),
        {"GlobalMaxPooling2D": 1},
    ),
    "global of a sequence": (
        L.GlobalAveragePooling1D(),
        (None, 3),
        {"GlobalAveragePooling2D": 1, "Reshape": 1},
    ),
    "global of a sequence, kept": (
        L.GlobalMaxPooling1D(keepdims=True),
        (6, 3),
        {"GlobalMaxPooling2D": 1, "Reshape": 2},
    ),
    "mean": (lambda x: ops.mean(x, axis=(1, 2)), (4, 5, 3), {"GlobalAveragePooling2D": 1}),
    "mean, kept": (
        lambda x: ops.mean(x, axis=[-3, -2], keepdims=True),
        (4, 5, 3),
        {"GlobalAveragePooling2D": 1},
    ),
    "mean of channels_first": (
        lambda x: ops.mean(x, axis=(2, 3), keepdims=True),
        (3, 4, 5),
        {"GlobalAveragePooling2D": 1, "Permute": 1, "Reshape": 1},
    ),
    "max": (lambda x: ops.max(x, axis=(1, 2)), (4, 5, 3), {"GlobalMaxPooling2D": 1}),
    "sum": (
        lambda x: ops.sum(x, axis=(1, 2)),
        (4, 5, 3),
        {"GlobalAveragePooling2D": 1, "Rescaling": 1},
    ),
    "mean of the channels": (lambda x: ops.mean(x, axis=-1), (4, 5, 3), {"Mean": 1}),
}


@pytest.mark.parametrize("name", POOLING)
def test_pooling(name: str) -> None:
    form, shape, expected = POOLING[name]
    assert kinds(captured(functional(form, shape))) == Counter(expected)


def test_merging_more_than_two_gives_a_chain() -> None:
    model = functional(lambda *x: L.Add(name="total")(list(x)), (4,), (4,), (4,))
    flat = captured(model)
    assert kinds(flat) == {"Add": 2}
    assert operations(flat)[-1].name == "total"


@pytest.mark.parametrize("merge", [L.Subtract, L.Multiply, L.Maximum, L.Minimum])
def test_merging_two(merge: Any) -> None:
    model = functional(lambda a, b: merge()([a, b]), (4, 3), (1, 3))
    assert kinds(captured(model)) == {merge.__name__: 1}


def test_average_is_a_sum_and_a_rescaling() -> None:
    model = functional(lambda *x: L.Average()(list(x)), (4,), (4,), (4,))
    assert kinds(captured(model)) == Counter(Add=2, Rescaling=1)


def test_merging_tensors_of_two_ranks() -> None:
    model = functional(lambda a, b: L.Multiply()([a, b]), (4, 5, 3), (3,))
    assert kinds(captured(model)) == Counter(Multiply=1, Reshape=1)


def test_resizing_integer_images_keeps_integers() -> None:
    def function(x: Any) -> Any:
        return L.Conv2D(4, 3)(L.Rescaling(1 / 255)(L.RandomFlip()(L.Resizing(5, 5)(x))))

    flat = captured(functional(function, (6, 7, 3), dtype="uint8"))
    assert kinds(flat) == Counter(Resizing=1, Cast=1, Conv2D=1)


def test_layers_for_training_vanish() -> None:
    model = sequential(
        (8, 8, 3),
        L.RandomFlip(),
        L.RandomRotation(0.1),
        L.GaussianNoise(0.1),
        L.Conv2D(4, 3),
        L.SpatialDropout2D(0.2),
        L.ActivityRegularization(0.1),
        L.Identity(),
        L.Flatten(),
        L.Dropout(0.5),
        L.GaussianDropout(0.5),
        L.AlphaDropout(0.5),
        L.Activation("linear"),
        L.Dense(2),
    )
    assert kinds(captured(model)) == Counter(Conv2D=1, Reshape=1, Dense=1)
