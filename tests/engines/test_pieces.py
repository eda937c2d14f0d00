"""Samples cut into pieces: of which size, and each sample's outputs where they belong."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_octet.engines.base import Source
from keras_octet.engines.pieces import predict_in_pieces


def source() -> Source:
    x = keras.Input((3,), dtype="float32")
    return Source(inputs=[x], outputs=[x], write=lambda: None, separable=True, multiply_adds=10)


@pytest.mark.parametrize(
    ("count", "size", "sizes", "equal_sizes"),
    [
        (512, 64, [64] * 8, [64] * 8),
        (513, 64, [64] * 8 + [1], [64] * 9),
        (146, 64, [64, 64, 18], [64] * 3),
        (6, 3, [3, 3], [3, 3]),
        (5, 8, [5], [5]),
        (1, 1, [1], [1]),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_sizes_of_pieces(count, size, sizes, equal_sizes, workers):
    assert sorted(run(count, size, workers), reverse=True) == sizes
    assert run(count, size, workers, equal=True) == equal_sizes


def test_one_more_piece_ahead():
    assert run(512, 64, 1, head=64) == [64] * 8
    assert run(512, 64, 1, head=50) == [50, *[64] * 7, 14]
    assert run(10, 8, 1, head=2) == [2, 8]
    assert run(10, 8, 1, head=10) == [10]
    assert run(10, 20, 1, head=1) == [1, 9]
    assert sorted(run(512, 64, 2, head=50)) == [14, 50, *[64] * 7]


def run(count, size, workers, **options):
    """Sizes of the pieces in the order in which they end; outputs are checked."""
    ran: list[int] = []

    def double(inputs, outputs):
        ran.append(len(inputs[0]))
        outputs[0][...] = 2 * inputs[0]

    x = np.arange(3 * count, dtype="float32").reshape(count, 3)
    (y,) = predict_in_pieces(double, source(), [x], size, workers, **options)
    np.testing.assert_array_equal(y, 2 * x)
    return ran
