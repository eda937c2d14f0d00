"""Layers that move int8 values without changing them; input and output share their parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_octet.arithmetic import resize_coordinates
from keras_octet.builtin_kernels import nearest_indices
from keras_octet.layers.base import QuantizedLayer, Shape, pad_integers, register, saturate


@register
class QuantizedReshape(QuantizedLayer):
    """int8 `Reshape`; `target_shape` excludes the batch and may hold one -1."""

    config_keys = ("target_shape",)

    def __init__(self, *, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(target_shape)

    def call(self, inputs: Any) -> Any:
        shape = [-1 if size is None else size for size in self.compute_output_shape(inputs.shape)]
        return ops.reshape(inputs, (ops.shape(inputs)[0], *shape[1:]))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        known = math.prod(size for size in self.target_shape if size != -1)
        total = None if None in input_shape[1:] else math.prod(input_shape[1:])
        missing = None if total is None else total // max(known, 1)
        return (input_shape[0], *(missing if size == -1 else size for size in self.target_shape))


@register
class QuantizedFlatten(QuantizedLayer):
    """int8 `Flatten`."""

    def call(self, inputs: Any) -> Any:
        return ops.reshape(inputs, (ops.shape(inputs)[0], -1))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (input_shape[0], None if None in input_shape[1:] else math.prod(input_shape[1:]))


@register
class QuantizedPermute(QuantizedLayer):
    """int8 `Permute`; `dims` counts from 1 and excludes the batch."""

    config_keys = ("dims",)

    def __init__(self, *, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)

    def call(self, inputs: Any) -> Any:
        return ops.transpose(inputs, (0, *self.dims))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))


@register
class QuantizedCropping2D(QuantizedLayer):
    """int8 `Cropping2D`: `((top, bottom), (left, right))` rows and columns removed."""

    config_keys = ("cropping",)

    def __init__(self, *, cropping: Sequence[Sequence[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = tuple(tuple(pair) for pair in cropping)

    def call(self, inputs: Any) -> Any:
        rows, columns = (slice(low, -high or None) for low, high in self.cropping)
        return inputs[:, rows, columns, :]

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        sizes = [
            None if length is None else length - low - high
            for length, (low, high) in zip(input_shape[1:3], self.cropping, strict=True)
        ]
        return (input_shape[0], *sizes, input_shape[3])


@register
class QuantizedZeroPadding2D(QuantizedLayer):
    """int8 `ZeroPadding2D`: pads with the zero point, which is exactly 0.0."""

    config_keys = ("padding",)

    def __init__(self, *, padding: Sequence[Sequence[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = tuple(tuple(pair) for pair in padding)

    def call(self, inputs: Any) -> Any:
        widths = ((0, 0), *self.padding, (0, 0))
        return pad_integers(inputs, widths, self.output_qparams.zero_point)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        sizes = [
            None if length is None else length + low + high
            for length, (low, high) in zip(input_shape[1:3], self.padding, strict=True)
        ]
        return (input_shape[0], *sizes, input_shape[3])


@register
class QuantizedPad(QuantizedLayer):
    """`(before, after)` values added along each axis; all have the integer `value`."""

    config_keys = ("paddings", "value")

    def __init__(self, *, paddings: Sequence[Sequence[int]], value: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paddings = tuple((int(before), int(after)) for before, after in paddings)
        self.value = value

    def call(self, inputs: Any) -> Any:
        return pad_integers(inputs, self.paddings, self.value)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return tuple(
            None if size is None else size + sum(pair)
            for size, pair in zip(input_shape, self.paddings, strict=True)
        )


@register
class QuantizedConcatenate(QuantizedLayer):
    """int8 `Concatenate`; every input has the output's parameters."""

    config_keys = ("axis",)

    def __init__(self, *, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        return ops.concatenate(inputs, axis=self.axis)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> tuple[int | None, ...]:
        shape = list(input_shape[0])
        sizes: list[Any] = [other[self.axis] for other in input_shape]
        shape[self.axis] = None if None in sizes else sum(sizes)
        return tuple(shape)


class QuantizedResize(QuantizedLayer):
    """Resizing of the two middle axes, which must be known.

    Args:
        interpolation: `"nearest"` or `"bilinear"`.
        align_corners: the centres of the corner pixels stay where they are.
        half_pixel_centers: samples lie at pixel centres, as Keras has it; else at their corners.
    """

    config_keys: tuple[str, ...] = ("interpolation", "align_corners", "half_pixel_centers")

    def __init__(
        self,
        *,
        interpolation: str = "nearest",
        align_corners: bool = False,
        half_pixel_centers: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.interpolation = interpolation
        self.align_corners, self.half_pixel_centers = align_corners, half_pixel_centers

    def _target(self, height: Any, width: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        sizes = inputs.shape[1:3]
        rows, columns = (
            self._samples(size, target)
            for size, target in zip(sizes, self._target(*sizes), strict=True)
        )
        if self.interpolation == "nearest":
            return ops.take(ops.take(inputs, rows, axis=1), columns, axis=2)
        return self._bilinear(inputs, rows, columns)

    def _samples(self, size: int, target: int) -> Any:
        """Where the values of one axis come from."""
        samples = nearest_indices if self.interpolation == "nearest" else resize_coordinates
        return samples(
            size,
            target,
            align_corners=self.align_corners,
            half_pixel_centers=self.half_pixel_centers,
        )

    def _bilinear(self, inputs: Any, rows: Any, columns: Any) -> Any:
        """XNNPACK's 11-bit weights, horizontal then vertical, one rounding at the end."""
        (top, bottom, vertical), (left, right, horizontal) = rows, columns
        values = ops.cast(inputs, "int32")
        first, last = ops.take(values, left, axis=2), ops.take(values, right, axis=2)
        weight = ops.convert_to_tensor(horizontal.reshape(1, 1, -1, 1), "int32")
        blended = first * 2048 + (last - first) * weight
        upper, lower = ops.take(blended, top, axis=1), ops.take(blended, bottom, axis=1)
        weight = ops.convert_to_tensor(vertical.reshape(1, -1, 1, 1), "int32")
        total = upper * 2048 + (lower - upper) * weight
        return saturate(ops.right_shift(total + (1 << 21), 22))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (input_shape[0], *self._target(*input_shape[1:3]), input_shape[3])


@register
class QuantizedUpSampling2D(QuantizedResize):
    """int8 `UpSampling2D`, interpolation `"nearest"` or `"bilinear"`."""

    config_keys = ("size", *QuantizedResize.config_keys)

    def __init__(self, *, size: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = tuple(size)

    def _target(self, height: Any, width: Any) -> tuple[Any, Any]:
        return (
            None if height is None else height * self.size[0],
            None if width is None else width * self.size[1],
        )


@register
class QuantizedResizing(QuantizedResize):
    """int8 `Resizing` to `(height, width)`, interpolation `"nearest"` or `"bilinear"`."""

    config_keys = ("height", "width", *QuantizedResize.config_keys)

    def __init__(self, *, height: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height, self.width = height, width

    def _target(self, height: Any, width: Any) -> tuple[int, int]:
        return self.height, self.width
