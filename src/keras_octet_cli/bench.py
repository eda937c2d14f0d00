"""`octet bench`: latency and throughput of models, taking turns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from keras_octet.calibrate.datasets import iter_batches
from keras_octet.capture import capture
from keras_octet.engines import EngineOptions, find_engine
from keras_octet.errors import EngineError, ModelFileError
from keras_octet.exportable import ExportableModel
from keras_octet.model import QuantizedModel
from keras_octet.timing import time_calls
from keras_octet.validate.measure import describe_machine
from keras_octet_cli.backend import native_messages_held_back
from keras_octet_cli.bench_results import Result, config_of, show
from keras_octet_cli.console import Console
from keras_octet_cli.data import Source
from keras_octet_cli.files import load_model

ROUNDS = 10
MAX_CALLS = 10_000
MIN_RUNS = ROUNDS  # of `predict`
# One run of `predict` takes about so long, and its samples at most so many bytes.
RUN_SECONDS = 0.1
RUN_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Subject:
    """A model on an engine.

    Attributes:
        name: of its file.
        engine: that runs it.
        model: to call.
        samples: from a number of samples to what it is called with.
        sample_bytes: of one.
        fixed: the only batch size it takes, if there is one.
    """

    name: str
    engine: str
    model: keras.Model
    samples: Callable[[int], Any]
    sample_bytes: int
    fixed: int | None


def run(
    paths: Sequence[Path],
    *,
    engines: Sequence[str],
    batch_sizes: Sequence[int],
    threads: int | None,
    seconds: float,
    source: Source | None,
    console: Console,
) -> None:
    """Measure every model on every engine with every batch size, and show the times.

    Raises:
        OSError: a file cannot be read.
        OctetError: a model, an engine or the data cannot be used.
    """
    for engine in engines:
        find_engine(engine)
    options = EngineOptions(num_threads=threads)
    names = _names(paths)
    subjects = [
        subject
        for path, name in zip(paths, names, strict=True)
        for subject in subjects_of(path, name, engines, options, source, max(batch_sizes))
    ]
    sizes: dict[int, list[Subject]] = {}
    for subject in subjects:
        for size in [subject.fixed] if subject.fixed else batch_sizes:
            sizes.setdefault(size, []).append(subject)
    results: list[Result] = []
    total = 2 * ROUNDS * len(sizes)
    with console.progress("Measuring", in_background=False) as advance:
        for number, (size, chosen) in enumerate(sizes.items()):
            before = 2 * ROUNDS * number
            advance(before, total)

            def after_round(done: int, before: int = before) -> None:
                advance(before + done, total)

            results += measure(chosen, size, seconds, after_round)
    machine = describe_machine()
    show(console, results, machine, threads)
    console.result(
        {
            "command": "bench",
            "models": [str(path) for path in paths],
            "data": source.text if source else None,
            "threads": threads,
            "machine": machine,
            "results": [config_of(row, results) for row in results],
        }
    )


def subjects_of(
    path: Path,
    name: str,
    engines: Sequence[str],
    options: EngineOptions,
    source: Source | None,
    num_samples: int,
) -> list[Subject]:
    """A model on each engine.

    Args:
        path: of the model.
        name: to call it.
        engines: names; by default that of the model: Keras for a float `.keras` file, LiteRT for a
            float `.tflite` file, and what a quantized model was saved with.
        options: of the engines.
        source: of samples; by default they are random.
        num_samples: that are read from the source at most.

    Raises:
        OSError, OctetError: the model, the data or an engine cannot be used.
    """
    model = load_model(path)
    flat = model if isinstance(model, ExportableModel) else capture(model)
    default = "litert" if isinstance(flat, ExportableModel) else "keras"
    if isinstance(model, QuantizedModel):
        default = model.engine
    arrays = _arrays(flat, name, source, num_samples)

    def samples(count: int) -> Any:
        repeated = [np.resize(array, (count, *array.shape[1:])) for array in arrays]
        return keras.tree.pack_sequence_as(flat._inputs_struct, repeated)

    if any(not tensor.shape for tensor in flat.inputs):
        raise EngineError(f"{name} has an input without a batch axis, and cannot be measured.")
    sizes = {t.shape[0] for t in flat.inputs} - {None}
    if len(sizes) > 1:
        raise EngineError(f"{name} has inputs of different batch sizes: {sorted(sizes)}.")
    fixed = next(iter(sizes), None)
    return [
        Subject(
            name=name,
            engine=engine,
            model=on_engine(model, flat, engine, options, name, samples(fixed or 1)),
            samples=samples,
            sample_bytes=sum(array[0].nbytes for array in arrays),
            fixed=fixed,
        )
        for engine in engines or [default]
    ]


def on_engine(
    model: keras.Model, flat: keras.Model, engine: str, options: EngineOptions, name: str, x: Any
) -> keras.Model:
    """The model as it runs on an engine, called once with `x`.

    Raises:
        EngineError: the engine cannot run it.
    """
    if engine == "keras" and not isinstance(model, QuantizedModel):
        model.predict_on_batch(x)
        return model
    compiled = QuantizedModel(
        flat._inputs_struct, flat._outputs_struct, name=flat.name, engine=engine
    )
    compiled.engine_options = options
    if compiled.stateful and engine != "keras" and not find_engine(engine).stateful:
        raise EngineError(
            f"{name} does not run on the engine {engine!r}: it keeps state. Measure it with: "
            "--engine litert"
        )
    with warnings.catch_warnings(record=True) as caught, native_messages_held_back():
        warnings.simplefilter("always")
        compiled.predict_on_batch(x)
    if compiled.engine != engine:  # it has gone back to Keras, and a warning says why
        raise EngineError(
            f"{name} does not run on the engine {engine!r}: {caught[-1].message} Measure it with: "
            "--engine keras"
        )
    return compiled


def _arrays(
    flat: keras.Model, name: str, source: Source | None, num_samples: int
) -> list[np.ndarray]:
    """Samples for each input: of the source as many as it has and are wanted, or random ones."""
    if source is not None:
        # Integer inputs of a quantized model are given what their float values become.
        qparams = flat.input_qparams if isinstance(flat, QuantizedModel) else {}
        tensors = [
            keras.KerasTensor(t.shape, "float32" if t.name in qparams else t.dtype, name=t.name)
            for t in flat.inputs
        ]
        batches: list[list[np.ndarray]] = []
        for batch in iter_batches(source.load(tensors), SimpleNamespace(inputs=tensors)):
            batches.append(batch)
            if sum(len(each[0]) for each in batches) >= num_samples:
                break
        arrays = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return [
            qparams[t.name].quantize(x) if str(t.dtype) == "int8" and t.name in qparams else x
            for t, x in zip(flat.inputs, arrays, strict=True)
        ]
    rng = np.random.default_rng(0)
    return [_random(tensor, name, rng) for tensor in flat.inputs]


def _random(tensor: keras.KerasTensor, name: str, rng: np.random.Generator) -> np.ndarray:
    """64 samples: floats from 0 to 1, bytes of all values, other integers 0 or 1."""
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ModelFileError(
            f"{name} takes samples of any size, {shape}. Give some with --data, such as an array "
            "in a .npy file."
        )
    dtype = str(tensor.dtype)
    if keras.backend.is_float_dtype(dtype):
        return rng.random((64, *shape), np.float32)
    if dtype in ("int8", "uint8"):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, (64, *shape), dtype, endpoint=True)
    return rng.integers(0, 2, (64, *shape)).astype(dtype)


def measure(
    subjects: Sequence[Subject], batch_size: int, seconds: float, after_round: Callable[[int], Any]
) -> list[Result]:
    """Time calls with `batch_size` samples, then `predict` over many in such batches."""

    def call(subject: Subject) -> Callable[[], object]:
        batch = subject.samples(batch_size)
        return lambda: subject.model.predict_on_batch(batch)

    latencies = time_calls(
        {str(i): call(subject) for i, subject in enumerate(subjects)},
        seconds=seconds,
        max_calls=MAX_CALLS,
        rounds=ROUNDS,
        after_round=after_round,
    )
    counts = [
        _run_size(subject, batch_size, float(np.median(times)))
        for subject, times in zip(subjects, latencies.values(), strict=True)
    ]

    def predict(subject: Subject, count: int) -> Callable[[], object]:
        x = subject.samples(count)
        return lambda: subject.model.predict(x, batch_size=batch_size, verbose=0)

    runs = time_calls(
        {
            str(i): predict(subject, count)
            for i, (subject, count) in enumerate(zip(subjects, counts, strict=True))
        },
        seconds=seconds,
        min_calls=MIN_RUNS,
        max_calls=MAX_CALLS,
        rounds=ROUNDS,
        after_round=lambda done: after_round(ROUNDS + done),
    )
    return [
        Result(subject.name, subject.engine, batch_size, times, 1000 * count / run)
        for subject, times, count, run in zip(
            subjects, latencies.values(), counts, runs.values(), strict=True
        )
    ]


def _run_size(subject: Subject, batch_size: int, milliseconds: float) -> int:
    """Samples of one run of `predict`: whole batches."""
    batches = max(4, round(1000 * RUN_SECONDS / milliseconds))
    most = max(1, RUN_BYTES // (subject.sample_bytes * batch_size))
    return batch_size * min(batches, most)


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the files, or their paths where names are not enough."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(set(paths)) else [str(path) for path in paths]
