"""What a `.tflite` file says beside its graph."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_octet.qparams import QParams

SIGNATURE = "serving_default"
DESCRIPTION = "Written by keras-octet"


@dataclass(frozen=True)
class State:
    """A variable of a stateful layer in a file.

    Attributes:
        variable: of the layer.
        before: index of the tensor that must hold its value when a call begins.
        after: index of the tensor that holds it when the call has ended.
    """

    variable: Any
    before: int
    after: int


@dataclass(frozen=True)
class Written:
    """A model as a `.tflite` file.

    Attributes:
        content: the bytes.
        states: the variables of stateful layers that the file shows.
    """

    content: bytes
    states: Sequence[State] = ()


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """Names and notes of a `.tflite` file, kept so that writing it again gives them back.

    Attributes:
        signature: key of the signature.
        graph_name: name of the subgraph; empty for that of the model.
        input_names, output_names: names in the signature, in the order of the model's inputs and
            outputs; empty for the names of the model's own tensors.
        tensor_names: name of a tensor in the file, by the name of the Keras tensor, where the two
            differ (Keras allows no `/`).
        constant_names: name of a constant or variable tensor in the file, by `"layer:i"` for input
            `i` of the operator that the layer becomes; intermediates come after the inputs.
        constant_storage: how the file stores a constant that it makes float32 with DEQUANTIZE, by
            the same keys: `"dtype"`, `"name"`, for integers `"scale"`, `"zero_point"`, `"axis"`.
        tensor_qparams: parameters of a tensor, by the name of the Keras tensor, where the operation
            that makes it does not know them: inputs, and what only moves values.
        order: names of the layers and operations in the order of the operators.
        metadata: name to bytes.
        description: free text.
    """

    signature: str = SIGNATURE
    graph_name: str = ""
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    tensor_names: Mapping[str, str] = field(default_factory=dict)
    constant_names: Mapping[str, str] = field(default_factory=dict)
    constant_storage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tensor_qparams: Mapping[str, QParams] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    description: str = DESCRIPTION

    def get_config(self) -> dict[str, Any]:
        """As JSON can hold it: bytes in base64."""
        return {
            "signature": self.signature,
            "graph_name": self.graph_name,
            "input_names": list(self.input_names),
            "output_names": list(self.output_names),
            "tensor_names": dict(self.tensor_names),
            "constant_names": dict(self.constant_names),
            "constant_storage": {key: dict(x) for key, x in self.constant_storage.items()},
            "tensor_qparams": {
                name: qparams.get_config() for name, qparams in self.tensor_qparams.items()
            },
            "order": list(self.order),
            "metadata": {
                name: base64.b64encode(data).decode() for name, data in self.metadata.items()
            },
            "description": self.description,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> FileInfo:
        return cls(
            signature=config["signature"],
            graph_name=config.get("graph_name", ""),
            input_names=tuple(config["input_names"]),
            output_names=tuple(config["output_names"]),
            tensor_names=dict(config["tensor_names"]),
            constant_names=dict(config["constant_names"]),
            constant_storage=dict(config["constant_storage"]),
            tensor_qparams={
                name: QParams.from_config(qparams)
                for name, qparams in config["tensor_qparams"].items()
            },
            order=tuple(config["order"]),
            metadata={name: base64.b64decode(data) for name, data in config["metadata"].items()},
            description=config["description"],
        )
