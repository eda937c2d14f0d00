"""What goes into both models and comes out, aligned, in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.calibrate.arrays import is_array, to_numpy
from keras_octet.errors import ValidationError
from keras_octet.layers import QuantizedLayer
from keras_octet.model import QuantizedModel
from keras_octet.qparams import QParams


class FloatIO:
    """A model seen from outside: float arrays in, a list of float arrays out.

    Integers of a model with int8 inputs or outputs are quantized and dequantized by its parameters.

    Args:
        model: to run.
        flat_model: its inputs say the structure and the order of the arrays, and its outputs the
            number of results.
        is_quantized: for messages.
    """

    def __init__(self, model: keras.Model, flat_model: keras.Model, *, is_quantized: bool) -> None:
        self._model = model
        self._flat = flat_model
        self._which = "quantized" if is_quantized else "float"
        self._structure = flat_model._inputs_struct
        self._input_qparams: list[QParams | None] = [None] * len(flat_model.inputs)
        self._output_qparams: list[QParams | None] = [None] * len(flat_model.outputs)
        if is_quantized and isinstance(model, QuantizedModel):
            self._structure = model._inputs_struct
            self._check_inputs()
            by_name = model.input_qparams
            self._input_qparams = [
                by_name.get(tensor.name) if str(tensor.dtype) == "int8" else None
                for tensor in model.inputs
            ]
            self._output_qparams = [_output_qparams(tensor) for tensor in model.outputs]

    def _check_inputs(self) -> None:
        given, wanted = self._model.inputs, self._flat.inputs
        sizes = [[tuple(tensor.shape[1:]) for tensor in tensors] for tensors in (given, wanted)]
        if sizes[0] != sizes[1]:
            raise ValidationError(
                f"The quantized model reads samples of shapes {sizes[0]}, the float model of "
                f"shapes {sizes[1]}. Pass the float model that was quantized."
            )

    def inputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The arrays as the model's inputs have them."""
        pairs = zip(arrays, self._input_qparams, strict=True)
        return [array if qparams is None else qparams.quantize(array) for array, qparams in pairs]

    def pack(self, arrays: Sequence[np.ndarray]) -> Any:
        """What the model is called with."""
        return keras.tree.pack_sequence_as(self._structure, self.inputs(arrays))

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Predict one batch.

        Raises:
            ValidationError: the number of outputs is not that of the float model.
        """
        results = keras.tree.flatten(self._model.predict_on_batch(self.pack(arrays)))
        if len(results) != len(self._output_qparams):
            raise ValidationError(
                f"The {self._which} model gives {len(results)} outputs, expected "
                f"{len(self._output_qparams)} as the float model. Pass the float model that was "
                "quantized."
            )
        return [
            np.asarray(value) if qparams is None else qparams.dequantize(np.asarray(value))
            for value, qparams in zip(results, self._output_qparams, strict=True)
        ]


def _output_qparams(tensor: keras.KerasTensor) -> QParams | None:
    layer = tensor._keras_history.operation
    if str(tensor.dtype) != "int8" or not isinstance(layer, QuantizedLayer):
        return None
    return layer.output_qparams


def output_names(model: keras.Model, flat_model: keras.Model) -> list[str]:
    """Names of the outputs, in the order of the flat model's."""
    structure = flat_model._outputs_struct
    if isinstance(structure, dict):
        return [str(path[-1]) for path, _ in keras.tree.flatten_with_path(structure)]
    names = list(getattr(model, "output_names", None) or flat_model.output_names)
    if len(names) != len(flat_model.outputs):
        names = list(flat_model.output_names)
    return names


def align(value: Any, names: Sequence[str], what: str, size: int) -> list[np.ndarray | None]:
    """Labels or sample weights, one array or None for each output.

    Args:
        value: None; an array; a dict by output name; or a list or tuple in the order of outputs.
        names: of the outputs.
        what: `"labels"` or `"sample weights"`, for messages.
        size: number of samples each must have.

    Raises:
        ValidationError: the structure or the number of samples does not fit.
    """
    if value is None:
        return [None] * len(names)
    if isinstance(value, Mapping):
        unknown = [str(key) for key in value if key not in names]
        if unknown and len(names) > 1:
            raise ValidationError(
                f"The {what} name outputs {unknown}; the model has {list(names)}."
            )
        parts = list(value.values()) if len(names) == 1 else [value.get(name) for name in names]
    elif isinstance(value, (list, tuple)) and not is_array(value):
        parts = list(value)
    else:
        parts = [value]
    if what == "sample weights" and len(parts) == 1:
        parts *= len(names)
    if len(parts) != len(names):
        hint = " Lists of numbers are not arrays: convert them with numpy.asarray."
        raise ValidationError(
            f"Expected {what} for {len(names)} output(s), {list(names)}. "
            f"Received: {len(parts)} values.{hint if len(parts) > len(names) else ''}"
        )
    return [_array(part, what, size) for part in parts]


def _array(value: Any, what: str, size: int) -> np.ndarray | None:
    if value is None:
        return None
    array = to_numpy(value, f"The {what}") if is_array(value) else np.asarray(value)
    if array.dtype.kind not in "iubf":
        raise ValidationError(
            f"The {what} must be numbers. Received dtype {array.dtype}; map names of classes to "
            "their numbers first."
        )
    if not array.ndim or len(array) != size:
        raise ValidationError(
            f"Expected {what} for {size} samples. Received: shape {tuple(array.shape)}."
        )
    return array
