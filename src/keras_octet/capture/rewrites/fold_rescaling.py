"""Rescaling into what comes before it: linear layers, other Rescalings."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.alias import alias
from keras_octet.capture.canonical import LINEAR_LAYERS
from keras_octet.capture.graph import producer
from keras_octet.capture.rewrites.affine import Affine, fold_after
from keras_octet.capture.rewrites.replay import Replay

# f(scale * x) = scale * f(x) for a positive scale, an upper bound apart.
HOMOGENEOUS = (keras.layers.ReLU, keras.layers.LeakyReLU)

# Each output is an average or a choice of inputs of its channel: affine maps pass through.
AVERAGES = (
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.UpSampling2D,
    keras.layers.Cropping2D,
)
MAXIMA = (keras.layers.MaxPooling2D, keras.layers.GlobalMaxPooling2D)


def remove_identity(replay: Replay, layer: Any, x: Any) -> Any:
    """1 * x + 0 is x."""
    return x if Affine.of(layer).is_identity and "float" in x.dtype else None


def fold_into_linear(replay: Replay, layer: Any, x: Any) -> Any:
    """linear -> Rescaling becomes linear'."""
    node = replay.sole_producer(x, *LINEAR_LAYERS)
    if node is None:
        return None
    (source,) = node.input_tensors
    return replay.apply(fold_after(node.operation, source.shape, Affine.of(layer)), source)


def merge_rescalings(replay: Replay, layer: Any, x: Any) -> Any:
    """Rescaling -> Rescaling becomes one Rescaling."""
    node = replay.sole_producer(x, keras.layers.Rescaling)
    if node is None:
        return None
    affine = Affine.of(layer).after(Affine.of(node.operation))
    return replay.apply(affine.layer(layer), node.input_tensors[0])


def fold_through_activation(replay: Replay, layer: Any, x: Any) -> Any:
    """linear -> ReLU -> positive Rescaling without offset becomes linear' -> ReLU'."""
    affine = Affine.of(layer)
    node = replay.sole_producer(x, *HOMOGENEOUS)
    if node is None or affine.has_offset or not affine.is_increasing:
        return None
    activation = node.operation
    bound = getattr(activation, "max_value", None)
    if bound is not None and not affine.is_uniform:
        return None
    (source,) = node.input_tensors
    if replay.sole_producer(source, *LINEAR_LAYERS) is None:
        return None
    if bound is not None:
        activation = alias(activation, max_value=float(bound * affine.scale[0]))
    return replay.apply(activation, replay.apply(layer, source))


def fold_through_pooling(replay: Replay, layer: Any, x: Any) -> Any:
    """linear -> pooling -> Rescaling becomes linear' -> pooling."""
    node = replay.sole_producer(x, *AVERAGES, *MAXIMA)
    if node is None:
        return None
    if type(node.operation) in MAXIMA and not Affine.of(layer).is_increasing:
        return None
    (source,) = node.input_tensors
    if replay.sole_producer(source, *LINEAR_LAYERS) is None:
        return None
    return replay.apply(node.operation, replay.apply(layer, source))


def fold_through_concatenate(replay: Replay, layer: Any, x: Any) -> Any:
    """Concatenate of linear layers -> Rescaling: each linear layer takes its channels."""
    node = replay.sole_producer(x, keras.layers.Concatenate)
    if node is None or node.operation.axis % len(x.shape) != len(x.shape) - 1:
        return None
    sources = node.input_tensors
    if len({id(source) for source in sources}) != len(sources):
        return None
    if any(replay.sole_producer(source, *LINEAR_LAYERS) is None for source in sources):
        return None
    affine, start, parts = Affine.of(layer).tiled(x.shape[-1]), 0, []
    assert affine is not None
    for i, source in enumerate(sources):
        part = affine.part(start, start + source.shape[-1])
        parts.append(replay.apply(part.layer(layer, f"_{i}"), source))
        start += source.shape[-1]
    return replay.apply(node.operation, parts)


def sink_reshape(replay: Replay, layer: Any, x: Any) -> Any:
    """Reshape -> Rescaling becomes Rescaling' -> Reshape, the channels repeated if need be."""
    node = producer(x)
    if type(node.operation) is not keras.layers.Reshape:
        return None
    (source,) = node.input_tensors
    size = source.shape[-1]
    affine = None if size is None else Affine.of(layer).tiled(size)
    if affine is None or "float" not in source.dtype:
        return None
    return replay.apply(node.operation, replay.apply(affine.layer(layer), source))
