"""int8 convolutions, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_octet.arithmetic import chunk_bounds
from keras_octet.layers.base import Shape, register
from keras_octet.layers.linear import QuantizedLinear
from keras_octet.windows import output_length

Size = Sequence[int]


class QuantizedConvolution(QuantizedLinear):
    """Arguments shared by the two-dimensional convolutions; as in the Keras layers."""

    config_keys: tuple[str, ...] = (
        "kernel_size",
        "strides",
        "padding",
        "dilation_rate",
        *QuantizedLinear.config_keys,
    )

    def __init__(
        self,
        *,
        kernel_size: Size,
        strides: Size = (1, 1),
        padding: str = "valid",
        dilation_rate: Size = (1, 1),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.padding = padding
        self.dilation_rate = tuple(dilation_rate)

    def _num_outputs(self, num_inputs: int) -> int:
        """Output channels."""
        raise NotImplementedError

    def _output_length(self, axis: int, length: int | None) -> int | None:
        """Output size along one spatial axis, 0 or 1."""
        return output_length(
            length,
            self.kernel_size[axis],
            self.strides[axis],
            self.padding,
            self.dilation_rate[axis],
        )

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        sizes = (self._output_length(axis, input_shape[1 + axis]) for axis in (0, 1))
        return (input_shape[0], *sizes, self._num_outputs(input_shape[-1]))

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        return self._convolve(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )

    _convolve = staticmethod(ops.conv)


@register
class QuantizedConv2D(QuantizedConvolution):
    """int8 `Conv2D`: input `(batch, h, w, in)`, kernel `(kh, kw, in / groups, filters)`."""

    config_keys = ("filters", "groups", *QuantizedConvolution.config_keys)

    def __init__(self, *, filters: int, groups: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.groups = groups

    def build(self, input_shape: Shape) -> None:
        shape = (*self.kernel_size, input_shape[-1] // self.groups, self.filters)
        self._build_weights(shape, self.filters)

    def _num_outputs(self, num_inputs: int) -> int:
        return self.filters

    def _in_blocks(self, channels: int) -> int:
        # Groups run on the reference kernel.
        return channels if self.groups == 1 else 0

    def _accumulate(self, inputs: Any, kernel: Any) -> Any:
        if self.groups == 1 or self._pieces == (1, 1):
            return super()._accumulate(inputs, kernel)
        # Each group on its own, so that its channels can be cut further.
        inputs_per_group = chunk_bounds(inputs.shape[-1], self.groups)
        outputs_per_group = chunk_bounds(self.filters, self.groups)
        parts = []
        for (low, high), (first, last) in zip(inputs_per_group, outputs_per_group, strict=True):
            parts.append(super()._accumulate(inputs[..., low:high], kernel[..., first:last]))
        return ops.concatenate(parts, axis=-1)


@register
class QuantizedDepthwiseConv2D(QuantizedConvolution):
    """int8 `DepthwiseConv2D`: kernel `(kh, kw, in, depth_multiplier)`."""

    config_keys = ("depth_multiplier", *QuantizedConvolution.config_keys)
    builtin_block = 8
    _convolve = staticmethod(ops.depthwise_conv)

    def __init__(self, *, depth_multiplier: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth_multiplier = depth_multiplier

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self._build_weights(shape, self._num_outputs(channels))

    def _num_outputs(self, num_inputs: int) -> int:
        return num_inputs * self.depth_multiplier

    def _columns(self, kernel: np.ndarray) -> np.ndarray:
        """Each channel is summed by itself: only the window can be cut."""
        return kernel.reshape(*self.kernel_size, 1, -1)


@register
class QuantizedConv2DTranspose(QuantizedConvolution):
    """int8 `Conv2DTranspose`: kernel `(kh, kw, filters, in)`."""

    config_keys = ("filters", "output_padding", *QuantizedConvolution.config_keys)
    builtin_block = 8

    def __init__(self, *, filters: int, output_padding: Size | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "A transposed convolution has strides or a dilation_rate, as in Keras. Received: "
                f"strides={self.strides}, dilation_rate={self.dilation_rate}"
            )
        self.filters = filters
        self.output_padding = None if output_padding is None else tuple(output_padding)

    def build(self, input_shape: Shape) -> None:
        self._build_weights((*self.kernel_size, self.filters, input_shape[-1]), self.filters)

    def _num_outputs(self, num_inputs: int) -> int:
        return self.filters

    def _columns(self, kernel: np.ndarray) -> np.ndarray:
        return kernel.transpose(0, 1, 3, 2)

    def _of_inputs(self, kernel: Any, low: int, high: int) -> Any:
        return kernel[..., low:high]

    def _window(self, axis: int) -> int:
        return self.dilation_rate[axis] * (self.kernel_size[axis] - 1) + 1

    def _crop(self, axis: int) -> tuple[int, int]:
        """How many sums of windows are cut off before and after; less than 0: zeros are put on.

        Of `n` inputs there are `(n - 1) * stride + max(window, stride)`.
        """
        window, stride, same = self._window(axis), self.strides[axis], self.padding == "same"
        if self.output_padding is None:
            surplus = window - stride if same else min(window - stride, 0)
        else:
            surplus = (2 * (window // 2) if same else 0) - self.output_padding[axis]
        before = max(surplus, 0) // 2
        return before, surplus - before + max(stride - window, 0)

    def _sum_of_products(self, inputs: Any, kernel: Any) -> Any:
        sums = self._sum_of_windows(inputs, kernel)
        (top, bottom), (left, right) = self._crop(0), self._crop(1)
        if min(bottom, right) < 0:
            sums = ops.pad(sums, ((0, 0), (0, max(-bottom, 0)), (0, max(-right, 0)), (0, 0)))
        return sums[:, top : -max(bottom, 0) or None, left : -max(right, 0) or None]

    def _sum_of_windows(self, inputs: Any, kernel: Any) -> Any:
        if max(self.dilation_rate) == 1:
            return ops.conv_transpose(
                inputs, kernel, strides=self.strides, padding="valid", data_format="channels_last"
            )
        # TensorFlow has no dilated one on CPUs; without strides it is a convolution.
        vertical, horizontal = (self._window(axis) - 1 for axis in (0, 1))
        return ops.conv(
            ops.pad(inputs, ((0, 0), [vertical] * 2, [horizontal] * 2, (0, 0))),
            ops.transpose(ops.flip(kernel, axis=(0, 1)), (0, 1, 3, 2)),
            padding="valid",
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )

    def _output_length(self, axis: int, length: int | None) -> int | None:
        if length is None:
            return None
        stride = self.strides[axis]
        return (length - 1) * stride + max(self._window(axis), stride) - sum(self._crop(axis))
