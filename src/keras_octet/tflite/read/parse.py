"""The bytes of a `.tflite` file as plain Python: subgraphs of tensors and operators, signatures.

A file is hostile until shown otherwise. Nothing is allocated on the word of a length field: every
vector is read inside the bytes there are, the number of items read is bounded by the size of the
file, and every index is checked before anyone uses it. Damage ends in a `ModelFileError`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.arithmetic import PACKED_BITS
from keras_octet.errors import ModelFileError
from keras_octet.tflite.file import FILE_IDENTIFIER, SCHEMA_VERSION
from keras_octet.tflite.graph import (
    NO_TENSOR,
    BlockScales,
    Operator,
    Quantization,
    Shape,
    Tensor,
)
from keras_octet.tflite.read.sparse import stored_places
from keras_octet.tflite.read.vectors import as_array

# A tensor with more elements than this is not one that LiteRT can run.
MAX_ELEMENTS = 2**31 - 1
# The other sizes of an empty tensor are bounded too: what is computed from it may not be empty.
MAX_ROWS_OF_NOTHING = 2**20
MAX_RANK = 8
# What is stored sparsely may have so many values, zeros included, for each byte of the file.
VALUES_PER_BYTE = 64
_TYPE_NAMES = {
    value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()
}
_CODE_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
}
_NUMPY_TYPES = {
    "float32": "<f4",
    "float16": "<f2",
    "float64": "<f8",
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "<u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "bool": "?",
    "complex64": "<c8",
}


@dataclass
class Subgraph:
    """One function of the file; indices in operators, `inputs`, `outputs` are of `tensors`."""

    name: str
    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


@dataclass
class Signature:
    """A named way into the file: argument and result names to tensors of one subgraph."""

    key: str
    inputs: dict[str, int]
    outputs: dict[str, int]
    subgraph: int


@dataclass
class TFLiteFile:
    """What a `.tflite` file holds.

    Attributes:
        subgraphs: the first is the main one.
        signatures: as in the file; may be empty.
        metadata: name to bytes.
        description: free text of the writer.
    """

    subgraphs: list[Subgraph]
    signatures: list[Signature] = field(default_factory=list)
    metadata: dict[str, bytes] = field(default_factory=dict)
    description: str = ""


def parse(data: bytes) -> TFLiteFile:
    """Read the bytes of a `.tflite` file.

    Raises:
        ModelFileError: the bytes are not a `.tflite` file, or it is damaged.
    """
    data = bytes(data)
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise ModelFileError(
            f"These {len(data)} bytes are not a .tflite file: expected {FILE_IDENTIFIER!r} at byte "
            f"4. Received: {data[4:8]!r}"
        )
    try:
        return _Parser(data).file()
    except ModelFileError:
        raise
    except (
        struct.error,
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        # What the flatbuffers accessors raise when an offset leads out of the file.
        raise ModelFileError(f"The .tflite file is damaged: {error}") from error


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._data = data
        # No honest file has more items than bytes; a small file whose tables share one another
        # could claim billions.
        self._budget = len(data)
        self._dense_values = VALUES_PER_BYTE * len(data)
        self._model = schema.Model.GetRootAs(data, 0)

    def file(self) -> TFLiteFile:
        model = self._model
        if model.Version() != SCHEMA_VERSION:
            raise ModelFileError(
                f"Expected a .tflite file of schema version {SCHEMA_VERSION}. "
                f"Received: version {model.Version()}."
            )
        self._codes = [
            self._code(item) for item in self._items(model.OperatorCodes, model.OperatorCodesLength)
        ]
        self._buffers = list(self._items(model.Buffers, model.BuffersLength))
        subgraphs = [
            self._subgraph(item) for item in self._items(model.Subgraphs, model.SubgraphsLength)
        ]
        if not subgraphs:
            raise ModelFileError("The .tflite file has no subgraph.")
        return TFLiteFile(
            subgraphs=subgraphs,
            signatures=[
                self._signature(item, subgraphs)
                for item in self._items(model.SignatureDefs, model.SignatureDefsLength)
            ],
            metadata={
                _text(item.Name()): self._buffer(item.Buffer())
                for item in self._items(model.Metadata, model.MetadataLength)
            },
            description=_text(model.Description()),
        )

    def _items(self, get: Callable[[int], Any], length: Callable[[], int]) -> Iterator[Any]:
        """The items of a vector of tables."""
        count = length()
        self._spend(count)
        for position in range(count):
            yield get(position)

    def _spend(self, count: int) -> None:
        self._budget -= count
        if count < 0 or self._budget < 0:
            raise ModelFileError(
                f"The .tflite file claims more items than its {len(self._data)} bytes can hold."
            )

    def _indices(self, values: Any, limit: int, what: str, *, optional: bool = False) -> list[int]:
        """A vector of tensor indices; an empty vector reads as the number 0."""
        indices = as_array(values).tolist()
        self._spend(len(indices))
        lowest = NO_TENSOR if optional else 0
        for index in indices:
            if not lowest <= index < limit:
                raise ModelFileError(
                    f"{what} refers to tensor {index}; the subgraph has {limit} tensors."
                )
        return indices

    def _code(self, item: Any) -> tuple[str, str]:
        """Name of the builtin operator, and of the custom one or ''."""
        value = max(item.BuiltinCode(), item.DeprecatedBuiltinCode())
        if value not in _CODE_NAMES:
            raise ModelFileError(
                f"Operator code {value} is not in the schema of the installed ai-edge-litert. "
                "Install a newer one."
            )
        return _CODE_NAMES[value], _text(item.CustomCode())

    def _buffer(self, index: int) -> bytes:
        if not 0 <= index < len(self._buffers):
            raise ModelFileError(
                f"A tensor refers to buffer {index}; the file has {len(self._buffers)} buffers."
            )
        buffer = self._buffers[index]
        # Large files keep the data of buffers after the flatbuffer.
        if buffer.Offset() > 1:
            start, end = buffer.Offset(), buffer.Offset() + buffer.Size()
            if end > len(self._data):
                raise ModelFileError(
                    f"Buffer {index} lies at bytes {start} to {end} of {len(self._data)}."
                )
            return self._data[start:end]
        return as_array(buffer.DataAsNumpy()).tobytes()

    def _subgraph(self, item: Any) -> Subgraph:
        name = _text(item.Name())
        items = list(self._items(item.Tensors, item.TensorsLength))
        tensors = [self._tensor(x) for x in items]
        for tensor, x in zip(tensors, items, strict=True):
            tensor.blocks = _block_scales(tensor, x.Quantization(), tensors)
        count, what = len(tensors), f"Subgraph {name!r}"
        subgraph = Subgraph(
            name=name,
            tensors=tensors,
            operators=[
                self._operator(x, count) for x in self._items(item.Operators, item.OperatorsLength)
            ],
            inputs=self._indices(item.InputsAsNumpy(), count, what),
            outputs=self._indices(item.OutputsAsNumpy(), count, what),
        )
        _check_order(subgraph)
        return subgraph

    def _tensor(self, item: Any) -> Tensor:
        name = _text(item.Name())
        shape = _shape(name, item.ShapeAsNumpy(), item.ShapeSignatureAsNumpy())
        dtype = _TYPE_NAMES.get(item.Type(), "")
        if not dtype:
            raise ModelFileError(f"Tensor {name!r} has unknown type {item.Type()}.")
        raw = self._buffer(item.Buffer()) if item.Buffer() else b""
        data, sparsity = None, item.Sparsity()
        if sparsity is not None:
            data = self._dense(name, raw, dtype, shape, sparsity)
        elif raw:
            data = _values(name, raw, dtype, shape)
        return Tensor(
            name=name,
            shape=shape,
            dtype=dtype,
            quantization=_quantization(name, shape, item.Quantization()),
            data=data,
            is_variable=bool(item.IsVariable()),
            sparse=sparsity is not None,
        )

    def _dense(self, name: str, raw: bytes, dtype: str, shape: Shape, sparsity: Any) -> np.ndarray:
        """A constant that is stored sparsely."""
        if not raw:
            raise ModelFileError(f"Tensor {name!r} is stored sparsely, and has no values.")
        sizes = _known_sizes(name, shape)
        count = math.prod(sizes)
        self._dense_values -= count
        if self._dense_values < 0:
            raise ModelFileError(
                f"Sparse constant {name!r} has shape {shape}, and with those before it more values "
                f"than {VALUES_PER_BYTE} for each of the file's {len(self._data)} bytes."
            )
        levels = list(self._items(sparsity.DimMetadata, sparsity.DimMetadataLength))
        # As many as there are stored values, of 2 bits at least, or segments on the way to them.
        limit = min(count, 4 * len(self._data))
        places = stored_places(name, sizes, sparsity, levels, limit)
        values = _values(name, raw, dtype, (len(places),))
        dense = np.zeros(count, values.dtype)
        dense[places] = values
        return dense.reshape(sizes)

    def _operator(self, item: Any, tensor_count: int) -> Operator:
        position = item.OpcodeIndex()
        if not 0 <= position < len(self._codes):
            raise ModelFileError(
                f"An operator refers to operator code {position} of {len(self._codes)}."
            )
        code, custom_code = self._codes[position]
        options = None
        if item.BuiltinOptionsType() and item.BuiltinOptions() is not None:
            options = schema.BuiltinOptionsCreator(item.BuiltinOptionsType(), item.BuiltinOptions())
        elif item.BuiltinOptions2Type() and item.BuiltinOptions2() is not None:
            options = schema.BuiltinOptions2Creator(
                item.BuiltinOptions2Type(), item.BuiltinOptions2()
            )
        return Operator(
            code=code,
            inputs=self._indices(item.InputsAsNumpy(), tensor_count, code, optional=True),
            outputs=self._indices(item.OutputsAsNumpy(), tensor_count, code),
            options=options,
            custom_code=custom_code,
            custom_options=as_array(item.CustomOptionsAsNumpy()).tobytes(),
            intermediates=self._indices(item.IntermediatesAsNumpy(), tensor_count, code),
        )

    def _signature(self, item: Any, subgraphs: Sequence[Subgraph]) -> Signature:
        key, index = _text(item.SignatureKey()), item.SubgraphIndex()
        if not 0 <= index < len(subgraphs):
            raise ModelFileError(f"Signature {key!r} refers to subgraph {index}.")
        count = len(subgraphs[index].tensors)

        def names(items: Iterator[Any]) -> dict[str, int]:
            found = {_text(x.Name()): x.TensorIndex() for x in items}
            for name, tensor in found.items():
                if not 0 <= tensor < count:
                    raise ModelFileError(
                        f"Signature {key!r} refers to tensor {tensor} as {name!r}; subgraph "
                        f"{index} has {count} tensors."
                    )
            return found

        return Signature(
            key=key,
            inputs=names(self._items(item.Inputs, item.InputsLength)),
            outputs=names(self._items(item.Outputs, item.OutputsLength)),
            subgraph=index,
        )


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", errors="replace")


def _shape(name: str, sizes: Any, signature: Any) -> Shape:
    """The sizes of a tensor; -1 in the signature is None."""
    static, dynamic = as_array(sizes).tolist(), as_array(signature).tolist()
    if dynamic and len(dynamic) != len(static):
        raise ModelFileError(
            f"Tensor {name!r} has shape {static} and shape signature {dynamic}, of other rank."
        )
    if len(static) > MAX_RANK:
        raise ModelFileError(
            f"Tensor {name!r} has rank {len(static)}; expected at most {MAX_RANK}."
        )
    shape = [None if size == -1 else int(size) for size in (dynamic or static)]
    known = [size for size in shape if size is not None]
    largest = MAX_ROWS_OF_NOTHING if 0 in known else MAX_ELEMENTS
    if any(size < 0 for size in known) or math.prod(size or 1 for size in known) > largest:
        raise ModelFileError(
            f"Tensor {name!r} has shape {shape}; expected a product of at most {largest}."
        )
    return tuple(shape)


def _quantization(name: str, shape: Shape, item: Any) -> Quantization | None:
    if item is None or isinstance(item.ScaleAsNumpy(), int):
        return None
    scale = np.array(item.ScaleAsNumpy(), np.float32)
    stored = item.ZeroPointAsNumpy()
    zero_point = np.zeros(scale.size, np.int64)
    if not isinstance(stored, int):
        zero_point = np.array(stored, np.int64)
    axis = int(item.QuantizedDimension())
    # One scale for all may come with any axis.
    per_axis = scale.size > 1
    if scale.size == 0:
        return None
    if zero_point.size == 1 and per_axis:
        zero_point = np.repeat(zero_point, scale.size)
    if (
        zero_point.size != scale.size
        or not np.isfinite(scale).all()
        or (per_axis and not (0 <= axis < len(shape) and shape[axis] == scale.size))
    ):
        raise ModelFileError(
            f"Tensor {name!r} of shape {shape} has {scale.size} scales and {zero_point.size} zero "
            f"points along axis {axis}."
        )
    return Quantization(scale=scale, zero_point=zero_point, axis=axis if per_axis else 0)


def _block_scales(tensor: Tensor, item: Any, tensors: Sequence[Tensor]) -> BlockScales | None:
    """The scales of the blocks of a matrix, which another tensor of the subgraph holds."""
    if item is None or item.DetailsType() != schema.QuantizationDetails.BlockwiseQuantization:
        return None
    if item.Details() is None:
        raise ModelFileError(f"Tensor {tensor.name!r} has no scales for its blocks.")
    details = schema.BlockwiseQuantization()
    details.Init(item.Details().Bytes, item.Details().Pos)
    size, index = details.BlockSize(), details.Scales()
    scale = tensors[index].data if 0 <= index < len(tensors) else None
    rank_2 = len(tensor.shape) == 2 and None not in tensor.shape
    rows, columns = tensor.shape if rank_2 else (0, 0)
    if (
        scale is None
        or scale.dtype != np.float16
        or size < 1
        or columns % size
        or scale.shape != (rows, columns // size)
        or not (np.isfinite(scale) & (scale > 0)).all()
    ):
        raise ModelFileError(
            f"Tensor {tensor.name!r} of shape {tensor.shape} has scales for blocks of {size} in "
            f"tensor {index}; expected a matrix, and a constant of positive float16 with a value "
            "for each block."
        )
    return BlockScales(scale, size)


def _values(name: str, raw: bytes, dtype: str, shape: Shape) -> np.ndarray:
    """A constant as an array; values narrower than a byte become int8."""
    sizes = _known_sizes(name, shape)
    count = math.prod(sizes)
    if dtype in PACKED_BITS:
        bits = PACKED_BITS[dtype]
        expected = -(-count * bits // 8)
    elif dtype in _NUMPY_TYPES:
        expected = count * np.dtype(_NUMPY_TYPES[dtype]).itemsize
    else:
        raise ModelFileError(f"Constant {name!r} has type {dtype}, which is not supported.")
    if len(raw) != expected:
        raise ModelFileError(
            f"Constant {name!r} of type {dtype} and shape {shape} needs {expected} bytes. "
            f"Received: {len(raw)}."
        )
    if dtype in PACKED_BITS:
        packed = np.frombuffer(raw, np.uint8)
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        fields = (packed[:, None] >> shifts).astype(np.uint8) << (8 - bits)
        values = (fields.astype(np.uint8).view(np.int8) >> (8 - bits)).reshape(-1)[:count]
    else:
        stored = np.dtype(_NUMPY_TYPES[dtype])
        values = np.frombuffer(raw, stored).astype(stored.newbyteorder("="))
    return values.reshape(sizes)


def _known_sizes(name: str, shape: Shape) -> tuple[int, ...]:
    if None in shape:
        raise ModelFileError(f"Constant {name!r} has unknown sizes: {shape}.")
    return tuple(size for size in shape if size is not None)


def _check_order(subgraph: Subgraph) -> None:
    """Every tensor is a constant, a variable, an input, or made once before it is read."""
    made = set(subgraph.inputs)
    made.update(i for i, x in enumerate(subgraph.tensors) if x.data is not None or x.is_variable)
    for operator in subgraph.operators:
        for index in operator.inputs:
            if index != NO_TENSOR and index not in made and _has_elements(subgraph.tensors[index]):
                raise ModelFileError(
                    f"{operator.code} reads tensor {subgraph.tensors[index].name!r} before any "
                    "operator makes it."
                )
        for index in operator.outputs:
            if index in made and not subgraph.tensors[index].is_variable:
                raise ModelFileError(
                    f"{operator.code} writes tensor {subgraph.tensors[index].name!r}, which is an "
                    "input, a constant, or written by an operator before."
                )
            made.add(index)
    for index in subgraph.outputs:
        if index not in made:
            raise ModelFileError(
                f"No operator makes output {subgraph.tensors[index].name!r} of subgraph "
                f"{subgraph.name!r}."
            )


def _has_elements(tensor: Tensor) -> bool:
    """Whether a tensor without data lacks it: a constant of no elements has none."""
    return 0 not in tensor.shape
