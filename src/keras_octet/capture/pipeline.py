"""`capture`: any `keras.Model` -> one flat functional float model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_octet.capture import keras_private
from keras_octet.capture.graph import functional_of, iter_nodes
from keras_octet.capture.lower import lower_model
from keras_octet.capture.rewrites import rewrite
from keras_octet.capture.signature import model_signature
from keras_octet.capture.trace import TraceError, trace
from keras_octet.errors import CaptureError


def capture(model: keras.Model, *, inputs: Any = None) -> keras.Model:
    """Turn a model into a flat functional float32 model of the canonical vocabulary.

    Nested models are inlined, composite layers expanded, dropout removed, normalization and
    constant arithmetic folded where that is exact. The result computes what
    `model(x, training=False)` computes, up to float rounding, and shares nothing with `model`
    (except the variables of a layer that cannot be copied). `model` is not changed.

    Args:
        model: Sequential, Functional or subclassed model, built.
        inputs: structure of `keras.KerasTensor`s (or example arrays) that describes the inputs of
            a subclassed model; a dict by name or a list when its `call` has several arguments.
            By default the shapes it was built with, as float32.

    Returns:
        A functional model in which every operation is called once; its inputs and outputs have
        the structure of the original's.

    Raises:
        CaptureError: `model` is not a built Keras model, or its `call` cannot be traced.
    """
    if not isinstance(model, keras.Model):
        raise CaptureError(
            f"Expected a keras.Model. Received: {type(model).__name__}. "
            "Load or wrap it as a Keras 3 model first."
        )
    functional = functional_of(model)
    graph_calls = (keras_private.Functional.call, keras.Sequential.call)
    if functional is not None and type(model).call in graph_calls:
        flat = lower_model(
            model, functional._inputs_struct, functional._outputs_struct, iter_nodes(functional)
        )
    else:
        flat = _lower_subclassed(model, inputs)
    flat = rewrite(flat)
    _check_image_data_format(flat)
    return flat


def _lower_subclassed(model: keras.Model, inputs: Any) -> keras.Model:
    args, kwargs, structure = model_signature(model, inputs)
    if "training" in model.call_signature_parameters:
        kwargs = {**kwargs, "training": False}
    try:
        traced = trace(model.call, model._flatten_layers(), args, kwargs)
    except TraceError as error:
        raise CaptureError(
            f"`{type(model).__name__}.call` could not be traced on symbolic tensors: {error}. "
            "Expected a `call` made of Keras layers and `keras.ops` whose result depends on the "
            "input shapes only. Rewrite the part named above with `keras.ops`, or move it into "
            "its own keras.layers.Layer, which is then kept in float."
        ) from error
    tensors = keras_private.tree.pack_sequence_as(structure, traced.inputs)
    return lower_model(model, tensors, traced.outputs, traced.nodes)


def _check_image_data_format(flat: keras.Model) -> None:
    if keras.config.image_data_format() != "channels_first":
        return
    for node in iter_nodes(flat):
        layer = node.operation
        if type(layer) is keras.layers.Rescaling and (
            np.ndim(layer.scale) or np.ndim(layer.offset)
        ):
            raise CaptureError(
                f"keras.layers.Rescaling with a scale per channel ({layer.name!r}) means another "
                "axis while keras.config.image_data_format() is 'channels_first', and flat models "
                "are channels_last. Call keras.config.set_image_data_format('channels_last') "
                "after building the model, before quantizing it."
            )
