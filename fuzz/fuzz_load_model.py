"""Coverage-guided fuzzing of `keras_octet.load_model`; see CONTRIBUTING.md.

    pip install atheris
    KERAS_BACKEND=jax python fuzz/fuzz_load_model.py -max_total_time=600 corpus tests/golden

Anything but a model or an `OctetError` is a finding, as is a run out of time or memory.
"""

from __future__ import annotations

import contextlib
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import atheris

with atheris.instrument_imports(include=["keras_octet.tflite", "flatbuffers"]):
    import keras_octet

import keras


class _Target:
    """Counts runs, so that Keras's global state does not grow for ever."""

    runs = 0

    def __call__(self, data: bytes) -> None:
        self.runs += 1
        if self.runs % 1000 == 0:
            keras.backend.clear_session()
        with contextlib.suppress(keras_octet.OctetError):
            keras_octet.load_model(data)


if __name__ == "__main__":
    atheris.Setup([*sys.argv, "-rss_limit_mb=4096", "-timeout=20", "-max_len=65536"], _Target())
    atheris.Fuzz()
