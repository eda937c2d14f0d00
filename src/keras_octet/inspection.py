"""`inspect`: what is in a model or a file, operation by operation, without running it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_octet.arithmetic import PACKED_BITS
from keras_octet.capture.graph import functional_of, iter_nodes, tensor_name
from keras_octet.errors import ModelFileError
from keras_octet.layers import QuantizedLayer, QuantizedLinear
from keras_octet.qparams import QParams
from keras_octet.tflite.graph import Tensor
from keras_octet.tflite.load import is_tflite
from keras_octet.tflite.read import TFLiteFile, parse

Shape = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class TensorInspection:
    """A tensor or a weight.

    Attributes:
        name, shape, dtype: as stored; an unknown size is None.
        scales: number of scales: 0 without quantization, 1 per tensor, more per channel.
        smallest_scale, largest_scale: over the scales.
        zero_point: the one zero point; None without quantization or with several.
        bytes: stored in the file, 0 for what is computed.
    """

    name: str
    shape: Shape
    dtype: str
    scales: int = 0
    smallest_scale: float | None = None
    largest_scale: float | None = None
    zero_point: int | None = None
    bytes: int = 0

    @property
    def quantization(self) -> str:
        """`"0.0123 (z -7)"`, `"32 scales, 0.001 to 0.03"`, or `""`."""
        if not self.scales:
            return ""
        if self.scales == 1:
            return f"{self.largest_scale:.4g} (z {self.zero_point})"
        return f"{self.scales} scales, {self.smallest_scale:.2g} to {self.largest_scale:.2g}"


@dataclass(frozen=True, kw_only=True)
class OperationInspection:
    """One operator of a file, or one call of a layer or operation of a Keras model.

    Attributes:
        name: of the layer, or of the operator's first output.
        operation: builtin operator code, or class name.
        dtype: type it computes in: that of its first output, or of its input for one that leaves
            the integers.
        outputs: the tensors it makes.
        weights: the constants it holds.
    """

    name: str
    operation: str
    dtype: str
    outputs: tuple[TensorInspection, ...]
    weights: tuple[TensorInspection, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is in a model.

    Attributes:
        format: `"tflite"` or `"keras"`.
        name: of the model.
        inputs, outputs: its boundary.
        operations: in the order they run.
        bytes: size of the file; of the weights where there is no file.
        notes: names and texts of the file: signature, description, metadata.
    """

    format: str
    name: str
    inputs: tuple[TensorInspection, ...]
    outputs: tuple[TensorInspection, ...]
    operations: tuple[OperationInspection, ...]
    bytes: int
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of the weights by dtype; a weight that several operations read counts once."""
        unique = {x.name: x for row in self.operations for x in row.weights}
        totals: Counter[str] = Counter()
        for weight in unique.values():
            totals[weight.dtype] += weight.bytes
        return dict(totals)

    @property
    def float_operations(self) -> tuple[OperationInspection, ...]:
        """Operations that compute in float."""
        return tuple(row for row in self.operations if row.dtype.startswith(("float", "bfloat")))

    def __str__(self) -> str:
        counts = Counter(row.dtype for row in self.operations)
        lines = [
            f"{self.name} ({self.format}): {len(self.operations)} operations, "
            + ", ".join(f"{count} in {dtype}" for dtype, count in counts.most_common())
        ]
        for row in self.operations:
            output = row.outputs[0] if row.outputs else None
            lines.append(
                f"  {row.operation:24} {row.dtype:8} {_shape_text(output):20} "
                f"{output.quantization if output else '':22} {row.name}"
            )
        return "\n".join(lines)


def inspect(source: keras.Model | str | os.PathLike[str] | bytes) -> Inspection:
    """List the operations of a model or file with their shapes, scales and bytes.

    Nothing is run, and a `.tflite` file may have operators that `load_model` does not support.

    Args:
        source: a Keras model; the path of a `.tflite` file or of what Keras saves; or the bytes of
            a `.tflite` file.

    Raises:
        ModelFileError: the file is damaged.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, keras.Model):
        return _of_model(source, sum(_weight(x).bytes for x in source.weights))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _of_file(parse(bytes(source)), len(source))
    path = Path(source)
    if is_tflite(path):
        return _of_file(parse(path.read_bytes()), path.stat().st_size)
    model = keras.saving.load_model(path, compile=False)
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path} holds {type(model).__name__}, expected a keras.Model.")
    return _of_model(model, path.stat().st_size)


