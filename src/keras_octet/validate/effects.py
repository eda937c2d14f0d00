"""What each layer does to the outputs: the float model with any choice of layers quantized.

Every tensor that a quantized layer stands for becomes `t + gate * (q - t)`, where `t` is the float
layer's result and `q` the quantized layer's, dequantized, and the gate is an input of the model: 0
or 1. With all gates at 1 this is the quantized model; with one at 1, that layer alone is quantized;
with one at 0, that layer alone stayed in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.capture.alias import alias
from keras_octet.capture.graph import iter_nodes
from keras_octet.layers import Dequantize, Quantize, QuantizedLayer
from keras_octet.validate.compare import ErrorSums, decibels
from keras_octet.validate.graph import Pair
from keras_octet.validate.probes import Probe
from keras_octet.validate.results import FloatTrial

# How many of the worst layers are left in float.
TRIALS = (0, 1, 2, 3, 5, 8)


class GatedModel:
    """The float model in which each layer can be switched to its quantized form.

    Args:
        flat_model: the float model, as `capture` gives it.
        pairs: from `match_layers`; those that are quantized and stand for one float tensor get a
            gate.
    """

    def __init__(self, flat_model: keras.Model, pairs: Sequence[Pair]) -> None:
        self.names: list[str] = []
        self._gates: list[keras.KerasTensor] = []
        self._now = {id(tensor): tensor for tensor in flat_model.inputs}
        by_tensor: dict[int, list[Pair]] = {}
        for pair in pairs:
            if isinstance(pair.layer, QuantizedLayer) and pair.sources is not None:
                by_tensor.setdefault(id(pair.float_tensor), []).append(pair)
        for tensor in flat_model.inputs:
            self._switch(tensor, by_tensor)
        for node in iter_nodes(flat_model):
            values = {id(x): self._now[id(x)] for x in node.input_tensors}
            args, kwargs = node.arguments.fill_in(values)
            results = keras.tree.flatten(alias(node.operation)(*args, **kwargs))
            for old, new in zip(node.outputs, results, strict=True):
                self._now[id(old)] = new
                self._switch(old, by_tensor)
        outputs = [self._now[id(tensor)] for tensor in flat_model.outputs]
        self._probe = Probe([*flat_model.inputs, *self._gates], dict(enumerate(outputs)))

    def _switch(self, tensor: keras.KerasTensor, by_tensor: dict[int, list[Pair]]) -> None:
        """Put the gates of the layers that stand for `tensor` behind its float value."""
        for pair in by_tensor.get(id(tensor), []):
            quantized = self._quantized(pair)
            if quantized is None:
                continue
            index, value = len(self._gates), self._now[id(tensor)]
            ones = (1,) * (len(tensor.shape) - 1)
            gate = keras.Input(batch_shape=(tensor.shape[0], *ones), name=f"gate_{index}")
            layers = keras.layers
            error = layers.Subtract(name=f"gate_{index}_error")([quantized, value])
            taken = layers.Multiply(name=f"gate_{index}_taken")([error, gate])
            self._now[id(tensor)] = layers.Add(name=f"gate_{index}_sum")([value, taken])
            self._gates.append(gate)
            self.names.append(pair.name)

    def _quantized(self, pair: Pair) -> Any:
        """The quantized layer on the current values of its inputs, dequantized."""
        layer, count = pair.layer, len(self._gates)
        assert pair.sources is not None
        inputs = [self._now.get(id(source)) for source in pair.sources]
        if layer.output_qparams is None or None in inputs:
            return None
        if not isinstance(layer, Quantize):
            if len(layer.input_qparams) != len(inputs):
                return None
            inputs = [
                Quantize(output_qparams=qparams, name=f"gate_{count}_quantize_{i}")(value)
                for i, (value, qparams) in enumerate(zip(inputs, layer.input_qparams, strict=True))
            ]
        result = alias(layer, name=f"gate_{count}_layer")(inputs if len(inputs) > 1 else inputs[0])
        return Dequantize(input_qparams=[layer.output_qparams], name=f"gate_{count}_dequantize")(
            result
        )

    def __call__(self, arrays: Sequence[np.ndarray], on: Collection[str]) -> list[np.ndarray]:
        """The outputs with the layers `on` quantized and all others in float."""
        size = len(arrays[0])
        gates = [
            np.full((size, *gate.shape[1:]), float(name in on), np.float32)
            for name, gate in zip(self.names, self._gates, strict=True)
        ]
        return list(self._probe([*arrays, *gates]).values())


class OutputEffects:
    """SQNR of the outputs for choices of quantized layers, on a fixed set of samples.

    Args:
        model: with gates.
        arrays: the samples, one array an input.
    """

    def __init__(self, model: GatedModel, arrays: Sequence[np.ndarray]) -> None:
        self._model = model
        self._arrays = arrays
        self._reference = model(arrays, on=())

    def sqnr(self, on: Collection[str]) -> float:
        """SQNR in dB with the layers `on` quantized; of several outputs, of their mean noise ratio.

        `-10 log10(mean over outputs of sum (f - q)^2 / sum f^2)`.
        """
        ratios = []
        for f, q in zip(self._reference, self._model(self._arrays, on), strict=True):
            sums = ErrorSums()
            sums.update(f, q)
            ratios.append(10 ** (-sums.result().sqnr / 10))
        return decibels(1.0, float(np.mean(ratios)))

    def alone(self, name: str) -> float:
        """SQNR of the outputs with one layer quantized."""
        return self.sqnr((name,))

    def without(self, names: Collection[str]) -> FloatTrial:
        """The outputs with all layers quantized but these."""
        kept = [name for name in self._model.names if name not in names]
        return FloatTrial(layers=tuple(names), sqnr=self.sqnr(kept))


class SampleStore:
    """A few samples, taken from batches as they pass.

    Args:
        wanted: how many.
        total: how many samples will pass, for an even choice; infinity takes the first.
        fixed: batch size of a model that has only one: then that many, from the first batch.
    """

    def __init__(self, wanted: int, total: float, fixed: int | None) -> None:
        self._wanted = fixed or wanted
        self._share = 1.0 if fixed or math.isinf(total) else min(1.0, wanted / max(total, 1))
        self._fixed = fixed
        self._parts: list[list[np.ndarray]] = []
        self.num_samples = 0

    def update(self, arrays: Sequence[np.ndarray], num_samples: int) -> None:
        """Take what is due of the first `num_samples` of a batch."""
        count = self._fixed or math.ceil(num_samples * self._share)
        count = min(count, self._wanted - self.num_samples)
        if count > 0:
            self._parts.append([array[:count].copy() for array in arrays])
            self.num_samples += count

    def arrays(self) -> list[np.ndarray]:
        """One array an input; of samples of one shape, that of the first."""
        shapes = [array.shape[1:] for array in self._parts[0]]
        same = [part for part in self._parts if [array.shape[1:] for array in part] == shapes]
        return [np.concatenate(column) for column in zip(*same, strict=True)]


def measure_effects(
    flat_model: keras.Model,
    pairs: Sequence[Pair],
    arrays: Sequence[np.ndarray],
    advance: Callable[[int, int], None],
) -> tuple[dict[str, float], tuple[FloatTrial, ...]]:
    """The effect of each layer alone, and trials with the worst ones in float.

    Args:
        flat_model: the float model, as `capture` gives it.
        pairs: from `match_layers`.
        arrays: samples, one array an input.
        advance: called with the number of layers done and their total.

    Returns:
        `(SQNR of the outputs by layer, trials)`; both empty if no layer is quantized.
    """
    model = GatedModel(flat_model, pairs)
    if not model.names:
        return {}, ()
    effects = OutputEffects(model, arrays)
    alone = {}
    for index, name in enumerate(model.names):
        alone[name] = effects.alone(name)
        advance(index + 1, len(model.names))
    boundaries = {pair.name for pair in pairs if pair.float_layer is None}
    worst = sorted((name for name in alone if name not in boundaries), key=alone.__getitem__)
    counts = [count for count in TRIALS if count <= len(worst)]
    return alone, tuple(effects.without(worst[:count]) for count in counts)
