"""Golden files with a custom operator: `python -m tests.golden.make_custom`.

Needs TensorFlow, whose converter makes them. LiteRT has a kernel for AudioSpectrogram.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tests.golden.record import record

SAMPLES, WINDOW, STRIDE, UNITS = 400, 128, 64, 3
rng = np.random.default_rng(0)
before = tf.constant(rng.normal(0, 0.3, (20, SAMPLES)).astype(np.float32))
after = tf.constant(rng.normal(0, 0.01, (WINDOW // 2 + 1, UNITS)).astype(np.float32))


def sound() -> np.ndarray:
    return rng.normal(0, 1, (SAMPLES, 1)).astype(np.float32)


def features() -> np.ndarray:
    return rng.normal(0, 1, (1, 20)).astype(np.float32)


def spectrogram(x: tf.Tensor, squared: bool = True) -> tf.Tensor:
    return tf.raw_ops.AudioSpectrogram(
        input=x, window_size=WINDOW, stride=STRIDE, magnitude_squared=squared
    )


@tf.function(input_signature=[tf.TensorSpec((SAMPLES, 1), tf.float32)])
def alone(x):
    return spectrogram(x), spectrogram(x, squared=False)


@tf.function(input_signature=[tf.TensorSpec((1, 20), tf.float32)])
def between(x):
    waves = tf.reshape(tf.matmul(x, before), (SAMPLES, 1))
    return tf.nn.relu(tf.reshape(spectrogram(waves, False), (5, -1)) @ after)


def converted(function: tf.types.experimental.PolymorphicFunction, int8: bool) -> bytes:
    module = tf.Module()
    module.call = function
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.allow_custom_ops = True
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = calibration
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def calibration() -> Iterator[list[np.ndarray]]:
    for _ in range(50):
        yield [features()]


def main() -> None:
    record("custom/spectrogram_float", converted(alone, int8=False), [sound()])
    integers = rng.integers(-128, 128, (1, 20)).astype(np.int8)
    record("custom/spectrogram_int8", converted(between, int8=True), [integers])


if __name__ == "__main__":
    main()
