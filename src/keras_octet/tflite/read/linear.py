"""Layers with integer weights: FULLY_CONNECTED and the convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet import layers
from keras_octet.errors import ModelFileError
from keras_octet.layers import wide
from keras_octet.tflite.read.call import Operand, ReadCall
from keras_octet.tflite.read.options import activation_of, padding_of
from keras_octet.tflite.read.shapes import as_ints

# What LiteRT runs with int4 weights, by its activations.
_WITH_INT4 = {
    "int8": ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    "int16": ("CONV_2D", "FULLY_CONNECTED"),
}


def read_conv_2d(call: ReadCall) -> Any:
    """Kernel `(out, h, w, in / groups)` becomes `(h, w, in / groups, out)`."""
    options = call.options
    kernel = call.constant(1)
    if kernel.ndim != 4:
        raise ModelFileError(f"CONV_2D {call.name!r} has a kernel of shape {kernel.shape}.")
    source = call.tensor(0)
    layer = new_layer(
        call,
        "Conv2D",
        filters=kernel.shape[0],
        kernel_size=kernel.shape[1:3],
        strides=(options.strideH, options.strideW),
        padding=padding_of(call),
        dilation_rate=(options.dilationHFactor, options.dilationWFactor),
        groups=max(1, source.shape[-1] // max(kernel.shape[3], 1)),
        activation=activation_of(call),
    )
    output = layer(source)
    assign_weights(layer, kernel.transpose(1, 2, 3, 0), call)
    return output


def read_depthwise_conv_2d(call: ReadCall) -> Any:
    """Kernel `(1, h, w, in * multiplier)` becomes `(h, w, in, multiplier)`."""
    options = call.options
    kernel = call.constant(1)
    source = call.tensor(0)
    channels = source.shape[-1]
    if kernel.ndim != 4 or kernel.shape[0] != 1 or kernel.shape[3] % channels:
        raise ModelFileError(
            f"DEPTHWISE_CONV_2D {call.name!r} has a kernel of shape {kernel.shape} for "
            f"{channels} channels."
        )
    multiplier = kernel.shape[3] // channels
    layer = new_layer(
        call,
        "DepthwiseConv2D",
        kernel_size=kernel.shape[1:3],
        strides=(options.strideH, options.strideW),
        padding=padding_of(call),
        dilation_rate=(options.dilationHFactor, options.dilationWFactor),
        depth_multiplier=multiplier,
        activation=activation_of(call),
    )
    output = layer(source)
    assign_weights(layer, kernel.reshape(*kernel.shape[1:3], channels, multiplier), call)
    return output


def read_fully_connected(call: ReadCall) -> Any:
    """Kernel `(out, in)` becomes `(in, out)`."""
    options = call.options
    kernel, source = call.constant(1), call.tensor(0)
    if options.weightsFormat != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise ModelFileError(f"FULLY_CONNECTED {call.name!r} has shuffled weights.")
    if kernel.ndim != 2 or (options.keepNumDims and source.shape[-1] != kernel.shape[1]):
        raise ModelFileError(
            f"FULLY_CONNECTED {call.name!r} has a kernel of shape {kernel.shape} for an input of "
            f"shape {source.shape}."
        )
    flat = len(source.shape) == 2 and source.shape[1] == kernel.shape[1]
    layer = new_layer(
        call,
        "Dense",
        hybrid={"asymmetric_inputs": bool(options.asymmetricQuantizeInputs)},
        units=kernel.shape[0],
        input_size=None if flat or options.keepNumDims else kernel.shape[1],
        activation=activation_of(call),
    )
    output = layer(source)
    assign_weights(layer, kernel.transpose(), call)
    return output


def read_transpose_conv(call: ReadCall) -> Any:
    """Inputs are shape, kernel, image, bias; kernel `(out, h, w, in)` becomes `(h, w, out, in)`.

    The given shape says how much is added at the end, or cropped on both sides.
    """
    options = call.options
    kernel = call.constant(1)
    if kernel.ndim != 4:
        raise ModelFileError(f"TRANSPOSE_CONV {call.name!r} has a kernel of shape {kernel.shape}.")
    source = call.tensor(2)
    padding = padding_of(call)
    target = as_ints(call.constant(0))[1:3]
    if min(target) < 0:
        raise ModelFileError(f"TRANSPOSE_CONV {call.name!r} has an output of unknown size.")
    strides = (options.strideH, options.strideW)
    cropped = [2 * (size // 2) if padding == "same" else 0 for size in kernel.shape[1:3]]
    extra = [
        target[i] - ((source.shape[1 + i] - 1) * strides[i] + kernel.shape[1 + i] - cropped[i])
        for i in (0, 1)
    ]
    # XNNPACK does not take windows that leave gaps under SAME padding, nor a computed shape.
    gaps = any(size < stride for size, stride in zip(kernel.shape[1:3], strides, strict=True))
    builtin = (gaps and padding == "same") or call.operand(0).tensor.data is None
    integer = {"builtin": True} if builtin and call.kind == "int8" else {}
    layer = new_layer(
        call,
        "Conv2DTranspose",
        **integer,
        filters=kernel.shape[0],
        kernel_size=kernel.shape[1:3],
        strides=strides,
        padding=padding,
        output_padding=extra,
        activation=activation_of(call),
        source=2,
        hybrid={"use_bias": call.optional(3) is not None},
    )
    output = layer(source)
    assign_weights(layer, kernel.transpose(1, 2, 0, 3), call, bias=3)
    return output


def new_layer(
    call: ReadCall,
    name: str,
    source: int = 0,
    hybrid: Mapping[str, Any] = MappingProxyType({}),
    **arguments: Any,
) -> Any:
    """The layer that computes as the operator does: `Quantized<name>` or `Hybrid<name>`.

    Args:
        call: with the kernel as input 1.
        name: of the Keras layer of the same meaning.
        source: which input is not a weight.
        hybrid: arguments that only the hybrid layer has.
        **arguments: those of the Keras layer.
    """
    weights = call.operand(1)
    arguments |= {"name": call.name, "kernel_dtype": weights.tensor.dtype}
    if call.kind == "blockwise":
        return _new_block_dense(call, {**arguments, **hybrid})
    arguments |= {
        "per_tensor": weights.quantization.scale.size == 1,
        **_zero_point(call, name, weights),
    }
    if call.kind == "hybrid":
        return getattr(layers, f"Hybrid{name}")(**arguments, **hybrid)
    if weights.tensor.dtype != "int8":
        _require_int4(call, weights)
    operand = call.operand(source)
    arguments["input_qparams"] = [operand.factor_qparams if name == "Dense" else operand.qparams]
    arguments["output_qparams"] = call.output_qparams
    if call.kind == "int16":
        arguments["bias_dtype"] = "int32" if _sums_in_32_bits(call, name) else "int64"
        return getattr(layers, f"Int16{name}")(**arguments)
    if weights.tensor.dtype == "int4":
        # XNNPACK takes only those of FULLY_CONNECTED with an even number of inputs.
        inputs = weights.tensor.shape[-1]
        arguments["builtin"] = name != "Dense" or inputs is None or inputs % 2 == 1
    return getattr(layers, f"Quantized{name}")(**arguments)


def _new_block_dense(call: ReadCall, arguments: Mapping[str, Any]) -> Any:
    """FULLY_CONNECTED with a scale for each block of the kernel."""
    blocks, source = call.operand(1).tensor.blocks, call.operand(0).tensor
    if blocks is None or source.dtype != "float32":
        raise ModelFileError(
            f"{call.code} {call.name!r} has {source.dtype} inputs, and scales for blocks of a "
            "tensor; expected float32 inputs, and scales for blocks of the weights."
        )
    return layers.HybridBlockDense(**arguments, block_size=blocks.size)


def _require_int4(call: ReadCall, weights: Operand) -> None:
    """Raises ModelFileError if LiteRT has no kernel for such weights on integer activations."""
    if weights.tensor.dtype != "int4" or call.code not in _WITH_INT4[call.kind]:
        raise ModelFileError(
            f"{call.code} {call.name!r} has {weights.tensor.dtype} weights of shape "
            f"{weights.tensor.shape} on {call.kind} activations; expected int8, or int4 in "
            f"{' and '.join(_WITH_INT4[call.kind])}. Convert the model with int8 weights, or with "
            "float activations."
        )


def _sums_in_32_bits(call: ReadCall, name: str) -> bool:
    """Whether int16 activations are summed in 32 bits, which the operator says.

    Depthwise convolutions do not: theirs are always 64 bits wide. Of FULLY_CONNECTED that does not
    say either, the bias decides; 32 bits without one.
    """
    given = getattr(call.options, "quantizedBiasType", None)
    if name == "Dense" and given == schema.TensorType.FLOAT32:
        bias = call.optional(2)
        return bias is None or bias.tensor.dtype == "int32"
    return given == schema.TensorType.INT32


def _zero_point(call: ReadCall, name: str, weights: Operand) -> dict[str, Any]:
    """Arguments for weights with a zero point, which only a built-in kernel multiplies."""
    zero_points = weights.quantization.zero_point
    if not zero_points.any():
        return {}
    if call.kind != "int8" or name != "Dense" or zero_points.size > 1:
        raise ModelFileError(f"{call.code} {call.name!r} has weights with a zero point.")
    return {"kernel_zero_point": int(zero_points[0]), "builtin": True}


def assign_weights(layer: Any, kernel: np.ndarray, call: ReadCall, bias: int = 2) -> None:
    """Kernel in the layout of the Keras layer, the bias of input `bias` or zeros, the scales."""
    weights = call.operand(1)
    blocks = weights.tensor.blocks
    scale = weights.quantization.scale if blocks is None else blocks.scale.astype(np.float32)
    scale = np.broadcast_to(scale, layer.kernel_scale.shape)
    offset = np.zeros(layer.bias.shape, layer.bias.dtype)
    if call.optional(bias) is not None:
        offset = call.constant(bias)
        if call.kind == "int16":
            offset = wide.split(offset)
    layer.assign_weights(kernel, offset, scale)
