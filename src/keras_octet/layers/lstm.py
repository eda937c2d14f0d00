"""What the fused LSTM layers share: the weights of the gates, the states, the loop over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import ops

from keras_octet.layers.base import Shape
from keras_octet.layers.recurrent import RecurrentOperator

GATES = ("input", "forget", "cell", "output")
# Which gates look at the cell state; see `peephole`.
PEEPHOLES = ("input", "forget", "output")


class SequenceLSTM(RecurrentOperator):
    """Mixin: LiteRT's fused LSTM over a sequence, which keeps its state from call to call.

    With gates `i, f, g, o`, input `x` and state `h, c`, of each time step::

        gate = kernel x + recurrent h + peephole * c + bias
        c = sigmoid(f) * c + sigmoid(i) * activation(g), clipped to cell_clip
        h = sigmoid(o) * activation(c)
        h = projection h + projection_bias, clipped to proj_clip

    The output is `h` of every time step. The peephole of `o` sees the new `c`, `g` has none.
    `layer_norm` normalizes the sum of the first three terms over the units, and multiplies it by
    weights, before the bias is added. Without `input_gate`, `1 - sigmoid(f)` is in its place.

    Inputs have shape `(batch, time, features)`, or `(time, batch, features)` with `time_major`, or
    are one time step `(batch, features)` without `sequence`; outputs have `output_size` features.

    Variables, called after the gate in `gates`: `kernel_<gate>` `(units, features)`,
    `recurrent_<gate>` `(units, output_size)`, `peephole_<gate>`, `bias_<gate>`, `norm_<gate>`
    `(units,)`; `projection` `(output_size, units)` and `projection_bias` `(output_size,)`; the
    states `output_state` `(batch, output_size)` and `cell_state` `(batch, units)`.

    Args:
        units: size of the cell state.
        output_size: size of the output; `units` without projection.
        features: of the input.
        batch_size: the state is kept for so many sequences.
        input_gate, peephole, layer_norm, projection, projection_bias: whether there are such
            weights.
        sequence, time_major: see above.
        activation: `None`, `"relu"`, `"relu6"`, `"hard_tanh"` or `"tanh"`.
        cell_clip, proj_clip: 0 does not clip.
        scales: of the weights that are quantized, by name.
        state_shapes: shapes of the states where a file keeps them in others.
    """

    state_dtypes: tuple[str, ...] = ("float32", "float32")
    recurrent_keys = (
        "units",
        "output_size",
        "features",
        "batch_size",
        "input_gate",
        "peephole",
        "layer_norm",
        "projection",
        "projection_bias",
        "sequence",
        "time_major",
        "activation",
        "cell_clip",
        "proj_clip",
    )

    def __init__(
        self,
        *,
        units: int,
        output_size: int,
        features: int,
        batch_size: int,
        input_gate: bool = True,
        peephole: bool = False,
        layer_norm: bool = False,
        projection: bool = False,
        projection_bias: bool = False,
        sequence: bool = True,
        time_major: bool = False,
        activation: str | None = "tanh",
        cell_clip: float = 0.0,
        proj_clip: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.output_size = units, output_size
        self.features, self.batch_size = features, batch_size
        self.input_gate, self.peephole, self.layer_norm = input_gate, peephole, layer_norm
        self.projection, self.projection_bias = projection, projection_bias
        self.sequence, self.time_major, self.activation = sequence, time_major, activation
        self.cell_clip, self.proj_clip = float(cell_clip), float(proj_clip)

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates there are, in the order in which their weights are computed with."""
        return GATES if self.input_gate else GATES[1:]

    def part_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        for gate in self.gates:
            yield f"kernel_{gate}", (self.units, self.features)
            yield f"recurrent_{gate}", (self.units, self.output_size)
            yield f"bias_{gate}", (self.units,)
            if self.peephole and gate in PEEPHOLES:
                yield f"peephole_{gate}", (self.units,)
            if self.layer_norm:
                yield f"norm_{gate}", (self.units,)
        if self.projection:
            yield "projection", (self.output_size, self.units)
            if self.projection_bias:
                yield "projection_bias", (self.output_size,)

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        batch = self.batch_size
        return {"output_state": (batch, self.output_size), "cell_state": (batch, self.units)}

    def stacked(self, kind: str) -> Any:
        """`kind` of all gates, one after another along the first axis."""
        parts = [ops.convert_to_tensor(self.parts[f"{kind}_{gate}"]) for gate in self.gates]
        return ops.concatenate(parts, axis=0)

    def split(self, values: Any) -> dict[str, Any]:
        """The parts of the last axis that belong to each gate."""
        count = self.units
        return {g: values[..., i * count : (i + 1) * count] for i, g in enumerate(self.gates)}

    def call(self, inputs: Any) -> Any:
        if not self.sequence:
            return self._run(ops.expand_dims(inputs, 0))[0]
        if self.time_major:
            return self._run(inputs)
        return ops.transpose(self._run(ops.transpose(inputs, (1, 0, 2))), (1, 0, 2))

    def _run(self, steps: Any) -> Any:
        """Outputs `(time, batch, output_size)` for inputs `(time, batch, features)`."""

        def step(state: tuple[Any, Any], terms: Any) -> Any:
            new = self._step(terms, *state)
            return new, new

        widths = [_WIDE[dtype] for dtype in self.state_dtypes]
        start = tuple(ops.cast(x, dtype) for x, dtype in zip(self.states, widths, strict=True))
        last, every = ops.scan(step, start, self._input_terms(steps))
        for variable, value in zip(self.states, last, strict=True):
            variable.assign(ops.cast(value, variable.dtype))
        return ops.cast(every[0], self.states[0].dtype)

    def _input_terms(self, sequence: Any) -> Any:
        """What the inputs add to the gates at all time steps: `(time, batch, gates * units)`."""
        raise NotImplementedError

    def _step(self, terms: Any, output: Any, cell: Any) -> tuple[Any, Any]:
        """The next output state and cell state."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_size)


# What states are computed in: not every backend has arithmetic on narrow integers.
_WIDE = {"float32": "float32", "int8": "int32", "int16": "int32"}
