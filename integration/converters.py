"""What others make of a model: TensorFlow's converter, and the LiteRT quantizer of its float file.

Both need a process of their own, which they may crash.
"""

from __future__ import annotations

import numpy as np

Samples = list[dict[str, np.ndarray]]


def convert(saved_model: str, kind: str, samples: Samples) -> bytes:
    """TensorFlow's converter.

    Args:
        saved_model: path.
        kind: `float32`, `float16`, `dynamic`, `int8` and `int16` (float inputs and outputs), or
            `int8_io`, with int8 inputs and outputs and no operator in float.
        samples: by name of the input, one for each call, to calibrate on.
    """
    import tensorflow as tf

    sets = tf.lite.OpsSet
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in ("int8", "int8_io", "int16"):
        converter.representative_dataset = lambda: iter(samples)
    if kind == "int8_io":
        converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if kind == "int16":
        converter.target_spec.supported_ops = [
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            sets.TFLITE_BUILTINS,
        ]
    return bytes(converter.convert())


def quantize_by_litert(content: bytes, kind: str, samples: Samples) -> bytes:
    """The LiteRT quantizer, `ai-edge-quantizer`, of a float32 file: `int8` or `dynamic`."""
    from ai_edge_quantizer import quantizer, recipe

    found = quantizer.Quantizer(bytearray(content))
    if kind == "dynamic":
        found.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        return bytes(found.quantize().quantized_model)
    found.load_quantization_recipe(recipe.static_wi8_ai8())
    calibrated = found.calibrate({"serving_default": samples})
    return bytes(found.quantize(calibrated).quantized_model)
