"""The fastest engine for this model, this machine and this number of samples, by measurement."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from keras_octet.cores import num_cores, processor
from keras_octet.engines.base import Engine, EngineOptions, Program, Source
from keras_octet.engines.litert import LITERT, MIN_SAMPLES
from keras_octet.engines.openvino import OPENVINO
from keras_octet.engines.pieces import can_cut
from keras_octet.errors import EngineError
from keras_octet.layers import Dequantize
from keras_octet.timing import time_calls
from keras_octet.version import __version__

# The first is the reference for the others' outputs, and wins when it is about as fast.
CANDIDATES = (LITERT, OPENVINO)
ADVANTAGE = 1.05
# Each candidate is timed for so long, in so many turns and with so many calls at most.
SECONDS = 0.25
ROUNDS = 3
MAX_CALLS = 1000
# `predict` is timed with samples of about this many multiply-adds in all: a multiple of 8 for each
# thread, and at most 256.
WORK = 10_000_000_000
MAX_SAMPLES = 256

Run = Callable[[Program], list[np.ndarray]]


class AutoProgram:
    """Chooses between engines at the first call with each number of samples (to the next power of
    two), and at the first `predict` of few samples and of many; afterwards calls go where they went
    then.
    """

    def __init__(self, source: Source, options: EngineOptions) -> None:
        self._source = source
        self._options = options
        self._lock = threading.Lock()
        self._programs = {LITERT.name: LITERT.compile(source, options)}
        from importlib.metadata import version  # takes a while to import

        names = [engine.package for engine in CANDIDATES if engine.installed and engine.package]
        packages = " ".join(f"{name} {version(name.replace('_', '-'))}" for name in names)
        self._num_threads = options.num_threads or num_cores()
        self._where = (
            f"{processor()}, {self._num_threads} threads, keras-octet {__version__} {packages}, "
            f"{options.tolerance:g} steps"
        )

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        count = len(inputs[0])
        return self._choose(f"batch {_round_up(count)}", lambda program: program(inputs))(inputs)

    def predict(self, inputs: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        count = len(inputs[0])
        if can_cut(self._source):
            # Engines have 8 in a piece of a large model: each thread as many pieces.
            unit = MIN_SAMPLES * self._num_threads
            times = math.ceil(WORK / (self._source.multiply_adds * unit))
            some = min(times * unit, MAX_SAMPLES)
            use = "predict" if count >= MIN_SAMPLES else f"predict {_round_up(count)}"
        else:
            some = min(count, batch_size)
            use = f"predict batch {_round_up(some)}"
        sample = [x[:some] for x in inputs]
        chosen = self._choose(use, lambda program: program.predict(sample, batch_size))
        return chosen.predict(inputs, batch_size)

    def _choose(self, use: str, run: Run) -> Program:
        key = f"{use} on {self._where}"
        program = self._programs.get(self._source.choices.get(key, ""))
        if program is None:
            with self._lock:
                name = self._source.choices.get(key)
                if name is None or self._program(name) is None:
                    name = self._source.choices[key] = self._measure(run)
                program = self._programs[name]
        return program

    def _program(self, name: str) -> Program | None:
        """The program of a candidate; None if it cannot run this model."""
        if name not in self._programs:
            engine = next((engine for engine in CANDIDATES if engine.name == name), None)
            if engine is None or not engine.installed:
                return None
            try:
                self._programs[name] = engine.compile(self._source, self._options)
            except EngineError:
                return None
        return self._programs[name]

    def _measure(self, run: Run) -> str:
        """Name of the fastest candidate whose outputs are within the tolerance."""
        reference = run(self._programs[LITERT.name])
        accepted = {LITERT.name: self._programs[LITERT.name]}
        for engine in CANDIDATES[1:]:
            program = self._program(engine.name)
            if program is None:
                continue
            try:
                outputs = run(program)
            except EngineError:
                continue
            if deviation(self._source, reference, outputs) <= self._options.tolerance:
                accepted[engine.name] = program
        if len(accepted) == 1:
            return LITERT.name
        calls = {name: partial(run, program) for name, program in accepted.items()}
        found = time_calls(
            calls, seconds=SECONDS, min_calls=ROUNDS, max_calls=MAX_CALLS, rounds=ROUNDS
        )
        times = {name: float(np.median(values)) for name, values in found.items()}
        times[LITERT.name] /= ADVANTAGE
        return min(times, key=times.__getitem__)


def deviation(
    source: Source, reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> float:
    """Largest difference between outputs, in steps of their int8 form.

    Of an output that is computed in float, a step is 1/255 of the reference's range.
    """
    largest = 0.0
    for tensor, expected, received in zip(source.outputs, reference, outputs, strict=True):
        layer = tensor._keras_history.operation
        if isinstance(layer, Dequantize):
            step = layer.input_qparams[0].scale
        elif expected.dtype.kind == "i":
            step = 1.0
        else:
            step = float(np.ptp(expected)) / 255 or 1.0
        difference = np.abs(received.astype(np.float64) - expected.astype(np.float64))
        if not np.isfinite(difference).all():
            return np.inf
        largest = max(largest, float(difference.max()) / step)
    # Half a step and its rounding error in float32 are no different.
    return round(largest, 3)


def _round_up(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


AUTO = Engine(name="auto", package="ai_edge_litert", exact=False, compile=AutoProgram)
