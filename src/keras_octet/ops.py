"""The operation table: what each operation of a flat float model becomes when it is quantized.

One row says which float layer, which quantized layer, what its output's parameters may be, and
when there is no integer form. `docs/add_an_operation.md` walks through adding a row.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_octet import layers
from keras_octet.capture.keras_private import nn_operations, numpy_operations
from keras_octet.layers import QuantizedLayer
from keras_octet.qparams import QParams

Shapes = list[tuple[int | None, ...]]


class Output(enum.Enum):
    """Where the parameters of an operation's output come from."""

    CALIBRATED = "its own calibrated range"
    SHARED = "the parameters of its inputs"
    FIXED = "constants of the int8 specification"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row.

    Attributes:
        float_layer: class of the layer, or `keras.ops` Operation, in the flat model.
        quantized_layer: class that replaces it.
        output: where the output's parameters come from.
        fixed_output: the parameters, when `output` is FIXED.
        fuses_relu: the quantized layer takes a following ReLU into its bounds.
        symmetric_inputs: positions of inputs that need zero point 0.
        arguments: the quantized layer's own arguments, from the float layer.
        refusal: why this float layer on inputs of these shapes has no integer form, or None. Its
            docstring says when that is, for the table in the documentation.
    """

    float_layer: type
    quantized_layer: type[QuantizedLayer]
    output: Output = Output.CALIBRATED
    fixed_output: QParams | None = None
    fuses_relu: bool = False
    symmetric_inputs: tuple[int, ...] = ()
    arguments: Callable[[Any], dict[str, Any]] | None = None
    refusal: Callable[[Any, Shapes], str | None] = field(default=lambda layer, shapes: None)

    @property
    def stays_float(self) -> str:
        """In words, when the float layer has no integer form; empty if it always has one."""
        return " ".join((inspect.getdoc(self.refusal) or "").split()).rstrip(".")

    def quantized_arguments(self, layer: Any) -> dict[str, Any]:
        """Arguments of the quantized layer; by default attributes of the same names, if any."""
        if self.arguments is not None:
            return self.arguments(layer)
        keys = [key for key in self.quantized_layer.config_keys if key != "activation"]
        return {key: getattr(layer, key) for key in keys if hasattr(layer, key)}


OPERATIONS: dict[type, Operation] = {}


def add_operation(operation: Operation) -> None:
    """Add a row; a second row for the same float layer is an error."""
    if operation.float_layer in OPERATIONS:
        raise ValueError(f"{operation.float_layer.__name__} already has a row in the table.")
    OPERATIONS[operation.float_layer] = operation


def find_operation(layer: Any) -> Operation | None:
    """The row for exactly the class of `layer`: a subclass may compute something else."""
    return OPERATIONS.get(type(layer))


def operation_of(layer: Any) -> Operation:
    """The row of a layer that is known to have one."""
    return OPERATIONS[type(layer)]


def activation_name(layer: Any) -> str:
    """Name of the function of an `Activation` layer, `""` if it has none."""
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def _refuse_activation(layer: Any, shapes: Shapes) -> str | None:
    """Functions other than sigmoid, tanh, gelu and hard_silu."""
    name = activation_name(layer)
    if name in ("sigmoid", "tanh", "gelu", "hard_silu"):
        return None
    return f"activation {name!r} has no integer form"


def _refuse_elu(layer: Any, shapes: Shapes) -> str | None:
    """Alpha other than 1."""
    return None if layer.alpha == 1.0 else "ELU has an integer form only with alpha 1"


def _refuse_softmax(layer: Any, shapes: Shapes) -> str | None:
    """An axis other than the last."""
    last = len(shapes[0]) - 1
    axis = layer.axis if isinstance(layer.axis, int) else None
    return None if axis in (-1, last) else "Softmax has an integer form only over the last axis"


def _refuse_unknown_size(layer: Any, shapes: Shapes) -> str | None:
    """Unknown height or width."""
    if None in shapes[0][1:3]:
        return f"{type(layer).__name__} has an integer form only for known height and width"
    return None


def _refuse_resizing(layer: Any, shapes: Shapes) -> str | None:
    """Interpolation other than nearest and bilinear; antialias; keeping the aspect ratio;
    unknown height or width.
    """
    if layer.interpolation not in ("nearest", "bilinear"):
        return f"resizing by {layer.interpolation!r} has no integer form"
    for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if getattr(layer, option, False):
            return f"resizing with {option} has no integer form"
    return _refuse_unknown_size(layer, shapes)


def _refuse_concatenate(layer: Any, shapes: Shapes) -> str | None:
    """Along the batch axis."""
    return "Concatenate over the batch has no integer form" if layer.axis == 0 else None


def _refuse_channels(layer: Any, shapes: Shapes) -> str | None:
    """Unknown number of channels."""
    return "the number of channels is unknown" if shapes[0][-1] is None else None


def _refuse_matmul(layer: Any, shapes: Shapes) -> str | None:
    """Operands that are not two batched tensors; unknown inner size."""
    if len(shapes) != 2 or min(map(len, shapes)) < 3:
        return "Matmul has an integer form only between two batched tensors"
    return "the inner size of the product is unknown" if shapes[1][-2] is None else None


def _refuse_prelu(layer: Any, shapes: Shapes) -> str | None:
    """Rank above 4."""
    return None if len(shapes[0]) <= 4 else "PReLU has an integer form only up to rank 4"


def _no_arguments(layer: Any) -> dict[str, Any]:
    return {}


SOFTMAX_OUTPUT = QParams(scale=1 / 256, zero_point=-128)
TANH_OUTPUT = QParams(scale=1 / 128, zero_point=0)


def fixed_output(layer: Any) -> QParams | None:
    """Parameters that the int8 specification prescribes for the output of `layer`, if it does."""
    operation = find_operation(layer)
    if operation is None:
        return None
    if type(layer) is keras.layers.Activation:
        return {"sigmoid": SOFTMAX_OUTPUT, "tanh": TANH_OUTPUT}.get(activation_name(layer))
    return operation.fixed_output


def _rows() -> list[Operation]:
    K, Q = keras.layers, layers
    SHARED = Output.SHARED
    return [
        Operation(float_layer=K.Dense, quantized_layer=Q.QuantizedDense, fuses_relu=True,
                  refusal=_refuse_channels),
        Operation(float_layer=K.Conv2D, quantized_layer=Q.QuantizedConv2D, fuses_relu=True,
                  refusal=_refuse_channels),
        Operation(float_layer=K.DepthwiseConv2D, quantized_layer=Q.QuantizedDepthwiseConv2D,
                  fuses_relu=True, refusal=_refuse_channels),
        Operation(float_layer=K.Conv2DTranspose, quantized_layer=Q.QuantizedConv2DTranspose,
                  fuses_relu=True, refusal=_refuse_channels),
        Operation(float_layer=K.Rescaling, quantized_layer=Q.QuantizedScale, fuses_relu=True,
                  arguments=_no_arguments, refusal=_refuse_channels),
        Operation(float_layer=K.Add, quantized_layer=Q.QuantizedAdd, fuses_relu=True),
        Operation(float_layer=K.Subtract, quantized_layer=Q.QuantizedSubtract, fuses_relu=True),
        Operation(float_layer=K.Multiply, quantized_layer=Q.QuantizedMultiply, fuses_relu=True),
        Operation(float_layer=K.Maximum, quantized_layer=Q.QuantizedMaximum, output=SHARED),
        Operation(float_layer=K.Minimum, quantized_layer=Q.QuantizedMinimum, output=SHARED),
        Operation(float_layer=K.Concatenate, quantized_layer=Q.QuantizedConcatenate,
                  refusal=_refuse_concatenate, output=SHARED),
        Operation(float_layer=K.AveragePooling2D, quantized_layer=Q.QuantizedAveragePooling2D,
                  refusal=_refuse_unknown_size, output=SHARED),
        Operation(float_layer=K.MaxPooling2D, quantized_layer=Q.QuantizedMaxPooling2D,
                  output=SHARED),
        Operation(float_layer=K.GlobalAveragePooling2D, quantized_layer=Q.QuantizedMean,
                  arguments=lambda layer: {"axis": (1, 2), "keepdims": layer.keepdims},
                  refusal=_refuse_unknown_size),
        Operation(float_layer=K.GlobalMaxPooling2D, quantized_layer=Q.QuantizedGlobalMaxPooling2D,
                  refusal=_refuse_unknown_size, output=SHARED),
        Operation(float_layer=K.Reshape, quantized_layer=Q.QuantizedReshape, output=SHARED),
        Operation(float_layer=K.Flatten, quantized_layer=Q.QuantizedFlatten, output=SHARED),
        Operation(float_layer=K.Permute, quantized_layer=Q.QuantizedPermute, output=SHARED),
        Operation(float_layer=K.Cropping2D, quantized_layer=Q.QuantizedCropping2D, output=SHARED),
        Operation(float_layer=K.ZeroPadding2D, quantized_layer=Q.QuantizedZeroPadding2D,
                  output=SHARED),
        Operation(float_layer=K.UpSampling2D, quantized_layer=Q.QuantizedUpSampling2D,
                  refusal=_refuse_resizing, output=SHARED),
        Operation(float_layer=K.Resizing, quantized_layer=Q.QuantizedResizing,
                  refusal=_refuse_resizing, output=SHARED),
        # Another bound than 6 is kept by the range of the output.
        Operation(float_layer=K.ReLU, quantized_layer=Q.QuantizedReLU,
                  arguments=lambda layer: {"max_value": 6.0 if layer.max_value == 6.0 else None}),
        Operation(float_layer=K.LeakyReLU, quantized_layer=Q.QuantizedLeakyReLU),
        Operation(float_layer=K.PReLU, quantized_layer=Q.QuantizedPReLU, refusal=_refuse_prelu,
                  arguments=lambda layer: {"shared_axes": layer.shared_axes}),
        Operation(float_layer=K.ELU, quantized_layer=Q.QuantizedELU, arguments=_no_arguments,
                  refusal=_refuse_elu),
        Operation(float_layer=K.Activation, quantized_layer=Q.QuantizedActivation,
                  arguments=lambda layer: {"activation": activation_name(layer)},
                  refusal=_refuse_activation),
        # The exact one is an Activation of a flat model.
        Operation(float_layer=nn_operations.Gelu, quantized_layer=Q.QuantizedActivation,
                  arguments=lambda operation: {"activation": "gelu_tanh"}),
        Operation(float_layer=K.Softmax, quantized_layer=Q.QuantizedSoftmax, output=Output.FIXED,
                  fixed_output=SOFTMAX_OUTPUT, arguments=_no_arguments, refusal=_refuse_softmax),
        Operation(float_layer=numpy_operations.Matmul, quantized_layer=Q.QuantizedMatmul,
                  symmetric_inputs=(1,), arguments=_no_arguments, refusal=_refuse_matmul),
    ]  # fmt: skip


for _row in _rows():
    add_operation(_row)
