"""Replaying a flat model call by call, while rules rewrite what they match.

Rules see the graph under construction: a call about to be made, and behind it the part that has
been rebuilt. A rule returns the tensor that stands for the call's result, or None. What a rule
leaves unused is not reached from the outputs and so is not part of the new model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_octet.capture.alias import alias
from keras_octet.capture.graph import count_consumers, iter_nodes, nodes_between, producer
from keras_octet.capture.keras_private import functional_model, tree

# (replay, operation, its first argument) -> result or None.
Rule = Callable[["Replay", Any, Any], Any]
Rules = Mapping[type, Sequence[Rule]]


class Replay:
    """One rebuild of a flat model; `model` is not changed, its variables are shared."""

    def __init__(self, model: keras.Model, rules: Rules) -> None:
        self._model = model
        self._rules = rules
        self._pending: Counter[int] = Counter()  # Reads by calls that are still to come.
        self._readers: defaultdict[int, list[Any]] = defaultdict(list)
        self._moves: dict[Any, Any] = {}
        self._tensors: dict[int, Any] = {}

    def run(self) -> keras.Model:
        """The rebuilt model."""
        reads = count_consumers(self._model)
        inputs = tree.map_structure(self._input, self._model._inputs_struct)
        for old in self._model.inputs:
            self._pending[id(self._tensors[id(old)])] += reads[id(old)]
        for node in iter_nodes(self._model):
            args, kwargs = node.arguments.fill_in(self._tensors)
            for old in node.input_tensors:
                self._pending[id(self._tensors[id(old)])] -= 1
            results = tree.flatten(self.visit(node, args, kwargs))
            for old, new in zip(node.outputs, results, strict=True):
                self._tensors[id(old)] = new
                self._pending[id(new)] += reads[id(old)]
        outputs = tree.map_structure(
            lambda tensor: self._tensors[id(tensor)], self._model._outputs_struct
        )
        _rename_duplicates(tree.flatten(inputs), tree.flatten(outputs))
        return functional_model(inputs, outputs, self._model.name)

    def visit(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rebuild one call of the old model on new arguments."""
        return self.apply(node.operation, *args, **kwargs)

    def apply(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Call an operation, or what the rules make of it."""
        if len(args) == 1 and not kwargs:
            for rule in self._rules.get(type(operation), ()):
                result = rule(self, operation, args[0])
                if result is not None:
                    return result
        return self.call(operation, *args, **kwargs)

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Call an operation as it is; one that has been called before is copied."""
        if operation._inbound_nodes:
            operation = alias(operation)
        outputs = operation(*args, **kwargs)
        node = operation._inbound_nodes[-1]
        for tensor in node.input_tensors:
            self._readers[id(tensor)].append(node)
        return outputs

    def call_once(self, operation: Any, x: Any, key: Any) -> Any:
        """Like `call`, but calls with the same tensor and key share one result."""
        found = self._moves.get((id(x), key))
        if found is None:
            found = self._moves[id(x), key] = self.call(operation, x)
        return found

    def is_needed(self, tensor: keras.KerasTensor) -> bool:
        """Whether something else than the call under way reads the tensor."""
        stack, seen = [tensor], set()
        while stack:
            tensor = stack.pop()
            if self._pending[id(tensor)] > 0:
                return True
            if id(tensor) not in seen:
                seen.add(id(tensor))
                stack.extend(o for node in self._readers[id(tensor)] for o in node.outputs)
        return False

    def sole_producer(self, tensor: Any, *classes: type) -> Any:
        """The node that makes `tensor`, if of one of the classes and nothing else reads it."""
        if not isinstance(tensor, keras.KerasTensor):
            return None
        node = producer(tensor)
        if type(node.operation) not in classes or self.is_needed(tensor):
            return None
        return node

    def _input(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        layer = tensor._keras_history.operation
        new = keras.Input(
            batch_shape=tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse, name=layer.name
        )
        self._tensors[id(tensor)] = new
        return new


def _rename_duplicates(inputs: list[keras.KerasTensor], outputs: list[keras.KerasTensor]) -> None:
    """Number the operations whose name is taken: a rule may have copied one to several places."""
    nodes = nodes_between(inputs, outputs)
    names = {tensor._keras_history.operation.name for tensor in inputs}
    taken = names | {node.operation.name for node in nodes}
    for node in nodes:
        name, number = node.operation.name, 0
        while name in names:
            number += 1
            candidate = f"{node.operation.name}_{number}"
            name = candidate if candidate not in taken else name
        if number:
            node.operation.__dict__["name"] = name
        names.add(name)