def _of_file(file: TFLiteFile, size: int) -> Inspection:
    main = file.subgraphs[0]
    rows = []
    for number, subgraph in enumerate(file.subgraphs):
        prefix = f"{subgraph.name or number}/" if number else ""
        for operator in subgraph.operators:
            inputs = [subgraph.tensors[i] for i in operator.inputs if i >= 0]
            outputs = [subgraph.tensors[i] for i in operator.outputs]
            running = [x.dtype for x in inputs if x.data is None] + [x.dtype for x in outputs]
            rows.append(
                OperationInspection(
                    name=prefix + (outputs[0].name if outputs else ""),
                    operation=operator.custom_code or operator.code,
                    dtype=_arithmetic(running, [x.dtype for x in outputs]),
                    outputs=tuple(_of_tensor(x) for x in outputs),
                    weights=tuple(_of_tensor(x) for x in inputs if x.data is not None),
                )
            )
    notes = {f"signature {x.key}": ", ".join((*x.inputs, *x.outputs)) for x in file.signatures}
    notes |= {f"metadata {name}": f"{len(data)} bytes" for name, data in file.metadata.items()}
    if file.description:
        notes["description"] = file.description
    return Inspection(
        format="tflite",
        name=main.name or "main",
        inputs=tuple(_of_tensor(main.tensors[i]) for i in main.inputs),
        outputs=tuple(_of_tensor(main.tensors[i]) for i in main.outputs),
        operations=tuple(rows),
        bytes=size,
        notes=notes,
    )


def _arithmetic(running: Sequence[str], outputs: Sequence[str]) -> str:
    """The integers that an operation reads or makes, else the type of its output."""
    for dtype in ("int8", "int16"):
        if dtype in running:
            return dtype
    return outputs[0] if outputs else (running[0] if running else "")


def _of_tensor(tensor: Tensor) -> TensorInspection:
    quantization, blocks = tensor.quantization, tensor.blocks
    found = quantization or blocks
    size = 0
    if tensor.data is not None:
        size = -(-tensor.data.nbytes * PACKED_BITS.get(tensor.dtype, 8) // 8)
        size += blocks.scale.nbytes if blocks else 0
    return TensorInspection(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scales=found.scale.size if found else 0,
        smallest_scale=float(found.scale.min()) if found else None,
        largest_scale=float(found.scale.max()) if found else None,
        zero_point=int(quantization.zero_point[0])
        if quantization and quantization.scale.size == 1
        else None,
        bytes=size,
    )


def _of_model(model: keras.Model, size: int) -> Inspection:
    functional = functional_of(model)
    rows = tuple(_of_nodes(functional) if functional else _of_layers(model))
    boundary = {"inputs": functional.inputs, "outputs": functional.outputs} if functional else {}
    return Inspection(
        format="keras",
        name=model.name,
        inputs=tuple(_of_keras_tensor(x, None) for x in boundary.get("inputs", ())),
        outputs=tuple(_of_keras_tensor(x, None) for x in boundary.get("outputs", ())),
        operations=rows,
        bytes=size,
    )


def _of_nodes(functional: Any) -> Iterator[OperationInspection]:
    for node in iter_nodes(functional):
        layer = node.operation
        qparams = getattr(layer, "output_qparams", None)
        running = [str(x.dtype) for x in (*node.input_tensors, *node.outputs)]
        yield OperationInspection(
            name=layer.name,
            operation=type(layer).__name__,
            dtype=_arithmetic(running, [str(x.dtype) for x in node.outputs]),
            outputs=tuple(_of_keras_tensor(x, qparams) for x in node.outputs),
            weights=_weights_of(layer),
        )


def _of_layers(model: keras.Model) -> Iterator[OperationInspection]:
    """A subclassed model: its layers, in the order they were made."""
    for layer in model.layers:
        yield OperationInspection(
            name=layer.name,
            operation=type(layer).__name__,
            dtype=str(layer.compute_dtype),
            outputs=(),
            weights=_weights_of(layer),
        )


def _of_keras_tensor(tensor: keras.KerasTensor, qparams: QParams | None) -> TensorInspection:
    dtype = str(tensor.dtype)
    known = qparams if qparams is not None and qparams.dtype == dtype else None
    return TensorInspection(
        name=tensor_name(tensor),
        shape=tuple(tensor.shape),
        dtype=dtype,
        scales=1 if known else 0,
        smallest_scale=known.scale if known else None,
        largest_scale=known.scale if known else None,
        zero_point=known.zero_point if known else None,
    )


def _weights_of(layer: Any) -> tuple[TensorInspection, ...]:
    if not isinstance(layer, keras.layers.Layer):
        return ()
    scale = None
    if isinstance(layer, QuantizedLinear):
        scale = keras.ops.convert_to_numpy(layer.kernel_scale)
    return tuple(
        _weight(x, scale if isinstance(layer, QuantizedLayer) and x.name == "kernel" else None)
        for x in layer.weights
    )


def _weight(variable: Any, scale: np.ndarray | None = None) -> TensorInspection:
    shape = tuple(variable.shape)
    dtype = str(variable.dtype)
    return TensorInspection(
        name=variable.path,
        shape=shape,
        dtype=dtype,
        scales=0 if scale is None else scale.size,
        smallest_scale=None if scale is None else float(scale.min()),
        largest_scale=None if scale is None else float(scale.max()),
        zero_point=0 if scale is not None and scale.size == 1 else None,
        bytes=math.prod(shape) * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize),
    )


def _shape_text(tensor: TensorInspection | None) -> str:
    return "" if tensor is None else "x".join("?" if x is None else str(x) for x in tensor.shape)
