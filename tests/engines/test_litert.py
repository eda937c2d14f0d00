"""The pool of interpreters: sizes, threads, forks, memory, errors."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.engines import EngineOptions, find_engine, is_separable, multiply_adds
from keras_octet.engines.base import Source
from keras_octet.engines.litert import LiteRTProgram, _bytes_of_sample, _Interpreter, _Pool
from keras_octet.tflite.run import Interpreter
from tests.models import images, make

L = keras.layers


@pytest.fixture(scope="module")
def model() -> ko.QuantizedModel:
    float_model, calibration, _ = make("convolutional")
    return ko.quantize(float_model, calibration)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return images(3, 120, 16, 16, 3)


@pytest.fixture(scope="module")
def expected(model, samples) -> np.ndarray:
    """From an interpreter that does nothing else."""
    (outputs,) = LiteRTProgram(model.to_tflite(), 1)([samples])
    return outputs


def source_of(model: ko.QuantizedModel) -> Source:
    return Source(
        inputs=model.inputs,
        outputs=model.outputs,
        write=model._write,
        separable=is_separable(model),
        multiply_adds=multiply_adds(model),
    )


def program_of(model: ko.QuantizedModel, **options) -> LiteRTProgram:
    return find_engine("litert").compile(source_of(model), EngineOptions(**options))


def test_hard_swish_runs_on_xnnpack_and_gives_the_same_bits():
    x = np.random.default_rng(0).normal(0, 2, (16, 12, 12, 3)).astype(np.float32)
    float_model = keras.Sequential([keras.Input((12, 12, 3))])
    for filters in (8, 16, 8):
        float_model.add(L.Conv2D(filters, 3, activation="hard_silu"))
    quantized = ko.quantize(float_model, x)
    program = program_of(quantized)
    plain, other = (Interpreter(x).operators() for x in (quantized.to_tflite(), program._model))
    between = ["DEQUANTIZE", "HARD_SWISH", "MUL", "ADD", "QUANTIZE"]
    assert plain.count("HARD_SWISH") == 3
    first = other.index("HARD_SWISH")
    assert other[first - 1 : first + 4] == between
    assert Interpreter(program._model).left() == []
    (expected,) = LiteRTProgram(quantized.to_tflite())([x])
    np.testing.assert_array_equal(program([x])[0], expected)


@pytest.mark.parametrize("name", ["convolutional", "u_net", "conv1d_autoencoder", "dense"])
def test_an_interpreter_gives_the_same_bits_after_any_change_of_size(name):
    float_model, calibration, x = make(name)
    content = ko.quantize(float_model, calibration).to_tflite()
    program = LiteRTProgram(content, 1)
    rng = np.random.default_rng(0)
    for count in (1, 7, 2, 40, 3, 1, 64, 5):
        part = x[rng.permutation(len(x))[:count]]
        np.testing.assert_array_equal(program([part])[0], LiteRTProgram(content, 1)([part])[0])
    (pool,) = program._pools.values()
    assert pool._made <= pool._limit


def test_a_thread_gets_the_interpreter_it_had(model, samples, monkeypatch):
    monkeypatch.setattr("keras_octet.engines.litert.num_cores", lambda: 2)
    pool = LiteRTProgram(model.to_tflite(), 1)._pool(1)
    part = [samples[:1]]
    pool.run(part)
    first = pool._idle[0]
    pool._idle.clear()  # as if it were in use
    another = threading.Thread(target=pool.run, args=(part,))
    another.start()
    another.join()
    assert pool._made == 2
    (second,) = pool._idle
    for idle in ([first, second], [second, first]):
        pool._idle = idle
        assert pool._idle_one(first.shapes) is first


def test_threads_that_share_an_interpreter_have_it_in_turn(model, samples):
    pool = LiteRTProgram(model.to_tflite(), 1)._pool(1)
    pool._limit = 1
    counts = [0, 0, 0]
    end = time.monotonic() + 1

    def work(number):
        while time.monotonic() < end:
            pool.run([samples[:1]])
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(counts) > max(counts) / 5
    assert pool._made == len(pool._idle) == 1


@pytest.mark.parametrize("num_threads", [None, 1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 31, 120])
def test_predict_gives_what_calls_give(model, samples, expected, count, num_threads):
    program = program_of(model, num_threads=num_threads)
    (received,) = program.predict([samples[:count]], 32)
    np.testing.assert_array_equal(received, expected[:count])
    (received,) = program([samples[:count]])
    np.testing.assert_array_equal(received, expected[:count])


def test_predict_in_pieces_on_several_cores(model, samples, expected, monkeypatch):
    monkeypatch.setattr("keras_octet.engines.litert.LITTLE_WORK", 0)
    monkeypatch.setattr("keras_octet.engines.litert.MIN_SAMPLES", 7)
    monkeypatch.setattr("keras_octet.engines.litert.WORK_PER_PIECE", 0)
    for num_threads in (None, 1, 3):
        program = program_of(model, num_threads=num_threads)
        for count in (120, 119, 8, 7, 1):
            (received,) = program.predict([samples[:count]], 32)
            np.testing.assert_array_equal(received, expected[:count])


def test_samples_of_a_call(model, samples, expected, monkeypatch):
    """As many as stay in the cache; of little work all, on the interpreter's own threads."""
    calls = []
    run = _Pool.run

    def counted(pool, inputs, outputs=None):
        calls.append((len(inputs[0]), pool._num_threads))
        return run(pool, inputs, outputs)

    def sizes(count: int, threads: int = 1) -> list[int]:
        calls.clear()
        (received,) = program.predict([samples[:count]], 2)
        np.testing.assert_array_equal(received, expected[:count])
        assert {num_threads for _, num_threads in calls} == {threads}
        return sorted([size for size, _ in calls], reverse=True)

    def set_constant(name: str, value: object) -> None:
        monkeypatch.setattr(f"keras_octet.engines.litert.{name}", value)

    def program_on(num_threads: int | None) -> LiteRTProgram:
        return LiteRTProgram(model.to_tflite(), num_threads, source_of(model))

    monkeypatch.setattr(_Pool, "run", counted)
    monkeypatch.setattr("keras_octet.engines.pieces.SERIAL_WORK", 0)
    set_constant("num_cores", lambda: 2)
    program = program_on(None)
    work = program._source.multiply_adds
    num_bytes = _bytes_of_sample([samples], program._source)
    # Little work is one call's, on its own threads; and so are fewer samples than fill a tile.
    set_constant("HEAD_START", 0)
    set_constant("LITTLE_WORK", 100 * work)
    set_constant("LITTLE_BYTES", 110 * num_bytes)
    assert sizes(100, threads=2) == [100]
    assert sizes(101) == [51, 50]
    set_constant("LITTLE_WORK", 10**9)
    assert sizes(110, threads=2) == [110]
    assert sizes(111) == [56, 55]
    set_constant("LITTLE_WORK", 0)
    assert sizes(7, threads=2) == [7]
    assert sizes(8) == [4, 4]
    # Pieces are as large as stay in the cache, beside what is copied for other threads.
    set_constant("WORK_PER_PIECE", 10**9)
    set_constant("BYTES_PER_PIECE", 30 * num_bytes)
    assert sizes(119) == [60, 59]
    assert sizes(120) == [30] * 4
    set_constant("BYTES_IN_CACHE", 40 * num_bytes)
    program = program_on(1)
    assert sizes(120) == [40] * 3
    assert sizes(119) == [60, 59]
    # One thread has begun when the others wake. Its first piece takes what is left of equal ones.
    program = program_on(None)
    set_constant("HEAD_START", 4 * work + 1)
    assert sizes(120) == [58, 58, 4]
    assert sizes(119) == [57, 57, 5]
    program = program_on(16)
    assert sizes(8) == [4, 1, 1, 1, 1]
    assert sizes(120) == [8] + [7] * 16
    assert sizes(27) == [4] + [2] * 11 + [1]
    program = program_on(1)
    assert sizes(120) == [40] * 3
    program = program_on(None)
    set_constant("HEAD_START", work - 1)
    set_constant("WORK_PER_PIECE", 0)
    assert sizes(117) == [9] * 13
    assert sizes(1, threads=2) == [1]


