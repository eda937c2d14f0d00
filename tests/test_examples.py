"""Every example runs, in a process and folder of its own, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path.name != "data.py")


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    if "import tensorflow" in path.read_text(encoding="utf-8") and (
        keras.backend.backend() != "tensorflow" or find_spec("tensorflow") is None
    ):
        pytest.skip("needs the TensorFlow backend")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:keras_octet", str(path)],
        cwd=tmp_path,
        env=os.environ | {"OCTET_EXAMPLES_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout
