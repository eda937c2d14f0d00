"""The consumers: how each is given a file and samples, and what it says.

Each function runs in a process of its own (see `ask`), with the file `model.tflite` in `directory`.
It returns the outputs, None if the consumer only compiles, and facts to report. Whatever it raises
means that the file is rejected.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.engines.openvino import exact_settings

Arrays = list[np.ndarray]
Result = tuple[Arrays | None, dict[str, Any]]

ACCELERATOR = "ethos-u55-128"
ARENA_BYTES = 64 << 20
# Directory that has `tosa-opt` and `tosa_reference_model`; `make consumers` puts them here.
ROOT = Path(__file__).parents[2]
TOSA_TOOLS = Path(os.environ.get("TOSA_TOOLS", ROOT / "build" / "tosa-tools" / "bin"))
TOSA_TARGET = "profiles=pro_int,pro_fp extensions=doubleround level=8k specification_version=1.0"
OPENVINO_OPTIONS = {"INFERENCE_NUM_THREADS": 1, **exact_settings()}
_CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """One program.

    Attributes:
        title: its name.
        package: the distribution on PyPI.
        runs: whether it computes outputs.
        dtypes: of the inputs and outputs of the files that it is given.
        consume: `(directory, samples) -> (outputs, facts)`.
        settings: what its outputs depend on beside its version.
    """

    title: str
    package: str
    runs: bool
    dtypes: tuple[str, ...]
    consume: Callable[[Path, Arrays], Result]
    settings: str = ""

    @property
    def version(self) -> str | None:
        """Of the installed distribution; None if there is none."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None


def batches(samples: Arrays, size: int) -> Iterator[Arrays]:
    """The samples, `size` at a time."""
    for start in range(0, len(samples[0]), size):
        yield [array[start : start + size] for array in samples]


def joined(outputs: Iterable[Arrays]) -> Arrays:
    """One array for each output, all batches together."""
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def litert(directory: Path, samples: Arrays) -> Result:
    """LiteRT's own kernels, without the delegate to XNNPACK that it uses by default."""
    from ai_edge_litert.interpreter import OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return run_litert(directory / "model.tflite", samples, resolver), {}


def run_litert(model: Path, samples: Arrays, resolver: Any = None) -> Arrays:
    """Outputs of LiteRT, by default with XNNPACK; as many samples at a time as the file says."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(model),
        num_threads=1,
        experimental_op_resolver_type=resolver or OpResolverType.AUTO,
    )
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(batch: Arrays) -> Arrays:
        for detail, array in zip(inputs, batch, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in outputs]

    return joined(run(batch) for batch in batches(samples, int(inputs[0]["shape"][0])))


def tflite_micro(directory: Path, samples: Arrays) -> Result:
    """TensorFlow Lite for Microcontrollers, with all its operators."""
    from tflite_micro.python.tflite_micro import runtime

    content = (directory / "model.tflite").read_bytes()
    count = len(_model(content).subgraphs[0].outputs)
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=ARENA_BYTES)

    def run(batch: Arrays) -> Arrays:
        for index, array in enumerate(batch):
            interpreter.set_input(array, index)
        interpreter.invoke()
        return [interpreter.get_output(index) for index in range(count)]

    return joined(run(batch) for batch in batches(samples, 1)), {}


def openvino(directory: Path, samples: Arrays) -> Result:
    """OpenVINO's CPU plugin, float arithmetic in float32."""
    from openvino import Core

    compiled = Core().compile_model(directory / "model.tflite", "CPU", OPENVINO_OPTIONS)
    count = len(compiled.outputs)

    def run(batch: Arrays) -> Arrays:
        results = compiled(batch)
        return [np.array(results[index]) for index in range(count)]

    return joined(run(batch) for batch in batches(samples, 1)), {}


def vela(directory: Path, samples: Arrays) -> Result:
    """Arm's compiler for Ethos-U: what it leaves to the CPU is what its output still holds.

    Facts: `operators`, their number in the file; `fallbacks`, one `[operator, reason]` for each
    that stays on the CPU.
    """
    model = directory / "model.tflite"
    program = Path(sys.executable).with_name("vela")
    log = _run(program, model, "--accelerator-config", ACCELERATOR, "--output-dir", directory)
    reasons = dict(
        re.findall(r"operator: \w+, ofm: '(.*)'\n\s*(?:Reason: )?(.*)", log),
    )
    compiled = _model((directory / "model_vela.tflite").read_bytes())
    fallbacks = []
    for code, outputs in _operators(compiled):
        if code != "CUSTOM":
            reason = next((reasons[name] for name in outputs if name in reasons), "not said")
            # Without the name of a tensor.
            fallbacks.append([code, re.sub(r" \([^()]*[A-Za-z][^()]*\)$", "", reason)])
    return None, {"operators": len(operators(model.read_bytes())), "fallbacks": fallbacks}


