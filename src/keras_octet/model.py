"""`QuantizedModel`: a functional `keras.Model` with int8 weights and integer arithmetic."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_octet.dispatch import is_observed, to_arrays
from keras_octet.engines import ENGINES, EngineOptions, default_engine, find_engine
from keras_octet.errors import ExportError
from keras_octet.exportable import ExportableModel
from keras_octet.layers import QuantizedLayer, QuantizedLinear
from keras_octet.layers.base import register
from keras_octet.predicting import predict_batches
from keras_octet.qparams import QParams
from keras_octet.running import Runner
from keras_octet.torch_graphs import TorchGraphs

# One model is compiled at a time; that threads wait for each other here is rare.
_compiling = threading.Lock()
# Where a layer on PyTorch keeps who watches it.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


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

    Made as an `ExportableModel`, with what the properties below give, as `get_config` has it.

    Attributes:
        report: which layers are int8, which stayed float and why.
    """

    predict_function: Any  # Keras's, which has no types

    def __init__(
        self,
        *args: Any,
        report: QuantizationReport | dict[str, Any] | None = None,
        engine: str | None = None,
        engine_options: dict[str, Any] | None = None,
        engine_choices: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        engine = engine or default_engine()
        self._report = (
            QuantizationReport.from_config(report)
            if isinstance(report, dict)
            else report or QuantizationReport()
        )
        if engine in ENGINES and not ENGINES[engine].installed:
            warnings.warn(
                f"The model was saved with engine {engine!r}, which is not installed here. "
                f"It runs on {default_engine()!r}.",
                stacklevel=2,
            )
            engine = default_engine()
        self._engine = find_engine(engine).name
        self._engine_options = EngineOptions(**(engine_options or {}))
        self._engine_choices: dict[str, str] = dict(engine_choices or {})
        self._runner: Runner | None = None
        self._fits_in_progress = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("engine", "engine_options"):
            # On TensorFlow, Keras does not set what an attribute is already; these compile again.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def engine(self) -> str:
        """What runs concrete inputs; settable.

        - `"litert"`, the default: compiled.
        - `"keras"`: the Keras layers on the backend, with the same bits. They also run every
          traced, differentiated or symbolic call, and a model with a part that `.tflite` cannot
          express. On PyTorch most are faster after `compile(jit_compile=True)`.
        - `"openvino"`: compiled by OpenVINO 2026.1 or later, which must be installed. It rounds in
          its own way, and neither rounds nor clips what only HARD_SWISH reads: values are a step
          off now and then, and the layers after them spread that.
        - `"auto"`: measures the compiled engines at the first call, on the data of that call, and
          keeps the fastest whose outputs are within `engine_options.tolerance` of LiteRT's. What
          it finds is saved with the model, and holds for the machine it was found on.

        A model that keeps state (`stateful`) runs on LiteRT where `"openvino"` or `"auto"` is
        asked for, one call after another, and has the same state whatever ran it.

        The engine is compiled at the first call, with the weights of that moment. `set_weights`,
        `load_weights` and `fit` compile it again; after another change, set `engine`.
        """
        return self._engine

    @engine.setter
    def engine(self, name: str) -> None:
        self._engine = find_engine(name).name
        self._forget_compiled()

    @property
    def engine_options(self) -> EngineOptions:
        """Threads and tolerance of the engine; see `EngineOptions`."""
        return self._engine_options

    @engine_options.setter
    def engine_options(self, options: EngineOptions) -> None:
        self._engine_options = replace(options)
        self._runner = None

    @property
    def engine_choices(self) -> dict[str, str]:
        """What `"auto"` found to be fastest: use and machine to the name of an engine."""
        return dict(self._engine_choices)

    @property
    def report(self) -> QuantizationReport:
        return self._report

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["report"] = self.report.get_config()
        config["engine"] = self.engine
        config["engine_options"] = asdict(self.engine_options)
        config["engine_choices"] = dict(self._engine_choices)
        return config

    def set_weights(self, weights: list[np.ndarray]) -> None:
        super().set_weights(weights)
        for layer in self._flatten_layers(include_self=False):
            if isinstance(layer, QuantizedLinear):
                layer.prepare()
        self._forget_compiled()

    def _forget_compiled(self) -> None:
        """Compile again at the next call: compiled functions hold what `prepare` worked out."""
        self._runner = None
        for kind in ("predict", "test", "train"):
            # One that is in use, as where a callback gets here, is replaced.
            if getattr(self, f"{kind}_function") is not None:
                getattr(self, f"make_{kind}_function")(force=True)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`: float layers of the model may train."""
        with self._weights_change():
            return super().fit(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.train_on_batch`: float layers of the model may train."""
        with self._weights_change():
            return super().train_on_batch(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and kwargs in ({}, {"training": False}):
            outputs = self._run(args[0], observable=True)
            if outputs is not None:
                return keras.tree.map_structure(keras.ops.convert_to_tensor, outputs)
        return super().__call__(*args, **kwargs)

    def _run_through_graph(
        self, inputs: Any, operation_fn: Any = lambda operation: operation, call_fn: Any = None
    ) -> Any:
        """As Keras's; on PyTorch int8 layers compute without `Layer.__call__`.

        That takes longer there than a small layer computes, mostly for what has no use here: int8
        layers take one argument, which is neither cast nor masked.
        """
        tensors = keras.tree.flatten(inputs)
        is_symbolic = call_fn is not None or any(isinstance(x, keras.KerasTensor) for x in tensors)
        if keras.backend.backend() != "torch" or is_symbolic or _has_global_hooks():
            return super()._run_through_graph(inputs, operation_fn, call_fn)

        def call(operation: Any) -> Any:
            return operation.call if _is_plain_int8(operation) else operation_fn(operation)

        return super()._run_through_graph(inputs, call)

    def make_predict_function(self, force: bool = False) -> Any:
        """As Keras's; `compile(jit_compile=True)` makes one graph of the model on PyTorch."""
        is_made = self.predict_function is not None and not force
        super().make_predict_function(force)
        by_torch = self.jit_compile and keras.backend.backend() == "torch"
        if by_torch and not is_made and not self.stateful:
            self.predict_function = TorchGraphs(self, self.predict_function)
        return self.predict_function

    def predict_on_batch(self, x: Any) -> Any:
        outputs = self._run(x)
        return super().predict_on_batch(x) if outputs is None else outputs

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """As `keras.Model.predict`. Samples run on all cores.

        Where each sample is computed for itself, the engine chooses how many it runs at a time;
        `batch_size` is what callbacks and the progress bar see.
        """
        arrays = to_arrays(x)
        runner = self._compiled()
        if runner is None:
            return super().predict(x, batch_size, verbose, steps, callbacks)
        size = batch_size or 32
        if arrays is not None and verbose == 0 and steps is None and not callbacks:
            outputs = runner.predict(arrays, size)
            if outputs is None:
                return super().predict(x, batch_size, verbose)
            return outputs

        def run(batch: Any) -> Any:
            outputs = runner.predict(batch, size)
            if outputs is None:
                return super(QuantizedModel, self).predict_on_batch(batch)
            return outputs

        return predict_batches(
            self, run, x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks
        )

    def _run(self, x: Any, observable: bool = False) -> Any:
        """Outputs as NumPy arrays from the engine, or None where the Keras layers must run."""
        if self._engine == "keras" or self._fits_in_progress:
            return None  # before a tensor on another device is copied
        arrays = to_arrays(x)
        runner = None if arrays is None else self._compiled()
        if runner is None or (observable and is_observed(runner.float_variables)):
            return None
        return runner(arrays)

    def _compiled(self) -> Runner | None:
        """The model on its engine, or None where the Keras layers must run."""
        if self._engine == "keras" or self._fits_in_progress:
            return None
        runner = self._runner
        if runner is not None:
            return runner
        with _compiling:
            if self._runner is None:
                engine = find_engine(self._engine)
                if self.stateful and not engine.stateful:
                    engine = ENGINES["litert"]
                try:
                    self._runner = Runner(self, engine, self._engine_options, self._engine_choices)
                except ExportError as error:
                    warnings.warn(f"{error} This model runs on the Keras path.", stacklevel=4)
                    self._engine = "keras"
            return self._runner

    @contextmanager
    def _weights_change(self) -> Iterator[None]:
        """Inside, calls run the Keras layers; afterwards the engine is compiled again."""
        self._fits_in_progress += 1
        try:
            yield
        finally:
            self._fits_in_progress -= 1
            self._runner = None

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

    @property
    def output_qparams(self) -> dict[str, QParams]:
        """Name of each int8 output (as in `output_names`) to its parameters."""
        found = {}
        for name, tensor in zip(self.output_names, self.outputs, strict=True):
            layer = tensor._keras_history.operation
            if isinstance(layer, QuantizedLayer) and layer.output_qparams is not None:
                found[name] = layer.output_qparams
            elif tensor.name in self.input_qparams and str(tensor.dtype) == "int8":
                found[name] = self.input_qparams[tensor.name]
        return found


def _is_plain_int8(operation: Any) -> bool:
    """Whether it is a layer between int8 tensors, or to or from them, without a PyTorch hook."""
    if not isinstance(operation, QuantizedLayer):
        return False
    is_int8 = bool(operation.input_qparams or operation.output_qparams)
    return is_int8 and not any(getattr(operation, hooks) for hooks in _HOOKS)


def _has_global_hooks() -> bool:
    module = sys.modules["torch.nn.modules.module"]
    return any(getattr(module, f"_global{hooks}") for hooks in _HOOKS)