def test_predict_resizes_no_interpreter_again(model, samples, monkeypatch):
    """The first piece, of another size, has one of its own."""
    sizes = []
    resize, run = _Interpreter.resize, _Interpreter.run

    def counted(interpreter, shapes):
        sizes.append(shapes[0][0])
        resize(interpreter, shapes)

    def slow(interpreter, inputs, outputs):
        time.sleep(0.01)  # in which the other thread wakes
        return run(interpreter, inputs, outputs)

    monkeypatch.setattr(_Interpreter, "resize", counted)
    monkeypatch.setattr(_Interpreter, "run", slow)
    monkeypatch.setattr("keras_octet.engines.litert.num_cores", lambda: 2)
    monkeypatch.setattr("keras_octet.engines.litert.LITTLE_WORK", 0)
    program = LiteRTProgram(model.to_tflite(), source=source_of(model))
    work = program._source.multiply_adds
    monkeypatch.setattr("keras_octet.engines.litert.HEAD_START", 3 * work)
    for _ in range(5):
        program.predict([samples[:119]], 32)
    assert sorted(sizes) == [3, 58, 58]
    # Without such a piece there is no interpreter more than the cores.
    for num_threads, head, limit in ((None, work, 3), (None, work - 1, 2), (1, work, 2)):
        monkeypatch.setattr("keras_octet.engines.litert.HEAD_START", head)
        program = LiteRTProgram(model.to_tflite(), num_threads, source_of(model))
        assert program._pool(1)._limit == limit
    # Nor for a model that is not cut: of unknown sizes, or whose samples depend on each other.
    for change in ({"multiply_adds": 0}, {"separable": False}):
        source = dataclasses.replace(source_of(model), **change)
        assert LiteRTProgram(model.to_tflite(), source=source)._pool(1)._limit == 2


