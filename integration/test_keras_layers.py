"""Every layer of Keras through TensorFlow's converter: read, computed, written again.

`integration.layer_files` makes the files, once for all backends, in `build/keras_layers`.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_octet as ko
from integration import layer_files
from integration.layer_files import CASES, KINDS, WITHOUT_CASE
from integration.round_trips import Check, round_trip
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter

pytestmark = pytest.mark.slow

AUGMENTATIONS = layer_files.AUGMENTATIONS.split()
FOLDER = Path(__file__).parents[1] / "build" / "keras_layers" / keras.__version__
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
# What the reader refuses, by what its error says: an operator, or scales that are no numbers, with
# which LiteRT computes something else than the layer.
REFUSED = {
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
        interpreter = Interpreter(content)
        with np.load(folder / f"{name}.npz") as stored:
            inputs = [stored[key] for key in input_names(content)]
        interpreter(*inputs)
    except RuntimeError as error:
        pytest.skip(f"LiteRT does not run it: {error}")
    check = Check.of(content, TOLERANCE)
    round_trip(content, inputs, check, tmp_path, same_operators=name not in OTHERWISE)


def input_names(content: bytes) -> list[str]:
    """In the order of the file, which is not that of its signature."""
    file = parse(content)
    names = {index: name for name, index in file.signatures[0].inputs.items()}
    return [names[index] for index in file.subgraphs[0].inputs]
