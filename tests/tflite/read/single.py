"""Files of one operator, with whatever parameters a converter might choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import keras_octet as ko
from keras_octet.model import QuantizedModel
from keras_octet.qparams import QParams
from keras_octet.tflite.file import pack
from keras_octet.tflite.graph import NO_TENSOR, Graph, Quantization
from keras_octet.tflite.run import Interpreter
from tests.litert import keras_outputs

Parameters = QParams | Quantization | None


def tensor(shape: Sequence[int | None], qparams: Parameters, dtype: str = "int8") -> Any:
    """An input or output of the operator."""
    return tuple(shape), qparams, dtype


@dataclass(frozen=True)
class Variable:
    """A variable tensor that the operator reads, and that outlives a call."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    qparams: QParams | None = None


def file_of(
    code: str, operands: Sequence[Any], outputs: Sequence[Any], options: Any = None
) -> bytes:
    """A file of one operator.

    Args:
        code: name of the operator.
        operands: what `tensor` gives for an input of the model, an array or `(array, parameters)`
            for a constant, a `Variable`, None for an input that is not there.
        outputs: what `tensor` gives.
        options: options object of the schema.
    """
    graph = Graph()
    inputs, indices = [], []
    for position, operand in enumerate(operands):
        if operand is None:
            index = NO_TENSOR
        elif isinstance(operand, Variable):
            quantization = _quantization(operand.qparams)
            index = graph.tensor(f"v{position}", operand.shape, operand.dtype, quantization)
            graph.tensors[index].is_variable = True
        elif isinstance(operand, np.ndarray):
            index = graph.constant(operand, name=f"constant{position}")
        elif isinstance(operand[0], np.ndarray):
            array, qparams = operand
            index = graph.constant(
                array, name=f"constant{position}", quantization=_quantization(qparams)
            )
        else:
            shape, qparams, dtype = operand
            index = graph.tensor(f"x{position}", shape, dtype, _quantization(qparams))
            inputs.append(index)
        indices.append(index)
    results = [
        graph.tensor(f"y{position}", shape, dtype, _quantization(qparams))
        for position, (shape, qparams, dtype) in enumerate(outputs)
    ]
    graph.operator(code, indices, results, options)
    names = [[graph.tensors[i].name for i in group] for group in (inputs, results)]
    return pack(graph, inputs, results, *names, name="main")


def _quantization(qparams: Parameters) -> Quantization | None:
    return Quantization.of(qparams) if isinstance(qparams, QParams) else qparams


def assert_reads(content: bytes, *arrays: np.ndarray, delegated: bool | None = None) -> None:
    """Keras computes LiteRT's bits from `content`, and what is written again is the same.

    Args:
        content: bytes of a file.
        *arrays: inputs.
        delegated: whether XNNPACK takes the whole graph.
    """
    original = Interpreter(content)
    if delegated is not None:
        assert (original.left() == []) is delegated
    model = ko.load_model(content)
    assert isinstance(model, QuantizedModel)
    model.engine = "keras"
    expected = original(*arrays)
    for theirs, ours in zip(expected, keras_outputs(model, *arrays), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    written = Interpreter(model.to_tflite())
    renamed = {"EXPAND_DIMS": "RESHAPE", "SQUEEZE": "RESHAPE"}  # XNNPACK takes that one
    assert written.operators() == [renamed.get(x, x) for x in original.operators()]
    assert set(written.left()) <= set(original.left())
    for theirs, ours in zip(expected, written(*arrays), strict=True):
        np.testing.assert_array_equal(ours, theirs)
