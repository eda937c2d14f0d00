"""The files that are measured: each model as every tool makes it from the same samples.

Made once, each tool in a process of its own, and kept in `build/benchmarks/`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "build" / "benchmarks"

FLOAT = "float.keras"
SAMPLES = "samples.npy"
OCTET = "octet.keras"
OCTET_TFLITE = "octet.tflite"
CONVERTER = "converter.tflite"
NNCF = "nncf.xml"
ONNX_RUNTIME = "onnxruntime.onnx"


def prepare(name: str) -> Path:
    """The folder of a model of the zoo, with whatever files its tools can make.

    A tool that fails leaves `FILE.failed` with the reason instead of its file.
    """
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, backend in {
        FLOAT: "tensorflow",
        OCTET: "tensorflow",
        CONVERTER: "tensorflow",
        NNCF: "tensorflow",
        ONNX_RUNTIME: "tensorflow",
    }.items():
        failed = folder / f"{file}.failed"
        if (folder / file).exists() or failed.exists():
            continue
        print(f"{name}: making {file}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.files", name, file],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            failed.write_text(done.stderr[-4000:])
    return folder


def load_samples(folder: Path, count: int) -> np.ndarray:
    """So many samples of the model in `folder`."""
    samples = np.load(folder / SAMPLES, mmap_mode="r")
    return np.resize(samples, (count, *samples.shape[1:]))


def load_float(folder: Path) -> tuple[object, np.ndarray]:
    """The float model and the samples to calibrate with."""
    import keras

    from benchmarks.zoo import NUM_CALIBRATION

    model = keras.saving.load_model(folder / FLOAT, compile=False)
    return model, load_samples(folder, NUM_CALIBRATION)


def _make_float(folder: Path) -> None:
    from benchmarks.zoo import NUM_CALIBRATION, build

    model, samples = build(folder.name)
    np.save(folder / SAMPLES, samples(NUM_CALIBRATION))
    model.save(folder / FLOAT)


def _make_octet(folder: Path) -> None:
    import keras_octet as ko

    quantized = ko.quantize(*load_float(folder), progress=False)
    quantized.export(folder / OCTET_TFLITE)
    quantized.save(folder / OCTET)


def convert(model: object, samples: np.ndarray) -> bytes:
    """Full int8 by TensorFlow's converter, float inputs and outputs as ours."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def _make_converter(folder: Path) -> None:
    (folder / CONVERTER).write_bytes(convert(*load_float(folder)))


def _make_nncf(folder: Path) -> None:
    """As NNCF documents post-training quantization of a Keras model for OpenVINO."""
    import nncf
    import openvino as ov

    model, samples = load_float(folder)
    model.export(folder / "saved_model", format="tf_saved_model", verbose=False)
    converted = ov.convert_model(folder / "saved_model", input=[-1, *samples.shape[1:]])
    dataset = nncf.Dataset(samples, lambda sample: sample[None])
    quantized = nncf.quantize(converted, dataset, subset_size=len(samples))
    ov.save_model(quantized, folder / NNCF)


def _make_onnx_runtime(folder: Path) -> None:
    """Static QDQ quantization per channel, after the pre-processing that its documents advise."""
    import tensorflow as tf
    import tf2onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model, samples = load_float(folder)
    signature = [tf.TensorSpec((None, *samples.shape[1:]), tf.float32, name="input")]
    function = tf.function(lambda input: model(input, training=False))
    float_path, prepared = str(folder / "float.onnx"), str(folder / "prepared.onnx")
    tf2onnx.convert.from_function(
        function, input_signature=signature, opset=17, output_path=float_path
    )
    quant_pre_process(float_path, prepared)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[np.ndarray] = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self._batches, None)
            return None if sample is None else {"input": sample[None]}

    quantize_static(
        prepared,
        str(folder / ONNX_RUNTIME),
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


MAKERS: dict[str, Callable[[Path], None]] = {
    FLOAT: _make_float,
    OCTET: _make_octet,
    CONVERTER: _make_converter,
    NNCF: _make_nncf,
    ONNX_RUNTIME: _make_onnx_runtime,
}

if __name__ == "__main__":
    name, file = sys.argv[1:]
    started = time.perf_counter()
    MAKERS[file](FOLDER / name)
    print(json.dumps({"seconds": time.perf_counter() - started}))
