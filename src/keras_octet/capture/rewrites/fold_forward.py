"""Rescaling into the linear layers that come after it.

A Rescaling is folded only if every path from it ends in a linear layer that absorbs it exactly;
on the way it may pass operations that commute with it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import keras

from keras_octet.capture.canonical import LINEAR_LAYERS
from keras_octet.capture.graph import iter_nodes
from keras_octet.capture.rewrites.affine import Affine, can_fold_before, fold_before
from keras_octet.capture.rewrites.fold_rescaling import AVERAGES, HOMOGENEOUS, MAXIMA
from keras_octet.capture.rewrites.replay import Replay, Rules


class ForwardFolding(Replay):
    """Replay that carries affine maps from Rescalings to linear layers."""

    def __init__(self, model: keras.Model, rules: Rules) -> None:
        super().__init__(model, rules)
        self._affine: dict[int, Affine] = {}  # By tensor of the old model.
        self._consumers: defaultdict[int, list[Any]] = defaultdict(list)
        self._outputs = {id(tensor) for tensor in model.outputs}
        for node in iter_nodes(model):
            for tensor in node.input_tensors:
                self._consumers[id(tensor)].append(node)

    def visit(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rebuild one call, taking up, carrying or absorbing an affine map."""
        operation = node.operation
        old = node.input_tensors[0] if len(node.input_tensors) == 1 else None
        if type(operation) is keras.layers.Rescaling and self._can_start(node):
            self._affine[id(node.outputs[0])] = Affine.of(operation)
            return args[0]
        affine = self._affine.get(id(old))
        if affine is None:
            return super().visit(node, args, kwargs)
        if type(operation) in LINEAR_LAYERS:
            return self.apply(fold_before(operation, args[0].shape, affine), args[0])
        passed = _pass_through(node, affine)
        assert passed is not None, operation
        self._affine[id(node.outputs[0])] = passed
        return super().visit(node, args, kwargs)

    def _can_start(self, node: Any) -> bool:
        (old,) = node.input_tensors
        is_float = "float" in old.dtype
        return is_float and self._is_absorbed(node.outputs[0], Affine.of(node.operation))

    def _is_absorbed(self, tensor: keras.KerasTensor, affine: Affine) -> bool:
        consumers = self._consumers[id(tensor)]
        if id(tensor) in self._outputs or not consumers:
            return False
        for node in consumers:
            if type(node.operation) in LINEAR_LAYERS:
                if not can_fold_before(node.operation, tensor.shape, affine):
                    return False
                continue
            passed = _pass_through(node, affine)
            if passed is None or not self._is_absorbed(node.outputs[0], passed):
                return False
        return True


def _pass_through(node: Any, affine: Affine) -> Affine | None:
    """The map after an operation instead of before it; None if they do not commute."""
    operation = node.operation
    kind = type(operation)
    if kind in AVERAGES:
        return affine
    if kind in MAXIMA:
        return affine if affine.is_increasing else None
    if kind is keras.layers.ZeroPadding2D:
        return None if affine.has_offset else affine
    if kind in HOMOGENEOUS:
        plain = getattr(operation, "max_value", None) is None
        commutes = plain and affine.is_increasing and not affine.has_offset
        return affine if commutes else None
    if kind is keras.layers.Permute:
        keeps = operation.dims[-1] == len(operation.dims)
        return affine if keeps or affine.is_uniform else None
    if kind is keras.layers.Reshape:
        size = node.outputs[0].shape[-1]
        return None if size is None else affine.tiled(size)
    return None
