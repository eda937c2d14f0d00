"""What is measured, one function for each table; each gives rows of one model, if it can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks import files, peak
from benchmarks.contestants import CONTESTANTS, KERAS_WAYS
from benchmarks.rounds import measure

BACKENDS = ("tensorflow", "jax", "torch")
NUM_SAMPLES = 512
# For the choice of batch sizes; then the best two of each contestant are measured in turns, and the
# better one of them counts.
SCOUT_SAMPLES, SCOUT_ROUNDS, FINALISTS = 128, 3, 2
KERAS_ROUNDS = 5
NUM_PROCESSES = 3

Row = dict[str, Any]


def single_calls(model: str) -> list[Row]:
    """Milliseconds of a call on one sample, and how many times faster than float Keras."""
    names = ["octet", "octet, auto", "LiteRT", "LiteRT, 1 thread", "LiteRT, converter's file"]
    names += ["OpenVINO", "ONNX Runtime", "float Keras, tensorflow"]
    measured = measure(model, [(name, None) for name in names])
    found = {name: times for (name, _), times in measured.items()}
    # The same file on as many threads as are best for it.
    raw = min((found[x] for x in ("LiteRT", "LiteRT, 1 thread")), key=lambda times: times.median)
    keras = found["float Keras, tensorflow"]
    return [
        {
            "contestant": name,
            "ms": 1e3 * times.median,
            "over LiteRT": times.over(raw),
            "us more than LiteRT": 1e6 * times.minus(raw),
            "faster than float Keras": keras.over(times),
        }
        for name, times in found.items()
    ]


def throughput(model: str) -> list[Row]:
    """Samples a second over 512 samples, each contestant at its best batch size."""
    names = ["octet", "octet, auto", "octet on OpenVINO", "LiteRT", "OpenVINO", "ONNX Runtime"]
    best: list[tuple[str, int | None]] = []
    for name in names:
        candidates: list[tuple[str, int | None]] = [
            (name, size) for size in CONTESTANTS[name].batch_sizes
        ]
        if len(candidates) > FINALISTS:
            tried = measure(model, candidates, SCOUT_SAMPLES, SCOUT_ROUNDS)
            candidates = sorted(tried, key=lambda key: tried[key].median)
        best += candidates[:FINALISTS]
    found = measure(model, best, NUM_SAMPLES)
    fastest: dict[str, tuple[str, int | None]] = {}
    for key in sorted(found, key=lambda key: found[key].median):
        fastest.setdefault(key[0], key)
    found = {fastest[name]: found[fastest[name]] for name in names if name in fastest}
    peers = [times for key, times in found.items() if not key[0].startswith("octet")]
    peer = min(peers, key=lambda times: times.median)
    return [
        {
            "contestant": name,
            "batch size": size,
            "samples/s": NUM_SAMPLES / times.median,
            "over the best peer": peer.over(times),
        }
        for (name, size), times in found.items()
    ]


def keras_path(model: str) -> list[Row]:
    """Milliseconds of a call on the model's own layers, and over the float model's."""
    rows = []
    for way in KERAS_WAYS:
        names = (f"float Keras, {way}", f"octet on Keras layers, {way}")
        found = measure(model, [(name, None) for name in names], num_rounds=KERAS_ROUNDS)
        reference, ours = (found.get((name, None)) for name in names)
        if reference is None or ours is None:
            continue
        rows.append(
            {
                "backend": way,
                "float ms": 1e3 * reference.median,
                "int8 ms": 1e3 * ours.median,
                "int8 over float": ours.over(reference),
            }
        )
    return rows


def quantizing(model: str) -> list[Row]:
    """Seconds and peak MiB to quantize with 128 samples, each in a process of its own.

    The time is that of the call, the memory that of the whole process above what it had before.
    """
    jobs = [("converter", "tensorflow"), *(("octet", backend) for backend in BACKENDS)]
    results = _in_turns("quantize", model, jobs)
    reference = median(x["seconds"] for x in results["converter", "tensorflow"])
    return [
        {
            "tool": tool,
            "backend": backend,
            "seconds": (seconds := median(x["seconds"] for x in found)),
            "peak MiB": median(x["mib"] for x in found),
            "over the converter": seconds / reference,
        }
        for (tool, backend), found in results.items()
    ]


def cold_start(model: str) -> list[Row]:
    """Seconds to import, and to load a file and make the first prediction, in a new process."""
    jobs = [
        (what, b) for b in BACKENDS for what in ("import keras", "import octet", "float", "octet")
    ]
    return [
        {"what": what, "backend": backend, "seconds": median(x["seconds"] for x in found)}
        for (what, backend), found in _in_turns("cold_start", model, jobs).items()
    ]


def operators(model: str) -> list[Row]:
    """Operators of our file and of the converter's, and how many of them XNNPACK takes."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    rows = []
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    for file in (files.OCTET_TFLITE, files.CONVERTER):
        path = files.FOLDER / model / file
        if not path.exists():
            continue
        reading = Interpreter(str(path), experimental_op_resolver_type=plain)
        codes = Counter(x["op_name"] for x in reading._get_ops_details())
        running = Interpreter(str(path))
        running.allocate_tensors()
        # Beside the operators, the delegate's partitions are listed, after them.
        details = running._get_ops_details()
        partitions = sum(x["op_name"] == "DELEGATE" for x in details)
        rows.append(
            {
                "file": file,
                "operators": sum(codes.values()),
                "partitions": partitions,
                "bytes": path.stat().st_size,
                "codes": dict(codes.most_common()),
            }
        )
    return rows


def limits(model: str) -> list[Row]:
    """Milliseconds of a call on one core, and at that core's peak, for the work of our file."""
    try:
        highest = peak.multiply_adds_per_second()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"limits needs a C compiler, and a processor with AVX512-VNNI, not AMX: {error}")
        return []
    needed = peak.multiply_adds(files.FOLDER / model / files.OCTET_TFLITE)
    names = ["octet, 1 thread", "OpenVINO, 1 thread"]
    found = measure(model, [(name, None) for name in names])
    return [
        {
            "contestant": name,
            "million multiply-adds": needed / 1e6,
            "at the peak, ms": 1e3 * needed / highest,
            "ms": 1e3 * times.median,
            "of the peak": needed / times.median / highest,
        }
        for (name, _), times in found.items()
    ]


def _in_turns(
    task: str, model: str, jobs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], list[Row]]:
    """What `benchmarks.process` measures, the jobs one after the other and then again."""
    results: dict[tuple[str, str], list[Row]] = {job: [] for job in jobs}
    for _ in range(NUM_PROCESSES):
        for what, backend in jobs:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.process", task, model, what],
                env={
                    **os.environ,
                    "KERAS_BACKEND": backend,
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                    "PYTHONDONTWRITEBYTECODE": "",  # modules are compiled once, as pip does
                },
                capture_output=True,
                text=True,
                check=True,
            )
            results[what, backend].append(json.loads(done.stdout.splitlines()[-1]))
    return results


PARTS: dict[str, Callable[[str], list[Row]]] = {
    "single_calls": single_calls,
    "throughput": throughput,
    "keras_path": keras_path,
    "quantizing": quantizing,
    "cold_start": cold_start,
    "operators": operators,
    "limits": limits,
}
# Those that are about tools and not about models are measured on one.
ONE_MODEL = {"quantizing": "mobilenet_v2", "cold_start": "mobilenet_v2"}
