"""Write `tflite_operators.md` from the table of read functions, their bounds and the golden files.

Run by `make docs`, checked by the tests.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from keras_octet.tflite.read.bounds import BOUNDS, EXACT
from keras_octet.tflite.read.call import KINDS, kind_of
from keras_octet.tflite.read.parse import parse
from keras_octet.tflite.read.shapes import FOLDERS
from keras_octet.tflite.read.table import READERS

PAGE = Path(__file__).with_name("tflite_operators.md")
GOLDEN = Path(__file__).parents[1] / "tests" / "golden"

INTRODUCTION = """\
<!-- Written by docs/generate_tflite_operators.py. Do not edit: `make docs`. -->
# Operators of `.tflite` files

What `load_model` reads, and how near the Keras layers come to LiteRT's default interpreter. The
kinds: **float** tensors; **hybrid**, float tensors with integer weights; **int8** and **int16**
tensors with scales; **blockwise**, float tensors with int4 weights and a scale for each block of
them; **complex64**, what `RFFT2D` makes; **integer**, every other type.

*exact*: the same bits, on every backend. Otherwise the largest difference, in units in the last
place (ulp) of each value, of the largest value of the output, or of the terms: of the sum of their
magnitudes, for each step in time from the same state. Real and imaginary parts are values. A star
marks what a golden file of another converter tests. An empty cell is refused, with an error that
names the operator.

| operator | float | hybrid | int8 | int16 | integer | blockwise | complex64 |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
NOTES = """\

Exceptions:

- XLA (JAX, and TensorFlow where it compiles) makes one operation of a float product and the sum
  after it, which rounds once. Such a pair is within half a unit in the last place of the product
  and one of the sum.
- `GELU` is worked out with the C library's `erfcf` and `tanhf`, as in LiteRT: on another machine it
  may have other bits, and so may LiteRT.
- Hybrid `TRANSPOSE_CONV` whose output shape is computed in the file, as TensorFlow's converter
  writes it for an open batch, runs on a built-in kernel with float sums; up to 4 ulp of the largest
  value were measured.
- Bounds of float sums, and of blockwise `FULLY_CONNECTED`, are for up to a hundred terms or two
  blocks; they grow with the number of terms. That of blockwise sums is with `HybridBlockDense`.
- A variant that LiteRT itself does not run, and options that no converter writes, may be refused
  although the operator is in the table.
"""
FOLDING = """\

## Computed when the file is read

Operators on constants and shapes are computed once and are gone from the model. Beside those of the
table that can be: """


def page() -> str:
    """The text of the page."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for code, kind in READERS:
        kinds[code].add(kind)
    tested = _tested()
    rows = []
    for code in sorted(set(kinds) & set(vars(schema.BuiltinOperator))):
        cells = [_cell(code, kind, kinds[code], tested) for kind in KINDS]
        rows.append(f"| `{code}` | {' | '.join(cells)} |\n")
    folded = ", ".join(f"`{code}`" for code in sorted(set(FOLDERS) - set(kinds)))
    return INTRODUCTION + "".join(rows) + NOTES + FOLDING + folded + ".\n"


def _cell(code: str, kind: str, kinds: set[str], tested: set[tuple[str, str]]) -> str:
    if kind not in kinds:
        return ""
    star = " \\*" if (code, kind) in tested else ""
    return f"{BOUNDS.get((code, kind), EXACT)}{star}"


def _tested() -> set[tuple[str, str]]:
    """Code and kind of every operator in the golden files."""
    found = set()
    for path in sorted(GOLDEN.rglob("*.tflite")):
        for graph in parse(path.read_bytes()).subgraphs:
            found |= {(x.code, kind_of(x, graph.tensors)) for x in graph.operators}
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
