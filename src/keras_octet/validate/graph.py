"""Which tensor of the flat float model each tensor of a quantized model stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_octet.capture.graph import count_consumers, iter_nodes, tensor_name
from keras_octet.layers import Dequantize, Quantize, QuantizedLayer, Requantize

BOUNDARIES = (Quantize, Requantize, Dequantize)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A layer of the quantized model, and the float tensor that its output stands for.

    Attributes:
        name: of the layer.
        layer: of the quantized model; a QuantizedLayer, or a layer left in float.
        tensor: its output.
        sources: the float tensors that its inputs stand for; None where one is not known.
        float_layer: of the flat model, by the same name; None for a boundary.
        fused: the ReLU of the flat model that the layer took in, or None.
        float_tensor: of the flat model.
    """

    name: str
    layer: Any
    tensor: keras.KerasTensor
    sources: tuple[keras.KerasTensor, ...] | None
    float_layer: Any
    fused: Any
    float_tensor: keras.KerasTensor

    @property
    def is_integer(self) -> bool:
        return isinstance(self.layer, QuantizedLayer)


def match_layers(flat_model: keras.Model, quantized: keras.Model) -> list[Pair]:
    """Pairs of the layers of a quantized model with tensors of a flat one, in graph order.

    Inputs match by position, layers by name, and boundaries (Quantize, Requantize) stand for what
    they read. A ReLU of the flat model that has no layer of its name was fused into the layer
    before it. Layers that match nothing, or a tensor of another shape, are left out.

    Args:
        flat_model: what `capture` gives.
        quantized: a functional model.
    """
    nodes = list(iter_nodes(flat_model))
    node_of = {node.operation.name: node for node in nodes}
    present = {node.operation.name for node in iter_nodes(quantized)}
    fused = _fused_relus(flat_model, nodes, present)
    meaning: dict[int, keras.KerasTensor] = {}
    for received, tensor in zip(quantized.inputs, flat_model.inputs, strict=False):
        meaning[id(received)] = tensor
    pairs = []
    for node in iter_nodes(quantized):
        layer = node.operation
        sources = [meaning.get(id(tensor)) for tensor in node.input_tensors]
        known = None if None in sources or not sources else tuple(sources)
        float_node = None if isinstance(layer, BOUNDARIES) else node_of.get(layer.name)
        if isinstance(layer, BOUNDARIES):
            targets = list(known or ())
        elif float_node is None:
            continue
        else:
            targets = list(float_node.outputs)
        relu = fused.get(layer.name) if isinstance(layer, QuantizedLayer) else None
        if relu is not None:
            targets = list(relu.outputs)
        for tensor, target in zip(node.outputs, targets, strict=False):
            if not _same_sample_shape(tensor, target):
                continue
            meaning[id(tensor)] = target
            if isinstance(layer, Dequantize):
                continue
            pairs.append(
                Pair(
                    name=tensor_name(tensor),
                    layer=layer,
                    tensor=tensor,
                    sources=known,
                    float_layer=float_node.operation if float_node else None,
                    fused=relu.operation if relu is not None else None,
                    float_tensor=target,
                )
            )
    return pairs


def _fused_relus(flat_model: keras.Model, nodes: list[Any], present: set[str]) -> dict[str, Any]:
    """Name of a layer to the node of the ReLU that the quantized model has no layer for."""
    readers = count_consumers(flat_model)
    fused = {}
    for node in nodes:
        if type(node.operation) is keras.layers.ReLU and node.operation.name not in present:
            (tensor,) = node.input_tensors
            if readers[id(tensor)] == 1:
                fused[tensor_name(tensor)] = node
    return fused


def _same_sample_shape(first: keras.KerasTensor, second: keras.KerasTensor) -> bool:
    shapes = tuple(first.shape[1:]), tuple(second.shape[1:])
    return len(shapes[0]) == len(shapes[1]) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(*shapes, strict=True)
    )
