"""Sizes and times of the two models, on this machine."""

from __future__ import annotations

import gc
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_octet.capture.graph import functional_of, iter_nodes
from keras_octet.cores import num_cores, processor
from keras_octet.errors import ExportError
from keras_octet.exportable import ExportableModel
from keras_octet.model import QuantizedModel
from keras_octet.timing import time_calls
from keras_octet.validate.results import LatencyResult, SizeResult, Timing

ENGINE_NAMES = {"litert": "LiteRT", "openvino": "OpenVINO"}

# Operations whose output takes the place of their input.
IN_PLACE = (keras.layers.ReLU, keras.layers.Reshape, keras.layers.Flatten)


def measure_latency(
    model: keras.Model, flat_model: keras.Model, quantized: keras.Model, call_arguments: Any
) -> tuple[LatencyResult, ...]:
    """Time the float model in Keras, the float model on LiteRT, and the quantized model.

    One after the other, because the threads of an idle engine slow the next one down.

    Args:
        model: the float model.
        flat_model: the same, captured.
        quantized: the quantized model.
        call_arguments: `(model's, flat model's, quantized model's)` input for one sample.
    """
    for_model, for_flat, for_quantized = call_arguments
    on_keras = f"Keras ({keras.backend.backend()})"
    before = {on_keras: _time(model.predict_on_batch, for_model)}
    compiled = QuantizedModel(flat_model.inputs, flat_model.outputs, engine="litert")
    if _tflite_bytes(compiled)[0] is not None:
        before["LiteRT"] = _time(compiled.predict_on_batch, for_flat)
    del compiled
    gc.collect()
    timing = _time(quantized.predict_on_batch, for_quantized)
    # Now, because a model that LiteRT cannot run has just gone back to Keras.
    engine = quantized.engine if isinstance(quantized, QuantizedModel) else "keras"
    after = {ENGINE_NAMES.get(engine, on_keras if engine == "keras" else engine): timing}
    return tuple(
        LatencyResult(engine=name, before=before.get(name), after=after.get(name))
        for name in {**before, **after}
    )


def _time(call: Callable[[Any], Any], argument: Any) -> Timing:
    times = time_calls({"": lambda: call(argument)})[""]
    low, median, high = np.percentile(times, [25, 50, 75])
    return Timing(median=float(median), low=float(low), high=float(high), num_calls=len(times))


def measure_sizes(
    model: keras.Model, flat_model: keras.Model, quantized: keras.Model
) -> tuple[SizeResult, ...]:
    """Files, weights and activations of both models.

    The `.keras` file of the float model is written without the state of its optimizer.
    """
    compiled = QuantizedModel(flat_model.inputs, flat_model.outputs, name=model.name)
    float_tflite, float_note = _tflite_bytes(compiled)
    tflite, note = _tflite_bytes(quantized)
    return (
        SizeResult(
            name=".keras file",
            before=_keras_bytes(_without_optimizer(model)),
            after=_keras_bytes(_without_optimizer(quantized)),
        ),
        SizeResult(name=".tflite file", before=float_tflite, after=tflite, note=note or float_note),
        SizeResult(
            name="weights in memory", before=weight_bytes(model), after=weight_bytes(quantized)
        ),
        SizeResult(
            name="activations, peak",
            before=peak_activation_bytes(flat_model),
            after=peak_activation_bytes(quantized),
            note="most bytes of tensors alive at once for one sample",
        ),
    )


def weight_bytes(model: keras.Model) -> int:
    """Bytes of the variables of a model's layers."""
    return sum(_dtype_bytes(v.dtype) * int(np.prod(v.shape)) for v in model.weights)


def peak_activation_bytes(model: keras.Model) -> int | None:
    """Most bytes of tensors that are alive at once for one sample, layers in graph order.

    ReLU and reshapes work in place. A size that is not known counts as 1. None for a model without
    a functional graph.
    """
    if functional_of(model) is None:
        return None
    nodes = list(iter_nodes(model))
    last_reader: dict[int, int] = {}
    for position, node in enumerate(nodes):
        last_reader.update({id(tensor): position for tensor in node.input_tensors})
    last_reader.update({id(tensor): len(nodes) for tensor in model.outputs})
    alive = {id(tensor): _tensor_bytes(tensor) for tensor in model.inputs}
    peak = sum(alive.values())
    for position, node in enumerate(nodes):
        finished = [id(t) for t in node.input_tensors if last_reader[id(t)] == position]
        if isinstance(node.operation, IN_PLACE):
            for key in finished:
                alive.pop(key, None)
        alive.update({id(tensor): _tensor_bytes(tensor) for tensor in node.outputs})
        peak = max(peak, sum(alive.values()))
        for key in finished:
            alive.pop(key, None)
    return peak


def _tensor_bytes(tensor: keras.KerasTensor) -> int:
    return _dtype_bytes(tensor.dtype) * int(np.prod([size or 1 for size in tensor.shape[1:]]))


def _dtype_bytes(dtype: Any) -> int:
    return 2 if "bfloat16" in str(dtype) else int(np.dtype(str(dtype)).itemsize)


def _without_optimizer(model: keras.Model) -> keras.Model:
    """A model whose file has no optimizer in it: the model itself, or a copy."""
    if not getattr(model, "compiled", False) or not getattr(model, "optimizer", None):
        return model
    try:
        copy = type(model).from_config(model.get_config())
        copy.set_weights(model.get_weights())
    except Exception:  # Not every model can be copied; its file says what it says.
        return model
    return copy


def _keras_bytes(model: keras.Model) -> int | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
        except Exception:  # A layer without get_config: there is no file to measure.
            return None
        return path.stat().st_size


def _tflite_bytes(model: keras.Model) -> tuple[int | None, str]:
    """Size of a model's `.tflite` file, or None and why there is none."""
    if not isinstance(model, ExportableModel):
        return None, "only models of this library are written as .tflite"
    try:
        return len(model.to_tflite()), ""
    except ExportError as error:
        return None, " ".join(str(error).split())


def describe_machine() -> dict[str, str]:
    """What the times depend on: processor, cores, system, versions."""
    from importlib.metadata import version

    return {
        "processor": processor(),
        "cores": str(num_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "keras_octet": version("keras-octet"),
    }
