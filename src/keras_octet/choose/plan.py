"""The plan: for each operation its form, for each tensor its quantization parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_octet.calibrate.calibration import Calibration
from keras_octet.capture.graph import iter_nodes, tensor_name
from keras_octet.capture.origin import labels
from keras_octet.choose.fusion import fused_relus
from keras_octet.choose.limits import find_violation
from keras_octet.choose.ranges import assign_qparams
from keras_octet.errors import CalibrationError
from keras_octet.ops import Output, find_operation
from keras_octet.qparams import QParams
from keras_octet.recipe import Recipe, Scheme


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of one operation of the flat model.

    Attributes:
        name: of the operation.
        layer_type: class name of the float layer.
        status: `"int8"`, `"float"`, or `"fused"` into the operation `fused_into`.
        reason: why it stays float; empty otherwise.
        activation: activation fused into this operation: None, `"relu"` or `"relu6"`.
        inputs: parameters each input must have; empty unless int8.
        output: parameters of the output; None unless int8.
        output_name: the tensor it makes: its own, or that of the ReLU fused into it.
    """

    name: str
    layer_type: str
    status: str
    reason: str = ""
    fused_into: str | None = None
    activation: str | None = None
    scheme: Scheme | None = None
    inputs: tuple[QParams, ...] = ()
    output: QParams | None = None
    output_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Decisions by operation name, in the order of the graph, and parameters by tensor name.

    `tensors` has the parameters under which a tensor is stored where it is int8; `channel_means`
    the mean of each channel of the tensors for which calibration has it.
    """

    decisions: dict[str, Decision]
    tensors: dict[str, QParams]
    recipe: Recipe
    channel_means: Mapping[str, np.ndarray] = field(default_factory=dict)


def choose(flat_model: keras.Model, calibration: Calibration, recipe: Recipe) -> Plan:
    """Decide the form of every operation and the parameters of every tensor.

    Args:
        flat_model: what `capture` gives.
        calibration: statistics of its tensors.
        recipe: what to quantize and how.

    Raises:
        CalibrationError: the calibration lacks a tensor that is to be int8.
    """
    nodes = list(iter_nodes(flat_model))
    reasons = {node.operation.name: _float_reason(node, recipe) for node in nodes}
    _keep_lonely_movement_float(flat_model, nodes, reasons)
    _check_coverage(nodes, reasons, calibration)
    while True:
        fused = fused_relus(flat_model, reasons)
        tensors, required = assign_qparams(nodes, reasons, fused, calibration, recipe)
        violations = {}
        for node in nodes:
            name = node.operation.name
            if reasons[name] is None and name not in fused.host_of:
                scheme = recipe.scheme_for(labels(node.operation))
                assert scheme is not None  # or it would stay float
                output = tensors[fused.output_of(name)]
                violation = find_violation(node, required[name], output, scheme)
                if violation:
                    violations[name] = violation
        if not violations:
            break
        reasons.update(violations)
    decisions = {}
    for node in nodes:
        name = node.operation.name
        decisions[name] = _decision(node, reasons[name], fused, required, tensors, recipe)
    tensors |= _boundary_qparams(flat_model, set(tensors), calibration, recipe)
    means = {name: calibration.channel_mean(name) for name in tensors}
    return Plan(
        decisions=decisions,
        tensors=tensors,
        recipe=recipe,
        channel_means={name: mean for name, mean in means.items() if mean is not None},
    )


def _boundary_qparams(
    flat_model: keras.Model, known: set[str], calibration: Calibration, recipe: Recipe
) -> dict[str, QParams]:
    """Parameters of the inputs and outputs to be int8 that only float operations touch."""
    read = {id(tensor) for node in iter_nodes(flat_model) for tensor in node.input_tensors}
    unread = {id(tensor) for tensor in flat_model.inputs} - read
    wanted = flat_model.inputs if recipe.input_dtype == "int8" else []
    wanted = wanted + (flat_model.outputs if recipe.output_dtype == "int8" else [])
    wanted = [tensor for tensor in wanted if id(tensor) not in unread]
    found = {}
    for tensor in wanted:
        name = tensor_name(tensor)
        if name not in known and keras.backend.is_float_dtype(tensor.dtype):
            scheme = recipe.scheme_for(labels(tensor._keras_history.operation)) or recipe.scheme
            symmetric = scheme.activation_symmetric
            low, high = calibration.range(name, symmetric=symmetric)
            found[name] = QParams.from_range(low, high, symmetric=symmetric)
    return found


def _float_reason(node: Any, recipe: Recipe) -> str | None:
    layer = node.operation
    type_name = type(layer).__name__
    operation = find_operation(layer)
    if operation is None:
        return f"{type_name} has no integer form"
    if recipe.scheme_for(labels(layer)) is None:
        return "kept in float by the recipe"
    tensors = [*node.input_tensors, *node.outputs]
    if any(not keras.backend.is_float_dtype(tensor.dtype) for tensor in tensors):
        return "its inputs or outputs are not float tensors"
    return operation.refusal(layer, [tuple(tensor.shape) for tensor in node.input_tensors])


def _keep_lonely_movement_float(
    flat_model: keras.Model, nodes: list[Any], reasons: dict[str, str | None]
) -> None:
    """Leave movement (reshapes, pooling...) between float operations in float.

    In int8 it would gain nothing and cost a rounding.
    """
    readers: dict[int, list[str]] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node.operation.name)
    outputs = {id(tensor) for tensor in flat_model.outputs}
    inputs = {id(tensor) for tensor in flat_model.inputs}
    changed = True
    while changed:
        changed = False
        for node in nodes:
            name, operation = node.operation.name, find_operation(node.operation)
            if reasons[name] or operation is None or operation.output is not Output.SHARED:
                continue
            produced_float = all(
                id(x) in inputs or reasons[tensor_name(x).split(":")[0]] for x in node.input_tensors
            )
            read_float = all(
                id(x) in outputs or all(reasons[reader] for reader in readers.get(id(x), []))
                for x in node.outputs
            )
            if produced_float and read_float:
                reasons[name] = "it only moves values between float operations"
                changed = True


def _check_coverage(
    nodes: list[Any], reasons: dict[str, str | None], calibration: Calibration
) -> None:
    missing = sorted(
        {
            tensor_name(tensor)
            for node in nodes
            if reasons[node.operation.name] is None
            for tensor in [*node.input_tensors, *node.outputs]
            if tensor_name(tensor) not in calibration
        }
    )
    if missing:
        raise CalibrationError(
            f"The calibration has no statistics for {len(missing)} tensors of the model: "
            f"{', '.join(missing[:5])}. It was made for another model; calibrate this one."
        )


def _decision(
    node: Any,
    reason: str | None,
    fused: Any,
    required: dict[str, tuple[QParams, ...]],
    tensors: dict[str, QParams],
    recipe: Recipe,
) -> Decision:
    name, type_name = node.operation.name, type(node.operation).__name__
    if reason:
        return Decision(name=name, layer_type=type_name, status="float", reason=reason)
    if name in fused.host_of:
        host = fused.host_of[name]
        return Decision(name=name, layer_type=type_name, status="fused", fused_into=host)
    return Decision(
        name=name,
        layer_type=type_name,
        status="int8",
        activation=fused.activation_of(name),
        scheme=recipe.scheme_for(labels(node.operation)),
        inputs=required[name],
        output=tensors[fused.output_of(name)],
        output_name=fused.output_of(name),
    )
