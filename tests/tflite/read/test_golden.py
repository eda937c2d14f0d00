"""Files made by other converters: what Keras computes from each, and what is written back.

See `tests/golden/__init__.py` for the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.model import QuantizedModel
from keras_octet.tflite.read.bounds import EXACT, Bound, bound_of
from keras_octet.tflite.read.call import kind_of
from keras_octet.tflite.read.parse import Subgraph, parse
from keras_octet.tflite.run import Interpreter
from tests.golden import record

NAMES = sorted(path.stem for path in record.FOLDER.glob("*.tflite"))
# What LiteRT's delegate does not take is written as what it does; see docs/tflite_operators.md.
WRITTEN_AS = {
    "EMBEDDING_LOOKUP": "GATHER",
    "EXPAND_DIMS": "RESHAPE",
    "SELECT": "SELECT_V2",
    "SLICE": "STRIDED_SLICE",
    "SQUEEZE": "RESHAPE",
}
# Files in which an operator becomes others.
WRITTEN = {
    "add_n_float": "ADD ADD",
    "rfft2d_float_cast": "RFFT2D REAL",
    "conv_2d_float_dilated": "CONV_2D ADD",
    "conv_2d_float_dilated_1d": "PAD RESHAPE CONV_2D RESHAPE ADD",
    "conv_2d_float_dilated_same": "CONV_2D ADD",
    "depthwise_conv_2d_float_dilated": "DEPTHWISE_CONV_2D ADD",
    **dict.fromkeys(
        (
            "embedding_lookup_hybrid_by_litert",
            "embedding_lookup_int4_by_litert",
            "embedding_lookup_int4_odd_by_litert",
        ),
        "EMBEDDING_LOOKUP",
    ),
    "fully_connected_float_flattens": "RESHAPE FULLY_CONNECTED",
    "relu_0_to_1_float": "RELU MINIMUM",
    "select_float": "GREATER SELECT_V2 RESHAPE SELECT_V2",
    "softmax_float_beta": "MUL SOFTMAX",
    "strided_slice_float": (
        "STRIDED_SLICE STRIDED_SLICE RESHAPE STRIDED_SLICE RESHAPE RESHAPE STRIDED_SLICE "
        "STRIDED_SLICE RESHAPE REVERSE_V2 STRIDED_SLICE STRIDED_SLICE STRIDED_SLICE RESHAPE"
    ),
    "strided_slice_float_dynamic": (
        "NEG SUB PACK PACK STRIDED_SLICE PACK SLICE ADD RESHAPE RESHAPE STRIDED_SLICE"
    ),
    **dict.fromkeys(
        (
            "while_float_cells",
            "while_float_gru_float16",
            "while_float_gru_reset_before",
            "while_float_lstm",
            "while_hybrid_gru",
        ),
        "RESHAPE WHILE STRIDED_SLICE RESHAPE",
    ),
    "while_float_bidirectional": (
        "RESHAPE REVERSE_V2 WHILE STRIDED_SLICE RESHAPE WHILE STRIDED_SLICE RESHAPE CONCATENATION"
    ),
    "while_float_lstm_stateful": (
        "CALL_ONCE VAR_HANDLE VAR_HANDLE READ_VARIABLE READ_VARIABLE RESHAPE WHILE ASSIGN_VARIABLE "
        "ASSIGN_VARIABLE STRIDED_SLICE RESHAPE"
    ),
    "while_float_masked": (
        "NOT_EQUAL REDUCE_ANY RESHAPE REDUCE_ANY SELECT_V2 RESHAPE WHILE STRIDED_SLICE RESHAPE"
    ),
    "while_float_open_length": "TRANSPOSE WHILE TRANSPOSE",
}
_VARIABLES = ("CALL_ONCE", "VAR_HANDLE")
# Metadata, names and the alignment of weights: what one percent of a tiny file does not hold.
FIXED_BYTES = 1024


def running_operators(graph: Subgraph) -> list[tuple[str, str]]:
    """Code and kind of each operator that computes with the values of the inputs.

    The others compute with constants and shapes, and are gone after reading.
    """
    running = {*graph.inputs, *(i for i, x in enumerate(graph.tensors) if x.is_variable)}
    found = []
    for operator in graph.operators:
        reads = running.intersection(operator.inputs) or operator.code in _VARIABLES
        if operator.code != "SHAPE" and reads:
            running.update(operator.outputs)
            found.append((operator.code, kind_of(operator, graph.tensors)))
    return found


def assert_within(
    bound: Bound, received: np.ndarray, expected: np.ndarray, terms: np.ndarray | None = None
) -> None:
    """No value is further from `expected` than `bound` says, of sums of these magnitudes."""
    assert received.dtype == expected.dtype
    assert received.shape == expected.shape
    if expected.dtype == np.complex64:
        received, expected = received.view(np.float32), expected.view(np.float32)
    if bound == EXACT or expected.dtype != np.float32:
        np.testing.assert_array_equal(received, expected)
        return
    np.testing.assert_array_equal(np.isfinite(received), np.isfinite(expected))
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.where(np.isfinite(expected), received - expected, 0))
    worst = np.max(distance / bound.tolerance(expected, terms), initial=0) * bound.ulps
    assert worst <= bound.ulps, f"{worst:.1f} ulp; expected at most {bound}"


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, tmp_path: Path) -> None:
    content, calls = record.load(name)
    model = ko.load_model(content)
    graph = parse(content).subgraphs[0]
    running = running_operators(graph)
    bound = bound_of(running)
    for inputs, expected in calls:
        received = run_layers(model, inputs)
        assert len(received) == len(expected)
        for ours, theirs in zip(received, expected, strict=True):
            if keras.backend.backend() == "jax" and theirs.dtype == np.int64:
                theirs = theirs.astype(np.int32)  # JAX has no int64 unless told to
            assert_within(bound, ours, theirs)

    again = model.to_tflite()
    assert_same_file(name, content, again, [inputs for inputs, _ in calls], bound)
    operators = [WRITTEN_AS.get(code, code) for code, _ in running]
    written = [code for code, _ in running_operators(parse(again).subgraphs[0])]
    assert written == (WRITTEN[name].split() if name in WRITTEN else operators)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.to_tflite() == again


def run_layers(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What the Keras layers compute, compiled as `predict` compiles them."""
    arrays: Any = inputs if len(inputs) > 1 else inputs[0]
    if isinstance(model, QuantizedModel):
        model.engine = "keras"
    outputs = keras.tree.flatten(keras.Model.predict_on_batch(model, arrays))
    return [np.asarray(output) for output in outputs]


def assert_same_file(
    name: str, content: bytes, again: bytes, calls: list[list[np.ndarray]], bound: Bound
) -> None:
    """Written again: same size, names and bits, and no more left to slow kernels.

    A float operator that LiteRT's delegate now takes rounds differently.
    """
    before, after = Interpreter(content), Interpreter(again)
    if name not in WRITTEN:
        assert len(after.left()) <= len(before.left())
        left_out = sum(
            np.count_nonzero(x.data == 0) * x.data.itemsize
            for x in parse(content).subgraphs[0].tensors
            if x.sparse
        )
        assert len(again) <= 1.01 * len(content) + left_out + FIXED_BYTES
    if before.output_names:  # files of old converters have no signature
        assert after.input_names == before.input_names
        assert after.output_names == before.output_names
    same_kernels = after.delegated() == before.delegated()
    for inputs in calls:
        for ours, theirs in zip(after(*inputs), before(*inputs), strict=True):
            assert_within(EXACT if same_kernels else bound, ours, theirs)
