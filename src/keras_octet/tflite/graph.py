"""The `.tflite` graph under construction: tensors, constants and operators, before packing.

Emit functions add operators to a `Graph`; `keras_octet.tflite.file` packs it into bytes.
Shapes are Keras shapes: `None` is a dimension known only when the model runs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.qparams import QParams

Shape = tuple[int | None, ...]
NO_TENSOR = -1

TENSOR_TYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "bfloat16": schema.TensorType.BFLOAT16,
    "float64": schema.TensorType.FLOAT64,
    "int2": schema.TensorType.INT2,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "uint8": schema.TensorType.UINT8,
    "uint16": schema.TensorType.UINT16,
    "uint32": schema.TensorType.UINT32,
    "bool": schema.TensorType.BOOL,
    "complex64": schema.TensorType.COMPLEX64,
    "resource": schema.TensorType.RESOURCE,
}
RESOURCE = "resource"
# What is written with complex inputs; LiteRT computes little with them.
COMPLEX_OPERATORS = frozenset(["COMPLEX_ABS", "CUSTOM", "IF", "IMAG", "REAL", "RESHAPE", "WHILE"])


@dataclass(frozen=True, eq=False)
class Quantization:
    """`real = scale * (q - zero_point)` for a tensor, or for each index of one axis of it.

    Attributes:
        scale: float32, shape `(1,)` or `(channels,)`.
        zero_point: int64, the shape of `scale`.
        axis: the axis that `scale` runs along; 0 when there is one scale.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int = 0

    @classmethod
    def of(cls, qparams: QParams | None) -> Quantization | None:
        """Per-tensor parameters."""
        if qparams is None:
            return None
        return cls(
            scale=np.array([qparams.scale], np.float32),
            zero_point=np.array([qparams.zero_point], np.int64),
        )

    @classmethod
    def symmetric(cls, scale: np.ndarray, axis: int, zero_point: int = 0) -> Quantization:
        """One zero point, 0 by default; `scale` of shape `(channels,)` along `axis`."""
        scale = np.asarray(scale, np.float32).reshape(-1)
        axis = axis if scale.size > 1 else 0
        return cls(scale=scale, zero_point=np.full(scale.size, zero_point, np.int64), axis=axis)

    @property
    def key(self) -> tuple[bytes, bytes, int]:
        """What two equal quantizations share."""
        return self.scale.tobytes(), self.zero_point.tobytes(), self.axis


@dataclass(frozen=True, eq=False)
class BlockScales:
    """A scale for each `size` values along the last axis: `real = scale * q`.

    Attributes:
        scale: float16, shape `(rows, columns / size)`.
        size: of a block.
    """

    scale: np.ndarray
    size: int


@dataclass
class Tensor:
    """A tensor of the file; `data` is the value of a constant; a variable outlives a call.

    A tensor with `blocks` has no `quantization`; `sparse` is a constant whose zeros the file leaves
    out, and `data` has them.
    """

    name: str
    shape: Shape
    dtype: str
    quantization: Quantization | None = None
    data: np.ndarray | None = None
    is_variable: bool = False
    blocks: BlockScales | None = None
    sparse: bool = False


@dataclass
class Operator:
    """One operator; `options` is an options object of the schema or None.

    A `"CUSTOM"` operator has a name of its own and options as bytes. Intermediates are tensors
    without values, whose parameters say how values inside the operator are quantized.
    """

    code: str
    inputs: list[int]
    outputs: list[int]
    options: Any = None
    custom_code: str = ""
    custom_options: bytes = b""
    intermediates: list[int] = field(default_factory=list)


@dataclass
class Call:
    """The call of a Keras operation that is being emitted.

    Attributes:
        operation: the layer or `keras.ops` Operation.
        args, kwargs: what it was called with; tensors of the model are `keras.KerasTensor`.
        inputs, outputs: indices of the tensors read and made.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[int]
    outputs: list[int]


@dataclass
class Function:
    """A subgraph of the file: a graph, and which of its tensors are inputs and outputs."""

    graph: Graph
    inputs: list[int]
    outputs: list[int]
    name: str


AddFunction = Callable[[Any, Sequence[Tensor], int | None], int]
"""`add(model, arguments, count)`: a functional model as a subgraph of the file, by its index.

