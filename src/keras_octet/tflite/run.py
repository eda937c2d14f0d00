"""Running the bytes of a `.tflite` file on LiteRT, to check what was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter as LiteRTInterpreter
from ai_edge_litert.interpreter import OpResolverType


class Interpreter:
    """A `.tflite` model as a function of arrays; names are those of the first signature.

    Args:
        content: bytes of the file.
        delegate: let XNNPACK run what it can, as LiteRT does by default.
        num_threads: threads of the runtime.
    """

    def __init__(self, content: bytes, *, delegate: bool = True, num_threads: int = 1) -> None:
        resolver = (
            OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        self._interpreter = LiteRTInterpreter(
            model_content=content,
            num_threads=num_threads,
            experimental_op_resolver_type=resolver,
        )
        self._interpreter.allocate_tensors()
        signatures = self._interpreter.get_signature_list()
        signature: dict[str, list[str]] = next(iter(signatures.values()), {})
        self.input_names = signature.get("inputs", [])
        self.output_names = signature.get("outputs", [])

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Outputs for `inputs`, both in the order of the model; shapes may differ each time."""
        details = self._interpreter.get_input_details()
        if [tuple(d["shape"]) for d in details] != [x.shape for x in inputs]:
            for detail, value in zip(details, inputs, strict=True):
                self._interpreter.resize_tensor_input(detail["index"], value.shape)
            self._interpreter.allocate_tensors()
        for detail, value in zip(details, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], value)
        self._interpreter.invoke()
        return [
            self._interpreter.get_tensor(detail["index"])
            for detail in self._interpreter.get_output_details()
        ]

    def operators(self) -> list[str]:
        """Names of the operators of the file, in order."""
        return [str(op["op_name"]) for op in self._details() if op["op_name"] != "DELEGATE"]

    def delegated(self) -> list[str]:
        """Names of the operators that XNNPACK runs, in order."""
        return [name for name, taken in zip(self.operators(), self._taken(), strict=True) if taken]

    def left(self) -> list[str]:
        """Names of the operators that LiteRT's built-in kernels run, in order."""
        return [
            name for name, taken in zip(self.operators(), self._taken(), strict=True) if not taken
        ]

    def partitions(self) -> int:
        """Number of stretches of the graph that XNNPACK runs."""
        return sum(op["op_name"] == "DELEGATE" for op in self._details())

    def _details(self) -> Sequence[dict[str, Any]]:
        return self._interpreter._get_ops_details()

    def _taken(self) -> list[bool]:
        """Whether each operator lies between the inputs and outputs of a delegate's node."""
        details = self._details()
        operators = [op for op in details if op["op_name"] != "DELEGATE"]
        maker = {
            int(tensor): position
            for position, op in enumerate(operators)
            for tensor in op["outputs"]
        }
        taken = [False] * len(operators)
        for node in details:
            if node["op_name"] != "DELEGATE":
                continue
            given = {int(tensor) for tensor in node["inputs"]}
            wanted = [int(tensor) for tensor in node["outputs"]]
            while wanted:
                tensor = wanted.pop()
                position = maker.get(tensor)
                if tensor in given or position is None or taken[position]:
                    continue
                taken[position] = True
                wanted.extend(int(i) for i in operators[position]["inputs"])
        return taken
