"""A file of another converter as a Keras model, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tests.tflite.read.test_golden import FIXED_BYTES, WRITTEN_AS, run_layers, running_operators

import keras_octet as ko
from integration.exact_parts import rounds
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter


def round_trip(
    content: bytes,
    inputs: list[np.ndarray],
    check: Callable[[np.ndarray, np.ndarray], None],
    folder: Path,
    *,
    same_operators: bool = True,
) -> keras.Model:
    """Read, computed, written again, saved and loaded.

    Args:
        content: bytes of the file.
        inputs: one array for each input.
        check: of what Keras computes, and then what LiteRT does.
        folder: where to save.
        same_operators: whether the file is written with those it has.

    Returns:
        The model from its `.keras` file.
    """
    before = Interpreter(content)
    expected = before(*inputs)
    model = ko.load_model(content)
    for ours, theirs in zip(run_layers(model, inputs), expected, strict=True):
        check(ours, theirs)

    again = model.to_tflite()
    after = Interpreter(again)
    same_kernels = after.delegated() == before.delegated()
    for ours, theirs in zip(after(*inputs), expected, strict=True):
        if same_kernels:
            np.testing.assert_array_equal(ours, theirs)
        else:
            check(ours, theirs)
    assert after.input_names == before.input_names
    assert after.output_names == before.output_names
    if same_kernels:
        assert after.partitions() <= before.partitions()
    if same_operators:
        assert operators(again) == [WRITTEN_AS.get(code, code) for code in operators(content)]
        # So as many are delegated; those on constants, such as DEQUANTIZE of float16, may be fewer.
        assert len(after.left()) <= len(before.left())
        assert len(again) <= 1.01 * len(content) + FIXED_BYTES

    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert loaded.to_tflite() == again
    return loaded


def operators(content: bytes) -> list[str]:
    """Codes of the operators that compute with the inputs, and not only for a shape."""
    graph = parse(content).subgraphs[0]
    wanted, kept = {*graph.outputs}, []
    for operator in reversed(graph.operators):
        if not operator.outputs or wanted.intersection(operator.outputs):
            kept.append(operator)
            wanted.update(operator.inputs if operator.code != "SHAPE" else ())
    graph.operators = kept[::-1]
    return [code for code, _ in running_operators(graph)]


@dataclass(frozen=True)
class Check:
    """How near what Keras computes must be to what LiteRT does.

    Attributes:
        tolerance: of the largest value; 0 is the same bits.
        share: of the values that must be so near; 1 unless float values are rounded to integers
            again on the way, which now and then moves one over the border to the next. Where
            several hybrid operators follow one another, it changes all that the next one gives.
    """

    tolerance: float
    share: float

    @classmethod
    def of(cls, content: bytes, tolerance: float) -> Check:
        """The same bits, if each operator gives them; else `tolerance`."""
        running = running_operators(parse(content).subgraphs[0])
        exact = not any(rounds(running))
        kinds = [kind for _, kind in running]
        spreads = kinds.count("hybrid") > 1 or "WHILE" in {code for code, _ in running}
        share = 0.0 if spreads else 0.99 if {"hybrid", "int8", "int16"} & {*kinds} else 1.0
        return cls(0.0 if exact else tolerance, share)

    def __call__(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        assert ours.shape == theirs.shape
        if keras.backend.backend() == "jax" and theirs.dtype == np.int64:
            theirs = theirs.astype(np.int32)  # JAX has no int64 unless told to
        assert ours.dtype == theirs.dtype
        if not self.tolerance or theirs.dtype.kind != "f":
            np.testing.assert_array_equal(ours, theirs)
            return
        distance = np.abs(ours - theirs)
        largest = np.abs(theirs).max(initial=0)
        within = distance <= self.tolerance * largest
        assert within.mean() >= self.share, distance.max()
        assert distance.max() <= 0.02 * largest


class NearAsKernels:
    """What Keras computes is as near to LiteRT's outputs as its own kernels, give or take a half.

    Or within what one value that jumps in one sample has been seen to do, if none does in LiteRT.

    For a deep network, which magnifies the jump of one value between integers: LiteRT with XNNPACK
    and without it are as far apart. That all between the float operators has LiteRT's bits is for
    `exact_parts` to show.
    """

    def __init__(self, content: bytes, inputs: list[np.ndarray]) -> None:
        (expected,) = Interpreter(content)(*inputs)
        (kernels,) = Interpreter(content, delegate=False)(*inputs)
        size = _distance(expected, np.zeros_like(expected))
        self._limit = max(_distance(kernels, expected), 1e-4 * size)

    def __call__(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert _distance(ours, theirs) <= 1.5 * self._limit


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(one.astype(np.float64) - other).mean()))
