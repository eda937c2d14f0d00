"""Keras's own quantizer objects in the words of `Scheme`, where they mean the same.

Keras quantizes weights as `Scheme` does, but activations differently: it finds their scales when
the model runs, for every row, where this library finds one scale for a tensor in calibration.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.errors import RecipeError

# Axes of the kernel of a Dense layer, `(inputs, units)`, that share a scale. None is Keras's
# default for it.
GRANULARITIES = {
    None: "per_channel",
    (0,): "per_channel",
    (0, 1): "per_tensor",
}
BITS = {2 ** (bits - 1) - 1: bits for bits in range(2, 9)}


def is_keras_quantizer(value: Any) -> bool:
    """Whether `value` is a quantizer or a quantization config of Keras."""
    return isinstance(value, (keras.Quantizer, keras.quantizers.QuantizationConfig))


def scheme_arguments(quantizer: Any) -> dict[str, Any]:
    """The arguments of the `Scheme` that quantizes weights as `quantizer` does.

    Raises:
        RecipeError: there is none; the message says what is different.
    """
    if isinstance(quantizer, keras.quantizers.QuantizationConfig):
        return _of_config(quantizer)
    if type(quantizer) is not keras.quantizers.AbsMaxQuantizer:
        raise RecipeError(
            f"Only keras.quantizers.AbsMaxQuantizer has a Scheme that means the same. "
            f"Received: {type(quantizer).__name__}"
        )
    axis = quantizer.axis if quantizer.axis is None else tuple(sorted(quantizer.axis))
    if axis not in GRANULARITIES:
        raise RecipeError(
            "AbsMaxQuantizer for weights must have axis=0 (one scale for each output channel) or "
            f"axis=(0, 1) (one for the tensor), as for the kernel of Dense. Received: axis={axis}"
        )
    low, high = quantizer.value_range
    if high not in BITS or low > -high:
        raise RecipeError(
            "AbsMaxQuantizer for weights must have a symmetric value_range of 2 to 8 bits, "
            f"such as (-127, 127) or (-7, 7). Received: value_range={(low, high)}"
        )
    return {
        "weight_bits": BITS[high],
        "weight_granularity": GRANULARITIES[axis],
        "weight_rounding": "nearest",
        "bias_correction": False,
    }


def _of_config(config: Any) -> dict[str, Any]:
    name = type(config).__name__
    if config.mode != "int8":
        raise RecipeError(
            f"keras.quantizers.{name} has no Scheme that means the same: its mode is "
            f"{config.mode!r}. Use ko.Scheme(...), or model.quantize({config.mode!r}) of Keras."
        )
    activations = (
        "leaves activations in float"
        if config.activation_quantizer is None
        else "finds the scales of activations when the model runs, one for every row"
    )
    nearest = scheme_arguments(config.weight_quantizer or keras.quantizers.AbsMaxQuantizer(axis=0))
    arguments = ", ".join(f"{name}={value!r}" for name, value in nearest.items())
    raise RecipeError(
        f"keras.quantizers.{name} {activations}; Keras Octet quantizes them with one "
        "scale a tensor, found in calibration. For that, with weights as in this config: "
        f"ko.Scheme({arguments}, activation_symmetric=True)."
    )
