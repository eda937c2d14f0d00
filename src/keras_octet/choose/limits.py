"""Ratios of scales outside which LiteRT would refuse an operation or round differently."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet import layers
from keras_octet.arithmetic import (
    ADD_RATIO_RANGE,
    HARD_SWISH_RATIO_RANGE,
    LINEAR_MULTIPLIER_LIMIT,
    MULTIPLY_RATIO_RANGE,
    REQUANTIZE_RATIO_RANGE,
    requantize_multiplier,
)
from keras_octet.ops import activation_name, operation_of
from keras_octet.qparams import QParams
from keras_octet.recipe import Scheme


def find_violation(
    node: Any, inputs: tuple[QParams, ...], output: QParams, scheme: Scheme
) -> str | None:
    """Why this operation cannot be int8 with these parameters, or None.

    Args:
        node: of the flat model.
        inputs: parameters of each input.
        output: parameters of the output.
        scheme: how the operation is quantized.
    """
    layer = node.operation
    quantized = operation_of(layer).quantized_layer
    ratios = [float(requantize_multiplier(source.scale, 1.0, output.scale)) for source in inputs]
    if issubclass(quantized, layers.QuantizedAdd):
        return _outside("input scale / output scale", ratios, ADD_RATIO_RANGE)
    if issubclass(quantized, layers.QuantizedMultiply):
        ratio = float(requantize_multiplier(inputs[0].scale, inputs[1].scale, output.scale))
        return _outside("product of input scales / output scale", [ratio], MULTIPLY_RATIO_RANGE)
    if issubclass(quantized, layers.QuantizedMatmul):
        ratio = float(requantize_multiplier(inputs[0].scale, inputs[1].scale, output.scale))
        limits = (0.0, LINEAR_MULTIPLIER_LIMIT)
        return _outside("product of input scales / output scale", [ratio], limits)
    if issubclass(quantized, layers.QuantizedLinear):
        weights = layer.scale if hasattr(layer, "scale") else layer.kernel
        largest = float(np.abs(keras.ops.convert_to_numpy(weights)).max(initial=0.0))
        weight_scale = largest / (2 ** (scheme.weight_bits - 1) - 1)
        ratio = float(requantize_multiplier(inputs[0].scale, weight_scale, output.scale))
        limits = (0.0, LINEAR_MULTIPLIER_LIMIT)
        return _outside("input scale x weight scale / output scale", [ratio], limits)
    if issubclass(quantized, layers.QuantizedLeakyReLU):
        slopes = [ratios[0], ratios[0] * float(layer.negative_slope)]
        return _outside("input scale / output scale", slopes, REQUANTIZE_RATIO_RANGE)
    if quantized is layers.QuantizedActivation and activation_name(layer) == "hard_silu":
        return _outside("input scale / output scale", ratios, HARD_SWISH_RATIO_RANGE)
    return None


def _outside(what: str, ratios: list[float], limits: tuple[float, float]) -> str | None:
    low, high = limits
    for ratio in ratios:
        if not low <= ratio < high:
            return (
                f"{what} is {ratio:.3g}, outside [{low:.3g}, {high:.3g}) where integer "
                "arithmetic is defined"
            )
    return None
