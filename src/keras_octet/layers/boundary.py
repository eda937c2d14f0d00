"""Where float and int8 meet."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_octet.layers.base import QuantizedLayer, register
from keras_octet.qparams import INTEGER_RANGES


@register
class Quantize(QuantizedLayer):
    """float32 to int8: `clip(rne(x * (1 / scale)) + zero_point)`; NaN gives the highest integer."""

    @property
    def output_dtype(self) -> str:  # type: ignore[override]
        return str(self.output_qparams.dtype)

    def call(self, inputs: Any) -> Any:
        target = self.output_qparams
        inverse = float(np.float32(1) / np.float32(target.scale))
        rounded = ops.round(ops.cast(inputs, "float32") * inverse) + float(target.zero_point)
        low, high = INTEGER_RANGES[target.dtype]
        # A comparison with NaN is false; a minimum with it is not the same on every backend.
        below = ops.where(rounded < high, rounded, float(high))
        return ops.cast(ops.maximum(below, low), target.dtype)


@register
class Dequantize(QuantizedLayer):
    """int8 or int16 to float32: `float32(q - zero_point) * scale`."""

    output_dtype = "float32"

    def call(self, inputs: Any) -> Any:
        source = self.input_qparams[0]
        return ops.cast(ops.cast(inputs, "int32") - source.zero_point, "float32") * source.scale
