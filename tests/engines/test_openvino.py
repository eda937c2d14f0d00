"""OpenVINO: close to LiteRT, safe with threads, quiet."""

from __future__ import annotations

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet.cores import multiplies_bytes_exactly
from keras_octet.engines.auto import deviation
from tests.engines.test_litert import program_of as litert_program
from tests.engines.test_litert import source_of
from tests.models import MODELS, make

pytest.importorskip("openvino")

from keras_octet.engines.openvino import OpenVINOProgram
from keras_octet.engines.openvino_graph import in_int8_form


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
    source = source_of(ko.quantize(model, data))
    program = OpenVINOProgram(source, ko.EngineOptions())
    (received,) = program([data])
    (expected,) = litert_program(ko.quantize(model, data))([data])
    assert deviation(source, [expected], [received]) <= 1
    kinds = [kind for kind, _ in kinds_of_kernels(program)]
    assert kinds.count("Convolution") == 3
    assert kinds.count("Subgraph") <= 2


def test_rounding_to_another_grid_stays():
    """Only what was rounded so already is not rounded again."""
    openvino = pytest.importorskip("openvino")
    opset = openvino.opset1
    x = opset.parameter([1, 4], np.float32)

    def rounded(y, low, high, levels=256):
        return opset.fake_quantize(y, low, high, low, high, levels)

    def count(y):
        model = openvino.Model([y], [x])
        in_int8_form(openvino, model)
        return sum(n.get_type_name() == "FakeQuantize" for n in model.get_ordered_ops())

    low, high = np.float32(-1), np.float32(1)
    both = opset.concat([rounded(x, low, high), rounded(x, low, high)], 1)
    assert count(rounded(both, low, high)) == 2
    both = opset.concat([rounded(x, low, high), rounded(x, low, high)], 1)
    assert count(rounded(both, low, np.float32(2))) == 3
    both = opset.concat([rounded(x, low, high), rounded(x, low, high)], 1)
    assert count(rounded(both, low, high, levels=16)) == 3
    both = opset.concat([rounded(x, low, high), x], 1)
    assert count(rounded(both, low, high)) == 2
    both = opset.concat([rounded(x, low, high), rounded(x, low, np.float32(2))], 1)
    assert count(rounded(both, low, high)) == 3
    each = np.array([[-1, -1, -1, -2]], np.float32)
    assert count(rounded(opset.relu(rounded(x, low, high)), low, high)) == 2
    assert count(rounded(rounded(x, each, high), each, high)) == 2


@pytest.mark.skipif(not multiplies_bytes_exactly(), reason="computes in float32 here")
def test_scaling_of_channels_is_no_convolution():
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling([1 / 128, 1 / 64, 1 / 100], [-1, 0, -0.5])(image)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(1, strides=2)(x)
    data = np.random.default_rng(0).uniform(0, 255, size=(32, 16, 16, 3)).astype(np.float32)
    q = ko.quantize(keras.Model(image, x), data)
    program = OpenVINOProgram(source_of(q), ko.EngineOptions())
    (received,) = program([data])
    (expected,) = litert_program(q)([data])
    assert deviation(source_of(q), [expected], [received]) <= 1
    kinds = [kind for kind, _ in kinds_of_kernels(program)]
    assert kinds.count("Convolution") == 2  # the last takes every other pixel


def test_pieces_of_equal_size(monkeypatch):
    monkeypatch.setattr("keras_octet.engines.pieces.SERIAL_WORK", 0)
    monkeypatch.setattr("keras_octet.engines.pieces.MAX_SAMPLES", 7)
    model, calibration, x = make("convolutional")
    q = ko.quantize(model, calibration)
    for threads in (1, 3):
        program = OpenVINOProgram(source_of(q), ko.EngineOptions(num_threads=threads))
        expected = program([x])[0]
        for count in (100, 99, 8, 7, 3, 1):
            np.testing.assert_array_equal(program.predict([x[:count]], 32)[0], expected[:count])
        assert len(program._compiled) <= 8


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
