"""The choice between engines: by time, within the tolerance, remembered."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest

import keras_octet as ko
from keras_octet import timing
from keras_octet.engines import auto, multiply_adds
from keras_octet.engines.base import Engine
from keras_octet.engines.litert import LITERT
from tests.engines.test_litert import source_of
from tests.models import make


class Clock:
    """Time that passes only when an engine takes some."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Altered:
    """LiteRT, taking a number of seconds and off by a number of steps."""

    def __init__(self, inner, seconds, steps, log, name, clock) -> None:
        self.inner, self.seconds, self.offset = inner, seconds, steps / 256
        self.log, self.name, self.clock = log, name, clock

    def __call__(self, inputs):
        self.log.append(self.name)
        self.clock.now += self.seconds
        return [y + np.float32(self.offset) for y in self.inner(inputs)]

    def predict(self, inputs, batch_size):
        return self(inputs)


@pytest.fixture
def model() -> tuple[ko.QuantizedModel, np.ndarray]:
    float_model, calibration, x = make("dense")
    return ko.quantize(float_model, calibration), x


@pytest.fixture
def candidates(monkeypatch):
    """A function that replaces the candidates, and a log of what runs."""
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    log: list[str] = []

    def engine(name: str, seconds: float, steps: float) -> Engine:
        def compile(source, options):
            return Altered(LITERT.compile(source, options), seconds, steps, log, name, clock)

        return Engine(name=name, package=None, exact=steps == 0, compile=compile)

    def replace(litert_seconds: float, *others: tuple[str, float, float]) -> list[str]:
        reference = engine("litert", litert_seconds, 0)
        monkeypatch.setattr(auto, "LITERT", reference)
        monkeypatch.setattr(auto, "CANDIDATES", (reference, *(engine(*o) for o in others)))
        return log

    return replace


def test_the_fastest_within_the_tolerance_is_kept(model, candidates):
    q, x = model
    log = candidates(0.03, ("far", 0.0, 3.0), ("near", 0.01, 1.0), ("slow", 0.06, 0.0))
    q.engine = "auto"
    q.predict_on_batch(x)
    assert list(q.engine_choices.values()) == ["near"]
    log.clear()
    q.predict_on_batch(x)
    assert log == ["near"]
    for tolerance, expected in ((0.0, "litert"), (5.0, "far")):
        q.engine_options = ko.EngineOptions(tolerance=tolerance)
        q.predict_on_batch(x)
        assert list(q.engine_choices.values())[-1] == expected


def test_litert_is_kept_where_another_is_hardly_faster(model, candidates):
    q, x = model
    candidates(0.03, ("alike", 0.0295, 0.0))
    q.engine = "auto"
    q.predict_on_batch(x)
    assert list(q.engine_choices.values()) == ["litert"]


def test_a_choice_holds_for_a_number_of_samples(model, candidates):
    q, x = model
    candidates(0.01, ("other", 0.0, 0.0))
    q.engine = "auto"
    for count in (1, 3, 4, 5, 100):
        q.predict_on_batch(x[:count])
    q.predict(x, verbose=0)
    q.predict(x[:50], verbose=0)
    q.predict(x[:3], verbose=0)
    uses = [key.split(" on ")[0] for key in q.engine_choices]
    assert uses == ["batch 1", "batch 4", "batch 8", "batch 128", "predict", "predict 4"]


@pytest.mark.parametrize(("work", "expected"), [(1, 16), (16, 16), (17, 32), (33, 48), (90, 64)])
def test_predict_is_timed_with_whole_pieces_for_each_thread(work, expected, model, monkeypatch):
    q, x = model
    sizes = []

    class Recorder:
        def predict(self, inputs, batch_size):
            sizes.append(len(inputs[0]))

    def measure(program, run):
        run(Recorder())
        return "litert"

    monkeypatch.setattr(auto.AutoProgram, "_measure", measure)
    monkeypatch.setattr(auto, "num_cores", lambda: 2)
    monkeypatch.setattr(auto, "WORK", work * multiply_adds(q))
    monkeypatch.setattr(auto, "MAX_SAMPLES", 64)
    q.engine = "auto"
    q.predict(x, verbose=0)
    assert sizes == [expected]


def test_a_choice_is_saved_with_the_model(model, candidates, tmp_path):
    q, x = model
    log = candidates(0.02, ("other", 0.0, 0.5))
    q.engine = "auto"
    expected = q.predict(x, verbose=0)
    q.save(tmp_path / "q.keras")
    loaded = keras.saving.load_model(tmp_path / "q.keras")
    assert loaded.engine == "auto"
    log.clear()
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    assert log == ["other"]


def test_a_choice_holds_for_a_version_of_the_package(model, candidates, monkeypatch):
    """Another version may make the engine give other outputs."""
    q, x = model
    log = candidates(0.02, ("other", 0.0, 0.5))
    q.engine = "auto"
    q.predict(x, verbose=0)
    monkeypatch.setattr(auto, "__version__", "9.9.9")
    loaded = copy.copy(q)
    log.clear()
    loaded.predict(x, verbose=0)
    assert len(log) > 1  # measured
    assert len(loaded.engine_choices) == 2


def test_a_choice_for_an_engine_that_is_gone_is_made_again(model, candidates, tmp_path):
    q, x = model
    candidates(0.02, ("other", 0.0, 0.0))
    q.engine = "auto"
    q.predict(x, verbose=0)
    q.save(tmp_path / "q.keras")
    candidates(1.0)
    loaded = keras.saving.load_model(tmp_path / "q.keras")
    loaded.predict(x, verbose=0)
    assert list(loaded.engine_choices.values()) == ["litert"]


def test_a_candidate_that_cannot_run_is_left_out(model, candidates, monkeypatch):
    q, x = model
    candidates(1.0)

    def fail(source, options):
        raise ko.EngineError("not this one")

    broken = Engine(name="broken", package=None, exact=True, compile=fail)
    absent = Engine(name="absent", package="no_such_package", exact=True, compile=fail)
    monkeypatch.setattr(auto, "CANDIDATES", (*auto.CANDIDATES, broken, absent))
    q.engine = "auto"
    assert q.predict(x, verbose=0).shape == (100, 5)
    assert list(q.engine_choices.values()) == ["litert"]


def test_deviation_is_in_steps_of_the_output(model):
    q, x = model
    source = source_of(q)
    y = q.predict_on_batch(x)
    assert auto.deviation(source, [y], [y]) == 0
    assert auto.deviation(source, [y], [y + np.float32(3 / 256)]) == 3
    assert auto.deviation(source, [y], [y * np.float32(np.nan)]) == np.inf


def test_with_the_engines_that_are_installed(model):
    q, x = model
    expected = q.predict(x, verbose=0)
    q.engine = "auto"
    received = q.predict(x, verbose=0)
    assert np.abs(received - expected).max() <= 1.001 / 256
    assert next(iter(q.engine_choices.values())) in ("litert", "openvino")