Its inputs are like `arguments`; its outputs are the first `count` of the model, None: all."""


@dataclass
class Graph:
    """Tensors and operators in the order they were added; see the module's docstring.

    `add` writes the models that loops and branches hold. `outside` is None where variables are
    resources of the file; else it has, for each of their layers, the tensors that are its value
    before and after a call.
    """

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    call: Call | None = None
    aliases: dict[int, int] = field(default_factory=dict)
    constant_names: Mapping[str, str] = field(default_factory=dict)
    constant_storage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    storage: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    states: dict[int, Any] = field(default_factory=dict)
    add: AddFunction | None = None
    outside: dict[Any, tuple[int, int]] | None = None
    _names: dict[str, int] = field(default_factory=dict)
    _constants: dict[Any, int] = field(default_factory=dict)
    _indices: dict[int, int] = field(default_factory=dict)

    # Tensors

    def tensor(
        self,
        name: str,
        shape: Sequence[int | None],
        dtype: str,
        quantization: Quantization | None = None,
    ) -> int:
        """Add a tensor that some operator will write, or a model input; returns its index."""
        if dtype not in TENSOR_TYPES:
            raise ExportError(
                f"Tensor {name!r} has dtype {dtype!r}, which a .tflite file cannot hold. "
                f"Expected one of {sorted(TENSOR_TYPES)}."
            )
        self.tensors.append(Tensor(self._unique(name), tuple(shape), dtype, quantization))
        return len(self.tensors) - 1

    def temporary(
        self,
        shape: Sequence[int | None] | None = None,
        *,
        like: int,
        dtype: str | None = None,
        name: str = "temporary",
    ) -> int:
        """A tensor between the operators of one call, with the type and quantization of `like`.

        `shape` defaults to that of `like`; another `dtype` drops the quantization.
        """
        model = self.tensors[like]
        same_type = dtype is None or dtype == model.dtype
        return self.tensor(
            self._scoped(name),
            model.shape if shape is None else shape,
            dtype or model.dtype,
            model.quantization if same_type else None,
        )

    def constant(
        self,
        value: Any,
        *,
        name: str = "constant",
        quantization: Quantization | None = None,
        blocks: BlockScales | None = None,
        dtype: str | None = None,
    ) -> int:
        """Add `value` (an array; Python floats become float32, ints int32) as a constant.

        Equal constants (same bytes, shape, dtype and quantization) are one tensor. A `dtype` other
        than that of the array is how the file stores it: "int4" for int8 values in [-8, 7],
        "int2" for those in [-2, 1].
        """
        array = np.asarray(value)
        if not isinstance(value, (np.ndarray, np.generic)):
            array = array.astype(
                {"f": np.float32, "i": np.int32}.get(array.dtype.kind, array.dtype)
            )
        # `ascontiguousarray` alone would turn a scalar into one dimension.
        array = np.ascontiguousarray(array).reshape(array.shape)
        dtype = dtype or array.dtype.name
        key = (
            dtype,
            array.shape,
            hashlib.blake2b(array.tobytes(), digest_size=16).digest(),
            quantization.key if quantization else None,
            (blocks.scale.tobytes(), blocks.size) if blocks else None,
        )
        if key not in self._constants:
            index = self.tensor(self._scoped(name), array.shape, dtype, quantization)
            self.tensors[index].data, self.tensors[index].blocks = array, blocks
            self._constants[key] = index
        return self._constants[key]

    def forget(self, index: int) -> None:
        """Let a later constant of the same value be a tensor of its own."""
        self._constants = {key: x for key, x in self._constants.items() if x != index}

    def state(self, variable: Any, quantization: Quantization | None = None) -> int:
        """Add a variable tensor for a variable of a stateful layer."""
        name, dtype = self._scoped(variable.name), str(variable.dtype)
        index = self.tensor(name, variable.shape, dtype, quantization)
        self.tensors[index].is_variable = True
        self.states[index] = variable
        return index

    def make_handle(self, index: int) -> None:
        """Make a tensor stand for a variable, not for what it holds."""
        self.tensors[index].dtype, self.tensors[index].shape = RESOURCE, ()
        self.tensors[index].quantization = None

    def shape(self, index: int) -> Shape:
        return self.tensors[index].shape

    def rank(self, index: int) -> int:
        return len(self.tensors[index].shape)

    def dtype(self, index: int) -> str:
        return self.tensors[index].dtype

    def static_shape(self, index: int, *axes: int) -> tuple[int, ...]:
        """The sizes of `axes` (default: all but the first), which must be known.

        Raises:
            ExportError: a size is None.
        """
        shape = self.shape(index)
        sizes = [shape[axis] for axis in (axes or range(1, len(shape)))]
        if any(size is None for size in sizes):
            raise ExportError(
                f"needs static sizes, but tensor {self.tensors[index].name!r} has shape {shape}. "
                "Give the model an input shape in which only the batch size is None."
            )
        return tuple(int(size) for size in sizes if size is not None)

    # Keras tensors

    def bind(self, tensor: keras.KerasTensor, index: int) -> None:
        """Remember which tensor of the file a tensor of the model is."""
        self._indices[id(tensor)] = index

    def index(self, tensor: keras.KerasTensor) -> int:
        """The tensor of the file that stands for a tensor of the model."""
        return self._indices[id(tensor)]

    def operand(self, value: Any, *, like: int | None = None) -> int:
        """A KerasTensor argument as its tensor; anything else as a constant.

        A constant takes the dtype of the tensor `like` when that is given.
        """
        if isinstance(value, keras.KerasTensor):
            return self.index(value)
        if hasattr(value, "path") or hasattr(value, "device"):
            value = keras.ops.convert_to_numpy(value)
        array = np.asarray(value)
        if like is not None:
            array = array.astype(self.dtype(like))
        return self.constant(array)

    # Operators

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        intermediates: Sequence[int] = (),
        custom_code: str = "",
        custom_options: bytes = b"",
    ) -> None:
        """Append an operator; `code` is a name of `schema.BuiltinOperator`.

        A `"CUSTOM"` one has `custom_code` and `custom_options`; see `Operator`.

        Constants get their names from `constant_names`, and `storage` how they are stored from
        `constant_storage`; see `FileInfo`.

        Raises:
            ExportError: a call of a Keras operation computes with complex numbers.
        """
        if self.call is not None:
            types = {self.dtype(index) for index in inputs if index != NO_TENSOR}
            if "complex64" in types and code not in COMPLEX_OPERATORS:
                raise ExportError(
                    f"would be {code} of complex numbers. Expected one of "
                    f"{sorted(COMPLEX_OPERATORS)}: compute with real and imaginary parts."
                )
            for position, index in enumerate((*inputs, *intermediates)):
                if index == NO_TENSOR or not self._is_stored(index):
                    continue
                key = f"{self.call.operation.name}:{position}"
                if key in self.constant_names:
                    self.tensors[index].name = self.constant_names[key]
                if key in self.constant_storage:
                    self.storage[index] = self.constant_storage[key]
        self.operators.append(
            Operator(
                code,
                list(inputs),
                list(outputs),
                options,
                custom_code=custom_code,
                custom_options=custom_options,
                intermediates=list(intermediates),
            )
        )

    def function(self, model: Any, arguments: Sequence[int], count: int | None = None) -> int:
        """Add a subgraph that is called with these tensors; see `AddFunction`."""
        if self.add is None:
            raise ExportError("holds a model, which a graph by itself has no place for.")
        return self.add(model, [self.tensors[i] for i in arguments], count)

    def then(
        self,
        code: str,
        inputs: Sequence[int],
        options: Any = None,
        *,
        shape: Sequence[int | None] | None = None,
        dtype: str | None = None,
        output: int | None = None,
    ) -> int:
        """Append an operator and return its output: `output`, or a new temporary.

        A temporary is like the first input unless `shape` or `dtype` say otherwise.
        """
        if output is None:
            output = self.temporary(shape, like=inputs[0], dtype=dtype, name=code.lower())
        self.operator(code, inputs, [output], options)
        return output

    def reshape(
        self, source: int, shape: Sequence[int | None], *, output: int | None = None
    ) -> int:
        """RESHAPE `source`; at most one size may be None, and it is found when the model runs."""
        target = [-1 if size is None else int(size) for size in shape]
        if target.count(-1) > 1:
            raise ExportError(
                f"would reshape to {tuple(shape)}: a .tflite RESHAPE finds one unknown size only."
            )
        sizes = np.array(target, np.int32)
        options = schema.ReshapeOptionsT(newShape=sizes)
        return self.then(
            "RESHAPE",
            [source, self.constant(sizes, name="shape")],
            options,
            shape=shape,
            output=output,
        )

    def alias(self, source: int, output: int) -> None:
        """Make `output` another name of `source`: an operation that does nothing."""
        self.aliases[output] = source

    def resolve(self, index: int) -> int:
        """The tensor that is stored for `index`, following aliases."""
        while index in self.aliases:
            index = self.aliases[index]
        return index

    def _is_stored(self, index: int) -> bool:
        tensor = self.tensors[index]
        return tensor.data is not None or tensor.is_variable or 0 in tensor.shape

    # Weights

    def weights(
        self, layer: Any, layout: Callable[[np.ndarray], np.ndarray], axis: int, channels: int
    ) -> tuple[int, int]:
        """Constants for the kernel and bias of a layer, float or quantized.

        Args:
            layer: has `kernel` and `bias` (None: zeros); a quantized layer, whose kernel is int8,
                also has `kernel_scale` `(channels,)`, `(1,)` or for blocks of `block_size` inputs
                `(channels, blocks)`, and `input_qparams` unless its inputs are float; the kernel is
                stored as its `kernel_dtype`.
            layout: turns the Keras kernel into the layout of the operator.
            axis: axis of the output channels in that layout.
            channels: number of output channels.

        Returns:
            Index of the kernel and of the bias `(channels,)`. With integer inputs the bias is int32
            or int64, with scale `float32(input_scale * kernel_scale)` and zero point 0.
        """
        kernel = layout(to_numpy(layer.kernel))
        stored_bias = getattr(layer, "bias", None)
        kernel_quantization = bias_quantization = blocks = None
        dtype: type[np.generic] = np.float32
        if kernel.dtype == np.int8:
            scale = to_numpy(layer.kernel_scale).astype(np.float32)
            if getattr(layer, "block_size", None):
                blocks = BlockScales(scale.astype(np.float16), layer.block_size)
            else:
                kernel_quantization = Quantization.symmetric(
                    scale, axis, getattr(layer, "kernel_zero_point", 0)
                )
            if layer.input_qparams:
                bias_scale = np.float32(layer.input_qparams[0].scale) * scale
                bias_quantization = Quantization.symmetric(bias_scale, 0)
                dtype = np.int64 if layer.input_qparams[0].dtype == "int16" else np.int32
        bias = np.zeros(channels) if stored_bias is None else to_numpy(stored_bias)
        if dtype is np.int64:
            # Two int32 a channel; LiteRT has kernels for sums of either width.
            high, low = bias.astype(np.int64)
            bias, dtype = high * 2**16 + low, np.dtype(layer.bias_dtype).type
        return (
            self.constant(
                kernel,
                name="kernel",
                quantization=kernel_quantization,
                blocks=blocks,
                dtype=getattr(layer, "kernel_dtype", None),
            ),
            self.constant(bias.astype(dtype), name="bias", quantization=bias_quantization),
        )

    def _scoped(self, name: str) -> str:
        return f"{self.call.operation.name}/{name}" if self.call else name

    def _unique(self, name: str) -> str:
        seen = self._names.get(name, 0)
        self._names[name] = seen + 1
        return self._unique(f"{name}_{seen}") if seen else name


def to_numpy(value: Any) -> np.ndarray:
    """A Keras variable or tensor as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(value))


def size_of(shape: Sequence[int | None]) -> int | None:
    """Product of the sizes, None when one is unknown."""
    known = [size for size in shape if size is not None]
    return math.prod(known) if len(known) == len(shape) else None
