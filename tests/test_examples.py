"""Every example runs, as a script and as a notebook, in a folder of its own, without a network."""

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
TIMEOUT_SECONDS = 600
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _what_it_needs(path, monkeypatch):
    if "import tensorflow" in path.read_text(encoding="utf-8") and (
        keras.backend.backend() != "tensorflow" or find_spec("tensorflow") is None
    ):
        pytest.skip("needs the TensorFlow backend")
    monkeypatch.setenv("OCTET_EXAMPLES_OFFLINE", "1")


@every_example
def test_script(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:keras_octet", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout


@every_example
def test_notebook(path, tmp_path, monkeypatch):
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # A notebook finds `data` beside it.
    monkeypatch.setenv("PYTHONPATH", str(FOLDER), prepend=os.pathsep)
    notebook = jupytext.read(path, fmt="py:percent")
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert kinds.count("code") >= 3
    nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    printed = [output for cell in notebook.cells[1:] for output in cell.get("outputs", ())]
    assert any(output.get("name") == "stdout" for output in printed)
