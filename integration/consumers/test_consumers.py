"""Every consumer takes what we export, and computes what LiteRT computes, up to rounding.

`make consumers` installs them; what is not installed is skipped.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import keras
import numpy as np
import pytest

from integration.consumers.ask import Answer, ask
from integration.consumers.consumers import CONSUMERS
from integration.consumers.files import File, named, octet
from integration.consumers.models import (
    APPLICATIONS,
    CASES,
    SAMPLES,
    SMALL,
    example,
    operation,
    within,
)

pytestmark = pytest.mark.slow

# What a consumer cannot do, whoever wrote the file (docs/consumers.md shows TensorFlow's beside
# ours), by operation: its reason, as a pattern. "differs" is a result that is wrong.
KNOWN: dict[tuple[str, str], str] = {
    ("tflm", "Activation-2"): "GELU",
    ("tflm", "Gelu-0"): "GELU",
    ("tflm", "Gelu-1"): "GELU",
    ("openvino", "GlobalMaxPooling2D-0"): "differs",
    ("openvino", "Resizing-1"): "differs",
    ("tosa", "ELU-0"): "tosa.exp",
    ("vela", "Conv2DTranspose-1"): "TRANSPOSE_CONV: stride out of range",
    ("vela", "Resizing-0"): "RESIZE_BILINEAR: .*scale-factor",
    ("vela", "Resizing-1"): "RESIZE_NEAREST_NEIGHBOR: .*scale-factor",
}


@functools.lru_cache(maxsize=4)
def _case(name: str, index: int | None = None) -> tuple[keras.Model, Any, Any]:
    return example(name) if index is None else operation(name, index)


@functools.lru_cache(maxsize=8)
def _file(dtype: str, name: str, index: int | None = None, *, at_once: bool = False) -> File:
    """The file as it is exported, or for all samples at once."""
    model, calibration, samples = _case(name, index)
    if not at_once:
        return File.of(octet(model, calibration, dtype), named(samples))
    if dtype == "float32":
        samples = within(samples, calibration)  # see the last test
    return File.of(octet(model, calibration, dtype, SAMPLES), named(samples))


def _ask(consumer: str, dtype: str, name: str, index: int | None = None) -> tuple[File, Answer]:
    _require(consumer)
    file = _file(dtype, name, index, at_once=consumer == "tosa")
    return file, ask(consumer, file.content, file.samples)


def _require(consumer: str) -> None:
    if CONSUMERS[consumer].version is None:
        pytest.skip(f"{CONSUMERS[consumer].package} is not installed; `make consumers` installs it")


def _complaint(file: File, answer: Answer) -> str:
    """What is wrong with the answer, empty if nothing is."""
    if not answer.accepted:
        return answer.reason
    if answer.facts.get("foreign") or answer.facts.get("unknown_shapes"):
        return str(answer.facts)
    fallbacks = [": ".join(pair) for pair in answer.facts.get("fallbacks", [])]
    if answer.outputs is not None and [x.shape for x in answer.outputs] != [
        x.shape for x in file.outputs
    ]:
        return "other shapes"
    return "; ".join(fallbacks)


ASKED = [
    pytest.param(consumer, dtype, id=f"{consumer}-{dtype}")
    for consumer, row in CONSUMERS.items()
    for dtype in row.dtypes
]


@pytest.mark.parametrize(("consumer", "dtype"), ASKED)
@pytest.mark.parametrize("name", SMALL)
def test_small_model(name: str, consumer: str, dtype: str) -> None:
    file, answer = _ask(consumer, dtype, name)
    assert _complaint(file, answer) == ""
    if answer.outputs is not None:
        # LiteRT's own kernels differ from those of XNNPACK by as much.
        assert file.distance(answer.outputs)[0] <= 3


@pytest.mark.parametrize(("consumer", "dtype"), ASKED)
@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(name: str, consumer: str, dtype: str) -> None:
    file, answer = _ask(consumer, dtype, name)
    assert _complaint(file, answer) == ""
    if answer.outputs is not None:
        # Random weights magnify each rounding on the way, but no consumer is further from the
        # float model than LiteRT.
        model, _, samples = _case(name)
        expected = [model.predict(samples, verbose=0)]
        ours, theirs = (file.error(outputs, expected) for outputs in (file.outputs, answer.outputs))
        assert theirs < 1.3 * ours + 1


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize(("name", "index"), CASES)
def test_operation(name: str, index: int, consumer: str) -> None:
    file, answer = _ask(consumer, "int8", name, index)
    complaint = _complaint(file, answer)
    if answer.outputs is not None and not complaint and file.distance(answer.outputs)[0] > 3:
        complaint = "differs"
    known = KNOWN.get((consumer, f"{name}-{index}"))
    if known is None:
        assert complaint == ""
    else:
        assert complaint, "works now: take it out of KNOWN"
        assert re.search(known, complaint), complaint


def test_openvino_takes_global_max_pooling_before_another_layer() -> None:
    _require("openvino")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 7, 4))
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 1)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(5)(x))
    samples = np.random.default_rng(0).normal(size=(64, 6, 7, 4)).astype(np.float32)
    file = File.of(octet(model, samples, "int8"), named(samples[:SAMPLES]))
    answer = ask("openvino", file.content, file.samples)
    assert file.distance(answer.outputs)[0] <= 1


def test_tosa_converter_takes_an_open_batch_size() -> None:
    _require("tosa")
    file = _file("int8", "u_net")
    answer = ask("tosa", file.content, file.samples)
    assert answer.accepted
    assert answer.facts["foreign"] == []
    assert answer.facts["unknown_shapes"] > 0


def test_tosa_converter_wraps_floats_beyond_the_calibrated_range() -> None:
    """Its form of QUANTIZE with a zero point does not saturate: give it int8 inputs."""
    _require("tosa")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    rng = np.random.default_rng(0)
    calibration = rng.uniform(-0.8, 0.6, (64, 8)).astype(np.float32)
    content = octet(model, calibration, "float32", SAMPLES)
    for limit, agrees in ((0.6, True), (1.2, False)):
        samples = rng.uniform(-limit, limit, (SAMPLES, 8)).astype(np.float32)
        file = File.of(content, named(samples))
        answer = ask("tosa", file.content, file.samples)
        if answer.outputs is None:
            pytest.skip("the tools of TOSA are not installed; `make consumers` installs them")
        assert (file.distance(answer.outputs)[0] <= 1) is agrees
