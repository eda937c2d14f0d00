"""Fused recurrent operators in float, whose states outlive a call."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.layers.base import register
from keras_octet.layers.lstm_float import FloatSequenceLSTM
from keras_octet.layers.operators.base import OperatorLayer
from keras_octet.layers.rnn import SimpleRecurrence
from keras_octet.layers.svdf import RankedMemory


class _Fused(OperatorLayer):
    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="float32")


@register
class FusedLSTM(FloatSequenceLSTM, _Fused):
    """LiteRT's fused LSTM on float32; keeps its state from call to call. See `SequenceLSTM`.

    `keras.layers.LSTM` starts every sequence from zeros unless it is `stateful`, has no
    projection, and none of the options.
    """


@register
class FusedRNN(SimpleRecurrence, _Fused):
    """LiteRT's RNN on float32; keeps its state from call to call. See `SimpleRecurrence`."""


@register
class SVDF(RankedMemory, _Fused):
    """SVDF on float32; keeps its state from call to call. See `RankedMemory`."""
