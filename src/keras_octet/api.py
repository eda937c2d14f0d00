"""The verbs: each chains the stages."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.calibrate.calibration import Calibration
from keras_octet.calibrate.run import calibrate as run_calibration
from keras_octet.capture import capture, iter_nodes
from keras_octet.capture.origin import labels, type_name
from keras_octet.choose import Plan, choose
from keras_octet.errors import CalibrationError, CaptureError
from keras_octet.model import LayerReport, QuantizationReport, QuantizedModel
from keras_octet.observing import litert_runner
from keras_octet.recipe import Recipe, as_recipe
from keras_octet.transform import transform


def calibrate(
    model: keras.Model,
    representative_dataset: Any,
    *,
    recipe: Recipe | None = None,
    progress: bool | None = None,
) -> Calibration:
    """Observe the ranges of every tensor of `model` on representative data.

    Args:
        model: any `keras.Model`; not changed.
        representative_dataset: arrays, nested dicts or tuples of arrays, a generator function that
            yields `[x]`, an iterable of batches, a `tf.data.Dataset`, a `DataLoader` or a
            `keras.utils.PyDataset`. Labels are ignored.
        recipe: names the observer of each layer; default `recipes.w8a8()`.
        progress: show a progress bar; by default for long work on a terminal.

    Returns:
        A `Calibration`, which can be saved, merged and passed to `quantize`.

    Raises:
        CaptureError: the model cannot be traced, or is quantized already.
        CalibrationError: the data is empty, of a wrong structure, shape or dtype, or not finite.
    """
    return _calibrate(_capture(model), representative_dataset, recipe, progress)


def _capture(model: keras.Model) -> keras.Model:
    if isinstance(model, QuantizedModel):
        raise CaptureError(
            f"Model {model.name!r} is quantized already. Expected the float model it was made from."
        )
    return capture(model)


def _calibrate(
    flat_model: keras.Model, dataset: Any, recipe: Recipe | None, progress: bool | None
) -> Calibration:
    shown = True if progress is None else progress
    return run_calibration(
        flat_model,
        dataset,
        recipe=as_recipe(recipe),
        progress=shown,
        make_runner=litert_runner,
    )


def quantize(
    model: keras.Model,
    representative_dataset: Any = None,
    *,
    calibration: Calibration | None = None,
    recipe: Recipe | None = None,
    progress: bool | None = None,
) -> QuantizedModel:
    """Turn a trained Keras model into a quantized Keras model.

    Args:
        model: any `keras.Model`: Sequential, Functional, nested or subclassed; not changed.
        representative_dataset: data to calibrate on, as for `calibrate`; a hundred samples do.
        calibration: instead of data, what `calibrate` returned for this model.
        recipe: what to quantize and how; default `recipes.w8a8()`.
        progress: show a progress bar; by default for long work on a terminal.

    Returns:
        A `keras.Model` with int8 weights and integer arithmetic. `report` says which layers stayed
        float and why. Compiled with the loss and the metrics of `model`, if that was compiled.

    Raises:
        CaptureError: the model cannot be traced, or is quantized already.
        CalibrationError: no data, unsuitable data, or a calibration of another model.
        RecipeError: `recipe` is not a Recipe.
    """
    if (representative_dataset is None) == (calibration is None):
        raise CalibrationError(
            "quantize needs either representative_dataset or calibration. Received: "
            + ("both." if calibration is not None else "neither.")
        )
    recipe = as_recipe(recipe)
    flat_model = _capture(model)
    if calibration is None:
        calibration = _calibrate(flat_model, representative_dataset, recipe, progress)
    plan = choose(flat_model, calibration, recipe)
    inputs, outputs = transform(flat_model, plan)
    quantized = QuantizedModel(
        inputs,
        outputs,
        name=model.name,
        report=_report(flat_model, plan),
        output_names=getattr(model, "output_names", None) or flat_model.output_names,
    )
    _copy_compilation(model, quantized)
    return quantized


def _report(flat_model: keras.Model, plan: Plan) -> QuantizationReport:
    operations = {node.operation.name: node.operation for node in iter_nodes(flat_model)}
    rows = tuple(
        LayerReport(
            name=decision.name,
            layer_type=type_name(operations[decision.name]),
            status=decision.status,
            reason=decision.reason
            or (f"into {decision.fused_into}" if decision.fused_into else ""),
        )
        for decision in plan.decisions.values()
    )
    known = [labels(node.operation) for node in iter_nodes(flat_model, inputs=True)]
    unmatched = tuple(str(rule) for rule in plan.recipe.unmatched(known))
    return QuantizationReport(layers=rows, unmatched_rules=unmatched)


def _copy_compilation(model: keras.Model, quantized: QuantizedModel) -> None:
    """Compile `quantized` with the loss and metrics of `model`, so that `evaluate` works."""
    if not getattr(model, "compiled", False):
        return
    config = model.get_compile_config() or {}
    config = {key: value for key, value in config.items() if key != "optimizer"}
    if config:
        quantized.compile_from_config({"optimizer": "sgd", **config})
