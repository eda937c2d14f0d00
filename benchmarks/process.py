"""One measurement that needs a fresh process; prints JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import files


def _resident() -> int:
    """Bytes of memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def quantize(model: str, tool: str) -> dict[str, float]:
    """Seconds of the call; MiB at its peak above what there was before."""
    import keras_octet as ko

    float_model, samples = files.load_float(files.FOLDER / model)
    samples = np.array(samples)
    if tool == "converter":
        import tensorflow  # noqa: F401
    peak = before = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    if tool == "converter":
        files.convert(float_model, samples)
    else:
        ko.quantize(float_model, samples, progress=False)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return {"seconds": seconds, "mib": (peak - before) / 2**20}


def cold_start(model: str, what: str) -> dict[str, float]:
    """Seconds of an import, or of a load and the first prediction after the imports."""
    folder = files.FOLDER / model
    sample = np.array(files.load_samples(folder, 1))
    started = time.perf_counter()
    import keras

    if what == "import keras":
        return {"seconds": time.perf_counter() - started}
    import keras_octet  # noqa: F401

    if what == "import octet":
        return {"seconds": time.perf_counter() - started}
    started = time.perf_counter()
    file = files.FLOAT if what == "float" else files.OCTET
    keras.saving.load_model(folder / file, compile=False).predict_on_batch(sample)
    return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    task, model, what = sys.argv[1:]
    print(json.dumps({"quantize": quantize, "cold_start": cold_start}[task](model, what)))
