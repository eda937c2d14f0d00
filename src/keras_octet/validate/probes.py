"""The models that compute, for every layer, what its error is measured from.

Two functional models run batch by batch: one of the float tensors together with what each quantized
layer makes of them, and one of all tensors of the quantized model.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.capture.alias import alias
from keras_octet.capture.canonical import LINEAR_LAYERS, with_weights
from keras_octet.capture.graph import tensor_name
from keras_octet.layers import Quantize, QuantizedConv2DTranspose, QuantizedLayer, QuantizedLinear
from keras_octet.layers.linear import qparams_of_bias
from keras_octet.model import QuantizedModel
from keras_octet.qparams import QParams
from keras_octet.validate.graph import Pair


class Probe:
    """Selected tensors of a functional graph, computed on the fastest engine that can.

    Args:
        inputs: of the graph.
        tensors: to compute, by any key; several keys may have one tensor.
    """

    def __init__(self, inputs: list[keras.KerasTensor], tensors: dict[Any, Any]) -> None:
        distinct = list({id(tensor): tensor for tensor in tensors.values()}.values())
        position = {id(tensor): i for i, tensor in enumerate(distinct)}
        self._position = {key: position[id(tensor)] for key, tensor in tensors.items()}
        self._model = QuantizedModel(inputs, distinct)
        # Bytes of a sample; an unknown size counts as 1.
        self.bytes_per_sample = sum(_sample_bytes(tensor) for tensor in distinct)

    def __call__(self, arrays: list[np.ndarray]) -> dict[Any, np.ndarray]:
        """The tensors for one array an input, batch axis first."""
        with warnings.catch_warnings():
            # That a float layer has no .tflite form is no news: only the engine differs.
            warnings.simplefilter("ignore")
            outputs = self._model.predict_on_batch(arrays)
        flat = [np.asarray(value) for value in keras.tree.flatten(outputs)]
        return {key: flat[i] for key, i in self._position.items()}


def _sample_bytes(tensor: keras.KerasTensor) -> int:
    size = int(np.prod([size or 1 for size in tensor.shape[1:]]))
    return size * (1 if str(tensor.dtype) == "int8" else 4)


def float_probe(flat_model: keras.Model, pairs: Sequence[Pair]) -> Probe:
    """Keys `("float" | "own" | "weights", name)`; own tensors as the layer gives them.

    `own` is the quantized layer on its float inputs, quantized as it reads them; `weights` is the
    float layer with the int8 weights.
    """
    branches = _Branches()
    tensors: dict[tuple[str, str], Any] = {}
    for pair in pairs:
        tensors["float", pair.name] = pair.float_tensor
        own = branches.own(pair)
        if own is not None:
            tensors["own", pair.name] = own
        weights = branches.weights_only(pair)
        if weights is not None:
            tensors["weights", pair.name] = weights
    return Probe(flat_model.inputs, tensors)


def quantized_probe(quantized: keras.Model, pairs: Sequence[Pair]) -> Probe:
    """Every pair's tensor of the quantized model, by name."""
    return Probe(quantized.inputs, {pair.name: pair.tensor for pair in pairs})


class _Branches:
    """Side branches from the tensors of the flat model; each tensor is quantized once."""

    def __init__(self) -> None:
        self._quantized: dict[tuple[int, QParams], Any] = {}

    def own(self, pair: Pair) -> Any:
        """The layer's output for float inputs, or None for a layer that is not quantized."""
        layer = pair.layer
        if not isinstance(layer, QuantizedLayer) or pair.sources is None:
            return None
        if isinstance(layer, Quantize):
            inputs = list(pair.sources)
        elif len(layer.input_qparams) == len(pair.sources):
            pairs = zip(pair.sources, layer.input_qparams, strict=True)
            inputs = [self._quantize(tensor, qparams) for tensor, qparams in pairs]
        else:
            return None
        copy = alias(layer, name=f"{layer.name}__own")
        return copy(inputs if len(inputs) > 1 else inputs[0])

    def weights_only(self, pair: Pair) -> Any:
        """The float layer's output with the int8 weights, or None for one without a kernel."""
        if not isinstance(pair.layer, QuantizedLinear) or pair.sources is None:
            return None
        if type(pair.float_layer) not in LINEAR_LAYERS or len(pair.sources) != 1:
            return None
        (source,) = pair.sources
        kernel, bias = dequantized_weights(pair.layer)
        if kernel.shape != tuple(pair.float_layer.kernel.shape):
            return None
        copy = with_weights(pair.float_layer, tuple(source.shape), kernel=kernel, bias=bias)
        result = alias(copy, name=f"{copy.name}__weights")(source)
        if pair.fused is not None:
            result = alias(pair.fused, name=f"{pair.fused.name}__weights")(result)
        return result

    def _quantize(self, tensor: keras.KerasTensor, qparams: QParams) -> Any:
        key = id(tensor), qparams
        if key not in self._quantized:
            name = f"{tensor_name(tensor).replace(':', '_')}__quantized_{len(self._quantized)}"
            self._quantized[key] = Quantize(output_qparams=qparams, name=name)(tensor)
        return self._quantized[key]


def dequantized_weights(layer: QuantizedLinear) -> tuple[np.ndarray, np.ndarray]:
    """float32 kernel and bias that the integers of a layer stand for, in its layout."""
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype(np.float32)
    scale = keras.ops.convert_to_numpy(layer.kernel_scale)
    if isinstance(layer, QuantizedConv2DTranspose):
        kernel = kernel * scale[:, None]
    else:  # the channels are the last axis, or the last two of a depthwise kernel
        kernel = (kernel.reshape(-1, scale.size) * scale).reshape(kernel.shape)
    bias = keras.ops.convert_to_numpy(layer.bias).astype(np.float32)
    return kernel, bias * qparams_of_bias(layer)
