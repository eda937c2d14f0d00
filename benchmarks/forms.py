"""The raw interpreter on the two forms of a file: `python -m benchmarks.forms ResNet50V2 ...`.

Models of `keras.applications` with random weights and the statistics of photographs; two threads.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import keras
import numpy as np
import typer
from integration.applications import normalize_for, photographs

import keras_octet as ko
from keras_octet.tflite.run import Interpreter
from keras_octet.timing import time_calls

ROUNDS = 10
THREADS = 2


def main(names: Annotated[list[str], typer.Argument(metavar="MODEL...")]) -> None:
    """Print a row of a Markdown table for each model: milliseconds of a call, and their ratio."""
    print("| model | as exported | for XNNPACK | ratio |\n| --- | --- | --- | --- |")
    for name in names:
        keras.utils.set_random_seed(0)
        model = getattr(keras.applications, name)(weights=None)
        shape = [size or 224 for size in model.inputs[0].shape[1:]]
        if None in model.inputs[0].shape[1:]:
            model = getattr(keras.applications, name)(weights=None, input_shape=shape)
        pixels = photographs(16, shape[0], seed=0)
        x = pixels if _takes_pixels(model) else pixels / np.float32(127.5) - np.float32(1)
        normalize_for(model, x)
        quantized = ko.quantize(model, x)
        calls = {}
        for form, for_xnnpack in (("as exported", False), ("for XNNPACK", True)):
            content = quantized.to_tflite(for_xnnpack=for_xnnpack)
            calls[form] = partial(Interpreter(content, num_threads=THREADS), x[:1])
        np.testing.assert_array_equal(*(call() for call in calls.values()))
        plain, other = map(np.median, time_calls(calls, rounds=ROUNDS).values())
        print(f"| {name} | {plain:.3g} | {other:.3g} | {other / plain:.2f} |", flush=True)


def _takes_pixels(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)


if __name__ == "__main__":
    typer.run(main)
