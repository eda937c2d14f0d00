"""The table of read functions, by operator and kind of arithmetic."""

from __future__ import annotations

from keras_octet.tflite.read import boundary, linear
from keras_octet.tflite.read.call import ReadFunction

READERS: dict[tuple[str, str], ReadFunction] = {}
ANY = "any"


def add_reader(read: ReadFunction, code: str, *kinds: str) -> None:
    """Say that `read` reads operator `code` of these kinds (see `call.kind_of`); `ANY` for all.

    A second function for the same operator and kind is an error.
    """
    for kind in kinds:
        if (code, kind) in READERS:
            raise ValueError(f"{code} of kind {kind!r} already has a read function.")
        READERS[code, kind] = read


def find_reader(code: str, kind: str) -> ReadFunction | None:
    return READERS.get((code, kind)) or READERS.get((code, ANY))


def _add_linear() -> None:
    add_reader(linear.read_conv_2d, "CONV_2D", "int8")
    add_reader(linear.read_depthwise_conv_2d, "DEPTHWISE_CONV_2D", "int8")
    add_reader(linear.read_fully_connected, "FULLY_CONNECTED", "int8")


def _add_boundary() -> None:
    add_reader(boundary.read_quantize, "QUANTIZE", "float")
    add_reader(boundary.read_requantize, "QUANTIZE", "int8")
    add_reader(boundary.read_dequantize, "DEQUANTIZE", "int8")


_add_boundary()
_add_linear()
