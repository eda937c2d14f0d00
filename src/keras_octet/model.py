"""`QuantizedModel`: a functional `keras.Model` with int8 weights and integer arithmetic."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from keras_octet.engines import Program, check_engine, compile_program, default_engine
from keras_octet.errors import ExportError
from keras_octet.exportable import ExportableModel
from keras_octet.layers import QuantizedLayer, QuantizedLinear
from keras_octet.layers.base import register


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What became of one layer.

    Attributes:
        name: of the layer.
        layer_type: its class name in the float model.
        status: `"int8"`, `"float"`, or `"fused"` into another layer.
        reason: why it stayed float, or into which layer it was fused.
    """

    name: str
    layer_type: str
    status: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """What `quantize` did, layer by layer.

    Attributes:
        layers: one row a layer of the captured model, in the order of the graph.
        unmatched_rules: rules of the recipe that matched no layer, as text.
    """

    layers: tuple[LayerReport, ...] = ()
    unmatched_rules: tuple[str, ...] = ()

    def count(self, status: str) -> int:
        """How many layers have this status."""
        return sum(row.status == status for row in self.layers)

    def __str__(self) -> str:
        lines = [
            f"{self.count('int8')} layers in int8, {self.count('fused')} fused into them, "
            f"{self.count('float')} left in float"
        ]
        for row in self.layers:
            if row.status == "float":
                lines.append(f"  float: {row.name} ({row.layer_type}): {row.reason}")
        lines += [f"  rule matched nothing: {rule}" for rule in self.unmatched_rules]
        return "\n".join(lines)

    def get_config(self) -> dict[str, Any]:
        return {
            "layers": [list(asdict(row).values()) for row in self.layers],
            "unmatched_rules": list(self.unmatched_rules),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantizationReport:
        rows = tuple(
            LayerReport(name=name, layer_type=layer_type, status=status, reason=reason)
            for name, layer_type, status, reason in config["layers"]
        )
        return cls(layers=rows, unmatched_rules=tuple(config["unmatched_rules"]))


@register
class QuantizedModel(ExportableModel):
    """A functional Keras model of quantized layers; what `keras_octet.quantize` returns.

    Behaves as any Keras model: `summary`, `predict`, `evaluate`, `save`, use inside another model.
    Its weights are int8 and int32 variables, not trainable.

    Attributes:
        report: which layers are int8, which stayed float and why.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        report = kwargs.pop("report", None)
        engine = kwargs.pop("engine", None) or default_engine()
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        self._report = (
            QuantizationReport.from_config(report)
            if isinstance(report, dict)
            else report or QuantizationReport()
        )
        self._engine = check_engine(engine)
        self._program: Program | None = None

    @property
    def engine(self) -> str:
        """What runs concrete inputs: `"litert"` (compiled, the default) or `"keras"`.

        Both give the same bits. Traced and symbolic calls always run the Keras layers. A model with
        a part that `.tflite` cannot express runs on `"keras"`.
        """
        return self._engine

    @engine.setter
    def engine(self, name: str) -> None:
        self._engine = check_engine(name)
        self._program = None

    @property
    def report(self) -> QuantizationReport:
        return self._report

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["report"] = self.report.get_config()
        config["engine"] = self.engine
        return config

    def set_weights(self, weights: list[np.ndarray]) -> None:
        super().set_weights(weights)
        for layer in self.layers:
            if isinstance(layer, QuantizedLinear):
                layer.prepare()
        self._program = None

    def load_weights(self, *args: Any, **kwargs: Any) -> None:
        super().load_weights(*args, **kwargs)
        self._program = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            outputs = self._run_program(args[0])
            if outputs is not None:
                return keras.tree.map_structure(keras.ops.convert_to_tensor, outputs)
        return super().__call__(*args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        outputs = self._run_program(x)
        return super().predict_on_batch(x) if outputs is None else outputs

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        arrays = _as_arrays(x)
        if arrays is None or steps is not None or callbacks or verbose not in ("auto", 0):
            return super().predict(
                x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks
            )
        size = batch_size or 32
        count = len(keras.tree.flatten(arrays)[0])
        batches = []
        for start in range(0, count, size):
            batch = keras.tree.map_structure(lambda a, i=start: a[i : i + size], arrays)
            outputs = self._run_program(batch)
            if outputs is None:
                return super().predict(x, batch_size=batch_size, verbose=verbose)
            batches.append(outputs)
        if not batches:
            return super().predict(x, batch_size=batch_size, verbose=verbose)
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)

    def _run_program(self, x: Any) -> Any:
        """Outputs as NumPy arrays from the engine, or None where the Keras layers must run."""
        if self._engine == "keras":
            return None
        arrays = _as_arrays(x)
        if arrays is None:
            return None
        flat = self._match_inputs(arrays)
        if flat is None:
            return None
        if self._program is None:
            try:
                self._program = compile_program(self._engine, self.to_tflite())
            except ExportError as error:
                warnings.warn(f"{error} This model runs on the Keras path.", stacklevel=3)
                self._engine = "keras"
                return None
        inputs = [np.ascontiguousarray(a, t.dtype) for a, t in zip(flat, self.inputs, strict=True)]
        return keras.tree.pack_sequence_as(self._outputs_struct, self._program(inputs))

    def _match_inputs(self, arrays: Any) -> list[np.ndarray] | None:
        """One array per input, or None where Keras must adjust the inputs or raise its error."""
        if isinstance(arrays, dict) and not isinstance(self._inputs_struct, dict):
            arrays = [arrays.get(tensor.name) for tensor in self.inputs]
        flat = keras.tree.flatten(arrays)
        if len(flat) != len(self.inputs):
            return None
        for array, tensor in zip(flat, self.inputs, strict=True):
            if array is None or array.ndim != len(tensor.shape) or not array.size:
                return None
            sizes = zip(array.shape, tensor.shape, strict=True)
            if any(expected not in (None, size) for size, expected in sizes):
                return None
        return flat

    @property
    def input_qparams(self) -> dict[str, Any]:
        """Input name to the parameters of its int8 form; inputs read only by float layers lack."""
        found = {}
        for tensor in self.inputs:
            for node in tensor._keras_history.operation._outbound_nodes:
                layer = node.operation
                if isinstance(layer, QuantizedLayer):
                    index = [id(x) for x in node.input_tensors].index(id(tensor))
                    qparams = layer.input_qparams[index] if layer.input_qparams else None
                    found[tensor.name] = qparams or layer.output_qparams
        return found


def _as_arrays(structure: Any) -> Any:
    """The same structure of NumPy arrays, or None if a leaf is symbolic, traced or not an array."""
    leaves = keras.tree.flatten(structure)
    arrays = []
    for leaf in leaves:
        if isinstance(leaf, keras.KerasTensor) or not hasattr(leaf, "shape"):
            return None
        if isinstance(leaf, np.ndarray):
            arrays.append(leaf)
            continue
        try:
            arrays.append(np.asarray(leaf))
        except Exception:  # Each backend has its own error for a traced tensor.
            return None
    return keras.tree.pack_sequence_as(structure, arrays) if arrays else None
