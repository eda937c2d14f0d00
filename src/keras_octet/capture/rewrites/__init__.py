"""Rewrites of a flat model: one file each, applied while the model is replayed."""

from __future__ import annotations

import keras

from keras_octet.capture import keras_private
from keras_octet.capture.graph import iter_nodes
from keras_octet.capture.rewrites import fold_rescaling, move_layout
from keras_octet.capture.rewrites.fold_forward import ForwardFolding
from keras_octet.capture.rewrites.merge_padding import merge_padding
from keras_octet.capture.rewrites.replay import Replay, Rules

__all__ = ["rewrite"]

_SINK = (move_layout.sink_below_elementwise,)
_SINK_MERGE = (move_layout.sink_below_merge,)

# By class, in the order they are tried.
_RULES: Rules = {
    keras.layers.Permute: (move_layout.merge_permutes,),
    keras.layers.Reshape: (move_layout.merge_reshapes,),
    keras.layers.Conv2D: (merge_padding,),
    keras.layers.DepthwiseConv2D: (merge_padding,),
    keras.layers.Rescaling: (
        fold_rescaling.remove_identity,
        fold_rescaling.fold_into_linear,
        fold_rescaling.merge_rescalings,
        fold_rescaling.fold_through_activation,
        fold_rescaling.fold_through_pooling,
        fold_rescaling.fold_through_concatenate,
        fold_rescaling.sink_reshape,
        move_layout.sink_below_last_axis,
    ),
    keras.layers.ReLU: _SINK,
    keras.layers.LeakyReLU: _SINK,
    keras.layers.ELU: _SINK,
    keras.layers.Activation: _SINK,
    keras_private.nn_operations.Gelu: _SINK,
    keras.layers.Softmax: (move_layout.sink_below_last_axis,),
    keras.layers.Add: _SINK_MERGE,
    keras.layers.Subtract: _SINK_MERGE,
    keras.layers.Multiply: _SINK_MERGE,
    keras.layers.Maximum: _SINK_MERGE,
    keras.layers.Minimum: _SINK_MERGE,
    keras.layers.Concatenate: (move_layout.sink_below_concatenate,),
}


def rewrite(model: keras.Model) -> keras.Model:
    """Apply all rewrites to a flat model: two replays at most. `model` is not changed."""
    model = Replay(model, _RULES).run()
    if any(type(node.operation) is keras.layers.Rescaling for node in iter_nodes(model)):
        model = ForwardFolding(model, {}).run()
    return model