def tosa(directory: Path, samples: Arrays) -> Result:
    """The converter to TOSA; its module is then validated and run by the tools of TOSA, if found.

    Facts: `operators`, their number in the module; `foreign`, operators that are not TOSA;
    `unknown_shapes`, results whose shape is not known; `validated`, whether `tosa-opt` was asked.
    """
    program = Path(sys.executable).with_name("tosa-converter-for-tflite")
    text, module = directory / "module.mlir", directory / "module.mlirbc"
    _run(program, directory / "model.tflite", "--text", "-o", text)
    _run(program, directory / "model.tflite", "--bytecode", "-o", module)
    lines = [line for line in text.read_text().splitlines() if re.match(r"\s*%\S+ = ", line)]
    names = [re.match(r'\s*%[^=]* = "?([\w.]+)', line)[1] for line in lines]
    facts: dict[str, Any] = {
        "operators": sum(name != "tosa.const" for name in names),
        "foreign": sorted({name for name in names if not name.startswith("tosa.")}),
        "unknown_shapes": sum("?" in line.rsplit("->", 1)[-1] for line in lines),
        "validated": (TOSA_TOOLS / "tosa-opt").exists(),
    }
    if not facts["validated"] or facts["unknown_shapes"]:
        return None, facts
    graph = directory / "module.tosa"
    _run(
        TOSA_TOOLS / "tosa-opt",
        f"--tosa-attach-target={TOSA_TARGET}",
        "--tosa-validate",
        f"--tosa-serialize=tosa-flatbuffer-filename={graph}",
        module,
        *("-o", os.devnull),
    )
    count = len(_model((directory / "model.tflite").read_bytes()).subgraphs[0].outputs)
    for index, array in enumerate(samples):
        np.save(directory / f"in{index}.npy", array)
    _run(
        TOSA_TOOLS / "tosa_reference_model",
        f"--flatbuffer_dir={directory}",
        f"--output_dir={directory}",
        "--tosa_file=module.tosa",
        "--ifm_name=" + ",".join(f"TosaInput_{i}" for i in range(len(samples))),
        "--ifm_file=" + ",".join(f"in{i}.npy" for i in range(len(samples))),
        "--ofm_name=" + ",".join(f"TosaOutput_{i}" for i in range(count)),
        "--ofm_file=" + ",".join(f"out{i}.npy" for i in range(count)),
    )
    return [np.load(directory / f"out{index}.npy") for index in range(count)], facts


def operators(content: bytes) -> list[str]:
    """The codes of a file's operators."""
    return [code for code, _ in _operators(_model(content))]


def _run(*command: str | Path) -> str:
    """What a command prints; RuntimeError, with what it printed, if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr + done.stdout)
    return done.stdout + done.stderr


def _model(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(content)


def _operators(model: Any) -> Iterator[tuple[str, list[str]]]:
    """The code of each operator, and the names of its outputs."""
    subgraph = model.subgraphs[0]
    for operator in subgraph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        names = [subgraph.tensors[index].name.decode() for index in operator.outputs]
        yield _CODES[max(code.builtinCode, code.deprecatedBuiltinCode)], names


CONSUMERS = {
    "litert": Consumer(
        title="LiteRT without XNNPACK",
        package="ai-edge-litert",
        runs=True,
        dtypes=("int8",),
        consume=litert,
    ),
    "tflm": Consumer(
        title="TensorFlow Lite for Microcontrollers",
        package="tflite-micro",
        runs=True,
        dtypes=("int8",),
        consume=tflite_micro,
    ),
    "vela": Consumer(
        title="Vela, Arm's compiler for Ethos-U",
        package="ethos-u-vela",
        runs=False,
        dtypes=("int8",),
        consume=vela,
    ),
    "openvino": Consumer(
        title="OpenVINO",
        package="openvino",
        runs=True,
        dtypes=("float32", "int8"),
        consume=openvino,
        settings=str(OPENVINO_OPTIONS),
    ),
    "tosa": Consumer(
        title="TOSA converter for TFLite",
        package="tosa-converter-for-tflite",
        runs=False,
        dtypes=("float32", "int8"),
        consume=tosa,
    ),
}
