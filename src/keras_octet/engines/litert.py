"""LiteRT with its default delegate (XNNPACK): the reference for every bit."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_octet.cores import num_cores
from keras_octet.engines.base import Engine, EngineOptions, Program, Source, in_batches
from keras_octet.engines.pieces import can_cut, is_serial, predict_in_pieces
from keras_octet.errors import EngineError, ExportError
from keras_octet.tflite.info import State

Shapes = tuple[tuple[int, ...], ...]

# Threads that share the work of one batch: more of them wait longer than they compute.
MAX_THREADS_PER_BATCH = 8
# Multiply-adds, and bytes of inputs and outputs, which one thread copies. With no more than these
# one interpreter on its own threads, which stay awake for a while after a call, is done before ours
# have shared the work, on two cores; on more cores more of ours have to be woken.
LITTLE_WORK = 300_000_000
LITTLE_BYTES = 1_300_000
# Otherwise a call has about this much work at most: enough that the call itself costs little, and
# so little that, of many samples, a thread that wakes late leaves the others more.
WORK_PER_PIECE = 150_000_000
# Multiply-adds of a first piece, which the calling thread has done by the time others are awake.
# With it ahead of its share it ends after them, and need not be woken by them.
HEAD_START = 1_000_000
# Of a call's inputs and outputs, which are copied: about so much stays in the cache of a core.
BYTES_IN_CACHE = 2**19
# With several threads less: while one copies, the others wait.
BYTES_PER_PIECE = 300_000
# Fewer samples do not fill the kernels' tiles.
MIN_SAMPLES = 8


class LiteRTProgram:
    """A `.tflite` model on a pool of interpreters.

    Args:
        model: bytes of the file.
        num_threads: threads; None chooses by the work of each call.
        source: the model, if known: says what may be cut, and how much work it is.
        states: variables of the model that the file shows. Both have the same values before and
            after each call, and one interpreter runs all calls.
    """

    def __init__(
        self,
        model: bytes,
        num_threads: int | None = None,
        source: Source | None = None,
        states: Sequence[State] = (),
    ) -> None:
        self._model = model
        self._states = states
        self._num_threads = num_threads or (1 if states else None)
        self._source = source
        self._pools: dict[int, _Pool] = {}

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self._pool(self._threads(len(inputs[0]))).run(inputs)

    def predict(self, inputs: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        source, count = self._source, len(inputs[0])
        if source is None or not can_cut(source):
            return in_batches(self, inputs, batch_size)
        if count < MIN_SAMPLES:
            return self(inputs)
        work, num_bytes = source.multiply_adds, _bytes_of_sample(inputs, source)
        if work * count <= LITTLE_WORK and num_bytes * count <= LITTLE_BYTES:
            return self(inputs)
        workers = self._workers()
        room = BYTES_PER_PIECE if workers > 1 else BYTES_IN_CACHE
        most = max(min(WORK_PER_PIECE // work, room // num_bytes), MIN_SAMPLES)
        head = min(self._samples_ahead(), count - 1)
        # Each worker has as many pieces, which makes some up to twice as large.
        num_pieces = max((count - head) // (most * workers), 1) * workers
        size, left = divmod(count - head, num_pieces)
        if left <= size and head:  # All others are equally large: no interpreter is resized.
            head += left
        else:
            size += left > 0
        return predict_in_pieces(self._pool(1).run, source, inputs, size, workers, head=head)

    def _workers(self) -> int:
        """How many threads share the samples of `predict`."""
        return self._num_threads or num_cores()

    def _samples_ahead(self) -> int:
        """Samples of a first piece; none if one is too much work, or no thread has to wake."""
        source = self._source
        if source is None or not can_cut(source) or self._workers() == 1:
            return 0
        return HEAD_START // source.multiply_adds

    def _threads(self, count: int) -> int:
        """With how many threads one call on so many samples is done soonest."""
        if self._num_threads is not None:
            return self._num_threads
        serial = self._source is not None and is_serial(self._source, count)
        return 1 if serial else min(num_cores(), MAX_THREADS_PER_BATCH)

    def _pool(self, num_threads: int) -> _Pool:
        pool = self._pools.get(num_threads)
        if pool is None:
            limit = 1 if self._states else num_cores() if num_threads == 1 else 2
            if num_threads == 1 and self._samples_ahead():
                limit += 1  # for the first piece, whose size is its own
            # Of two threads that get here at once, one makes the pool that both use.
            pool = self._pools.setdefault(
                num_threads, _Pool(self._model, num_threads, self._states, limit)
            )
        return pool


def _bytes_of_sample(inputs: Sequence[np.ndarray], source: Source) -> int:
    """Of one sample's inputs and outputs, at least 1."""
    results = sum(math.prod(x.shape[1:]) * np.dtype(x.dtype).itemsize for x in source.outputs)
    return max(sum(x.nbytes for x in inputs) // len(inputs[0]) + results, 1)


class _Interpreter:
    """One interpreter, for one thread at a time."""

    def __init__(self, model: bytes, num_threads: int, states: Sequence[State]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=model, num_threads=num_threads)
        # Tensors are in the order of the model's inputs and outputs.
        before, after = {x.before for x in states}, {x.after for x in states}
        inputs, outputs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        self._dtypes = {d["index"]: d["dtype"] for d in inputs}
        self._sources = [x for x in self._dtypes.items() if x[0] not in before]
        self._targets = [d["index"] for d in outputs if d["index"] not in after]
        self._states = states
        self.shapes: Shapes = ()
        self.thread = 0  # that ran it last

    def resize(self, shapes: Shapes) -> None:
        for (index, _), shape in zip(self._sources, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self.shapes = shapes

    def run(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray] | None
    ) -> list[np.ndarray]:
        interpreter = self._interpreter
        for (index, dtype), array in zip(self._sources, inputs, strict=True):
            if array.dtype == dtype:
                interpreter.set_tensor(index, array)
            else:
                interpreter.tensor(index)()[...] = array
        for state in self._states:
            value = keras.ops.convert_to_numpy(state.variable)
            # JAX has int32 for int64.
            dtype = self._dtypes.get(state.before, value.dtype)
            interpreter.set_tensor(state.before, np.asarray(value, dtype))
        interpreter.invoke()
        for state in self._states:
            state.variable.assign(interpreter.get_tensor(state.after))
        if outputs is None:
            return [interpreter.get_tensor(index) for index in self._targets]
        for index, array in zip(self._targets, outputs, strict=True):
            array[...] = interpreter.tensor(index)()  # without a copy between
        return list(outputs)


class _Pool:
    """Interpreters with the same number of threads, each lent to one caller at a time.

    An interpreter keeps the weights as its kernels want them. For another input shape it is
    resized, which is quick; a new one is made only while there are fewer than `limit`.
    A model with states has one interpreter, as its calls come one after another.
    """

    def __init__(self, model: bytes, num_threads: int, states: Sequence[State], limit: int) -> None:
        self._model = model
        self._num_threads = num_threads
        self._states = states
        self._limit = limit
        self._start()
        _pools.add(self)

    def _start(self) -> None:
        # The most recently used last. Threads append and remove without the lock: both are atomic.
        self._idle: list[_Interpreter] = []
        self._made = 0
        self._num_waiting = 0
        self._changed = threading.Condition(threading.Lock())

    def run(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Run on `inputs`; results go to `outputs`, or to new arrays."""
        shapes = tuple([x.shape for x in inputs])
        interpreter = None if self._num_waiting else self._idle_one(shapes)
        interpreter = interpreter or self._another(shapes)
        try:
            if interpreter is None:
                interpreter = _Interpreter(self._model, self._num_threads, self._states)
            if interpreter.shapes != shapes:
                interpreter.resize(shapes)
            results = interpreter.run(inputs, outputs)
        except (RuntimeError, ValueError) as error:
            interpreter = None  # what state it is in is not known
            raise EngineError(
                f"LiteRT cannot run this model on inputs of shapes {list(shapes)}: {error}"
            ) from error
        finally:
            self._give(interpreter)
        return results

    def _idle_one(self, shapes: Shapes) -> _Interpreter | None:
        """An interpreter with these shapes, which is idle no more; None without.

        It is at best the one this thread had before, whose memory its core may have in its cache.
        """
        thread = threading.get_ident()
        while fitting := [x for x in self._idle if x.shapes == shapes]:
            chosen = next((x for x in fitting if x.thread == thread), fitting[-1])
            try:
                self._idle.remove(chosen)
            except ValueError:  # another thread has taken it
                continue
            return chosen
        return None

    def _another(self, shapes: Shapes) -> _Interpreter | None:
        """One that gets free, with these shapes or others; None: make one."""
        with self._changed:
            self._num_waiting += 1  # before looking, so that whoever gives one later notifies
            try:
                if self._num_waiting > 1:
                    self._changed.wait()  # behind those that came before
                while True:
                    fitting = self._idle_one(shapes)
                    if fitting is not None:
                        return fitting
                    if self._made < self._limit:
                        self._made += 1
                        return None
                    try:
                        return self._idle.pop(0)
                    except IndexError:
                        self._changed.wait()
            except BaseException:
                self._changed.notify()  # what this thread was woken for is another's
                raise
            finally:
                self._num_waiting -= 1

    def _give(self, interpreter: _Interpreter | None) -> None:
        if interpreter is not None:
            interpreter.thread = threading.get_ident()
            self._idle.append(interpreter)
            if not self._num_waiting:
                return
        with self._changed:
            if interpreter is None:
                self._made -= 1
            self._changed.notify()

    def forget(self) -> None:
        """Start afresh in a forked child, where the threads of the interpreters do not exist."""
        if self._num_threads > 1:
            _inherited.extend(self._idle)
        self._start()


_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()
# Interpreters that a forked child cannot delete: their threads would be waited for.
_inherited: list[Any] = []


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _compile(source: Source, options: EngineOptions) -> Program:
    written = source.write(for_xnnpack=True)
    if _custom_operators(written.content):
        _require_kernels(written.content)
    shared = {id(state.variable) for state in written.states}
    if any(id(variable) not in shared for variable in source.states):
        raise ExportError("LiteRT keeps state of this model where only LiteRT can read it.")
    return LiteRTProgram(written.content, options.num_threads, source, written.states)


def _custom_operators(content: bytes) -> list[str]:
    """Names of the custom operators of a file, of which LiteRT has kernels for a few."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return [code.CustomCode().decode() for code in codes if code.CustomCode()]


def _require_kernels(content: bytes) -> None:
    """Raises ExportError if LiteRT has none for a custom operator."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"LiteRT does not run the custom operators {_custom_operators(content)}: {error}"
        ) from error


LITERT = Engine(
    name="litert", package="ai_edge_litert", exact=True, compile=_compile, stateful=True
)
