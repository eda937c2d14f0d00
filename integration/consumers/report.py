"""Write docs/consumers.md: what each consumer makes of our files, and of TensorFlow's.

Run as `KERAS_BACKEND=tensorflow python -m integration.consumers.report`, with what `make consumers`
installs. It takes half an hour, and goes on where it was interrupted: answers are kept in
build/consumers.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from integration.consumers.ask import Answer, ask_once
from integration.consumers.consumers import (
    ACCELERATOR,
    CONSUMERS,
    OPENVINO_OPTIONS,
    ROOT,
    TOSA_TOOLS,
    operators,
)
from integration.consumers.files import File, named, octet, tensorflow
from integration.consumers.models import (
    APPLICATION_SIZE,
    APPLICATIONS,
    CASES,
    SAMPLES,
    SMALL,
    example,
    operation,
    within,
)
from keras_octet.cores import processor

PAGE = ROOT / "docs" / "consumers.md"
COMMAND = "KERAS_BACKEND=tensorflow python -m integration.consumers.report"
RUNNING = ("litert", "tflm", "openvino", "tosa")
OURS, THEIRS = "Keras Octet", "TensorFlow"
Rows = list[Sequence[object]]

INTRODUCTION = """\
<!-- Written by integration/consumers/report.py. Do not edit: run it again. -->
# Who else reads the files

Programs that are not ours are given `.tflite` files that `export` writes and, for comparison, the
full-integer files that TensorFlow's converter makes of the same float models and calibration data.
What both files are refused for is a limit of the program, not of the file.

LiteRT with XNNPACK, its default, computes the bits that Keras Octet promises; others round
otherwise. *Steps* say how far the outputs of a program are from LiteRT's for the same file: the
largest difference in units of the output's scale, and the share of output elements that differ,
over {samples} samples. The column of LiteRT's own kernels, without XNNPACK, shows what rounding
alone is worth. *Error* is the root mean square distance from the outputs of the float model, in the
same unit.

The networks of `keras.applications` read {size}x{size} images and have random weights, with the
statistics of real photographs in their BatchNormalization. Such networks magnify each rounding much
more than trained ones; what counts is that no program is further from the float model than LiteRT.

TOSA is an intermediate representation. Its module is checked by `tosa-opt --tosa-validate` and run
by TOSA's reference model, for files exported with `batch_size={samples}`. TensorFlow's files leave
the batch size open, so they are converted only.

Made by:

```sh
make consumers
{command}
```

with {versions}. Settings of OpenVINO: {settings}.
"""

NOTES = """\
## What to know

- A standalone int8 RELU6 is right on TensorFlow Lite for Microcontrollers only where input and
  output share a scale, since its kernel does not rescale. Keras Octet writes RELU where the range
  of the output ends at 6 or before, which gives the same values.
- OpenVINO gives wrong values for an int8 REDUCE_MAX, which is GlobalMaxPooling2D, only where it is
  an output of the model. It reads other pixels in RESIZE_NEAREST_NEIGHBOR where the factor is not
  whole.
- On x86 processors without VNNI, OpenVINO's int8 kernels add products in 16 bits, which saturate:
  outputs are then tens of steps off. `LP_TRANSFORMS_MODE="NO"` has it compute in float32 instead;
  the figures above are with it where it is among the settings.
- Float inputs beyond the calibrated range wrap around in the TOSA converter's form of QUANTIZE
  instead of saturating, for any file. Export with `input_dtype="int8"` in the recipe, or clip the
  inputs; the float32 rows above have clipped inputs.
- Compilers that want every shape known: `q.export("m.tflite", batch_size=1)`. TensorFlow Lite for
  Microcontrollers and Vela take the batch size of 1 in any file.
"""


class Reasons:
    """The reasons that the tables refer to by number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def link(self, reason: str) -> str:
        text = re.sub(r"\s+", " ", reason.replace("|", "/").replace("<", "&lt;")).strip()[:200]
        return f"[{self._numbers.setdefault(text, len(self._numbers) + 1)}](#reasons)"

    def section(self) -> str:
        listed = (f"{number}. {text}" for text, number in self._numbers.items())
        return "## Reasons\n\n" + "\n".join(listed) + "\n"

    def running(self, file: File, answer: Answer) -> str:
        """Distance in steps, or what else became of a file."""
        if not answer.accepted:
            return f"refused {self.link(answer.reason)}"
        if answer.outputs is None:
            return "converted"
        steps, share = file.distance(answer.outputs)
        return f"{steps} ({_percent(share)})" if steps else "0"

    def vela(self, answer: Answer) -> str:
        """Operators that Vela maps to the NPU, and why not the others."""
        if not answer.accepted:
            return f"refused {self.link(answer.reason)}"
        total, left = answer.facts["operators"], answer.facts["fallbacks"]
        links = dict.fromkeys(self.link(": ".join(pair)) for pair in left)
        return " ".join([f"{_percent(1 - len(left) / total)} of {total}", *links])

    def tosa(self, answer: Answer) -> str:
        """Operators of the module, and what is wrong with it."""
        if not answer.accepted:
            return f"refused {self.link(answer.reason)}"
        facts = answer.facts
        words = [f"{facts['operators']}", *(f"{name} is not TOSA" for name in facts["foreign"])]
        if facts["unknown_shapes"]:
            words.append(f"shapes unknown: {facts['unknown_shapes']}")
        return ", ".join(words)


