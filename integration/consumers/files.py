"""A model as `.tflite` files, ours and TensorFlow's, and what a consumer's outputs are worth."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from integration.consumers.consumers import Arrays, run_litert


@dataclass(frozen=True, kw_only=True)
class File:
    """A `.tflite` file and what LiteRT computes from it, with XNNPACK, as it does by default.

    Attributes:
        content: its bytes.
        samples: one array for each input, of its dtype.
        outputs: one array for each output.
        steps: for each output, the scale of its int8 form: the distance of two neighbours.
    """

    content: bytes
    samples: Arrays
    outputs: Arrays
    steps: list[float]

    @classmethod
    def of(cls, content: bytes, samples: dict[str, np.ndarray]) -> File:
        """The file on float samples, by the names of its inputs."""
        model = schema.ModelT.InitFromPackedBuf(content)
        arrays = [_as_input(model, name, samples) for name in _input_names(model)]
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            file.write(content)
            file.flush()
            outputs = run_litert(Path(file.name), arrays)
        return cls(content=content, samples=arrays, outputs=outputs, steps=_steps(model))

    def distance(self, outputs: Arrays) -> tuple[int, float]:
        """Largest difference from LiteRT's outputs in steps, and the share of elements that differ.

        Below half a step, float outputs do not differ.
        """
        steps = np.concatenate(
            [
                np.abs(theirs.astype(np.float64) - ours).ravel() / self._unit(ours, step)
                for theirs, ours, step in zip(outputs, self.outputs, self.steps, strict=True)
            ]
        )
        whole = np.rint(steps)
        return int(whole.max()), float((whole > 0).mean())

    def error(self, outputs: Arrays, expected: Arrays) -> float:
        """Root mean square of the distance from the float model's outputs, in steps."""
        model = schema.ModelT.InitFromPackedBuf(self.content)
        squares = []
        for theirs, ours, step, index in zip(
            outputs, expected, self.steps, model.subgraphs[0].outputs, strict=True
        ):
            if theirs.dtype == np.int8:
                zero_point = model.subgraphs[0].tensors[index].quantization.zeroPoint[0]
                theirs = (theirs.astype(np.float64) - zero_point) * step
            squares.append(np.square((theirs - ours) / step).ravel())
        return float(np.sqrt(np.concatenate(squares).mean()))

    @staticmethod
    def _unit(ours: np.ndarray, step: float) -> float:
        return 1.0 if ours.dtype == np.int8 else step


def octet(model: keras.Model, calibration: Any, dtype: str, batch_size: int | None = None) -> bytes:
    """What `keras_octet` exports, with inputs and outputs of `dtype`."""
    recipe = ko.recipes.w8a8(input_dtype=dtype, output_dtype=dtype)
    return ko.quantize(model, calibration, recipe=recipe).to_tflite(batch_size=batch_size)


def tensorflow(model: keras.Model, calibration: Any, dtype: str) -> bytes:
    """What TensorFlow's converter makes of the same float model. Needs the TensorFlow backend."""
    import tensorflow as tf

    def samples() -> Iterator[Any]:
        named_arrays = named(calibration)
        for values in zip(*named_arrays.values(), strict=True):
            batch = [value[None] for value in values]
            yield dict(zip(named_arrays, batch, strict=True)) if len(batch) > 1 else batch

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    # Its table of full-integer operators, and float for what is not in it.
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, dtype)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return converter.convert()


def named(samples: Any) -> dict[str, np.ndarray]:
    """Samples by the names of the model's inputs; `""` for the only one."""
    return samples if isinstance(samples, dict) else {"": samples}


def _input_names(model: Any) -> list[str]:
    """Of the signature, in the order of the subgraph's inputs."""
    names = {item.tensorIndex: item.name.decode() for item in model.signatureDefs[0].inputs}
    return [names[index] for index in model.subgraphs[0].inputs]


def _as_input(model: Any, name: str, samples: dict[str, np.ndarray]) -> np.ndarray:
    position = _input_names(model).index(name)
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[position]]
    values = samples[""] if "" in samples else samples[name]
    if tensor.type != schema.TensorType.INT8:
        return values
    scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
    return np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)


def _steps(model: Any) -> list[float]:
    """Scales of the outputs; of a dequantized one, that of the tensor before."""
    subgraph = model.subgraphs[0]
    makers = {index: operator for operator in subgraph.operators for index in operator.outputs}
    steps = []
    for index in subgraph.outputs:
        tensor = subgraph.tensors[index]
        if tensor.type == schema.TensorType.FLOAT32:
            tensor = subgraph.tensors[makers[index].inputs[0]]
        steps.append(float(tensor.quantization.scale[0]))
    return steps
