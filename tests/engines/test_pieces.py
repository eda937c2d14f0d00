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
    ("count", "equal", "sizes"),
    [
        (512, False, [86] * 6),
        (146, False, [73] * 2),
        (147, False, [74] * 2),
        (291, False, [146] * 2),
        (292, False, [73] * 4),
        (6, False, [3] * 2),
        (1, False, [1]),
        (512, True, [64] * 8),
        (513, True, [64] * 9),
        (146, True, [64] * 3),
        (6, True, [3] * 2),
        (1, True, [1]),
    ],
)
def test_sizes_of_pieces(count, equal, sizes):
    received = run(count, work_per_piece=730, equal=equal)
    if not equal:
        sizes = [*sizes[:-1], sizes[-1] - (sum(sizes) - count)]
    assert received == sizes


def test_a_piece_has_some_samples_however_much_work_they_are():
    assert run(64, work_per_piece=1, min_samples=16) == [16] * 4
    assert run(64, work_per_piece=1, min_samples=16, equal=True) == [16] * 4
    assert run(64, work_per_piece=1) == [8] * 8
    assert run(17, work_per_piece=1) == [9, 8]


def run(count, **options):
    """Sizes of the pieces that two workers make, the largest first; outputs are checked."""
    ran: list[int] = []

    def double(inputs, outputs):
        ran.append(len(inputs[0]))
        outputs[0][...] = 2 * inputs[0]

    x = np.arange(3 * count, dtype="float32").reshape(count, 3)
    (y,) = predict_in_pieces(double, source(), [x], 2, **options)
    np.testing.assert_array_equal(y, 2 * x)
    return sorted(ran, reverse=True)
