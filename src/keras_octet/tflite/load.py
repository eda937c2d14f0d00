"""`load_model`: `.tflite` and `.keras` files as Keras models."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import keras

from keras_octet.errors import ModelFileError
from keras_octet.exportable import ExportableModel
from keras_octet.layers import Constant, QuantizedLayer
from keras_octet.model import QuantizedModel
from keras_octet.tflite.file import FILE_IDENTIFIER
from keras_octet.tflite.read import parse

if TYPE_CHECKING:
    from keras_octet.tflite.read.builder import BuiltGraph

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


def load_model(source: Source, *, signature: str | None = None, **kwargs: Any) -> keras.Model:
    """Load a `.tflite` file, or what Keras saves, as a Keras model.

    Args:
        source: path of the file; or the bytes of a `.tflite` file, or a binary stream of them.
        signature: key of the one signature of a `.tflite` file to load. By default the model is
            that of the first, with the others, each with weights of its own, in its `signatures`.
        **kwargs: of `keras.saving.load_model`, for what Keras saved.

    Returns:
        Of a quantized `.tflite` file a `QuantizedModel` that computes the same bits as LiteRT; of a
        float one a functional model, which `quantize` takes.

    Raises:
        ModelFileError: the file is damaged, or has operators that are not supported.
        UserWarning: a signature after the first cannot be read, and is left out.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, (str, os.PathLike)) and not is_tflite(source):
        return keras.saving.load_model(source, **kwargs)
    # The whole table of operators, which only reading a file needs.
    from keras_octet.tflite.read.builder import build

    file = parse(_read(source))
    first, *others = build(file, signature)
    model = _model(first)
    for other in others:
        key = other.info.signature
        try:
            model._set_signatures({**model._other_signatures, key: _model(other)})
        except ValueError as error:
            warnings.warn(f"Signature {key!r} of the file is left out: {error}", stacklevel=2)
    return model


def _model(built: BuiltGraph) -> ExportableModel:
    quantized = bool(built.info.tensor_qparams) or any(
        _is_quantized(x) for x in _operations(built.outputs)
    )
    return (QuantizedModel if quantized else ExportableModel)(
        built.inputs if len(built.inputs) > 1 else built.inputs[0],
        built.outputs if len(built.outputs) > 1 else built.outputs[0],
        name=built.name,
        output_names=built.info.output_names,
        file_info=built.info,
    )


def _is_quantized(operation: Any) -> bool:
    """Float models have stored constants too."""
    stores = isinstance(operation, Constant) and operation.output_qparams is None
    return isinstance(operation, QuantizedLayer) and not stores


def is_tflite(source: str | os.PathLike[str]) -> bool:
    """Whether a file is `.tflite`, by its content or by its name.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(source)
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(8)[4:] == FILE_IDENTIFIER or path.suffix == ".tflite"


def _read(source: Source) -> bytes:
    if isinstance(source, (str, os.PathLike)):
        return Path(source).read_bytes()
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    data = source.read() if hasattr(source, "read") else None
    if not isinstance(data, bytes):
        raise ModelFileError(
            "Expected a path, bytes or a binary stream. Received: "
            f"{type(source).__name__} {source!r:.80}"
        )
    return data


def _operations(outputs: list[keras.KerasTensor]) -> Iterator[Any]:
    """Every layer and operation that `outputs` are computed by, those inside others included."""
    found: dict[int, keras.KerasTensor] = {}
    wanted = list(outputs)
    while wanted:
        tensor = wanted.pop()
        if id(tensor) in found:
            continue
        found[id(tensor)] = tensor
        history = tensor._keras_history
        wanted += history.operation._inbound_nodes[history.node_index].input_tensors
        yield history.operation
        for key in getattr(history.operation, "model_keys", ()):
            yield from _operations(getattr(history.operation, key).outputs)
