"""Who is measured: each a way from NumPy arrays to NumPy arrays through one program.

A contestant is made in a process of its own, because the threads of one engine disturb the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import files

Run = Callable[[np.ndarray], Any]
# Not `keras_octet.cores`: the processes of others import neither it nor Keras.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One program.

    Attributes:
        file: what it loads.
        one_by_one: from the folder of a model to a function for one batch, as soon as possible.
        throughput: from the folder and a batch size to a function for many samples.
        batch_sizes: those worth trying for throughput.
        backend: of Keras, where it is used.
    """

    file: str
    one_by_one: Callable[[Path], Run]
    throughput: Callable[[Path, int], Run]
    batch_sizes: tuple[int, ...] = (1, 4, 8, 32, 64)
    backend: str = "tensorflow"


def _keras(
    file: str,
    engine: str | None = None,
    jit_compile: bool = False,
    num_threads: int | None = None,
) -> dict[str, Any]:
    """A Keras model: `predict_on_batch`, and `predict`."""

    def load(folder: Path) -> Any:
        import keras

        import keras_octet as ko

        model = keras.saving.load_model(folder / file, compile=False)
        if jit_compile:
            model.compile(jit_compile=True)
        if engine is not None:
            model.engine = engine
        if num_threads is not None:
            model.engine_options = ko.EngineOptions(num_threads=num_threads)
        return model

    def throughput(folder: Path, batch_size: int) -> Run:
        model = load(folder)
        return lambda x: model.predict(x, batch_size=batch_size, verbose=0)

    return {
        "file": file,
        "one_by_one": lambda folder: load(folder).predict_on_batch,
        "throughput": throughput,
    }


class _Interpreter:
    """LiteRT's interpreter as its documentation has it: set, invoke, get."""

    def __init__(self, path: Path, shape: tuple[int, ...], num_threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=num_threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.resize_tensor_input(self._input, shape)
        self._interpreter.allocate_tensors()
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, x)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def _litert(file: str, num_threads: int) -> dict[str, Any]:
    """One interpreter for a call; for many samples one in each of as many threads as cores."""

    def one_by_one(folder: Path) -> Run:
        return _Interpreter(folder / file, files.load_samples(folder, 1).shape, num_threads)

    def throughput(folder: Path, batch_size: int) -> Run:
        shape = files.load_samples(folder, batch_size).shape
        interpreters = [_Interpreter(folder / file, shape, 1) for _ in range(CORES)]
        pool = ThreadPoolExecutor(CORES)

        def run(x: np.ndarray) -> np.ndarray:
            batches = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]

            def work(worker: int) -> list[np.ndarray]:
                return [interpreters[worker](batch) for batch in batches[worker::CORES]]

            parts: list[Any] = [None] * len(batches)
            for worker, results in enumerate(pool.map(work, range(CORES))):
                parts[worker::CORES] = results
            return np.concatenate(parts)

        return run

    return {"file": file, "one_by_one": one_by_one, "throughput": throughput}


def _openvino(file: str, num_threads: int | None = None) -> dict[str, Any]:
    """The LATENCY hint for a call, the THROUGHPUT hint and a queue of requests for many samples.

    In float32 where a layer is float, as ours: the default on some processors is bfloat16.
    """

    def compile_model(folder: Path, batch_size: int, hint: str) -> Any:
        import openvino as ov

        core = ov.Core()
        model = core.read_model(folder / file)
        model.reshape(files.load_samples(folder, batch_size).shape)
        settings = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32"}
        if num_threads is not None:
            settings["INFERENCE_NUM_THREADS"] = num_threads
        return core.compile_model(model, "CPU", settings)

    def one_by_one(folder: Path) -> Run:
        compiled = compile_model(folder, 1, "LATENCY")
        request = compiled.create_infer_request()

        def run(x: np.ndarray) -> np.ndarray:
            request.infer([x], share_inputs=True)
            return request.get_output_tensor(0).data.copy()

        return run

    def throughput(folder: Path, batch_size: int) -> Run:
        import openvino as ov

        queue = ov.AsyncInferQueue(compile_model(folder, batch_size, "THROUGHPUT"))

        def run(x: np.ndarray) -> np.ndarray:
            parts: dict[int, np.ndarray] = {}

            def keep(request: Any, start: int) -> None:
                parts[start] = request.get_output_tensor(0).data.copy()

            queue.set_callback(keep)
            for start in range(0, len(x), batch_size):
                queue.start_async([x[start : start + batch_size]], start, share_inputs=True)
            queue.wait_all()
            return np.concatenate([parts[start] for start in sorted(parts)])

        return run

    return {"file": file, "one_by_one": one_by_one, "throughput": throughput}


def _onnx_runtime(file: str) -> dict[str, Any]:
    """All optimizations; threads of the session on all cores, as is its default."""

    def session(folder: Path) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = CORES
        return onnxruntime.InferenceSession(str(folder / file), options)

    def one_by_one(folder: Path) -> Run:
        run = session(folder).run
        return lambda x: run(None, {"input": x})[0]

    def throughput(folder: Path, batch_size: int) -> Run:
        run_batch = one_by_one(folder)

        def run(x: np.ndarray) -> np.ndarray:
            starts: Iterable[int] = range(0, len(x), batch_size)
            return np.concatenate([run_batch(x[i : i + batch_size]) for i in starts])

        return run

    return {"file": file, "one_by_one": one_by_one, "throughput": throughput}


# Backends, and whether to have the model compiled; JAX always does.
KERAS_WAYS = {
    "tensorflow": ("tensorflow", False),
    "tensorflow with XLA": ("tensorflow", True),
    "jax": ("jax", False),
    "torch": ("torch", False),
    "torch compiled": ("torch", True),
}

CONTESTANTS: dict[str, Contestant] = {
    **{
        f"{name}, {way}": Contestant(
            **_keras(file, engine, jit_compile), backend=backend, batch_sizes=(32, 64)
        )
        for name, file, engine in (
            ("float Keras", files.FLOAT, None),
            ("octet on Keras layers", files.OCTET, "keras"),
        )
        for way, (backend, jit_compile) in KERAS_WAYS.items()
    },
    "octet, 1 thread": Contestant(**_keras(files.OCTET, num_threads=1)),
    # `predict` of ours chooses the size of its pieces itself.
    "octet": Contestant(**_keras(files.OCTET), batch_sizes=(32,)),
    "octet, auto": Contestant(**_keras(files.OCTET, "auto"), batch_sizes=(32,)),
    # What `"auto"` would be with any tolerance.
    "octet on OpenVINO": Contestant(**_keras(files.OCTET, "openvino"), batch_sizes=(32,)),
    "LiteRT": Contestant(**_litert(files.OCTET_TFLITE, CORES)),
    "LiteRT, 1 thread": Contestant(**_litert(files.OCTET_TFLITE, 1)),
    "LiteRT, converter's file": Contestant(**_litert(files.CONVERTER, CORES)),
    "OpenVINO": Contestant(**_openvino(files.NNCF)),
    "OpenVINO, 1 thread": Contestant(**_openvino(files.NNCF, num_threads=1)),
    "ONNX Runtime": Contestant(**_onnx_runtime(files.ONNX_RUNTIME)),
}
