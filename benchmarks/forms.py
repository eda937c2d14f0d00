"""The raw interpreter on the two forms of a file: `python -m benchmarks.forms cnn ResNet50V2 ...`.

Models of the zoo or of `keras.applications`, which have random weights and the statistics of
photographs.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import keras
import numpy as np
import typer
from integration.applications import normalize_for, photographs

import keras_octet as ko
from benchmarks.zoo import ZOO, build
from keras_octet.tflite.run import Interpreter
from keras_octet.timing import time_calls

ROUNDS = 50
NUM_CALIBRATION = 16


def main(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...")],
    batch_size: int = 1,
    threads: int = 2,
) -> None:
    """Print a row of a Markdown table for each model: milliseconds of a call, and their ratio.

    Of batches of up to 16.
    """
    print("| model | as exported | for XNNPACK | ratio |\n| --- | --- | --- | --- |")
    for name in names:
        model, x = _of_zoo(name) if name in ZOO else _application(name)
        quantized = ko.quantize(model, x)
        calls = {}
        for form, for_xnnpack in (("as exported", False), ("for XNNPACK", True)):
            content = quantized.to_tflite(for_xnnpack=for_xnnpack)
            calls[form] = partial(Interpreter(content, num_threads=threads), x[:batch_size])
        np.testing.assert_array_equal(*(call() for call in calls.values()))
        plain, other = map(np.median, time_calls(calls, rounds=ROUNDS).values())
        print(f"| {name} | {plain:.3g} | {other:.3g} | {other / plain:.2f} |", flush=True)


def _of_zoo(name: str) -> tuple[keras.Model, np.ndarray]:
    model, samples = build(name)
    return model, samples(NUM_CALIBRATION)


def _application(name: str) -> tuple[keras.Model, np.ndarray]:
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    shape = [size or 224 for size in model.inputs[0].shape[1:]]
    if None in model.inputs[0].shape[1:]:
        model = getattr(keras.applications, name)(weights=None, input_shape=shape)
    x = photographs(NUM_CALIBRATION, shape[0], seed=0)
    if not any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        x = x / np.float32(127.5) - np.float32(1)
    normalize_for(model, x)
    return model, x


if __name__ == "__main__":
    typer.run(main)
