"""What is left of a file without the operators that agree to rounding only: exact, all of it.

In a deep network the last bit of one float operator decides how the next integer one rounds, and
what that does to the outputs says little. Here every part between float operators gets inputs of
its own.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tests.tflite.read.test_golden import run_layers

import keras_octet as ko
from keras_octet.tflite.file import FILE_IDENTIFIER
from keras_octet.tflite.read import parse
from keras_octet.tflite.read.bounds import EXACT, bound_of
from keras_octet.tflite.read.call import kind_of
from keras_octet.tflite.run import Interpreter

# Of a product and a sum after it, XLA makes one operation that rounds once.
PRODUCTS = ("MUL", "SQUARE", "SQUARED_DIFFERENCE")


def is_exact(code: str, kind: str) -> bool:
    """Whether an operator gives LiteRT's bits on every backend, whatever is around it."""
    return bound_of([(code, kind)]) == EXACT and not (kind == "float" and code in PRODUCTS)


def assert_exact_parts(content: bytes) -> None:
    """Keras computes the bits of LiteRT from random inputs to every exact part."""
    parts = exact_parts(content)
    graph = parse(parts).subgraphs[0]
    rng = np.random.default_rng(0)
    inputs = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        shape = [1 if size is None else size for size in tensor.shape]
        is_float = tensor.dtype == "float32"
        values = rng.normal(0, 1, shape) if is_float else rng.integers(0, 50, shape)
        inputs.append(values.astype(tensor.dtype))
    expected = Interpreter(parts)(*inputs)
    received = run_layers(ko.load_model(parts), inputs)
    for ours, theirs in zip(received, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def exact_parts(content: bytes) -> bytes:
    """The file with inputs and outputs in the place of each operator that is not exact."""
    graph = parse(content).subgraphs[0]
    model = schema.ModelT.InitFromPackedBuf(content)
    packed = model.subgraphs[0]
    operators, kept, inputs, outputs = [], [], [*graph.inputs], [*graph.outputs]
    for operator, original in zip(graph.operators, packed.operators, strict=True):
        if is_exact(operator.code, kind_of(operator, graph.tensors)):
            operators.append(operator)
            kept.append(original)
        else:
            inputs += operator.outputs
            outputs += operator.inputs
    read = {index for operator in operators for index in operator.inputs}
    made = {index for operator in operators for index in operator.outputs}
    packed.operators = kept
    packed.inputs = [index for index in dict.fromkeys(inputs) if index in read]
    packed.outputs = [index for index in dict.fromkeys(outputs) if index in made]
    for tensor in packed.tensors:
        tensor.shapeSignature = None  # one sample, whatever axis it is on
    model.signatureDefs = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())
