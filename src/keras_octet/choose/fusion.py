"""Which ReLUs disappear into the bounds of the operation before them."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from keras_octet.capture.graph import count_consumers, iter_nodes, tensor_name
from keras_octet.ops import find_operation


@dataclass(frozen=True)
class FusedReLUs:
    """`host_of[relu] = host` and `relu_of[host] = relu`, by operation name."""

    host_of: dict[str, str]
    relu_of: dict[str, str]
    max_value_of: dict[str, float | None]

    def output_of(self, name: str) -> str:
        """The tensor that the integer operation `name` makes: its own, or its ReLU's."""
        return self.relu_of.get(name, name)

    def activation_of(self, name: str) -> str | None:
        """`"relu6"` or `"relu"`; other limits are kept by the range of the output."""
        if name not in self.relu_of:
            return None
        return "relu6" if self.max_value_of[self.relu_of[name]] == 6.0 else "relu"


def fused_relus(flat_model: keras.Model, reasons: dict[str, str | None]) -> FusedReLUs:
    """Find each ReLU that is the only reader of an integer operation that can take it.

    Args:
        reasons: operation name to why it stays float, None for integer operations.
    """
    readers = count_consumers(flat_model)
    host_of: dict[str, str] = {}
    max_value_of: dict[str, float | None] = {}
    for node in iter_nodes(flat_model):
        relu = node.operation
        if type(relu) is not keras.layers.ReLU or reasons[relu.name]:
            continue
        (tensor,) = node.input_tensors
        host = tensor._keras_history.operation
        operation = find_operation(host)
        if operation is None or not operation.fuses_relu or reasons[host.name]:
            continue
        if readers[id(tensor)] == 1:
            host_of[relu.name] = tensor_name(tensor)
            max_value_of[relu.name] = relu.max_value
    return FusedReLUs(host_of, {host: relu for relu, host in host_of.items()}, max_value_of)
