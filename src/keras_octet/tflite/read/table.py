"""The table of read functions, by operator and kind of arithmetic."""

from __future__ import annotations

from keras_octet.tflite.graph import Operator
from keras_octet.tflite.read import boundary, control, custom, lists, variables
from keras_octet.tflite.read.call import REAL_KINDS, ReadFunction
from keras_octet.tflite.read.rows_float import COMPLEX, FLOAT, FLOAT_OR_INTEGER
from keras_octet.tflite.read.rows_hybrid import BLOCKWISE, HYBRID
from keras_octet.tflite.read.rows_int8 import INT8
from keras_octet.tflite.read.rows_int16 import INT16
from keras_octet.tflite.read.rows_recurrent import RECURRENT

READERS: dict[tuple[str, str], ReadFunction] = {}


def add_reader(read: ReadFunction, code: str, *kinds: str) -> None:
    """Say that `read` reads operator `code` of these kinds; see `call.kind_of`.

    A second function for the same operator and kind is an error.
    """
    for kind in kinds:
        if (code, kind) in READERS:
            raise ValueError(f"{code} of kind {kind!r} already has a read function.")
        READERS[code, kind] = read


def find_reader(operator: Operator, kind: str) -> ReadFunction | None:
    """The read function of an operator, for a custom one that of who registered it."""
    if operator.code == custom.CUSTOM:
        return custom.read_custom if custom.is_registered(operator.custom_code) else None
    return READERS.get((operator.code, kind))


def _add_all() -> None:
    for kind, rows in (
        ("float", FLOAT),
        ("float", FLOAT_OR_INTEGER),
        ("integer", FLOAT_OR_INTEGER),
        ("complex64", COMPLEX),
        ("int8", INT8),
        ("int16", INT16),
        ("hybrid", HYBRID),
        ("blockwise", BLOCKWISE),
        ("float", RECURRENT),
        ("hybrid", RECURRENT),
    ):
        for code, read in rows.items():
            add_reader(read, code, kind)


add_reader(boundary.read_quantize, "QUANTIZE", "float")
add_reader(control.read_while, "WHILE", *REAL_KINDS, "complex64")
add_reader(control.read_if, "IF", *REAL_KINDS, "complex64")
add_reader(lists.read_set_row, lists.SET_ROW, *REAL_KINDS)
add_reader(variables.read_call_once, "CALL_ONCE", *REAL_KINDS)
add_reader(variables.read_var_handle, "VAR_HANDLE", *REAL_KINDS)
add_reader(variables.read_variable, "READ_VARIABLE", *REAL_KINDS)
add_reader(variables.read_assign, "ASSIGN_VARIABLE", *REAL_KINDS)
_add_all()
