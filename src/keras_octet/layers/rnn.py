"""Fused recurrent layers of one gate: SimpleRNN as LiteRT's operators compute it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import ops

from keras_octet.layers.base import Shape, register
from keras_octet.layers.recurrent import ACTIVATIONS, HybridRecurrent, RecurrentOperator
from keras_octet.layers.rounding import rounded


class SimpleRecurrence(RecurrentOperator):
    """Mixin: `h = activation(kernel x + bias + recurrent h)`, kept from call to call.

    The input is one time step `(batch, features)`, or with `sequence` `(batch, time, features)`, or
    `(time, batch, features)` with `time_major`; so is the output, of `units` features.

    Variables: `kernel` `(units, features)`, `recurrent` `(units, units)`, `bias` `(units,)`, and
    the state `hidden_state` `(batch, units)`.

    Args:
        units, features, batch_size: sizes.
        sequence, time_major: see above.
        activation: `None`, `"relu"`, `"relu6"`, `"hard_tanh"` or `"tanh"`.
    """

    recurrent_keys = ("units", "features", "batch_size", "sequence", "time_major", "activation")

    def __init__(
        self,
        *,
        units: int,
        features: int,
        batch_size: int,
        sequence: bool = True,
        time_major: bool = False,
        activation: str | None = "tanh",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.features, self.batch_size = units, features, batch_size
        self.sequence, self.time_major, self.activation = sequence, time_major, activation

    def part_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "kernel", (self.units, self.features)
        yield "recurrent", (self.units, self.units)
        yield "bias", (self.units,)

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        return {"hidden_state": (self.batch_size, self.units)}

    def call(self, inputs: Any) -> Any:
        terms = rounded(self.multiply("kernel", inputs) + ops.convert_to_tensor(self.parts["bias"]))

        def step(state: Any, term: Any) -> Any:
            total = rounded(term + self.multiply("recurrent", state))
            new = ACTIVATIONS[self.activation](total)
            return new, new

        (variable,) = self.states
        start = ops.convert_to_tensor(variable)
        if not self.sequence:
            last, _ = step(start, terms)
            variable.assign(last)
            return last
        steps = terms if self.time_major else ops.transpose(terms, (1, 0, 2))
        last, every = ops.scan(step, start, steps)
        variable.assign(last)
        return every if self.time_major else ops.transpose(every, (1, 0, 2))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)


@register
class HybridRNN(SimpleRecurrence, HybridRecurrent):
    """LiteRT's RNN on float32 with int8 weights. See `SimpleRecurrence`, `HybridRecurrent`."""