def test_one_sample_has_all_threads(model, samples, monkeypatch):
    monkeypatch.setattr("keras_octet.engines.litert.num_cores", lambda: 2)
    monkeypatch.setattr("keras_octet.engines.litert.LITTLE_WORK", 0)
    for limit, threads in ((0, 2), (10**9, 1)):
        monkeypatch.setattr("keras_octet.engines.pieces.SERIAL_WORK", limit)
        for use in ("predict", "call"):
            program = LiteRTProgram(model.to_tflite(), source=source_of(model))
            program.predict([samples[:1]], 1) if use == "predict" else program([samples[:1]])
            assert set(program._pools) == {threads}


def test_inputs_of_other_types_and_strides(model, samples, expected):
    program = program_of(model)
    np.testing.assert_array_equal(program([samples.astype(np.float64)])[0], expected)
    strided = np.repeat(samples, 2, axis=0)[::2]
    reversed_twice = samples[:, :, ::-1].copy()[:, :, ::-1]
    assert not reversed_twice.flags.c_contiguous
    np.testing.assert_array_equal(program([strided])[0], expected)
    np.testing.assert_array_equal(program([reversed_twice])[0], expected)
    integers = (samples * 5).astype(np.int16)
    np.testing.assert_array_equal(program([integers])[0], program([integers.astype(np.float32)])[0])


def test_results_are_the_callers(model, samples, expected):
    program = program_of(model)
    first = program([samples[:1]])[0]
    kept = first.copy()
    program([samples[1:2]])
    np.testing.assert_array_equal(first, kept)
    first[...] = 0  # writable, and nobody's but the caller's
    np.testing.assert_array_equal(program([samples[:1]])[0], expected[:1])


def test_many_threads_at_once(model, samples, expected):
    program = program_of(model)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(40):
                start, count = rng.integers(0, 100), rng.integers(1, 20)
                part = slice(start, start + count)
                run = program if rng.random() < 0.7 else lambda x: program.predict(x, 4)
                np.testing.assert_array_equal(run([samples[part]])[0], expected[part])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    for pool in program._pools.values():
        assert len(pool._idle) == pool._made <= pool._limit


def test_a_size_that_does_not_fit_is_an_error_and_the_program_goes_on(model, samples, expected):
    program = program_of(model)
    with pytest.raises(ko.EngineError, match=r"\(2, 3\)"):
        program([np.zeros((2, 3), np.float32)])
    with pytest.raises(ko.EngineError, match="cannot run"):
        LiteRTProgram(b"not a model at all, but long enough")([samples])
    np.testing.assert_array_equal(program([samples])[0], expected)
    for pool in program._pools.values():
        assert len(pool._idle) == pool._made


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_thousands_of_programs_leave_no_native_memory_behind():
    float_model, calibration, x = make("dense")
    content = ko.quantize(float_model, calibration).to_tflite()

    def growth(count: int) -> int:
        before = resident_bytes()
        for i in range(count):
            # Two threads, so that thread pools come and go too, and a change of size.
            program = LiteRTProgram(content, 1 + i % 2)
            program([x[:1]])
            program([x[:3]])
        gc.collect()
        return resident_bytes() - before

    growth(500)
    # 100 bytes a cycle would be 300 kB; an interpreter of this model holds some 50 kB. A leak grows
    # each time, and what the process takes once, such as an arena of the allocator, does not.
    assert min(growth(3000) for _ in range(2)) < 2 * 2**20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_predicts(model, samples, tmp_path):
    # In a process of its own: the backend of this one has threads, which do not survive a fork.
    (tmp_path / "m.tflite").write_bytes(model.to_tflite())
    np.save(tmp_path / "x.npy", samples)
    script = """
import os, sys
import keras, numpy as np
from keras_octet.engines.base import Source
from keras_octet.engines.litert import LiteRTProgram
x = np.load("x.npy")
output = keras.KerasTensor((None, 4))
source = Source(
    inputs=[], outputs=[output], write=None, separable=True, multiply_adds=10**7
)
program = LiteRTProgram(open("m.tflite", "rb").read(), 2, source)
expected = program([x])[0]
program.predict([x], 32)
child = os.fork()
if child == 0:
    same = np.array_equal(program([x])[0], expected)
    same &= np.array_equal(program.predict([x], 32)[0], expected)
    os._exit(0 if same else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert np.array_equal(program([x])[0], expected)
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, timeout=300, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
