"""The calibration run: a flat model over a representative dataset, every tensor observed."""

from __future__ import annotations

import difflib
import gc
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import keras
import numpy as np

from keras_octet.calibrate.batching import MicroBatch, micro_batches
from keras_octet.calibrate.calibration import Calibration
from keras_octet.calibrate.channels import ChannelMean
from keras_octet.calibrate.datasets import open_dataset
from keras_octet.calibrate.observers import TensorObserver, make_observer
from keras_octet.calibrate.progress import Progress
from keras_octet.capture.graph import iter_nodes, tensor_name
from keras_octet.capture.origin import labels
from keras_octet.cores import num_cores, run_on_cores
from keras_octet.errors import CalibrationError
from keras_octet.recipe import Recipe

# Bytes of observed tensors held at a time. It bounds the memory of a run, and larger micro-batches
# are slower on a processor: fresh pages cost more than the calls that are saved.
MEMORY_BUDGET = 128 * 2**20

Runner = Callable[[list[np.ndarray]], dict[str, np.ndarray]]
"""From one array for each input of the model to the observed tensors, by name."""

RunnerFactory = Callable[[keras.Model, dict[str, keras.KerasTensor]], Runner]
"""From a flat model and the tensors to compute, by name, to a runner."""


@dataclass(frozen=True)
class _Observed:
    """A tensor to observe, and the layer that makes it."""

    name: str
    tensor: keras.KerasTensor
    operation: Any
    is_input: bool


