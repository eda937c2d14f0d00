"""OpenVINO: close to LiteRT, safe with threads, quiet."""

from __future__ import annotations

import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.cores import multiplies_bytes_exactly
from keras_octet.engines.auto import deviation
from keras_octet.engines.openvino import OLDEST, OpenVINOProgram
from tests.engines.test_litert import program_of as litert_program
from tests.engines.test_litert import source_of
from tests.models import MODELS, make

openvino = pytest.importorskip("openvino")


def flat(data):
    return list(data.values()) if isinstance(data, dict) else [data]


@pytest.mark.parametrize("name", list(MODELS))
def test_outputs_are_within_steps_of_litert(name):
    model, calibration, x = make(name)
    q = ko.quantize(model, calibration)
    source = source_of(q)
    expected = litert_program(q)(flat(x))
    program = OpenVINOProgram(source, ko.EngineOptions())
    for received in (program(flat(x)), program.predict(flat(x), 32)):
        assert [y.dtype for y in received] == [y.dtype for y in expected]
        assert deviation(source, expected, received) <= 2
        same = [np.isclose(a, b, 0, 1e-5).mean() for a, b in zip(expected, received, strict=True)]
        assert min(same) > 0.9


def kinds_of_kernels(program):
    """Of the one compiled model: pairs of a kind of node and its kernel's name."""
    (compiled,) = program._compiled.values()
    ran = [x.get_rt_info() for x in compiled._compiled.get_runtime_model().get_ordered_ops()]
    return [(str(x["layerType"].value), str(x["primitiveType"].value)) for x in ran]


@pytest.mark.skipif(not multiplies_bytes_exactly(), reason="computes in float32 here")
def test_every_convolution_is_in_int8():
    """And so is all between them; depthwise weights need their scales last for that."""
    layers = keras.layers
    x = image = keras.Input((16, 16, 8))
    for strides in (1, 2):
        x = layers.Conv2D(16, 1, activation="relu6")(x)
        x = layers.DepthwiseConv2D(3, strides, "same", activation="relu6")(x)
    x = layers.Conv2D(16, 3, groups=4, activation="relu")(x)
    data = np.random.default_rng(0).normal(size=(32, 16, 16, 8)).astype(np.float32)
    source = source_of(ko.quantize(keras.Model(image, x), data))
    program = OpenVINOProgram(source, ko.EngineOptions())
    program([data[:2]])
    kernels = [kernel for kind, kernel in kinds_of_kernels(program) if "Conv" in kind]
    assert len(kernels) == 5
    assert {x.rpartition("_")[2].upper() for x in kernels} == {"I8"}


