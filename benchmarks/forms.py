"""The raw interpreter on the two forms of a file: `python -m benchmarks.forms ResNet50V2 ...`.

Models of `keras.applications` with random weights and the statistics of photographs; two threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import keras
import numpy as np
import typer
from ai_edge_litert.interpreter import Interpreter
from integration.applications import normalize_for, photographs

import keras_octet as ko

CALLS = 40
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
        calls = [
            _call(quantized.to_tflite(for_xnnpack=for_xnnpack), x[:1])
            for for_xnnpack in (False, True)
        ]
        plain, other = (call() for call in calls)
        np.testing.assert_array_equal(plain, other)
        times = np.array([[_milliseconds(call) for call in calls] for _ in range(CALLS)])
        first, second = np.median(times, axis=0)
        ratio = np.median(times[:, 1] / times[:, 0])
        print(f"| {name} | {first:.3g} | {second:.3g} | {ratio:.2f} |", flush=True)


def _takes_pixels(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)


def _call(content: bytes, x: np.ndarray) -> Callable[[], np.ndarray]:
    interpreter = Interpreter(model_content=content, num_threads=THREADS)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run() -> np.ndarray:
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return run


def _milliseconds(call: Callable[[], np.ndarray]) -> float:
    """Of the second of two calls: before the first, the threads of the other form may be awake."""
    call()
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    typer.run(main)
