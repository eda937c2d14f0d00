"""OpenVINO on the model's `.tflite` form: faster than LiteRT for some models, and not its bits.

It sums exactly and requantizes in float32 in its own way, so that a value now and then is one step
off, and it neither rounds nor clips what only HARD_SWISH reads; `auto` chooses it only within a
tolerance. On x86 processors without VNNI its int8 kernels add products in 16 bits, which saturate,
and outputs would be far off: there it computes in float32, every rounding included.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_octet.cores import multiplies_bytes_exactly, num_cores
from keras_octet.engines.base import Engine, EngineOptions, Source, in_batches
from keras_octet.engines.openvino_graph import in_int8_form
from keras_octet.engines.pieces import can_cut, is_serial, predict_in_pieces
from keras_octet.errors import EngineError

# Older ones read some `.tflite` files wrongly: outputs are off by a hundred steps and more.
OLDEST = (2026, 1)
# Compiled models that are kept: one for each input shape and use.
MAX_COMPILED = 8
# Its kernels want more at a time than LiteRT's: with AMX, a small convolutional network is twice as
# fast on 64 samples as on 4. Large ones want fewer.
WORK_PER_PIECE = 2_600_000_000
MIN_SAMPLES, MAX_SAMPLES = 8, 1024


class OpenVINOProgram:
    """A `.tflite` model, compiled for each input shape, once with all threads for one request and
    once with a stream of requests for each thread.
    """

    def __init__(self, source: Source, options: EngineOptions) -> None:
        self._source = source
        self._num_threads = options.num_threads or num_cores()
        self._compiled: OrderedDict[Any, _Compiled] = OrderedDict()
        self._lock = threading.Lock()
        self._core, self._model = _read(source.to_tflite())
        self._dtypes = [np.dtype(str(x.dtype)) for x in source.inputs]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        threads = 1 if is_serial(self._source, len(inputs[0])) else self._num_threads
        return self._run(inputs, None, threads, streams=1)

    def predict(self, inputs: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        whole = not can_cut(self._source) or is_serial(self._source, len(inputs[0]))
        # Streams at once of the float32 kernels now and then give other values.
        if whole or not multiplies_bytes_exactly():
            return in_batches(self, inputs, batch_size)
        threads = self._num_threads

        def run(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
            self._run(inputs, outputs, threads, streams=threads)

        # A power of two, the same for most larger numbers of samples: each size is compiled.
        most = min(max(WORK_PER_PIECE // self._source.multiply_adds, MIN_SAMPLES), MAX_SAMPLES)
        share = math.ceil(len(inputs[0]) / threads)
        size = min(1 << (most.bit_length() - 1), share)
        # Of few pieces some threads have one more than others, and the last is whole.
        while size > MIN_SAMPLES and size * math.ceil(share / size) > 1.25 * share:
            size //= 2
        return predict_in_pieces(run, self._source, inputs, size, threads, equal=True)

    def _run(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray] | None,
        threads: int,
        streams: int,
    ) -> list[np.ndarray]:
        arrays = [np.ascontiguousarray(x, d) for x, d in zip(inputs, self._dtypes, strict=True)]
        shapes = tuple([x.shape for x in arrays])
        try:
            return self._prepared(shapes, threads, streams).run(arrays, outputs)
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot run this model on inputs of shapes {list(shapes)}: {error}"
            ) from error

    def _prepared(self, shapes: tuple[Any, ...], threads: int, streams: int) -> _Compiled:
        key = shapes, threads, streams
        with self._lock:
            if key not in self._compiled:
                model = self._model.clone()
                model.reshape(dict(enumerate(shapes)))
                settings = {
                    **exact_settings(),
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": streams,
                }
                self._compiled[key] = _Compiled(self._core.compile_model(model, "CPU", settings))
            self._compiled.move_to_end(key)
            if len(self._compiled) > MAX_COMPILED:
                self._compiled.popitem(last=False)
            return self._compiled[key]


class _Compiled:
    """A compiled model and its idle requests; each request is one caller's at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def run(
        self, inputs: list[np.ndarray], outputs: Sequence[np.ndarray] | None
    ) -> list[np.ndarray]:
        try:
            request = self._idle.pop()  # atomic, as append is
        except IndexError:
            request = self._compiled.create_infer_request()
        request.infer(inputs, share_inputs=True)
        results = [tensor.data for tensor in request.output_tensors]
        if outputs is None:
            copies = [result.copy() for result in results]
        else:
            copies = list(outputs)
            for target, result in zip(copies, results, strict=True):
                target[...] = result
        self._idle.append(request)
        return copies


def exact_settings() -> dict[str, str]:
    """Settings of OpenVINO's CPU plugin without which an int8 model is ruined on some processors.

    Float arithmetic is in float32, where the default may be bfloat16, and no int8 kernel saturates.
    """
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return settings if multiplies_bytes_exactly() else {**settings, "LP_TRANSFORMS_MODE": "NO"}


def _import_openvino() -> Any:
    """The package, without its usage reports.

    Importing it sends one from a forked process, which can hang a process that has threads.
    """
    reports = "openvino_telemetry"
    if "openvino" in sys.modules or reports in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[reports] = None  # type: ignore[assignment]  # its import fails, which is provided for
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[reports]


def _read(content: bytes) -> tuple[Any, Any]:
    """An OpenVINO core and the model; OpenVINO reads this format from files only."""
    openvino = _import_openvino()
    found = re.match(r"(\d+)\.(\d+)", openvino.__version__)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        raise EngineError(
            f"Expected OpenVINO {'.'.join(map(str, OLDEST))} or later: older ones read some "
            f".tflite models wrongly. Received: {openvino.__version__!r}. Install a later one, "
            "or choose another engine."
        )
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.tflite"
        path.write_bytes(content)
        try:
            model = core.read_model(path)
            if multiplies_bytes_exactly():  # otherwise it computes in float32
                in_int8_form(openvino, model)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot read this model: {error}") from error
        return core, model


OPENVINO = Engine(name="openvino", package="openvino", exact=False, compile=OpenVINOProgram)
