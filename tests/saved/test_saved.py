"""Saved models load in this version, whichever saved them, and predict what they did.

See `tests/saved/__init__.py` for the files.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from packaging.version import Version

from tests.saved.make import FOLDER, MAKERS, flat

# Some layers of these compute in float, which the backends add up in orders of their own.
IN_FLOAT = {"recurrent", "while_float_gru"}
FILES = {f"{x.parent.name}/{x.stem}": x for x in sorted(FOLDER.glob("keras_*/*.keras"))}


def test_files_of_each_version_are_complete() -> None:
    folders = {x.parent for x in FILES.values()}
    assert len(folders) > 1
    assert set(FILES) == {f"{folder.name}/{name}" for folder in folders for name in MAKERS}


def is_later(name: str) -> bool:
    """Whether a later Keras than the installed one wrote a file."""
    version = name.partition("/")[0].removeprefix("keras_").replace("_", ".")
    return Version(version) > Version(keras.__version__)


@pytest.mark.parametrize("engine", ["litert", "keras"])
@pytest.mark.parametrize("name", list(FILES))
def test_saved(name: str, engine: str, tmp_path: Path) -> None:
    if FILES[name].stem == "recurrent" and is_later(name):
        pytest.skip("Keras 3.14 does not read the initializers of its own layers of Keras 3.15")
    with np.load(FILES[name].with_suffix(".npz")) as stored:
        arrays = dict(stored)
    inputs = [x for key, x in arrays.items() if key.startswith("input")]
    expected = [x for key, x in arrays.items() if key.startswith("output")]
    tolerance = 1e-6 if FILES[name].stem in IN_FLOAT else 0
    model = keras.saving.load_model(FILES[name])
    model.save(tmp_path / "again.keras")
    for each in (model, keras.saving.load_model(tmp_path / "again.keras")):
        each.engine = engine
        received = flat(each.predict_on_batch(inputs if len(inputs) > 1 else inputs[0]))
        for a, b in zip(received, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
