"""The validation run: both models over the data once, everything measured on the way."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import keras
import numpy as np

from keras_octet.calibrate.batching import MicroBatch, micro_batches
from keras_octet.calibrate.datasets import Batches, LabelledBatch, open_labelled
from keras_octet.calibrate.progress import Progress
from keras_octet.capture import capture
from keras_octet.errors import CalibrationError, ValidationError
from keras_octet.model import QuantizedModel
from keras_octet.validate.advice import give_advice
from keras_octet.validate.effects import SampleStore, measure_effects
from keras_octet.validate.graph import Pair, match_layers
from keras_octet.validate.layers import LayerComparison
from keras_octet.validate.measure import describe_machine, measure_latency, measure_sizes
from keras_octet.validate.metrics import resolve_metrics
from keras_octet.validate.output_comparison import OutputComparison
from keras_octet.validate.outputs import FloatIO, align, output_names
from keras_octet.validate.report import ValidationReport
from keras_octet.validate.results import FloatTrial, LatencyResult, LayerResult, SizeResult
from keras_octet.validate.tasks import Task, detect_task, loss_of
from keras_octet.validate.thresholds import Thresholds

MIN_EFFECT_SAMPLES, MAX_EFFECT_SAMPLES = 8, 128
# Bytes of float tensors that may be computed to find the effects of all layers.
EFFECT_BUDGET = 16 * 2**30


def validate(
    model: keras.Model,
    quantized: keras.Model,
    data: Any,
    *,
    metrics: Any = None,
    task: str | Mapping[str, str] | None = None,
    lower_is_better: Collection[str] = (),
    max_drop: float | Mapping[str, float] | None = None,
    min_agreement: float | None = None,
    min_sqnr: float | None = None,
    layer_samples: int | None = 128,
    effects: bool = True,
    sizes: bool = True,
    latency: bool = True,
    batch_size: int = 32,
    progress: bool | None = None,
) -> ValidationReport:
    """Measure what quantization cost a model: its task, its layers, its bytes and its time.

    Runs both models over the data once, batch by batch; memory does not grow with the data. The
    models are not changed.

    Args:
        model: the float model that was quantized.
        quantized: what `quantize` gave. Of another Keras model with the same inputs and outputs
            everything but the layers is compared.
        data: as for `quantize`, with labels and sample weights where there are any: `(x, y)`,
            `(x, y, sample_weight)`, or an iterable of such batches. Labels of several outputs are
            a dict by output name, or a list.
        metrics: a Keras metric, its name, a function of labels and predictions, or a list of
            these; a dict of them by output name for several outputs. By default the usual ones of
            the task. A metric of an `"anomaly"` output is given labels and mean squared errors.
        task: what the output is for, or a dict by output name, where it cannot be told from the
            model and the labels: `"classification"` (top-1 and top-5 accuracy), `"binary"`
            (accuracy, AUROC), `"regression"` (MAE, MSE), `"reconstruction"` (MAE and MSE between
            input and output), or `"anomaly"` (AUROC of the reconstruction error).
        lower_is_better: names of metrics that are better when lower; those of Keras are known.
        max_drop: fail if a metric gets worse by more: an absolute difference (0.01 is one point of
            accuracy), or for a metric that is better when lower a relative one (0.01 is one
            percent more error). A dict by name limits some metrics only.
        min_agreement: fail if the models decide alike for a smaller share, from 0 to 1.
        min_sqnr: fail if an output has a smaller SQNR, in dB.
        layer_samples: samples to compare the layers on, spread evenly over data of known length;
            None for all, 0 to leave the layers out.
        effects: quantize the layers one by one, to see what each does to the outputs (on some of
            the layers' samples: 8 for a large model, more for a smaller one).
        sizes: measure files, weights and activations.
        latency: time single calls, for a few seconds.
        batch_size: samples run at a time.
        progress: show a progress bar; by default for long work on a terminal.

    Returns:
        A `ValidationReport`. `passed` says whether the limits are kept.

    Raises:
        ValidationError: models, data, labels, metrics or limits do not fit each other.
        CaptureError: the float model cannot be traced.
    """
    thresholds = Thresholds.of(max_drop, min_agreement, min_sqnr)
    _check_arguments(model, quantized, layer_samples, batch_size)
    flat_model = capture(model)
    names = output_names(model, flat_model)
    run_float = FloatIO(model, flat_model, is_quantized=False)
    run_flat = FloatIO(flat_model, flat_model, is_quantized=False)
    run_quantized = FloatIO(quantized, flat_model, is_quantized=True)
    with _data_errors():
        dataset = _open(data, flat_model, batch_size)
        first = next(dataset.iterator)
    labels = align(first.labels, names, "labels", len(first.arrays[0]))
    weights = align(first.sample_weight, names, "sample weights", len(first.arrays[0]))
    outputs = _output_comparisons(
        model, flat_model, names, labels, metrics, _tasks(task, names), lower_is_better
    )
    pairs, notes = _pairs(flat_model, quantized, layer_samples)
    layers = _layer_comparison(flat_model, quantized, pairs)
    fixed = _fixed_batch_size(flat_model)
    size_results: tuple[SizeResult, ...] = ()
    latencies: tuple[LatencyResult, ...] = ()
    if sizes:
        size_results = measure_sizes(model, flat_model, quantized)
    if latency:
        one = [array[: fixed or 1] for array in first.arrays]
        if fixed is None or len(one[0]) == fixed:
            arguments = (run_float.pack(one), run_flat.pack(one), run_quantized.pack(one))
            latencies = measure_latency(model, flat_model, quantized, arguments)

    shown = progress is not False
    num_samples = num_layer_samples = 0
    wanted = math.inf if layer_samples is None else layer_samples
    store = SampleStore(_num_effect_samples(layers, pairs), wanted, fixed)
    rows = chain([first], dataset.iterator)
    with _data_errors(), Progress("Validating", total=dataset.num_batches, enabled=shown) as bar:
        for batch, batch_labels, batch_weights in _aligned_batches(
            rows, names, labels, weights, fixed, batch_size
        ):
            arrays = [array[: batch.num_samples] for array in batch.arrays]
            reference, received = (
                [_first_samples(value, batch) for value in run(batch.arrays)]
                for run in (run_float, run_quantized)
            )
            for position, output in enumerate(outputs):
                _check_shapes(names[position], reference[position], received[position])
                output.update(
                    arrays,
                    batch_labels[position],
                    batch_weights[position],
                    reference[position],
                    received[position],
                )
            num_samples += batch.num_samples
            # In step with the data, if its length is known; else from the start.
            done = (batch.batches[1] + 1) / dataset.num_batches if dataset.num_batches else 1.0
            if layers is not None and num_layer_samples < wanted * done:
                count = int(min(batch.num_samples, wanted - num_layer_samples))
                layers.update(batch.arrays, run_quantized.inputs(batch.arrays), count)
                store.update(batch.arrays, count)
                num_layer_samples += count
            bar.update(batch.batches[1], f"{num_samples} samples")

    effect_results: dict[str, float] = {}
    trials: tuple[FloatTrial, ...] = ()
    if layers is not None and effects and store.num_samples:
        with Progress("Quantizing layers one by one", total=len(pairs), enabled=shown) as bar:
            effect_results, trials = measure_effects(
                flat_model,
                pairs,
                store.arrays(),
                lambda done, total: bar.update(done, f"{done} of {total}"),
            )

    several = len(names) > 1
    metric_results = tuple(
        result
        for name, output in zip(names, outputs, strict=True)
        for result in output.metric_results(name if several else "")
    )
    output_results = tuple(output.result() for output in outputs)
    notes += [
        f"Output {output.name!r} has values that are not finite numbers."
        for output in output_results
        if np.isnan(output.difference.sqnr)
    ]
    report = ValidationReport(
        model=model.name,
        num_samples=num_samples,
        num_layer_samples=num_layer_samples,
        metrics=metric_results,
        outputs=output_results,
        layers=_with_unmatched(layers.results(effect_results) if layers else (), quantized),
        num_effect_samples=store.num_samples if effect_results else 0,
        trials=trials,
        num_fused=quantized.report.count("fused") if isinstance(quantized, QuantizedModel) else 0,
        sizes=size_results,
        latencies=latencies,
        thresholds=thresholds,
        failures=thresholds.failures(metric_results, output_results),
        notes=tuple(notes),
        machine=describe_machine(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return replace(report, advice=give_advice(report))


def _check_arguments(
    model: Any, quantized: Any, layer_samples: int | None, batch_size: int
) -> None:
    for name, value in (("model", model), ("quantized", quantized)):
        if not isinstance(value, keras.Model):
            raise ValidationError(
                f"{name} must be a keras.Model. Received: {type(value).__name__}. Load a file "
                "first: keras_octet.load_model(path)."
            )
    if isinstance(model, QuantizedModel) and not isinstance(quantized, QuantizedModel):
        raise ValidationError(
            "The float model comes first: validate(model, quantized, data). Received a "
            "QuantizedModel first."
        )
    for name, number, least in (("batch_size", batch_size, 1), ("layer_samples", layer_samples, 0)):
        if number is None and name == "layer_samples":
            continue
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValidationError(f"{name} must be an integer >= {least}. Received: {number!r}")


@contextmanager
def _data_errors() -> Iterator[None]:
    """Errors of the data, in the words of a validation."""
    try:
        yield
    except CalibrationError as error:
        message = str(error).replace("The representative dataset", "The data")
        message = message.replace("the representative dataset", "the data")
        message = message.replace("representative dataset", "data")
        raise ValidationError(message) from error


def _open(data: Any, flat_model: keras.Model, batch_size: int) -> Batches[LabelledBatch]:
    dataset = open_labelled(data, flat_model, batch_size=batch_size)
    return Batches(iter(dataset.iterator), dataset.num_batches)


def _fixed_batch_size(flat_model: keras.Model) -> int | None:
    return next((t.shape[0] for t in flat_model.inputs if t.shape[0] is not None), None)


def _tasks(task: Any, names: list[str]) -> list[Task | None]:
    """The task the caller names for each output, if any."""
    by_name = dict(task) if isinstance(task, Mapping) else dict.fromkeys(names, task)
    unknown = [name for name in by_name if name not in names]
    if unknown:
        raise ValidationError(f"task names outputs {unknown}; the model has {names}.")
    found: list[Task | None] = []
    for name in names:
        value = by_name.get(name)
        try:
            found.append(None if value is None else Task(value))
        except ValueError:
            raise ValidationError(
                f"task must be one of {', '.join(repr(str(each)) for each in Task)}. "
                f"Received: {value!r}"
            ) from None
    return found


def _output_comparisons(
    model: keras.Model,
    flat_model: keras.Model,
    names: list[str],
    labels: list[np.ndarray | None],
    metrics: Any,
    tasks: list[Task | None],
    lower_is_better: Collection[str],
) -> list[OutputComparison]:
    if isinstance(metrics, Mapping):
        unknown = [name for name in metrics if name not in names]
        if unknown:
            raise ValidationError(f"metrics name outputs {unknown}; the model has {names}.")
    comparisons = []
    for position, (name, tensor) in enumerate(zip(names, flat_model.outputs, strict=True)):
        found = detect_task(
            tensor,
            flat_model.inputs,
            labels[position],
            loss_of(model, name, position),
            tasks[position],
        )
        measurable = labels[position] is not None or found.task is Task.RECONSTRUCTION
        specs = (
            resolve_metrics(metrics, name, found, tuple(tensor.shape), lower_is_better)
            if measurable
            else []
        )
        comparisons.append(OutputComparison(name, found, specs))
    if metrics is not None and not any(value is not None for value in labels):
        reconstructs = len(names) == 1 and comparisons[0].is_reconstruction
        if not reconstructs:
            raise ValidationError(
                "metrics need labels, and the data has none: pass (x, y), or batches of them."
            )
    return comparisons


def _pairs(
    flat_model: keras.Model, quantized: keras.Model, layer_samples: int | None
) -> tuple[list[Pair], list[str]]:
    """The layers to compare; with a note if there are none."""
    if layer_samples == 0:
        return [], []
    if not isinstance(quantized, QuantizedModel):
        return [], [f"Layers are not compared: {type(quantized).__name__} is not a QuantizedModel."]
    pairs = match_layers(flat_model, quantized)
    if not any(pair.float_layer is not None for pair in pairs):
        return [], [
            "Layers are not compared: none has the name of a layer of the float model, as in a "
            "model that was read from a .tflite file."
        ]
    return pairs, []


def _layer_comparison(
    flat_model: keras.Model, quantized: keras.Model, pairs: list[Pair]
) -> LayerComparison | None:
    if not pairs:
        return None
    reasons = {row.name: row.reason for row in quantized.report.layers if row.status == "float"}
    return LayerComparison(flat_model, quantized, pairs, reasons)


def _num_effect_samples(layers: LayerComparison | None, pairs: list[Pair]) -> int:
    """As many as the work allows: every layer is one run of the whole model."""
    if layers is None:
        return 0
    work = len(pairs) * max(layers.float_bytes_per_sample, 1)
    return max(MIN_EFFECT_SAMPLES, min(MAX_EFFECT_SAMPLES, EFFECT_BUDGET // work))


def _with_unmatched(
    rows: tuple[LayerResult, ...], quantized: keras.Model
) -> tuple[LayerResult, ...]:
    """The rows, and those layers left in float that could not be compared."""
    if not isinstance(quantized, QuantizedModel):
        return rows
    compared = {row.name.split(":")[0] for row in rows}
    return rows + tuple(
        LayerResult(name=row.name, layer_type=row.layer_type, status=row.status, reason=row.reason)
        for row in quantized.report.layers
        if row.status == "float" and row.name not in compared
    )


def _aligned_batches(
    rows: Iterator[LabelledBatch],
    names: list[str],
    labels: list[np.ndarray | None],
    weights: list[np.ndarray | None],
    fixed: int | None,
    batch_size: int,
) -> Iterator[tuple[MicroBatch, list[Any], list[Any]]]:
    """Micro-batches with labels and weights, one or None an output, padding cut off these.

    The labels travel with the inputs as further arrays.
    """
    present = [[value is not None for value in values] for values in (labels, weights)]

    def joined() -> Iterator[list[np.ndarray]]:
        for row in rows:
            size = len(row.arrays[0])
            parts = [
                align(value, names, what, size)
                for value, what in ((row.labels, "labels"), (row.sample_weight, "sample weights"))
            ]
            if [[value is not None for value in part] for part in parts] != present:
                raise ValidationError(
                    "Every batch must have the labels and sample weights that the first one has."
                )
            extra = [value for part in parts for value in part if value is not None]
            yield [*row.arrays, *extra]

    size = fixed or batch_size
    for batch in micro_batches(joined(), lambda arrays: size, always_pad=fixed is not None):
        num_inputs = len(batch.arrays) - sum(map(sum, present))
        extra = iter(array[: batch.num_samples] for array in batch.arrays[num_inputs:])
        aligned = [[next(extra) if there else None for there in part] for part in present]
        yield replace(batch, arrays=batch.arrays[:num_inputs]), aligned[0], aligned[1]


def _first_samples(value: np.ndarray, batch: MicroBatch) -> np.ndarray:
    """An output without what belongs to padding."""
    num_run = len(batch.arrays[0])
    if value.ndim and value.shape[0] == num_run:
        return value[: batch.num_samples]
    return value


def _check_shapes(name: str, reference: np.ndarray, received: np.ndarray) -> None:
    if reference.shape != received.shape:
        raise ValidationError(
            f"Output {name!r} has shape {reference.shape} in the float model and "
            f"{received.shape} in the quantized one. Pass the float model that was quantized."
        )