def make_skipping():
    """A network whose outputs of convolutions are moved and joined, with data."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    skip = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(skip)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(16, 2, strides=2)(x)
    x = layers.Concatenate()([x, skip])
    x = layers.Conv2D(8, 3, padding="same")(x)
    data = np.random.default_rng(0).normal(size=(32, 16, 16, 3)).astype(np.float32)
    return keras.Model(image, x), data


@pytest.mark.skipif(not multiplies_bytes_exactly(), reason="computes in float32 here")
def test_what_is_joined_is_rounded_once():
    """By the convolutions themselves: in float32 is only what comes in and goes out."""
    model, data = make_skipping()
    q = ko.quantize(model, data)
    source = source_of(q)
    program = OpenVINOProgram(source, ko.EngineOptions())
    (received,) = program([data])
    (expected,) = litert_program(q)([data])
    assert deviation(source, [expected], [received]) <= 1
    kinds = [kind for kind, _ in kinds_of_kernels(program)]
    assert kinds.count("Convolution") == 3
    assert kinds.count("Subgraph") == 2  # to round the input, and to scale the output


def make_hard_swish():
    """Four convolutions with HARD_SWISH, quantized, data, and what the float model makes of it."""
    layers = keras.layers
    rng = np.random.default_rng(0)
    x = image = keras.Input((8, 8, 16))
    for _ in range(4):
        x = layers.Conv2D(16, 3, padding="same", activation="hard_silu")(x)
    model = keras.Model(image, layers.Conv2D(16, 1)(x))
    model.set_weights([rng.normal(0, 0.12, w.shape) for w in model.get_weights()])
    data = rng.normal(0, 2, (64, 8, 8, 16)).astype(np.float32)
    return ko.quantize(model, data), data, model.predict(data, verbose=0)


@pytest.mark.skipif(not multiplies_bytes_exactly(), reason="computes as LiteRT does here")
def test_hard_swish_is_closer_to_float():
    """Than in LiteRT, which rounds what it is given."""
    q, data, expected = make_hard_swish()
    program = OpenVINOProgram(source_of(q), ko.EngineOptions())
    errors = [np.square(run([data])[0] - expected).mean() for run in (program, litert_program(q))]
    assert errors[0] < 0.9 * errors[1], errors


def test_hard_swish_in_float32_is_as_in_litert(monkeypatch):
    """Where int8 kernels may saturate no rounding is taken out."""
    monkeypatch.setattr("keras_octet.engines.openvino.multiplies_bytes_exactly", lambda: False)
    q, data, _ = make_hard_swish()
    source = source_of(q)
    (received,) = OpenVINOProgram(source, ko.EngineOptions())([data])
    (expected,) = litert_program(q)([data])
    assert np.isclose(received, expected, 0, 1e-5).mean() > 0.95  # 0.59 without the roundings
    assert deviation(source, [expected], [received]) <= 2.1


def test_pieces_of_equal_size(monkeypatch):
    monkeypatch.setattr("keras_octet.engines.pieces.SERIAL_WORK", 0)
    monkeypatch.setattr("keras_octet.engines.openvino.MAX_SAMPLES", 7)
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    for threads in (1, 3):
        program = OpenVINOProgram(source_of(q), ko.EngineOptions(num_threads=threads))
        expected = program([x])[0]
        for count in (100, 99, 8, 7, 3, 1):
            np.testing.assert_array_equal(program.predict([x[:count]], 32)[0], expected[:count])
        assert {shapes[0][0] for shapes, *_ in program._compiled} == {1, 3, 4, len(x)}
    # Not three where each thread has one, and then one of them another.
    for most, count, size in ((32, 64, 32), (32, 96, 16), (32, 100, 8), (8, 18, 8)):
        monkeypatch.setattr("keras_octet.engines.openvino.MAX_SAMPLES", most)
        program = OpenVINOProgram(source_of(q), ko.EngineOptions(num_threads=2))
        np.testing.assert_array_equal(program.predict([x[:count]], 32)[0], expected[:count])
        assert [shapes[0][0] for shapes, *_ in program._compiled] == [size]
    # However much work they are, some samples.
    monkeypatch.setattr("keras_octet.engines.openvino.MAX_SAMPLES", 1024)
    monkeypatch.setattr("keras_octet.engines.openvino.WORK_PER_PIECE", 0)
    program = OpenVINOProgram(source_of(q), ko.EngineOptions(num_threads=2))
    np.testing.assert_array_equal(program.predict([x[:100]], 32)[0], expected[:100])
    assert [shapes[0][0] for shapes, *_ in program._compiled] == [8]


def test_threads_share_a_program():
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    program = OpenVINOProgram(source_of(q), ko.EngineOptions())
    expected = program([x])[0]
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(20):
                start = rng.integers(0, 90)
                part = slice(start, start + 1 + rng.integers(0, 3))
                np.testing.assert_array_equal(program([x[part]])[0], expected[part])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


@pytest.mark.parametrize(
    "version", ["2025.4.1-20426-82bbf0292c5-releases/2025/4", "2026.0.0", "2026", "custom_1"]
)
def test_old_versions_are_refused(monkeypatch, version):
    monkeypatch.setattr("keras_octet.engines.auto.ADVANTAGE", 1e-9)  # the other one, if it can run
    model, calibration, x = make("dense")
    q = ko.quantize(model, calibration)
    monkeypatch.setattr(openvino, "__version__", version)
    q.engine = "openvino"
    with pytest.raises(ko.EngineError, match=rf"OpenVINO 2026\.1 or later.* '{version}'"):
        q.predict_on_batch(x)
    q.engine = "auto"
    q.predict_on_batch(x)
    assert list(q.engine_choices.values()) == ["litert"]
    for right in ("2026.1.0", "2027.0.0-1"):
        monkeypatch.setattr(openvino, "__version__", right)
        other = ko.quantize(model, calibration)
        other.engine = "auto"
        other.predict_on_batch(x)
        assert list(other.engine_choices.values()) == ["openvino"]


def test_the_extra_asks_for_the_oldest_version():
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    assert extras["openvino"] == [f"openvino>={'.'.join(map(str, OLDEST))}"]


def test_errors_are_the_librarys():
    model, calibration, x = make("dense")
    q = ko.quantize(model, calibration)
    program = OpenVINOProgram(source_of(q), ko.EngineOptions())
    with pytest.raises(ko.EngineError, match=r"\(2, 3, 3\)"):
        program([np.zeros((2, 3, 3), np.float32)])
    assert program([x])[0].shape == (100, 5)


def test_a_model_runs_on_openvino(tmp_path):
    model, calibration, x = make("u_net")
    q = ko.quantize(model, calibration)
    expected = q.predict(x, verbose=0)
    q.engine = "openvino"
    received = q.predict(x, verbose=0)
    assert np.abs(received - expected).max() <= 2 / 256
    np.testing.assert_array_equal(q.predict_on_batch(x[:3]), received[:3])


def test_import_sends_no_report():
    script = """
import os
os.fork = None  # a report is sent from a forked process
from keras_octet.engines.openvino import _import_openvino
import sys
assert _import_openvino().Core
assert "openvino_telemetry" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
