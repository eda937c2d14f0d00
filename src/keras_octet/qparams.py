"""Quantization parameters of a tensor, and the arithmetic that defines them.

A quantized integer `q` stands for the real number `scale * (q - zero_point)`.
Reference: "8-bit quantization specification", LiteRT documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_octet.errors import RecipeError

INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True, kw_only=True)
class QParams:
    """Per-tensor quantization parameters: `real = scale * (q - zero_point)`.

    Attributes:
        scale: positive, finite; rounded to float32 on construction. May be 0 for int16, of a tensor
            whose values are all zeros.
        zero_point: integer that stands for exactly 0.0, inside the range of `dtype`.
        dtype: `"int8"` or `"int16"`, or `"uint8"` at the inputs and outputs of some files.
    """

    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if self.dtype not in INTEGER_RANGES:
            raise RecipeError(
                f"QParams.dtype must be one of {sorted(INTEGER_RANGES)}. Received: {self.dtype!r}"
            )
        scale = float(np.float32(self.scale))
        zeros = self.scale == 0 and not np.signbit(self.scale) and self.dtype == "int16"
        if not (np.isfinite(scale) and (scale > 0.0 or zeros)):
            raise RecipeError(
                f"QParams.scale must be positive and finite in float32. Received: {self.scale!r}"
            )
        low, high = INTEGER_RANGES[self.dtype]
        if int(self.zero_point) != self.zero_point or not low <= self.zero_point <= high:
            raise RecipeError(
                f"QParams.zero_point must be an integer in [{low}, {high}] for {self.dtype}. "
                f"Received: {self.zero_point!r}"
            )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", int(self.zero_point))

    @classmethod
    def from_range(cls, minimum: float, maximum: float, *, symmetric: bool = False) -> QParams:
        """int8 parameters covering `[minimum, maximum]`, widened to contain 0.

        Affine: `scale = (max - min) / 255`, `zero_point = round_half_away(-128 - min / scale)`.
        Symmetric: `scale = max(|min|, |max|) / 127`, `zero_point = 0`.
        A range of width zero gets scale 1.

        Raises:
            RecipeError: a bound is not finite or `minimum > maximum`.
        """
        if not (np.isfinite(minimum) and np.isfinite(maximum)) or minimum > maximum:
            raise RecipeError(
                f"A range needs finite bounds with minimum <= maximum. "
                f"Received: minimum={minimum!r}, maximum={maximum!r}"
            )
        low, high = min(float(minimum), 0.0), max(float(maximum), 0.0)
        # Below this the float32 reciprocal of the scale overflows.
        smallest = 255 * float(np.finfo(np.float32).tiny) * 4
        if high - low < smallest:
            return cls(scale=1.0, zero_point=0 if symmetric else -128)
        if symmetric:
            return cls(scale=max(-low, high) / 127, zero_point=0)
        scale = np.float32((high - low) / 255)
        zero_point = int(round_half_away(-128 - low / float(scale)))
        return cls(scale=float(scale), zero_point=int(np.clip(zero_point, -128, 127)))

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest real numbers that can be represented."""
        low, high = INTEGER_RANGES[self.dtype]
        return self.scale * (low - self.zero_point), self.scale * (high - self.zero_point)

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """`clip(rint(x * (1 / scale)) + zero_point)`, as LiteRT's QUANTIZE; any shape.

        NaN gives the highest integer, as there.
        """
        low, high = INTEGER_RANGES[self.dtype]
        inverse = np.float32(1) / np.float32(self.scale)
        rounded = np.rint(np.asarray(values, np.float32) * inverse)
        rounded = np.where(np.isnan(rounded), np.float32(np.inf), rounded)
        clipped = np.clip(rounded, low - self.zero_point, high - self.zero_point)
        return (clipped.astype(np.int32) + self.zero_point).astype(self.dtype)

    def dequantize(self, values: np.ndarray) -> np.ndarray:
        """`float32(q - zero_point) * float32(scale)`; any shape."""
        shifted = np.asarray(values, np.int32) - self.zero_point
        return shifted.astype(np.float32) * np.float32(self.scale)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "zero_point": self.zero_point, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QParams:
        return cls(**config)


def round_half_away(values: np.ndarray | float) -> np.ndarray:
    """Round to nearest, ties away from zero, in float64."""
    values = np.asarray(values, np.float64)
    return np.copysign(np.floor(np.abs(values) + 0.5), values)


def as_qparams(value: Any) -> Any:
    """A `QParams`, from itself or from its configuration; None stays None."""
    return QParams.from_config(value) if isinstance(value, dict) else value
