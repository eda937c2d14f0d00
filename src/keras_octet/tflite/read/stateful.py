"""What the read functions of recurrent operators share: checks of weights, states and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_octet.errors import ModelFileError
from keras_octet.layers.recurrent import RecurrentOperator
from keras_octet.tflite.emit.stateful import ACTIVATIONS
from keras_octet.tflite.read.call import Operand, ReadCall

_ACTIVATION_NAMES = {value: name for name, value in ACTIVATIONS.items()}


class Parts:
    """The inputs of a recurrent operator by name: the first, weights, and states.

    Args:
        call: the operator.
        names: of its inputs in order.
        states: which of them are states.
    """

    def __init__(self, call: ReadCall, names: Sequence[str], states: Sequence[str]) -> None:
        self.call = call
        self._places = {name: place for place, name in enumerate(names)}
        self.states = {name: call.state(self._places[name]) for name in states}
        self.weights: Mapping[str, Operand] = {
            name: operand
            for name, operand in zip(names[1:], call.inputs[1:], strict=False)
            if operand is not None and name not in states
        }

    def refuse(self, what: str) -> ModelFileError:
        """The error that says what is wrong with the operator."""
        return ModelFileError(f"{self.call.code} {self.call.name!r} has {what}")

    def matrix(self, name: str) -> tuple[int, int]:
        """The shape of a weight that must be there and have two axes."""
        shape = self.call.constant(self._places[name]).shape
        if len(shape) != 2 or 0 in shape:
            raise self.refuse(f"{name} of shape {shape}; expected a matrix.")
        return int(shape[0]), int(shape[1])

    def batch_size(self, given: int | None) -> int:
        """How many sequences the states are of, which must be as many as the input has."""
        shapes = {name: tensor.shape for name, tensor in self.states.items()}
        first = next(iter(shapes.values()))
        size = first[0] if first else None
        if not size or given not in (None, size):
            raise self.refuse(f"states of shapes {shapes} for a batch of {given}.")
        return size

    def activation(self, *, required: bool = False) -> str | None:
        """The fused activation; `required` if there must be one."""
        value = self.call.options.fusedActivationFunction
        name = _ACTIVATION_NAMES.get(value)
        if value not in _ACTIVATION_NAMES or (required and name is None):
            expected = [x for x in ACTIVATIONS if x is not None or not required]
            raise self.refuse(f"activation {value}; expected one of {expected}.")
        return name

    def scales(self) -> dict[str, float]:
        """The scale of each weight that has one, as all of 8 or 16 bits have."""
        found = {}
        for name, operand in self.weights.items():
            narrow = operand.tensor.dtype in ("int8", "int16")
            if operand.tensor.quantization is None and not narrow:
                continue
            quantization = operand.quantization
            if quantization.scale.size != 1 or quantization.zero_point.any():
                raise self.refuse(
                    f"{name} with {quantization.scale.size} scales and zero points "
                    f"{quantization.zero_point[:4]}; expected one scale and 0."
                )
            found[name] = float(quantization.scale[0])
        return found

    def build(self, layer: RecurrentOperator, source: Any) -> Any:
        """The output of the layer, with the weights of the file.

        Raises:
            ModelFileError: they are not those that the layer has, in name, shape or type.
        """
        self._require_weights(layer)
        self._require_states(layer)
        output = layer(source)
        for name, operand in self.weights.items():
            layer.parts[name].assign(operand.constant)
        return output

    def _require_weights(self, layer: RecurrentOperator) -> None:
        expected = dict(layer.part_shapes())
        if set(expected) != set(self.weights):
            odd = sorted(set(expected) ^ set(self.weights))
            raise self.refuse(f"some weights of a gate or an option, not all: {', '.join(odd)}.")
        for name, operand in self.weights.items():
            shape = self.call.constant(self._places[name]).shape
            dtype = layer.part_dtype(name)
            if shape != expected[name] or operand.tensor.dtype != dtype:
                raise self.refuse(
                    f"{name} of type {operand.tensor.dtype} and shape {shape}; expected {dtype} "
                    f"and {expected[name]}."
                )

    def _require_states(self, layer: RecurrentOperator) -> None:
        pairs = zip(layer.state_shapes().items(), layer.state_dtypes, strict=True)
        for (name, shape), dtype in pairs:
            tensor = self.states[name]
            if tensor.shape != shape or tensor.dtype != dtype:
                raise self.refuse(
                    f"{name} of type {tensor.dtype} and shape {tensor.shape}; expected {dtype} and "
                    f"{shape}."
                )
            self.call.budget.spend(shape[0] * shape[1])
