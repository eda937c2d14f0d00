"""Saved models load in this version, whichever saved them, and predict what they did.

See `tests/saved/__init__.py` for the files.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from packaging.version import Version

import keras_octet as ko
from tests.saved.make import FOLDER, MAKERS, predict

# Some layers of these compute in float, which backends add up in orders of their own; what comes
# out may then be rounded to the next of 256 values.
WITHIN = {"partly_float": 1 / 256, "recurrent": 0.02, "while_float_gru": 1e-6}
FILES = {f"{x.parent.name}/{x.stem}": x for x in sorted(FOLDER.glob("octet_*/*.keras"))}


def test_files_of_this_version_are_complete() -> None:
    start = f"octet_{ko.__version__.replace('.', '_')}_"
    folders = {x.parent.name for x in FILES.values() if x.parent.name.startswith(start)}
    assert len(folders) > 1  # of several versions of Keras
    names = {name for name in FILES if name.startswith(start)}
    assert names == {f"{folder}/{name}" for folder in folders for name in MAKERS}


def is_later(name: str) -> bool:
    """Whether a later Keras than the installed one wrote a file."""
    version = name.partition("/")[0].partition("_keras_")[2].replace("_", ".")
    return Version(version) > Version(keras.__version__)


@pytest.mark.parametrize("engine", ["litert", "keras"])
@pytest.mark.parametrize("name", list(FILES))
def test_saved(name: str, engine: str, tmp_path: Path) -> None:
    path = FILES[name]
    if path.stem == "recurrent" and is_later(name):
        pytest.skip("Keras 3.14 does not read the initializers of its own layers of Keras 3.15")
    with np.load(path.with_suffix(".npz")) as stored:
        arrays = dict(stored)
    inputs = [x for key, x in arrays.items() if key.startswith("input")]
    expected = [x for key, x in arrays.items() if key.startswith("output")]
    assert all(len(y) == 1 or np.ptp(y, axis=0).any() for y in expected)  # samples differ
    model = keras.saving.load_model(path)
    model.save(tmp_path / "again.keras")
    for each in (model, keras.saving.load_model(tmp_path / "again.keras")):
        each.engine = engine
        for a, b in zip(predict(each, inputs), expected, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=WITHIN.get(path.stem, 0))
