"""Write `operations.md` from the library's own tables. Run by `make docs`, checked by the tests."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from keras_octet.capture.lower.registry import lowered_classes
from keras_octet.ops import OPERATIONS, Operation, Output
from keras_octet.tflite.emit import EMITTERS

PAGE = Path(__file__).with_name("operations.md")

INTRODUCTION = """\
<!-- Written by docs/generate_operations.py from the library's tables. Do not edit: `make docs`. -->
# Supported operations

Any layer may be in a model. What follows says which ones compute in int8 after `quantize`, which
are first turned into others, and what the `.tflite` format can express. A layer that is in none of
the tables stays as it is, in float32, and the report says so.
"""

QUANTIZED = """\
## Quantized operations

*Output* says where the scale and zero point of the output come from: the calibrated range, the
inputs (integers are copied, so all share one scale), or the int8 specification. *ReLU* marks
operations that take a following ReLU or ReLU6 in for free. *TFLite* marks those that
`QuantizedModel.export` writes.

| Keras | quantized layer | output | ReLU | TFLite | stays in float with |
| --- | --- | --- | --- | --- | --- |
"""

LOWERED = """\
## Turned into other operations

Capture expresses these, where it can without changing the result, by the operations above, or
removes them; activation functions given by name, such as `activation="relu"`, become layers of
their own. What it cannot express stays as it is, in float32.
"""

FLOAT = """\
## Float operations in `.tflite` files

A quantized model with layers that stayed in float exports if each of them is one of these, or one
from the first table:
"""

OUTPUTS = {
    Output.CALIBRATED: "calibrated",
    Output.SHARED: "shared with the inputs",
    Output.FIXED: "fixed",
}


def page() -> str:
    """The text of the page."""
    rows = "".join(_row(operation) for operation in OPERATIONS.values())
    quantized = {row.quantized_layer for row in OPERATIONS.values()}
    lowered = lowered_classes() - set(OPERATIONS)
    emitted = [
        cls
        for cls in EMITTERS
        if cls not in OPERATIONS
        and cls not in quantized
        and not cls.__module__.startswith("keras_octet")
    ]
    return "\n".join(
        [INTRODUCTION, QUANTIZED + rows, LOWERED, _names(lowered), FLOAT, _names(emitted)]
    )


def _row(operation: Operation) -> str:
    cells = [
        f"`{operation.float_layer.__name__}`",
        f"`{operation.quantized_layer.__name__}`",
        OUTPUTS[operation.output],
        "yes" if operation.fuses_relu else "",
        "yes" if operation.quantized_layer in EMITTERS else "",
        operation.stays_float,
    ]
    return f"| {' | '.join(cells)} |\n"


def _names(classes: Iterable[type]) -> str:
    """Classes as two sorted lists: layers, and operations of `keras.ops`."""
    layers, operations = [], []
    for cls in classes:
        is_layer = cls.__module__.startswith("keras.src.layers")
        (layers if is_layer else operations).append(f"`{cls.__name__}`")
    lines = [f"- Layers: {', '.join(sorted(set(layers)))}"]
    if operations:
        lines.append(f"- Operations of `keras.ops`: {', '.join(sorted(set(operations)))}")
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
