"""Moving Permute and Reshape down the graph, until they meet their inverse."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.canonical import make_layer
from keras_octet.capture.graph import producer
from keras_octet.capture.origin import copy_origin
from keras_octet.capture.rewrites.affine import Affine
from keras_octet.capture.rewrites.replay import Replay

_MOVES = (keras.layers.Permute, keras.layers.Reshape)


def merge_permutes(replay: Replay, layer: Any, x: Any) -> Any:
    """Permute -> Permute becomes one Permute or nothing; equal Permutes of a tensor are shared."""
    dims = tuple(layer.dims)
    node = producer(x)
    if type(node.operation) is keras.layers.Permute:
        first = node.operation.dims
        dims = tuple(first[axis - 1] for axis in dims)
        (x,) = node.input_tensors
        layer = copy_origin(layer, make_layer(keras.layers.Permute, layer.name, dims=dims))
        if dims != tuple(range(1, len(dims) + 1)):
            return replay.apply(layer, x)
    if dims == tuple(range(1, len(dims) + 1)):
        return x
    return replay.call_once(layer, x, ("permute", dims))


def merge_reshapes(replay: Replay, layer: Any, x: Any) -> Any:
    """Reshape -> Reshape becomes one Reshape or nothing; equal Reshapes of a tensor are shared."""
    target = tuple(layer.target_shape)
    shape = (x.shape[0], *layer.compute_output_shape(x.shape)[1:])
    node = producer(x)
    if type(node.operation) is keras.layers.Reshape:
        (source,) = node.input_tensors
        if source.shape[1:].count(None) <= 1 and (None not in shape[1:] or -1 in target):
            return replay.apply(layer, source)
    if shape == tuple(x.shape) and shape[1:].count(None) <= 1:
        return x
    return replay.call_once(layer, x, ("reshape", target))


def sink_below_elementwise(replay: Replay, layer: Any, x: Any) -> Any:
    """move -> elementwise becomes elementwise -> move."""
    node = producer(x)
    if type(node.operation) not in _MOVES:
        return None
    (source,) = node.input_tensors
    return replay.apply(node.operation, replay.apply(layer, source))


def sink_below_last_axis(replay: Replay, layer: Any, x: Any) -> Any:
    """move -> operation along the last axis, when the move keeps that axis."""
    node = producer(x)
    move = node.operation
    if type(move) is keras.layers.Permute:
        uniform = type(layer) is keras.layers.Rescaling and Affine.of(layer).is_uniform
        keeps = uniform or move.dims[-1] == len(move.dims)
    elif type(move) is keras.layers.Reshape:
        last = x.shape[-1]
        keeps = last is not None and last == node.input_tensors[0].shape[-1]
    else:
        return None
    return sink_below_elementwise(replay, layer, x) if keeps else None


def sink_below_merge(replay: Replay, layer: Any, tensors: Any) -> Any:
    """Equal moves -> merge becomes merge -> move."""
    move, sources = _common_move(tensors)
    if move is None:
        return None
    return replay.apply(move, replay.apply(layer, sources))


def sink_below_concatenate(replay: Replay, layer: Any, tensors: Any) -> Any:
    """Equal moves -> Concatenate becomes Concatenate along another axis -> move."""
    move, sources = _common_move(tensors, same_shapes=False)
    if move is None:
        return None
    rank = len(tensors[0].shape)
    axis = layer.axis % rank
    new_rank = len(sources[0].shape)
    if type(move) is keras.layers.Permute:
        axis = move.dims[axis - 1]
    elif _removes_height(move, sources, tensors):
        axis += 1
        last = tensors[0].shape[-1]
        if axis == new_rank - 1:
            sizes = [tensor.shape[-1] for tensor in tensors]
            last = None if None in sizes else sum(sizes)
        length = -1
        if last is None:
            return None
        reshape = make_layer(keras.layers.Reshape, move.name, target_shape=(length, last))
        move = copy_origin(move, reshape)
    else:
        return None
    axis = -1 if axis == new_rank - 1 else axis
    merged = copy_origin(layer, make_layer(keras.layers.Concatenate, layer.name, axis=axis))
    return replay.apply(move, replay.apply(merged, sources))


def _removes_height(move: Any, sources: list[Any], tensors: Any) -> bool:
    """Whether each tensor is (batch, length, channels) of a (batch, 1, length, channels)."""
    return all(
        len(source.shape) == 4 and source.shape[1] == 1 and source.shape[2:] == tensor.shape[1:]
        for source, tensor in zip(sources, tensors, strict=True)
    )


def _common_move(tensors: Any, *, same_shapes: bool = True) -> tuple[Any, list[Any]]:
    if not isinstance(tensors, (list, tuple)):
        return None, []
    nodes = [producer(tensor) for tensor in tensors]
    kinds = {type(node.operation) for node in nodes}
    if len(kinds) != 1 or not kinds <= set(_MOVES):
        return None, []
    sources = [node.input_tensors[0] for node in nodes]
    move = nodes[0].operation
    if type(move) is keras.layers.Permute:
        if len({tuple(node.operation.dims) for node in nodes}) > 1:
            return None, []
    else:
        if len({len(source.shape) for source in sources}) > 1:
            return None, []
        shapes = {tuple(source.shape) for source in sources}
        if same_shapes and (len(shapes) > 1 or len({tuple(t.shape) for t in tensors}) > 1):
            return None, []
    return move, sources
