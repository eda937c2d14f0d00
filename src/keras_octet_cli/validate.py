"""`octet validate`: a float model, a quantized model and data to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_octet as ko
from keras_octet.errors import CalibrationError, ValidationError
from keras_octet.files import check_folder
from keras_octet_cli.backend import native_messages_held_back
from keras_octet_cli.console import Console
from keras_octet_cli.files import load_calibration_data, load_float_model

LABEL_NAMES = ("y", "labels", "label")
# Parts of a report that are for its plots.
PLOTTED = ("histogram", "points")


def run(
    model_path: Path,
    quantized_path: Path,
    data_path: Path,
    *,
    labels_path: Path | None,
    metrics: Sequence[str],
    task: str | None,
    max_drop: float | None,
    min_agreement: float | None,
    min_sqnr: float | None,
    layer_samples: int,
    latency: bool,
    batch_size: int,
    report_paths: Sequence[Path],
    console: Console,
) -> bool:
    """Validate, print and write the report; returns whether all limits are kept.

    Raises:
        OSError: a file cannot be read or written.
        OctetError: a model, the data, the labels or a limit cannot be used.
    """
    for path in report_paths:
        check_folder(path)
        ko.ValidationReport.check_format(path)
    model, quantized = load_model(model_path), load_model(quantized_path)
    data = load_data(data_path, labels_path, [tensor.name for tensor in model.inputs or ()])
    _let_engine_introduce_itself()
    report = ko.validate(
        model,
        quantized,
        data,
        metrics=list(metrics) or None,
        task=task,
        max_drop=max_drop,
        min_agreement=min_agreement,
        min_sqnr=min_sqnr,
        layer_samples=layer_samples,
        latency=latency,
        batch_size=batch_size,
        progress=console.library_progress,
    )
    for path in report_paths:
        report.save(path)
    console.print(report)
    for path in report_paths:
        console.line(f"Wrote [bold]{path}[/bold].")
    console.result(
        {
            "command": "validate",
            "model": str(model_path),
            "quantized": str(quantized_path),
            "reports": [str(path) for path in report_paths],
            **without_plots(report.get_config()),
        }
    )
    return report.passed


def load_model(path: Path) -> keras.Model:
    """The model at `path`: what Keras saved, or a `.tflite` file.

    Raises:
        OSError: the file is missing or cannot be read.
        ModelFileError: it is not such a model.
    """
    if path.suffix == ".tflite":
        return ko.load_model(path)
    return load_float_model(path)


def load_data(path: Path, labels_path: Path | None, input_names: Sequence[str]) -> Any:
    """Samples, with labels where there are any: `x` or `(x, y)`.

    Args:
        path: as for calibration. An array named `y`, `labels` or `label` in it, which is no input,
            has the labels.
        labels_path: `.npy`, or `.npz` with one array, or with an array for each output by name.
        input_names: names of the model's inputs.

    Raises:
        OSError: a file is missing or cannot be read.
        CalibrationError: the data is not such a file.
        ValidationError: the labels are not.
    """
    data = load_calibration_data(path, input_names)
    if labels_path is not None:
        try:
            return data, load_calibration_data(labels_path, ())
        except CalibrationError as error:
            raise ValidationError(f"--labels: {error}") from error
    if path.suffix != ".npz":
        return data
    with np.load(path, allow_pickle=False) as archive:
        names = [name for name in LABEL_NAMES if name in archive and name not in input_names]
        return (data, archive[names[0]]) if names and len(archive.files) > 1 else data


def without_plots(value: Any) -> Any:
    """A report's configuration without histograms and points, which only plots need."""
    if isinstance(value, dict):
        return {k: without_plots(item) for k, item in value.items() if k not in PLOTTED}
    return [without_plots(item) for item in value] if isinstance(value, list) else value


def _let_engine_introduce_itself() -> None:
    """LiteRT says once a process that it made its delegate: here, where nobody hears it."""
    inputs = keras.Input((1,))
    tiny = ko.QuantizedModel(inputs, keras.layers.Dense(1)(inputs))
    with native_messages_held_back():
        tiny.predict_on_batch(np.zeros((1, 1), np.float32))
