"""The arithmetic peak of this machine, and what a model needs of it."""

from __future__ import annotations

import math
import subprocess
import tempfile
from pathlib import Path

from keras_octet.cores import processor

SOURCE = Path(__file__).with_suffix(".c")


def multiply_adds_per_second() -> float:
    """Of one core, in int8, with AVX512-VNNI.

    Raises:
        OSError: there is no C compiler, or the processor has AMX, which does more.
        subprocess.CalledProcessError: the processor has no AVX512-VNNI.
    """
    if "AMX" in processor():
        raise OSError(f"{processor()} does more with AMX than with AVX512-VNNI")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        subprocess.run(["cc", "-O2", "-mavx512f", "-o", program, SOURCE], check=True)
        return float(subprocess.run([program], check=True, capture_output=True).stdout)


def multiply_adds(path: Path) -> int:
    """Of a `.tflite` file for one sample: of its convolutions and fully connected layers."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    shapes = {x["index"]: x["shape"] for x in interpreter.get_tensor_details()}
    total = 0
    for operator in interpreter._get_ops_details():
        inputs, outputs = operator["inputs"], operator["outputs"]
        # Each weight once for each position: of the output, for a transposed one of the input.
        if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            positions = outputs[0]
        elif operator["op_name"] == "TRANSPOSE_CONV":
            positions = inputs[2]
        else:
            continue
        sizes = (*shapes[inputs[1]], *shapes[positions][:-1])
        total += math.prod(map(int, sizes))
    return total
