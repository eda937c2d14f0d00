"""Recurrent layers in float, one set of operators for each time step.

The fused LSTM operator keeps its state from one run to the next, so it would not compute what the
layer computes; unrolled steps do. The weights are stored once, whatever the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.activation import activate
from keras_octet.tflite.emit.arithmetic import binary, cut
from keras_octet.tflite.emit.common import argument
from keras_octet.tflite.emit.dense import fully_connected
from keras_octet.tflite.emit.shape import concatenate
from keras_octet.tflite.graph import Graph, to_numpy

State = tuple[int, ...]
Step = Callable[[int, State | None], State]
"""`step(projected_input, state)` gives the next state, of which the first tensor is the output;
the state before the first step is None, which stands for zeros."""


def emit_recurrent(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """LSTM, GRU or SimpleRNN from zeros, all time steps unrolled."""
    _require_supported(layer, graph)
    assert graph.call is not None
    sequence, state = _run(layer, graph, inputs[0])
    if layer.return_sequences:
        _join(graph, sequence, output)
    else:
        graph.alias(state[0], output)
    if layer.return_state:
        for source, target in zip(state, graph.call.outputs[1:], strict=True):
            graph.alias(source, target)


def emit_bidirectional(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """Both directions, merged by "concat", "sum", "ave" or "mul"."""
    forward, backward = layer.forward_layer, layer.backward_layer
    for direction in (forward, backward):
        if type(direction) not in _STEPS:
            raise ExportError(f"wraps a {type(direction).__name__}; expected LSTM, GRU, SimpleRNN.")
        _require_supported(direction, graph)
    if layer.merge_mode not in ("concat", *_MERGES) or forward.return_state:
        raise ExportError(
            f"has merge_mode={layer.merge_mode!r}, return_state={forward.return_state}; expected "
            f"one of {['concat', *_MERGES]} and no state."
        )
    sequences = []
    for direction in (forward, backward):
        outputs, state = _run(direction, graph, inputs[0])
        if not layer.return_sequences:
            sequences.append(state[0])
            continue
        if direction.go_backwards:
            outputs = outputs[::-1]
        shape = graph.shape(output)
        joined = graph.temporary((*shape[:2], direction.units), like=output, name="sequence")
        sequences.append(_join(graph, outputs, joined))
    if layer.merge_mode == "concat":
        concatenate(graph, sequences, output, axis=-1)
        return
    code, factor = _MERGES[layer.merge_mode]
    first, second = sequences
    merged = binary(graph, code, first, second, output if factor == 1.0 else None)
    if factor != 1.0:
        binary(graph, "MUL", merged, factor, output)


_MERGES = {"sum": ("ADD", 1.0), "ave": ("ADD", 0.5), "mul": ("MUL", 1.0)}


def _require_supported(layer: Any, graph: Graph) -> None:
    if layer.stateful:
        raise ExportError("is stateful, which has no .tflite form here.")
    for name in ("initial_state", "mask"):
        if argument(graph, name) is not None:
            raise ExportError(f"is called with {name}, which has no .tflite form here.")


def _run(layer: Any, graph: Graph, source: int) -> tuple[list[int], State]:
    """The output of each step in the order they run, and the last state."""
    step, width, kernel, bias = _STEPS[type(layer)](layer.cell, graph)
    batch, length = graph.shape(source)[0], graph.static_shape(source, 1)[0]
    projected = graph.temporary((batch, length, width), like=source, name="projected")
    fully_connected(graph, source, kernel, bias, projected)
    order = range(length)[::-1] if layer.go_backwards else range(length)
    outputs: list[int] = []
    state: State | None = None
    for time in order:
        row = cut(graph, projected, 1, time, time + 1)
        state = step(graph.reshape(row, (batch, width)), state)
        outputs.append(state[0])
    assert state is not None
    return outputs, state


def _join(graph: Graph, outputs: Sequence[int], target: int) -> int:
    rows = [graph.reshape(x, (graph.shape(x)[0], 1, graph.shape(x)[1])) for x in outputs]
    return concatenate(graph, rows, target, axis=1)


def _matrix(graph: Graph, kernel: np.ndarray, name: str) -> int:
    return graph.constant(np.ascontiguousarray(kernel.T), name=name)


def _recur(graph: Graph, state: int, kernel: int, bias: int) -> int:
    width = graph.shape(kernel)[0]
    target = graph.temporary((graph.shape(state)[0], width), like=state, name="recurrent")
    fully_connected(graph, state, kernel, bias, target)
    return target


def _activated(graph: Graph, function: Any, source: int) -> int:
    name = keras.activations.serialize(function)
    target = graph.temporary(like=source, name="activated")
    activate(graph, name, source, target)
    return target


def _bias(cell: Any, rows: int, width: int) -> np.ndarray:
    """The biases of a cell as `(rows, width)`, zeros if it has none."""
    if cell.bias is None:
        return np.zeros((rows, width), np.float32)
    return to_numpy(cell.bias).reshape(rows, width)


Cell = tuple[Step, int, int, int]
"""The step, the width of the projected input, its kernel and its bias."""


def _simple_cell(cell: Any, graph: Graph) -> Cell:
    """`h = activation(x W + b + h R)`."""
    units = cell.units
    recurrent = _matrix(graph, to_numpy(cell.recurrent_kernel), "recurrent_kernel")
    nothing = graph.constant(np.zeros(units, np.float32), name="bias")

    def step(projected: int, state: State | None) -> State:
        if state is not None:
            projected = binary(graph, "ADD", projected, _recur(graph, state[0], recurrent, nothing))
        return (_activated(graph, cell.activation, projected),)

    kernel = _matrix(graph, to_numpy(cell.kernel), "kernel")
    return step, units, kernel, graph.constant(_bias(cell, 1, units)[0], name="bias")


def _lstm_cell(cell: Any, graph: Graph) -> Cell:
    """`c = f * c + i * g`, `h = o * activation(c)`; the gates stand as i, f, o, then g."""
    units = cell.units
    # Keras keeps the gates as i, f, g, o: with o third, one operator activates the first three.
    order = np.concatenate([np.arange(units) + units * block for block in (0, 1, 3, 2)])
    recurrent = _matrix(graph, to_numpy(cell.recurrent_kernel)[:, order], "recurrent_kernel")
    nothing = graph.constant(np.zeros(4 * units, np.float32), name="bias")

    def step(projected: int, state: State | None) -> State:
        if state is not None:
            projected = binary(graph, "ADD", projected, _recur(graph, state[0], recurrent, nothing))
        gates = _activated(graph, cell.recurrent_activation, cut(graph, projected, 1, 0, 3 * units))
        candidate = _activated(
            graph, cell.activation, cut(graph, projected, 1, 3 * units, 4 * units)
        )
        carry = binary(graph, "MUL", cut(graph, gates, 1, 0, units), candidate)
        if state is not None:
            kept = binary(graph, "MUL", cut(graph, gates, 1, units, 2 * units), state[1])
            carry = binary(graph, "ADD", kept, carry)
        exposed = _activated(graph, cell.activation, carry)
        return binary(graph, "MUL", cut(graph, gates, 1, 2 * units, 3 * units), exposed), carry

    kernel = _matrix(graph, to_numpy(cell.kernel)[:, order], "kernel")
    bias = graph.constant(_bias(cell, 1, 4 * units)[0][order], name="bias")
    return step, 4 * units, kernel, bias


def _gru_cell(cell: Any, graph: Graph) -> Cell:
    """`h = z * h + (1 - z) * activation(x_h + r * (h R_h))`, or `(r * h) R_h` before reset."""
    units = cell.units
    biases = _bias(cell, 2 if cell.reset_after else 1, 3 * units)
    recurrent = to_numpy(cell.recurrent_kernel)
    inner_bias = biases[1] if cell.reset_after else np.zeros(3 * units, np.float32)
    gate_kernel = _matrix(graph, recurrent[:, : 2 * units], "gate_kernel")
    gate_bias = graph.constant(inner_bias[: 2 * units].copy(), name="gate_bias")
    state_kernel = _matrix(graph, recurrent[:, 2 * units :], "state_kernel")
    state_bias = graph.constant(inner_bias[2 * units :].copy(), name="state_bias")

    def step(projected: int, state: State | None) -> State:
        gates = cut(graph, projected, 1, 0, 2 * units)
        # Before the first step the state is zero: what is left of its product is the bias.
        inner = gate_bias if state is None else _recur(graph, state[0], gate_kernel, gate_bias)
        gates = _activated(graph, cell.recurrent_activation, binary(graph, "ADD", gates, inner))
        update, reset = cut(graph, gates, 1, 0, units), cut(graph, gates, 1, units, 2 * units)
        if state is None:
            inner = binary(graph, "MUL", reset, state_bias)
        elif cell.reset_after:
            product = _recur(graph, state[0], state_kernel, state_bias)
            inner = binary(graph, "MUL", reset, product)
        else:
            inner = _recur(graph, binary(graph, "MUL", reset, state[0]), state_kernel, state_bias)
        total = binary(graph, "ADD", cut(graph, projected, 1, 2 * units, 3 * units), inner)
        candidate = _activated(graph, cell.activation, total)
        fresh = binary(graph, "MUL", binary(graph, "SUB", 1.0, update), candidate)
        if state is None:
            return (fresh,)
        return (binary(graph, "ADD", binary(graph, "MUL", update, state[0]), fresh),)

    kernel = _matrix(graph, to_numpy(cell.kernel), "kernel")
    return step, 3 * units, kernel, graph.constant(biases[0].copy(), name="bias")


_STEPS: dict[type, Callable[[Any, Graph], Cell]] = {
    keras.layers.SimpleRNN: _simple_cell,
    keras.layers.LSTM: _lstm_cell,
    keras.layers.GRU: _gru_cell,
}
