"""The fused LSTM in float."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.layers.base import register
from keras_octet.layers.lstm_float import FloatSequenceLSTM
from keras_octet.layers.operators.base import OperatorLayer


@register
class FusedLSTM(FloatSequenceLSTM, OperatorLayer):
    """LiteRT's fused LSTM on float32; keeps its state from call to call. See `SequenceLSTM`.

    `keras.layers.LSTM` starts every sequence from zeros unless it is `stateful`, has no
    projection, and none of the options.
    """

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="float32")
