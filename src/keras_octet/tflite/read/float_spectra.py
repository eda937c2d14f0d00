"""Fourier transforms and the parts of complex numbers."""

from __future__ import annotations

from typing import Any

from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.emit.codes import COMPLEX_PARTS
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.shapes import as_ints


def read_rfft2d(call: ReadCall) -> Any:
    """RFFT2D; LiteRT transforms lengths that are powers of two, and columns not alone."""
    source, lengths = call.tensor(0), as_ints(call.constant(1))
    dtypes = str(source.dtype), str(call.constant(1).dtype)
    if dtypes != ("float32", "int32"):
        raise ModelFileError(
            f"RFFT2D {call.name!r} has a tensor and lengths of types {dtypes}; expected float32 "
            "and int32."
        )
    powers = [length > 0 and length & (length - 1) == 0 for length in lengths]
    if len(source.shape) < 2 or len(lengths) != 2 or not all(powers) or lengths[1] < 2:
        raise ModelFileError(
            f"RFFT2D {call.name!r} has lengths {lengths} for a tensor of rank "
            f"{len(source.shape)}; expected two powers of two, the second not 1, and rank 2 or "
            "more."
        )
    rows, columns = lengths
    return operators.RFFT2D(rows=rows, columns=columns, name=call.name)(source)


def read_part(call: ReadCall) -> Any:
    """REAL, IMAG and COMPLEX_ABS."""
    return _part(call, COMPLEX_PARTS[call.code])


def read_cast(call: ReadCall) -> Any:
    """CAST to float32, which leaves the real part."""
    if call.outputs[0].dtype != "float32":
        raise ModelFileError(
            f"CAST {call.name!r} makes {call.outputs[0].dtype} of complex64; expected float32."
        )
    return _part(call, "real")


def _part(call: ReadCall, part: str) -> Any:
    return operators.ComplexPart(part=part, name=call.name)(call.tensor(0))
