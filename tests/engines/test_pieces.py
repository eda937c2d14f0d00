"""Samples cut into pieces: as many for each worker, and each sample's outputs where they belong."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_octet.engines.base import Source
from keras_octet.engines.pieces import predict_in_pieces


def source() -> Source:
    x = keras.Input((3,), dtype="float32")
    return Source(inputs=[x], outputs=[x], write=lambda: None, separable=True, multiply_adds=10)


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(
    ("count", "sizes"),
    [(512, [64] * 8), (146, [73] * 2), (147, [37] * 4), (6, [3] * 2), (1, [1])],
)
def test_as_many_pieces_for_each_worker(count, sizes, equal):
    ran: list[int] = []

    def double(inputs, outputs):
        ran.append(len(inputs[0]))
        outputs[0][...] = 2 * inputs[0]

    x = np.arange(3 * count, dtype="float32").reshape(count, 3)
    (y,) = predict_in_pieces(double, source(), [x], 2, work_per_piece=730, equal=equal)
    np.testing.assert_array_equal(y, 2 * x)
    if not equal and sum(sizes) > count:
        sizes = [*sizes[:-1], sizes[-1] - (sum(sizes) - count)]
    assert sorted(ran, reverse=True) == sizes
