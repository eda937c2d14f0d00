"""Every layer of Keras through TensorFlow's converter: read, computed, written again.

`integration.layer_files` makes the files, once for all backends, in `build/keras_layers`.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from tests.tflite.read.test_golden import WRITTEN_AS, run_layers, running_operators

import keras_octet as ko
from integration import layer_files
from integration.layer_files import CASES, KINDS, WITHOUT_CASE
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter

pytestmark = pytest.mark.slow

AUGMENTATIONS = layer_files.AUGMENTATIONS.split()
FOLDER = Path(__file__).parents[1] / "build" / "keras_layers" / keras.__version__
# Metadata, names and the alignment of weights: what one percent of a tiny file does not hold.
FIXED_BYTES = 1024
# Of the largest output: what the rounding of several float operators adds up to.
TOLERANCE = 1e-5
# Written with other operators, and why.
OTHERWISE = {
    "activation-linear": "a copy: no output may be an input",
    "CategoryEncoding": "an output of QUANTIZE that nothing reads is left out",
    "Conv1D-dilated": "phases of the batch become one dilated convolution",
    "Conv2D-dilated": "phases of the batch become one dilated convolution",
    "RNN": "the batch size is found once for each state",
    "TimeDistributed": "a slice that drops an axis is a slice and a RESHAPE",
}
# Kernels of float sums in an order of their own: LiteRT delegates them when written again.
WITHIN_ROUNDING = ("Conv1DTranspose", "Conv2DTranspose")
# What the reader refuses, by what its error says: an operator, or scales that are no numbers, with
# which LiteRT computes something else than the layer.
REFUSED = {
    "MelSpectrogram": r"RFFT2D \(float\)",
    "GRU.int16": "120 scales",
    "RNN.int16": "72 scales",
}


@pytest.fixture(scope="session")
def folder() -> Path:
    layer_files.make(FOLDER)
    return FOLDER


def test_every_layer_has_a_case() -> None:
    named: dict[type, set[str]] = {}
    for name, value in vars(keras.layers).items():
        if inspect.isclass(value):
            named.setdefault(value, set()).add(name)
    cases = {name.split("-")[0] for name in CASES}
    without = {*WITHOUT_CASE, *AUGMENTATIONS}
    assert [names for names in named.values() if not names & (cases | without)] == []
    assert without <= set(dir(keras.layers))
    assert not without & cases


def content_of(folder: Path, name: str, kind: str) -> bytes:
    path = folder / f"{name}.{kind}.tflite"
    if path.exists():
        return path.read_bytes()
    reason = folder / f"{name}.{kind}.txt"
    if not reason.exists():
        pytest.skip("the same file as float32")
    pytest.skip(f"not converted: {reason.read_text(encoding='utf-8')[:200]}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_layer(name: str, kind: str, folder: Path, tmp_path: Path) -> None:
    content = content_of(folder, name, kind)
    refused = REFUSED.get(f"{name}.{kind}", REFUSED.get(name))
    if refused:
        with pytest.raises(ko.ModelFileError, match=refused):
            ko.load_model(content)
        return
    try:
        before = Interpreter(content)
        with np.load(folder / f"{name}.npz") as stored:
            inputs = [stored[key] for key in input_names(content)]
        expected = before(*inputs)
    except RuntimeError as error:
        pytest.skip(f"LiteRT does not run it: {error}")

    model = ko.load_model(content)
    kinds = {x for _, x in running_operators(parse(content).subgraphs[0])}
    if kind == "dynamic" and name.startswith(WITHIN_ROUNDING):
        kinds.add("float")
    for ours, theirs in zip(run_layers(model, inputs), expected, strict=True):
        assert_close(ours, theirs, kinds)

    again = model.to_tflite()
    after = Interpreter(again)
    for ours, theirs in zip(after(*inputs), expected, strict=True):
        if after.delegated() == before.delegated():
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert_close(ours, theirs, kinds)
    assert after.input_names == before.input_names
    assert after.output_names == before.output_names
    if name not in OTHERWISE:
        assert operators(again) == [WRITTEN_AS.get(code, code) for code in operators(content)]
        assert len(after.left()) <= len(before.left())
        assert len(again) <= 1.01 * len(content) + FIXED_BYTES

    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").to_tflite() == again


def input_names(content: bytes) -> list[str]:
    """In the order of the file, which is not that of its signature."""
    file = parse(content)
    names = {index: name for name, index in file.signatures[0].inputs.items()}
    return [names[index] for index in file.subgraphs[0].inputs]


def operators(content: bytes) -> list[str]:
    return [code for code, _ in running_operators(parse(content).subgraphs[0])]


def assert_close(ours: np.ndarray, theirs: np.ndarray, kinds: set[str]) -> None:
    """The same bits, if nothing computes in float.

    Before integers, float operators may now and then move a value over the border to the next: it
    changes one output, or as the state of a recurrent layer with integer weights all of them.
    """
    assert ours.shape == theirs.shape
    if keras.backend.backend() == "jax" and theirs.dtype == np.int64:
        theirs = theirs.astype(np.int32)  # JAX has no int64 unless told to
    assert ours.dtype == theirs.dtype
    if "float" not in kinds or theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs)
        return
    distance = np.abs(ours - theirs)
    largest = np.abs(theirs).max(initial=0)
    within = distance <= TOLERANCE * largest
    if kinds & {"int8", "int16", "hybrid"}:
        assert "hybrid" in kinds or within.mean() > 0.99
        assert distance.max() <= 0.02 * largest
    else:
        assert within.all(), distance.max()
