"""The read functions of recurrent operators on float tensors, whatever the type of the weights."""

from __future__ import annotations

from keras_octet.tflite.read import lstm, recurrent
from keras_octet.tflite.read.call import ReadFunction

RECURRENT: dict[str, ReadFunction] = {
    "RNN": recurrent.read_rnn,
    "UNIDIRECTIONAL_SEQUENCE_RNN": recurrent.read_rnn,
    "SVDF": recurrent.read_svdf,
    "BIDIRECTIONAL_SEQUENCE_LSTM": lstm.read_bidirectional_lstm,
    "LSTM": lstm.read_lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm.read_lstm,
}