def main() -> None:
    missing = [row.package for row in CONSUMERS.values() if row.version is None]
    if not (TOSA_TOOLS / "tosa-opt").exists():
        missing.append("tosa-tools")
    if missing or keras.backend.backend() != "tensorflow":
        sys.exit(f"Needs KERAS_BACKEND=tensorflow and `make consumers`. Missing: {missing}")
    reasons = Reasons()
    head = INTRODUCTION.format(
        samples=SAMPLES,
        size=APPLICATION_SIZE,
        command=COMMAND,
        versions=_versions(),
        settings=", ".join(f"`{name}={value}`" for name, value in OPENVINO_OPTIONS.items()),
    )
    text = "\n".join([head, *_models(reasons), _operations(reasons), NOTES, reasons.section()])
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")


def _models(reasons: Reasons) -> Iterable[str]:
    """The sections about whole models."""
    steps: Rows = []
    errors: Rows = []
    floats: Rows = []
    compilers: Rows = []
    for name in (*SMALL, *APPLICATIONS):
        print(name, flush=True)
        model, _, samples = case = example(name)
        files = _files(case, "int8")
        answers = {maker: _answers(pair) for maker, pair in files.items()}
        for maker, pair in files.items():
            given = [
                reasons.running(pair[consumer == "tosa"], answers[maker][consumer])
                for consumer in RUNNING
            ]
            steps.append((f"`{name}`", maker, *given))
            compilers.append(
                (
                    f"`{name}`",
                    maker,
                    reasons.vela(answers[maker]["vela"]),
                    reasons.tosa(answers[maker]["tosa"]),
                )
            )
        expected = keras.tree.flatten(model.predict(samples, verbose=0))
        ours = files[OURS][0]
        outputs = [ours.outputs, *(answers[OURS][consumer].outputs for consumer in RUNNING)]
        errors.append((f"`{name}`", *(f"{ours.error(x, expected):.2f}" for x in outputs)))
        for maker, pair in _files(case, "float32").items():
            given = [
                reasons.running(file, ask_once(consumer, file.content, file.samples))
                for consumer, file in zip(("openvino", "tosa"), pair, strict=True)
            ]
            floats.append((f"`{name}`", maker, *given))
    titles = [CONSUMERS[consumer].title for consumer in RUNNING]
    yield "## Steps, int8 inputs and outputs\n"
    yield _table(["model", "file of", *titles], steps)
    yield "## Error of our files, int8 inputs and outputs\n"
    yield _table(["model", "LiteRT", *titles], errors)
    yield "## Steps, float32 inputs and outputs\n"
    yield _table(["model", "file of", *titles[2:]], floats)
    yield "## Compilers\n"
    yield f"Vela compiles for {ACCELERATOR}: the share of the file's operators that run on the NPU,"
    yield "the others on the CPU. Of TOSA, the number of operators in the module.\n"
    yield _table(["model", "file of", "Vela", "TOSA"], compilers)


def _operations(reasons: Reasons) -> str:
    """The section about single operations: our file's result, and TensorFlow's in parentheses."""
    rows: Rows = []
    for name, index in CASES:
        print(name, index, flush=True)
        files = _files(operation(name, index), "int8")
        cells: list[list[str]] = []
        for pair in files.values():
            answers = _answers(pair)
            words = [
                reasons.running(pair[consumer == "tosa"], answers[consumer]) for consumer in RUNNING
            ]
            cells.append([*words[:3], reasons.vela(answers["vela"]), words[3]])
        kinds = ", ".join(dict.fromkeys(operators(files[OURS][0].content)))
        rows.append((f"`{name}`", kinds, *(" / ".join(pair) for pair in zip(*cells, strict=True))))
    titles = [CONSUMERS[consumer].title for consumer in RUNNING[:3]]
    return (
        "## Operation by operation\n\n"
        "Small models with int8 inputs and outputs, our file first, then TensorFlow's: steps, and\n"
        "for Vela the share of operators on the NPU.\n\n"
    ) + _table(["operation", "operators of our file", *titles, "Vela", "TOSA"], rows)


def _files(case: tuple[keras.Model, Any, Any], dtype: str) -> dict[str, tuple[File, File]]:
    """By maker: the file as exported, and for TOSA the one for all samples at once."""
    model, calibration, samples = case
    kept = within(samples, calibration) if dtype == "float32" else samples
    theirs = File.of(tensorflow(model, calibration, dtype), named(samples))
    return {
        OURS: (
            File.of(octet(model, calibration, dtype), named(samples)),
            File.of(octet(model, calibration, dtype, SAMPLES), named(kept)),
        ),
        THEIRS: (theirs, theirs),
    }


def _answers(files: tuple[File, File]) -> dict[str, Answer]:
    given = {consumer: files[consumer == "tosa"] for consumer in CONSUMERS}
    return {
        consumer: ask_once(consumer, file.content, file.samples) for consumer, file in given.items()
    }


def _table(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.001 else f"{100 * share:.3g}%"


def _versions() -> str:
    """The programs, and what made the files."""
    packages = [row.package for row in CONSUMERS.values()]
    found = [f"{name} {metadata.version(name)}" for name in [*packages, "keras"]]
    found.append(f"tensorflow {tf.__version__}")  # its distribution may be `tensorflow-cpu`
    (tools,) = TOSA_TOOLS.parent.glob("lib/python*/site-packages/tosa_tools-*.dist-info")
    found.append(f"tosa-tools {tools.stem.split('-')[1]}")
    return ", ".join(found) + f" on Python {platform.python_version()}, {processor()}"


if __name__ == "__main__":
    main()
