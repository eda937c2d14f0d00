"""Lowering: one walk over the caller's graph that emits the canonical vocabulary.

Each module registers the lowerings of one family of operations with `@lowers`.
"""

from keras_octet.capture.lower import (
    activations,
    affine,
    convolutions,
    images,
    merging,
    pooling,
    shapes,
    vanishing,
)
from keras_octet.capture.lower.walk import lower_model

__all__ = [
    "activations",
    "affine",
    "convolutions",
    "images",
    "lower_model",
    "merging",
    "pooling",
    "shapes",
    "vanishing",
]
