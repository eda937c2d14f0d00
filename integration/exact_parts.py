"""What is left of a file without the operators that agree to rounding only: exact, all of it.

In a deep network the last bit of one float operator decides how the next integer one rounds, and
what that does to the outputs says little. Here every part between float operators gets inputs of
its own.
"""

from __future__ import annotations

from collections.abc import Sequence

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

# Of a float product and a sum after it, XLA makes one operation that rounds once.
PRODUCTS = {
    ("DEQUANTIZE", "int8"),
    ("DEQUANTIZE", "int16"),
    ("MUL", "float"),
    ("SQUARE", "float"),
    ("SQUARED_DIFFERENCE", "float"),
}
SUMS = {("ADD", "float"), ("ADD_N", "float"), ("SUB", "float"), ("SQUARED_DIFFERENCE", "float")}

# A built-in kernel with float sums runs it where its shape is computed in the file.
KERNELS = {("TRANSPOSE_CONV", "hybrid")}


def rounds(operators: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether each `(code, kind)` of a file may differ from LiteRT in how a float is rounded."""
    others = KERNELS | PRODUCTS if SUMS.intersection(operators) else KERNELS
    return [bound_of([pair]) != EXACT or pair in others for pair in operators]


def assert_exact_parts(content: bytes, inputs: list[np.ndarray]) -> None:
    """Keras computes the bits of LiteRT from random inputs to every exact part.

    Args:
        content: bytes of a file.
        inputs: of the file; the shape that each tensor has then is that of the part's input.
    """
    interpreter = Interpreter(content, delegate=False)
    interpreter(*inputs)
    shapes = {x["index"]: x["shape"] for x in interpreter._interpreter.get_tensor_details()}
    parts = exact_parts(content, shapes)
    graph = parse(parts).subgraphs[0]
    rng = np.random.default_rng(0)
    given = []
    for index in graph.inputs:
        dtype, shape = graph.tensors[index].dtype, shapes[index]
        values = rng.normal(0, 1, shape) if dtype == "float32" else rng.integers(0, 50, shape)
        given.append(values.astype(dtype))
    expected = Interpreter(parts)(*given)
    received = run_layers(ko.load_model(parts), given)
    for ours, theirs in zip(received, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def exact_parts(content: bytes, shapes: dict[int, np.ndarray]) -> bytes:
    """The file with inputs and outputs in the place of each operator that is not exact.

    Args:
        content: bytes of the file.
        shapes: of its tensors, for the inputs.
    """
    graph = parse(content).subgraphs[0]
    model = schema.ModelT.InitFromPackedBuf(content)
    packed = model.subgraphs[0]
    operators, kept, inputs, outputs = [], [], [*graph.inputs], [*graph.outputs]
    rounding = rounds([(x.code, kind_of(x, graph.tensors)) for x in graph.operators])
    for operator, original, is_cut in zip(graph.operators, packed.operators, rounding, strict=True):
        if is_cut:
            inputs += operator.outputs
            outputs += operator.inputs
        else:
            operators.append(operator)
            kept.append(original)
    read = {index for operator in operators for index in operator.inputs}
    made = {index for operator in operators for index in operator.outputs}
    packed.operators = kept
    packed.inputs = [index for index in dict.fromkeys(inputs) if index in read]
    packed.outputs = [index for index in dict.fromkeys(outputs) if index in made]
    for index in packed.inputs:
        packed.tensors[index].shape = shapes[index]
        packed.tensors[index].shapeSignature = None
    for buffer in model.buffers:
        if buffer.offset > 1:  # behind the tables
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    model.signatureDefs = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())
