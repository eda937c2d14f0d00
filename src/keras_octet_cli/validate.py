"""`octet validate`: a float model, a quantized model and data to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

import keras_octet as ko
from keras_octet.errors import ValidationError
from keras_octet.files import check_folder
from keras_octet_cli.console import Console
from keras_octet_cli.data import Source
from keras_octet_cli.engine import let_engine_introduce_itself
from keras_octet_cli.files import inputs_of, load_model

# Parts of a report that are for its plots.
PLOTTED = ("histogram", "points")


def run(
    model_path: Path,
    quantized_path: Path,
    source: Source,
    *,
    metrics: Sequence[str],
    task: str | None,
    max_drop: float | None,
    min_agreement: float | None,
    min_sqnr: float | None,
    layer_samples: int,
    effects: bool,
    latency: bool,
    batch_size: int,
    report_paths: Sequence[Path],
    console: Console,
) -> None:
    """Validate, print and write the report.

    Raises:
        ThresholdError: after all this, if a limit is not kept.
        OSError: a file cannot be read or written.
        OctetError: a model, the data, the labels or a limit cannot be used.
    """
    for path in report_paths:
        check_folder(path)
        ko.ValidationReport.check_format(path)
    model, quantized = load_model(model_path), load_model(quantized_path)
    data = source.load(inputs_of(model), with_labels=True)
    check_classes(source, data, model, console)
    let_engine_introduce_itself()
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
        effects=effects,
        latency=latency,
        batch_size=batch_size,
        progress=console.library_progress,
    )
    for path in report_paths:
        report.save(path)
    console.report(report)
    for path in report_paths:
        console.wrote(path)
    console.result(
        {
            "command": "validate",
            "model": str(model_path),
            "quantized": str(quantized_path),
            "data": source.text,
            "reports": [str(path) for path in report_paths],
            **without_plots(report.get_config()),
        }
    )
    report.raise_for_failures()


def check_classes(source: Source, data: Any, model: keras.Model, console: Console) -> None:
    """Compare the number of classes of a directory of images with that of the model.

    Raises:
        ValidationError: there are more than the model knows.
    """
    classes: tuple[str, ...] = getattr(data, "classes", ())
    outputs: Any = getattr(model, "outputs", None) or ()
    known = outputs[0].shape[-1] if len(outputs) == 1 else None
    if not classes or known is None:
        return
    if len(classes) > max(known, 2):
        raise ValidationError(
            f"{source.text} has {len(classes)} subdirectories, one for each class, and the model "
            f"has {known} outputs. Expected no more classes than outputs."
        )
    if len(classes) < known:
        console.warning(
            f"{source.text} has {len(classes)} classes and the model {known}: {classes[0]} counts "
            f"as class 0, and so on to {classes[-1]} as class {len(classes) - 1}."
        )


def without_plots(value: Any) -> Any:
    """A report's configuration without histograms and points, which only plots need."""
    if isinstance(value, dict):
        return {k: without_plots(item) for k, item in value.items() if k not in PLOTTED}
    return [without_plots(item) for item in value] if isinstance(value, list) else value
