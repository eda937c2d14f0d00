"""Sizes of sliding windows along one axis, for convolutions and pooling."""

from __future__ import annotations

from typing import overload


def output_length(
    length: int | None, kernel: int, stride: int, padding: str, dilation: int = 1
) -> int | None:
    """Number of windows: `ceil(length / stride)` for `"same"`, those that fit for `"valid"`."""
    if length is None:
        return None
    if padding == "same":
        return -(-length // stride)
    return (length - dilation * (kernel - 1) - 1) // stride + 1


@overload
def same_padding(length: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]: ...


@overload
def same_padding(
    length: int | None, kernel: int, stride: int, dilation: int = 1
) -> tuple[int, int] | None: ...


def same_padding(
    length: int | None, kernel: int, stride: int, dilation: int = 1
) -> tuple[int, int] | None:
    """Zeros that `"same"` puts before and after an axis; None if its length must be known.

    `total = max((ceil(length / stride) - 1) * stride + dilation * (kernel - 1) + 1 - length, 0)`,
    the smaller half before. With stride 1 the length cancels.
    """
    reach = dilation * (kernel - 1) + 1
    if stride == 1:
        total = reach - 1
    elif length is None:
        return None
    else:
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return total // 2, total - total // 2
