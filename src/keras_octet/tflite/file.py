"""Packing a `Graph` into the bytes of a `.tflite` file.

The same graph always gives the same bytes. Buffers start at multiples of 16 bytes, so a runtime
can use the weights of a memory-mapped file where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.arithmetic import PACKED_BITS
from keras_octet.tflite.graph import (
    NO_TENSOR,
    TENSOR_TYPES,
    Function,
    Graph,
    Operator,
    Tensor,
)
from keras_octet.tflite.info import FileInfo
from keras_octet.tflite.versions import minimum_runtime, operator_version

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
_BUFFER_ALIGNMENT = 16
# Codes above this do not fit the old one-byte field, which then holds this placeholder.
_PLACEHOLDER_CODE = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES


class AlignedBuilder(flatbuffers.Builder):
    """A builder that aligns NumPy vectors of bytes to 16 bytes and copies vectors in one piece."""

    head: int

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 (name of the base class)
        payload = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
        # Buffers are bytes; shapes, scales and the like need no more than their own size.
        alignment = _BUFFER_ALIGNMENT if x.dtype == np.uint8 else x.itemsize
        self.StartVector(x.itemsize, x.size, alignment)
        self.head = self.head - len(payload)
        self.Bytes[self.head : self.head + len(payload)] = payload
        self.vectorNumElems = x.size
        return int(self.EndVector())


@dataclass(frozen=True)
class Entry:
    """A signature: a named way into a subgraph.

    Attributes:
        key: of the signature.
        subgraph: its number.
        input_names, output_names: in the signature.
    """

    key: str
    subgraph: int
    input_names: Sequence[str]
    output_names: Sequence[str]


def pack(
    graph: Graph,
    inputs: Sequence[int],
    outputs: Sequence[int],
    input_names: Sequence[str],
    output_names: Sequence[str],
    name: str,
    info: FileInfo = FileInfo(),  # noqa: B008 (frozen)
    functions: Sequence[Function] = (),
    entries: Sequence[Entry] = (),
) -> bytes:
    """The bytes of a model.

    Args:
        graph: tensors and operators of the subgraph that the first signature calls; aliases are
            resolved and unused tensors left out.
        inputs: indices of the model's inputs.
        outputs: indices of the model's outputs.
        input_names: names of the inputs in the signature.
        output_names: names of the outputs in the signature.
        name: name of the subgraph.
        info: key of the signature, metadata and description.
        functions: the other subgraphs, which operators and entries call by their number from 1 on.
        entries: the signatures after the first.
    """
    main = Function(graph, list(inputs), list(outputs), name)
    buffers = _Buffers()
    codes: dict[tuple[str, int, str], int] = {}
    subgraphs = [_subgraph(function, buffers, codes) for function in (main, *functions)]
    first = Entry(info.signature, 0, input_names, output_names)
    signatures = [
        schema.SignatureDefT(
            inputs=_tensor_map(entry.input_names, subgraphs[entry.subgraph].inputs),
            outputs=_tensor_map(entry.output_names, subgraphs[entry.subgraph].outputs),
            signatureKey=entry.key,
            subgraphIndex=entry.subgraph,
        )
        for entry in (first, *entries)
    ]
    runtime = minimum_runtime(key[:2] for key in codes).encode().ljust(16, b"\0")
    metadata = [
        schema.MetadataT(name=name, buffer=buffers.add(np.frombuffer(content, np.uint8)))
        for name, content in {**info.metadata, "min_runtime_version": runtime}.items()
    ]
    model = schema.ModelT(
        version=SCHEMA_VERSION,
        operatorCodes=[_operator_code(*key) for key in codes],
        subgraphs=subgraphs,
        description=info.description,
        buffers=buffers.items,
        metadata=metadata,
        signatureDefs=signatures,
    )
    items = sum(len(x.tensors) + len(x.operators) for x in subgraphs)
    builder = AlignedBuilder(buffers.size + 256 * items + 4096)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def tensors_in_file(graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> list[int]:
    """The tensors of the graph that its file holds, in the order of the operators.

    So the file does not depend on how the graph was built.
    """
    used = [i for x in graph.operators for i in (*x.inputs, *x.outputs, *x.intermediates)]
    resolved = [graph.resolve(i) for i in (*inputs, *used, *outputs)]
    return [i for i in dict.fromkeys(resolved) if i != NO_TENSOR]


def _positions(function: Function) -> dict[int, int]:
    """Where in the subgraph each tensor of the graph is."""
    kept = tensors_in_file(function.graph, function.inputs, function.outputs)
    return {index: place for place, index in enumerate(kept)}


def _subgraph(function: Function, buffers: _Buffers, codes: dict[tuple[str, int, str], int]) -> Any:
    graph = function.graph
    operators = [
        replace(operator, inputs=[graph.resolve(i) for i in operator.inputs])
        for operator in graph.operators
    ]
    position = _positions(function)
    kept = list(position)
    position[NO_TENSOR] = NO_TENSOR
    packed_operators = []
    for operator in operators:
        version = operator_version(operator, graph.tensors)
        key = (operator.code, version, operator.custom_code)
        code = codes.setdefault(key, len(codes))
        packed_operators.append(_operator(operator, code, position))
    outputs = [graph.resolve(i) for i in function.outputs]
    return schema.SubGraphT(
        tensors=_tensors([graph.tensors[i] for i in kept], buffers),
        inputs=np.array([position[i] for i in function.inputs], np.int32),
        outputs=np.array([position[i] for i in outputs], np.int32),
        operators=packed_operators,
        name=function.name,
    )


class _Buffers:
    """The buffers of the file; equal contents share one. Buffer 0 is empty, as runtimes expect."""

    def __init__(self) -> None:
        self.items = [schema.BufferT()]
        self.size = 0
        self._known: dict[bytes, int] = {}

    def add(self, data: np.ndarray | None) -> int:
        if data is None or data.size == 0:
            return 0
        raw = np.ascontiguousarray(data, data.dtype.newbyteorder("<")).tobytes()
        if raw not in self._known:
            self._known[raw] = len(self.items)
            self.items.append(schema.BufferT(data=np.frombuffer(raw, np.uint8)))
            self.size += len(raw) + _BUFFER_ALIGNMENT
        return self._known[raw]


def _tensors(tensors: Sequence[Tensor], buffers: _Buffers) -> list[Any]:
    """The tensors of a subgraph and, after them, those that hold the scales of blocks."""
    packed = [_tensor(tensor, buffers) for tensor in tensors]
    for position, tensor in enumerate(tensors):
        if tensor.blocks is not None:
            packed[position].quantization = _block_scales(tensor.blocks.size, len(packed))
            scale = tensor.blocks.scale
            held = Tensor(f"{tensor.name}_scales", scale.shape, "float16", data=scale)
            packed.append(_tensor(held, buffers))
    return packed


def _block_scales(size: int, scales: int) -> Any:
    """`scales`: index of the tensor that holds them."""
    details = schema.BlockwiseQuantizationT(scales=scales, zeroPoints=NO_TENSOR, blockSize=size)
    return schema.QuantizationParametersT(
        detailsType=schema.QuantizationDetails.BlockwiseQuantization, details=details
    )


def _tensor(tensor: Tensor, buffers: _Buffers) -> Any:
    quantization = None
    if tensor.quantization is not None:
        quantization = schema.QuantizationParametersT(
            scale=tensor.quantization.scale,
            zeroPoint=tensor.quantization.zero_point,
            quantizedDimension=tensor.quantization.axis,
        )
    signature = None
    if None in tensor.shape:
        signature = np.array([-1 if size is None else size for size in tensor.shape], np.int32)
    return schema.TensorT(
        shape=np.array([1 if size is None else size for size in tensor.shape], np.int32),
        shapeSignature=signature,
        type=TENSOR_TYPES[tensor.dtype],
        buffer=buffers.add(_stored(tensor)),
        name=tensor.name,
        quantization=quantization,
        hasRank=True,
        isVariable=tensor.is_variable,
    )


def _stored(tensor: Tensor) -> np.ndarray | None:
    """The value of a constant as the file has it: int4 and int2 share a byte, the first lowest."""
    if tensor.data is None or tensor.dtype not in PACKED_BITS:
        return tensor.data
    bits = PACKED_BITS[tensor.dtype]
    fields = tensor.data.reshape(-1).astype(np.uint8) & ((1 << bits) - 1)
    fields = np.append(fields, np.zeros(-fields.size % (8 // bits), np.uint8))
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.bitwise_or.reduce(fields.reshape(-1, 8 // bits) << shifts, axis=1, dtype=np.uint8)


def _operator(operator: Operator, code: int, position: dict[int, int]) -> Any:
    options_type = 0
    if operator.options is not None:
        # `Conv2DOptionsT` packs the table whose union member is `Conv2DOptions`.
        options_type = getattr(schema.BuiltinOptions, type(operator.options).__name__[:-1])
    return schema.OperatorT(
        opcodeIndex=code,
        inputs=np.array([position[i] for i in operator.inputs], np.int32),
        outputs=np.array([position[i] for i in operator.outputs], np.int32),
        builtinOptionsType=options_type,
        builtinOptions=operator.options,
        intermediates=np.array([position[i] for i in operator.intermediates], np.int32)
        if operator.intermediates
        else None,
        customOptions=np.frombuffer(operator.custom_options, np.uint8)
        if operator.custom_options
        else None,
    )


def _operator_code(code: str, version: int, custom_code: str) -> Any:
    value = getattr(schema.BuiltinOperator, code)
    return schema.OperatorCodeT(
        deprecatedBuiltinCode=min(value, _PLACEHOLDER_CODE),
        builtinCode=value,
        version=version,
        customCode=custom_code or None,
    )


def _tensor_map(names: Sequence[str], indices: Sequence[int]) -> list[Any]:
    return [
        schema.TensorMapT(name=name, tensorIndex=int(index))
        for name, index in zip(names, indices, strict=True)
    ]
