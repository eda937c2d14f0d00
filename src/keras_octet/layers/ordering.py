"""Keeps a compiler from computing something too early."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# Smaller ones do no harm, and to keep them back takes a small model half as long again.
_MIN_SIZE = 2**15


def not_before(values: Any, constant: Any) -> Any:
    """`constant`, float32, made only when `values` are there, if it is large.

    XLA, as JAX has it, runs first what depends on weights only: the float32 kernels of all layers
    would be there at once, a hundred megabytes of ResNet50, in memory that every call gets from the
    system. It keeps the order of data only, so a 0 that is computed from `values` is added.
    """
    if keras.backend.backend() != "jax" or math.prod(constant.shape) < _MIN_SIZE:
        return constant
    return constant + _zero_on_jax()(ops.stop_gradient(values))


@functools.cache
def _zero_on_jax() -> Callable[[Any], Any]:
    jax = sys.modules["jax"]

    @jax.custom_batching.custom_vmap
    def zero(values: Any) -> Any:
        first = ops.reshape(values, (-1,))[:1]
        # Never true, of NaN neither; XLA does not know.
        never = ops.logical_and(first > 1.0, first < 0.0)
        return ops.sum(ops.cast(never, "float32"))

    @zero.def_vmap
    def of_batches(axis_size: int, in_batched: Any, values: Any) -> tuple[Any, bool]:
        # One for all, or `jax.vmap` would have a kernel for each.
        return zero(values), False

    return zero