def keras_runner(model: keras.Model, tensors: dict[str, keras.KerasTensor]) -> Runner:
    """A runner on the current Keras backend: compiled on JAX and TensorFlow, eager on PyTorch."""
    extended = keras.Model(model.inputs, list(tensors.values()))
    # With every tensor an output there is little to fuse: XLA would only cost compile time.
    if keras.backend.backend() != "jax":
        extended.jit_compile = False
    else:
        # Keras donates the variables' buffers to JAX. Arrays that another model shares, as after
        # `variable.assign(other.value)`, would be deleted under it.
        for variable in extended.variables:
            variable.assign(keras.ops.copy(variable.value))

    def run(arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        # PyTorch's tree functions leave reference cycles around the inputs and outputs of a call.
        # They are young, so this is quick, and it frees the last call's tensors before new ones.
        if keras.backend.backend() == "torch":
            gc.collect(1)
        # A single output comes without its list.
        outputs = keras.tree.flatten(extended.predict_on_batch(arrays))
        return dict(zip(tensors, outputs, strict=True))

    return run


def calibrate(
    flat_model: keras.Model,
    dataset: Any,
    *,
    recipe: Recipe | None = None,
    tensors: Collection[str] | None = None,
    batch_size: int = 32,
    progress: bool = True,
    make_runner: RunnerFactory = keras_runner,
) -> Calibration:
    """Observe the float tensors of a flat model over a representative dataset.

    Memory does not grow with the dataset: samples are run in micro-batches, of at most `batch_size`
    samples and 128 MiB of observed tensors (or one sample, if it alone has more).

    Args:
        flat_model: functional model, as `keras_octet.capture.capture` gives it.
        dataset: see `keras_octet.calibrate.datasets.iter_batches`.
        recipe: says which observer each operation's outputs have; default `Recipe()`.
        tensors: names of the tensors to observe; by default all float inputs of the model and all
            float outputs of operations.
        batch_size: most samples run at a time.
        progress: show a progress bar if it takes long and standard error is a terminal.
        make_runner: makes what computes the tensors; by default the current Keras backend does.

    Raises:
        CalibrationError: the dataset is not usable (see `iter_batches`), a name in `tensors` is not
            a float tensor of the model, or a tensor has NaN or infinite values.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise CalibrationError(f"batch_size must be a positive integer. Received: {batch_size!r}")
    recipe = recipe or Recipe()
    observed = _select(flat_model, tensors)
    observers: dict[str, TensorObserver] = {
        item.name: make_observer(recipe.observer_for(labels(item.operation))) for item in observed
    }
    weighted = _weighted_inputs(flat_model)
    means = {item.name: ChannelMean() for item in observed if item.name in weighted}
    batches = open_dataset(dataset, flat_model, batch_size=batch_size)
    computed = {item.name: item.tensor for item in observed if not item.is_input}
    run = make_runner(flat_model, computed) if computed else _no_tensors
    sizes = _MicroBatchSizes(flat_model, list(computed.values()), batch_size)
    num_samples = 0
    with Progress("Calibrating", total=batches.num_batches, enabled=progress) as bar:
        for batch in micro_batches(batches.iterator, sizes, always_pad=sizes.fixed is not None):
            values = run(batch.arrays)
            values.update(
                (tensor_name(t), a) for t, a in zip(flat_model.inputs, batch.arrays, strict=True)
            )
            _observe_all(observed, values, observers, means, batch, sizes.fixed)
            num_samples += batch.num_samples
            bar.update(batch.batches[1], f"{num_samples} samples")
    return Calibration(observers, num_samples=num_samples, channel_means=means)


def _no_tensors(arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The runner when only inputs of the model are observed."""
    return {}


def _select(model: keras.Model, names: Collection[str] | None) -> list[_Observed]:
    """The tensors to observe, producers before consumers."""
    observed = list(_float_tensors(model))
    if names is None:
        return observed
    if isinstance(names, str):
        raise CalibrationError(f"tensors must be a collection of names. Received: {names!r}")
    known = [item.name for item in observed]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
            raise CalibrationError(f"The model has no float tensor {name!r} to observe.{hint}")
    return [item for item in observed if item.name in set(names)]


def _float_tensors(model: keras.Model) -> Iterator[_Observed]:
    for node in iter_nodes(model, inputs=True):
        for tensor in node.outputs:
            if keras.backend.is_float_dtype(tensor.dtype):
                yield _Observed(tensor_name(tensor), tensor, node.operation, node.is_input)


def _weighted_inputs(model: keras.Model) -> set[str]:
    """The tensors read by operations with weights, whose errors their means tell the effect of."""
    return {
        tensor_name(tensor)
        for node in iter_nodes(model)
        if getattr(node.operation, "weights", None)
        for tensor in node.input_tensors
    }


class _MicroBatchSizes:
    """From the arrays of a batch to how many samples to run at a time."""

    def __init__(
        self, model: keras.Model, tensors: list[keras.KerasTensor], batch_size: int
    ) -> None:
        self.fixed = next((t.shape[0] for t in model.inputs if t.shape[0] is not None), None)
        self._model = model
        self._tensors = tensors
        self._batch_size = batch_size

    def __call__(self, arrays: list[np.ndarray]) -> int:
        if self.fixed is not None:
            return self.fixed
        return max(1, min(self._batch_size, MEMORY_BUDGET // max(self._num_bytes(arrays), 1)))

    def _num_bytes(self, arrays: list[np.ndarray]) -> int:
        """Bytes of all observed tensors for one sample of these shapes."""
        shapes = [tensor.shape for tensor in self._tensors]
        if any(size is None for shape in shapes for size in shape[1:]):
            extended = keras.Model(self._model.inputs, self._tensors)
            specs = [
                keras.KerasTensor((1, *array.shape[1:]), dtype=tensor.dtype)
                for array, tensor in zip(arrays, self._model.inputs, strict=True)
            ]
            try:
                shapes = [tensor.shape for tensor in extended.compute_output_spec(specs)]
            except (TypeError, ValueError, NotImplementedError):
                return MEMORY_BUDGET  # not known: one sample at a time
        return sum(4 * int(np.prod([size or 1 for size in shape])) for shape in shapes)


def _observe_all(
    observed: list[_Observed],
    values: dict[str, np.ndarray],
    observers: dict[str, TensorObserver],
    means: dict[str, ChannelMean],
    batch: MicroBatch,
    fixed: int | None,
) -> None:
    """Update observers and means with a micro-batch, on all cores; `values` is emptied."""
    # Taking the next item of this iterator is atomic, so each tensor is one thread's.
    waiting = iter(enumerate(observed))
    failures: list[tuple[int, CalibrationError]] = []

    def observe_some() -> None:
        for position, item in waiting:
            # Popped, so that each array is freed once it is observed.
            array = values.pop(item.name)
            try:
                array = _observe(observers[item.name], array, item, batch, fixed)
            except CalibrationError as error:
                failures.append((position, error))
                return
            if item.name in means:
                means[item.name].update(array)

    run_on_cores(observe_some, num_cores())
    if failures:
        raise min(failures, key=lambda failure: failure[0])[1]


def _observe(
    observer: TensorObserver,
    array: np.ndarray,
    item: _Observed,
    batch: MicroBatch,
    fixed: int | None,
) -> np.ndarray:
    """Update an observer with the samples that count, padding left out; return these."""
    num_run = len(batch.arrays[0])
    if array.ndim and batch.num_samples < num_run and item.tensor.shape[0] in (None, fixed):
        # In proportion: the first axis can be batch times something, as after a Reshape.
        array = array[: array.shape[0] * batch.num_samples // num_run]
    try:
        observer.update(array)
    except CalibrationError as error:
        _explain(error, array, item, batch)
    return array


def _explain(
    error: CalibrationError, array: np.ndarray, item: _Observed, batch: MicroBatch
) -> NoReturn:
    first, last = batch.batches
    where = f"batch {first}" if first == last else f"batches {first} to {last}"
    kinds = [
        kind
        for kind, present in (("NaN", np.isnan(array).any()), ("infinite", np.isinf(array).any()))
        if present
    ]
    if not kinds:
        raise error
    raise CalibrationError(
        f"Tensor {item.name!r}, made by layer {item.operation.name!r} "
        f"({type(item.operation).__name__}), has {' and '.join(kinds)} values in {where} of the "
        "representative dataset. Check the data (are they preprocessed as for training?) and the "
        "layer's weights."
    ) from None
