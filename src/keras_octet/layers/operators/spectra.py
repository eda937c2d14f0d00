"""Fourier transforms, whose results are complex, and the parts of complex numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_octet.layers.base import register
from keras_octet.layers.operators.base import OperatorLayer

_PARTS = {"real": ops.real, "imag": ops.imag, "abs": ops.abs}


@register
class RFFT2D(OperatorLayer):
    """Discrete Fourier transform over the last two axes of a float32 tensor, complex64.

    `(..., m, n)`, cut or filled with zeros to `(..., rows, columns)`, gives
    `(..., rows, columns // 2 + 1)`: the others are complex conjugates of these.

    Args:
        rows, columns: lengths of the transform.
    """

    is_atomic = True  # for `capture`
    config_keys = ("rows", "columns")

    def __init__(self, *, rows: int, columns: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.columns = int(rows), int(columns)

    def call(self, inputs: Any) -> Any:
        if inputs.shape[-2] != self.rows:
            widths = [(0, 0)] * len(inputs.shape)
            widths[-2] = (0, self.rows)
            inputs = ops.pad(inputs, widths)[..., : self.rows, :]
        parts: Sequence[Any] = ops.rfft(inputs, fft_length=self.columns)
        if self.rows > 1:
            columns = tuple(ops.swapaxes(part, -1, -2) for part in parts)
            parts = [ops.swapaxes(part, -1, -2) for part in ops.fft(columns)]
        return ops.view_as_complex(ops.stack(parts, axis=-1))

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        shape = (*inputs.shape[:-2], self.rows, self.columns // 2 + 1)
        return self._like(inputs, shape=shape, dtype="complex64")


@register
class ComplexPart(OperatorLayer):
    """A float32 number of each complex64 one.

    Args:
        part: `"real"`, `"imag"` or `"abs"`.
    """

    is_atomic = True  # for `capture`
    config_keys = ("part",)

    def __init__(self, *, part: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = part

    def call(self, inputs: Any) -> Any:
        return _PARTS[self.part](inputs)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        return self._like(inputs, dtype="float32")
