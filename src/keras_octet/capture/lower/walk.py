"""The walk over the caller's graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_octet.capture import keras_private
from keras_octet.capture.canonical import to_numpy
from keras_octet.capture.graph import functional_of, iter_nodes
from keras_octet.capture.keras_private import core_operations, tree
from keras_octet.capture.lower.islands import emit_island
from keras_octet.capture.lower.registry import Call, find_rule
from keras_octet.capture.trace import Trace, TraceError, trace
from keras_octet.capture.vocabulary import is_canonical
from keras_octet.errors import CaptureError

_FLOATS = {"float16", "bfloat16", "float64"}


class Lowering:
    """Emits canonical operations, named uniquely, for the nodes of the caller's graph."""

    def __init__(self) -> None:
        self.emitted: list[Any] = []
        self._names: set[str] = set()

    def unique_name(self, first_choice: str, path: Sequence[keras.layers.Layer] = ()) -> str:
        """The first choice; when taken, with the names of the path before it; then numbered."""
        name = first_choice.replace("/", "_")
        if name in self._names and path:
            name = "_".join((*(layer.name for layer in path), name)).replace("/", "_")
        number, stem = 0, name
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name

    def input(self, tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """An input of the flat model like `tensor`; reduced precision becomes float32."""
        dtype = "float32" if tensor.dtype in _FLOATS else tensor.dtype
        name = self.unique_name(name)
        new = keras.Input(batch_shape=tensor.shape, dtype=dtype, name=name, sparse=tensor.sparse)
        mask = keras_private.get_mask(tensor)
        if mask is not None:
            keras_private.set_mask(new, mask)
        return new

    def inline(
        self,
        nodes: Iterable[Any],
        tensors: dict[int, Any],
        path: tuple[keras.layers.Layer, ...],
        name: str | None = None,
    ) -> None:
        """Lower nodes in order; `tensors` maps the id of the caller's tensors to the flat ones.

        `name` replaces the names of `keras.ops` operations, which are numbered by Keras.
        """

        def replace(value: Any) -> Any:
            if isinstance(value, keras.KerasTensor):
                return tensors.get(id(value))
            return to_numpy(value) if keras_private.is_concrete_tensor(value) else value

        for node in nodes:
            args, kwargs = node.arguments.convert(replace)
            operation = node.operation
            is_layer = isinstance(operation, keras.layers.Layer)
            call = Call(
                operation=operation,
                args=args,
                kwargs=_without_training(kwargs),
                inputs=node.input_tensors,
                outputs=node.outputs,
                path=path,
                lowering=self,
                name=operation.name if is_layer or name is None else name,
            )
            try:
                results = tree.flatten(self.lower(call))
            except CaptureError:
                raise
            except Exception as error:
                where = "/".join(layer.name for layer in (*path, operation))
                raise CaptureError(
                    f"{type(operation).__name__} {where!r} could not be captured: "
                    f"{type(error).__name__}: {error}. Expected a layer or operation that can be "
                    "copied and called on a symbolic tensor in float32."
                ) from error
            for old, new in zip(node.outputs, results, strict=True):
                tensors[id(old)] = new

    def lower(self, call: Call) -> Any:
        """Emit one call: by its lowering, by what is inside it, or as a float island."""
        operation = call.operation
        refusal = getattr(operation, "capture_refusal", None)
        if refusal is not None:
            raise CaptureError(f"{type(operation).__name__} {operation.name!r} {refusal}")
        if _ignores_mask(operation) and keras_private.get_mask(call.x) is not None:
            call.kwargs.pop("mask", None)
        if call.kwargs.get("mask") is None:
            rule = find_rule(type(operation))
            result = rule(call) if rule is not None else None
            if result is not None:
                return result
            if rule is None and isinstance(operation, keras.layers.Layer):
                result = self._lower_inside(call)
                if result is not None:
                    return result
        return emit_island(call)

    def _lower_inside(self, call: Call) -> Any:
        layer = call.operation
        functional = functional_of(layer)
        if functional is not None and type(layer).call in _GRAPH_CALLS:
            return self._lower_nested(call, functional)
        if not is_expandable(layer):
            return None
        own_weights = layer._trainable_variables or layer._non_trainable_variables
        all_or_nothing = bool(own_weights) and not layer._layers
        if call.masked and layer._call_has_mask_arg:
            return None
        kwargs = {**call.kwargs}
        if layer._call_has_training_arg:
            kwargs["training"] = False
        try:
            traced = trace_call(layer, call, kwargs)
        except TraceError:
            return None
        num_emitted, names = len(self.emitted), set(self._names)
        tensors = self._bind(call, traced)
        name = layer.name if all_or_nothing or not layer._layers else None
        self.inline(traced.nodes, tensors, (*call.path, layer), name)
        if all_or_nothing and not all(map(is_canonical, self.emitted[num_emitted:])):
            del self.emitted[num_emitted:]
            self._names = names
            return None
        return [tensors[id(tensor)] for tensor in tree.flatten(traced.outputs)]

    def lower_function(self, call: Call, function: Any, x: Any, dtype: str) -> Any:
        """Lower a Python function of one tensor, such as an activation; None if untraceable."""
        layers = function._flatten_layers() if isinstance(function, keras.layers.Layer) else []
        example = keras.KerasTensor(x.shape, dtype=dtype)
        try:
            traced = trace(function, layers, (example,), {})
        except TraceError:
            return None
        tensors = {id(traced.inputs[0]): x}
        self.inline(traced.nodes, tensors, (*call.path, call.operation), call.name)
        return tensors[id(traced.outputs)]

    def _bind(self, call: Call, traced: Trace) -> dict[int, Any]:
        leaves = tree.flatten((call.args, call.kwargs))
        new = [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]
        return {id(old): tensor for old, tensor in zip(traced.inputs, new, strict=True)}

    def _lower_nested(self, call: Call, functional: Any) -> Any:
        values = _flat_inputs(functional, call.x)
        tensors: dict[int, Any] = {}
        for reference, value in zip(functional._inputs, values, strict=True):
            tensors[id(reference)] = self._adapt(call, value, reference)
        self.inline(iter_nodes(functional), tensors, (*call.path, call.operation))
        return [tensors[id(output)] for output in functional._outputs]

    def _adapt(self, call: Call, x: Any, reference: keras.KerasTensor) -> Any:
        """Convert as a functional model does: dtype, and a last axis of size 1."""
        if x is None:
            return None
        is_float, wants_float = "float" in x.dtype, "float" in reference.dtype
        if is_float != wants_float or (not is_float and x.dtype != reference.dtype):
            dtype = "float32" if wants_float else reference.dtype
            x = call.emit_operation(core_operations.Cast, x, suffix="_cast", dtype=dtype)
        difference = len(x.shape) - len(reference.shape)
        if difference:
            shape = x.shape[1:-1] if difference > 0 else (*x.shape[1:], 1)
            target = [-1 if size is None else size for size in shape]
            x = call.emit(keras.layers.Reshape, x, suffix="_rank", target_shape=target)
        return x


_GRAPH_CALLS = (keras_private.Functional.call, keras.Sequential.call)


def trace_call(layer: keras.layers.Layer, call: Call, kwargs: dict[str, Any]) -> Trace:
    """Trace `layer.call` on tensors like the caller's own: original dtypes and masks."""
    originals = iter(call.inputs)

    def original(value: Any) -> Any:
        return next(originals) if isinstance(value, keras.KerasTensor) else value

    args, kwargs = tree.map_structure(original, (call.args, kwargs))
    return trace(layer.call, layer._flatten_layers(), args, kwargs)


def is_expandable(layer: keras.layers.Layer) -> bool:
    """Whether a layer may be replaced by what its `call` does.

    Layers that are part of Keras have a meaning as a whole, and so have those that say so.
    """
    if getattr(layer, "is_atomic", False):
        return False
    if isinstance(layer, (keras.layers.Lambda, keras.layers.Pipeline)):
        return True
    return not is_plain_keras(layer)


def is_plain_keras(layer: keras.layers.Layer) -> bool:
    """Whether the layer's own `call` is part of Keras."""
    for base in type(layer).__mro__:
        if "call" in vars(base):
            return keras_private.is_keras_class(base)
    return True


def _without_training(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keras records a `training` argument with its default; `training=False` overrides it."""
    return {key: value for key, value in kwargs.items() if key != "training"}


def _ignores_mask(operation: Any) -> bool:
    """Whether the mask of the input may be left to the tensors: inference does not look at it."""
    if isinstance(operation, keras.layers.BatchNormalization):
        return True
    return functional_of(operation) is not None and type(operation).call in _GRAPH_CALLS


def _flat_inputs(functional: Any, value: Any) -> list[Any]:
    structure = functional._inputs_struct
    if isinstance(value, dict) and not isinstance(structure, dict):
        return [value[tensor.name] for tensor in functional._inputs]
    if isinstance(structure, dict) and isinstance(value, dict):
        value = {key: value[key] for key in structure}
    return tree.flatten(value)


def lower_model(model: keras.Model, inputs: Any, outputs: Any, nodes: Iterable[Any]) -> keras.Model:
    """The caller's graph as a flat model that has not been rewritten yet.

    Args:
        model: the caller's model, for its name.
        inputs: structure of the caller's input KerasTensors.
        outputs: structure of the caller's output KerasTensors.
        nodes: the nodes between them, producers first.
    """
    lowering = Lowering()
    tensors: dict[int, Any] = {}

    def make_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
        history = getattr(tensor, "_keras_history", None)
        operation = history.operation if history is not None else None
        name = tensor.name if operation is None else operation.name
        tensors[id(tensor)] = lowering.input(tensor, name)
        return tensors[id(tensor)]

    new_inputs = tree.map_structure(make_input, inputs)
    lowering.inline(nodes, tensors, ())
    new_outputs = tree.map_structure(lambda tensor: tensors[id(tensor)], outputs)
    return keras_private.functional_model(new_inputs, new_outputs, model.name)
