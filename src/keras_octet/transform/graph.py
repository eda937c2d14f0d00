"""Build the quantized graph: the flat model's, operation by operation, in its new form."""

from __future__ import annotations

import itertools
from typing import Any

import keras

from keras_octet.arithmetic import activation_bounds, can_requantize
from keras_octet.capture.alias import alias
from keras_octet.capture.graph import iter_nodes, tensor_name
from keras_octet.choose import Decision, Plan
from keras_octet.layers import (
    Dequantize,
    Quantize,
    QuantizedLinear,
    QuantizedPReLU,
    Requantize,
)
from keras_octet.ops import operation_of
from keras_octet.qparams import QParams
from keras_octet.transform.weights import float_weights, quantize_linear

Tensor = Any


class _Builder:
    """Tensors of the new graph by the names of the flat model's, in float and in int8 form."""

    def __init__(self, plan: Plan, names: set[str]) -> None:
        self.plan = plan
        self._names = names
        self._float: dict[str, Tensor] = {}
        self._integer: dict[tuple[str, QParams], Tensor] = {}

    def set_float(self, name: str, tensor: Tensor) -> None:
        self._float[name] = tensor

    def set_integer(self, name: str, tensor: Tensor, qparams: QParams) -> None:
        self._integer[name, qparams] = tensor

    def stored_qparams(self, name: str) -> QParams | None:
        """The parameters under which the tensor exists in int8, if it does."""
        qparams = self.plan.tensors.get(name)
        return qparams if qparams and (name, qparams) in self._integer else None

    def as_integer(self, name: str, qparams: QParams) -> Tensor:
        """The tensor in int8 under `qparams`, quantized or requantized once for all readers."""
        if (name, qparams) not in self._integer:
            stored = self.stored_qparams(name)
            if stored is None or not can_requantize(stored, qparams):
                layer = Quantize(output_qparams=qparams, name=self._free_name(name, "quantize"))
                result = layer(self.as_float(name))
            else:
                layer = Requantize(
                    input_qparams=[stored],
                    output_qparams=qparams,
                    name=self._free_name(name, "requantize"),
                )
                result = layer(self._integer[name, stored])
            self._integer[name, qparams] = result
        return self._integer[name, qparams]

    def as_float(self, name: str) -> Tensor:
        """The tensor in float, dequantized once for all readers."""
        if name not in self._float:
            stored = self.plan.tensors[name]
            layer = Dequantize(input_qparams=[stored], name=self._free_name(name, "dequantize"))
            self._float[name] = layer(self._integer[name, stored])
        return self._float[name]

    def _free_name(self, name: str, suffix: str) -> str:
        """A name for a layer on the tensor `name` that no other layer has."""
        base = f"{name.replace(':', '_')}_{suffix}"
        numbered = (f"{base}_{number}" for number in itertools.count(2))
        found = next(each for each in itertools.chain([base], numbered) if each not in self._names)
        self._names.add(found)
        return found


def transform(flat_model: keras.Model, plan: Plan) -> tuple[Any, Any]:
    """Input and output structures of the quantized functional graph.

    Integer operations become quantized layers of the same name; where an operation stays float,
    Quantize and Dequantize bridge to it.

    Args:
        flat_model: what `capture` gives; not changed.
        plan: what `choose` gives for it.

    Returns:
        `(inputs, outputs)` for `QuantizedModel`: KerasTensors in the flat model's structures.
    """
    builder = _Builder(plan, {node.operation.name for node in iter_nodes(flat_model, inputs=True)})
    recipe = plan.recipe
    inputs = {}
    for tensor in flat_model.inputs:
        name = tensor_name(tensor)
        qparams = plan.tensors.get(name)
        integer = recipe.input_dtype == "int8" and qparams is not None
        new = keras.Input(
            batch_shape=tensor.shape, dtype="int8" if integer else tensor.dtype, name=name
        )
        inputs[id(tensor)] = new
        if integer and qparams is not None:
            builder.set_integer(name, new, qparams)
        else:
            builder.set_float(name, new)
    for node in iter_nodes(flat_model):
        decision = plan.decisions[node.operation.name]
        if decision.status == "int8":
            _add_integer(builder, node, decision)
        elif decision.status == "float":
            _add_float(builder, node)

    def output(tensor: keras.KerasTensor) -> Tensor:
        name = tensor_name(tensor)
        qparams = plan.tensors.get(name)
        if recipe.output_dtype == "int8" and qparams is not None:
            return builder.as_integer(name, qparams)
        return builder.as_float(name)

    return (
        keras.tree.map_structure(lambda tensor: inputs[id(tensor)], flat_model._inputs_struct),
        keras.tree.map_structure(output, flat_model._outputs_struct),
    )


def _add_float(builder: _Builder, node: Any) -> None:
    values = {id(tensor): builder.as_float(tensor_name(tensor)) for tensor in node.input_tensors}
    args, kwargs = node.arguments.fill_in(values)
    results = alias(node.operation)(*args, **kwargs)
    for old, new in zip(node.outputs, keras.tree.flatten(results), strict=True):
        builder.set_float(tensor_name(old), new)


def _add_integer(builder: _Builder, node: Any, decision: Decision) -> None:
    layer = node.operation
    operation = operation_of(layer)
    assert decision.scheme is not None
    assert decision.output is not None
    names = [tensor_name(tensor) for tensor in node.input_tensors]
    sources = [
        builder.as_integer(name, qparams)
        for name, qparams in zip(names, decision.inputs, strict=True)
    ]
    arguments = operation.quantized_arguments(layer)
    if operation.fuses_relu:
        arguments["activation"] = decision.activation
    bound = arguments.get("max_value")
    if bound is not None and activation_bounds("relu6", decision.output)[1] == 127:
        # The range ends there or before, and LiteRT for Microcontrollers rescales in RELU only.
        arguments["max_value"] = None
    if operation.quantized_layer is QuantizedPReLU:
        alpha = keras.ops.convert_to_numpy(layer.alpha)
        alpha_qparams = QParams.from_range(float(alpha.min()), float(alpha.max()))
        arguments["alpha_qparams"] = alpha_qparams
    quantized = operation.quantized_layer(
        name=layer.name,
        input_qparams=decision.inputs,
        output_qparams=decision.output,
        **arguments,
    )
    result = quantized(sources if len(sources) > 1 else sources[0])
    if isinstance(quantized, QuantizedLinear):
        channels = quantized.bias.shape[0]
        weights = quantize_linear(
            *float_weights(layer, channels),
            quantized,
            decision.scheme,
            input_mean=builder.plan.channel_means.get(names[0]),
            input_shape=node.input_tensors[0].shape,
        )
        quantized.assign_weights(*weights)
    elif isinstance(quantized, QuantizedPReLU):
        quantized.alpha.assign(alpha_qparams.quantize(alpha))
    builder.set_integer(decision.output_name, result, decision.output)
