"""What a model's output is for, found from the model and the labels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import keras
import numpy as np

from keras_octet.errors import ValidationError


class Task(StrEnum):
    """What an output is for.

    `classification`: one score for each class on the last axis. `binary`: independent yes-or-no
    decisions. `regression`: numbers. `reconstruction`: the input again, as of an autoencoder.
    `anomaly`: the same, with labels that mark anomalous samples by 1 and normal ones by 0.
    """

    CLASSIFICATION = "classification"
    BINARY = "binary"
    REGRESSION = "regression"
    RECONSTRUCTION = "reconstruction"
    ANOMALY = "anomaly"


@dataclass(frozen=True, kw_only=True)
class OutputTask:
    """The task of one output.

    Attributes:
        task: see `Task`.
        probabilities: scores are probabilities, as after softmax or sigmoid, rather than logits.
        one_hot: the labels of a classification are vectors rather than class numbers.
    """

    task: Task
    probabilities: bool = False
    one_hot: bool = False

    @property
    def threshold(self) -> float:
        """Above it a score of a binary decision means yes."""
        return 0.5 if self.probabilities else 0.0


def detect_task(
    output: keras.KerasTensor,
    inputs: list[keras.KerasTensor],
    labels: np.ndarray | None,
    loss: Any = None,
    forced: Task | None = None,
) -> OutputTask:
    """The task of an output: what the loss says, else the last layer, the labels and the shapes.

    Args:
        output: of the flat model.
        inputs: of the flat model.
        labels: those of the first batch for this output, if there are any.
        loss: of the output, as given to `compile`, if the model is compiled.
        forced: what the caller says it is.

    Raises:
        ValidationError: the labels do not fit the task.
    """
    function = final_activation(output)
    loss_name = name_of(loss)
    from_logits = getattr(loss, "from_logits", None)
    probabilities = function in ("softmax", "sigmoid")
    if not probabilities and "crossentropy" in loss_name and from_logits is False:
        probabilities = True
    task = forced or _guess(output, inputs, labels, loss_name, function)
    one_hot = task is Task.CLASSIFICATION and labels is not None and _is_one_hot(labels, output)
    found = OutputTask(task=task, probabilities=probabilities, one_hot=one_hot)
    if labels is not None:
        _check_labels(found, labels, output)
    return found


def _guess(
    output: keras.KerasTensor,
    inputs: list[keras.KerasTensor],
    labels: np.ndarray | None,
    loss_name: str,
    function: str,
) -> Task:
    shape = tuple(output.shape)
    several = len(shape) > 1 and shape[-1] not in (None, 1)
    if "binary" in loss_name:
        return Task.BINARY
    if several and ("categorical" in loss_name or function == "softmax"):
        return Task.CLASSIFICATION
    same_as_input = len(inputs) == 1 and tuple(inputs[0].shape) == shape and len(shape) > 1
    if same_as_input and shape[1:] != (1,) and (labels is None or _marks_samples(labels)):
        return Task.RECONSTRUCTION if labels is None else Task.ANOMALY
    if labels is None:
        if several:
            return Task.CLASSIFICATION
        return Task.BINARY if function == "sigmoid" else Task.REGRESSION
    whole = labels.dtype.kind in "iub"
    if several and (_is_one_hot(labels, output) or (whole and _is_sparse(labels, shape))):
        return Task.CLASSIFICATION
    if _is_zero_or_one(labels) and (function == "sigmoid" or (whole and not several)):
        return Task.BINARY
    return Task.REGRESSION


def final_activation(output: keras.KerasTensor) -> str:
    """`"softmax"`, `"sigmoid"` or another name of the function that makes an output; else `""`."""
    layer = output._keras_history.operation
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def name_of(value: Any) -> str:
    """Name of a loss given as text, function, class or object, as in `"binary_crossentropy"`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        value = getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__)
    return str(value).lower()


def loss_of(model: Any, output_name: str, position: int) -> Any:
    """The loss of one output of a compiled model, as it was given to `compile`; else None."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, dict):
        return loss.get(output_name)
    if isinstance(loss, (list, tuple)):
        return loss[position] if position < len(loss) else None
    return loss


def _is_sparse(labels: np.ndarray, shape: tuple[Any, ...]) -> bool:
    """Whether labels have one number where the output has a vector of scores."""
    wanted = shape[1:-1]
    return any(
        len(given) == len(wanted)
        and all(size in (None, actual) for size, actual in zip(wanted, given, strict=True))
        for given in (labels.shape[1:], labels.shape[1:-1] if labels.shape[-1:] == (1,) else None)
        if given is not None
    )


def _is_one_hot(labels: np.ndarray, output: keras.KerasTensor) -> bool:
    """Whether labels have the shape of the output and add up to 1 on the last axis."""
    same_rank = labels.ndim == len(output.shape) and labels.ndim > 1
    if not same_rank or labels.shape[-1] != output.shape[-1] or labels.shape[-1] == 1:
        return False
    values = labels.astype(np.float64)
    return bool((values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=1e-3))


def _is_zero_or_one(labels: np.ndarray) -> bool:
    return bool(((labels == 0) | (labels == 1)).all())


def _marks_samples(labels: np.ndarray) -> bool:
    """Whether there is one number, 0 or 1, a sample."""
    return labels.size == len(labels) and _is_zero_or_one(labels)


def _check_labels(found: OutputTask, labels: np.ndarray, output: keras.KerasTensor) -> None:
    shape = tuple(output.shape)
    task = found.task
    name = output._keras_history.operation.name
    hint = "Pass task=... or metrics=... if the output is for something else."
    if task is Task.ANOMALY:
        if not _marks_samples(labels):
            raise ValidationError(
                f"Labels of an anomaly detector must be 0 (normal) or 1 (anomalous), one a sample. "
                f"Received labels of shape {labels.shape}. {hint}"
            )
        return
    if task is Task.RECONSTRUCTION:
        return
    if task is Task.CLASSIFICATION and not found.one_hot:
        fits = _is_sparse(labels, shape)
        classes = shape[-1]
        if fits and classes is not None and labels.size and labels.max() >= classes:
            raise ValidationError(
                f"Output {name!r} has {classes} classes, numbered from 0. "
                f"Received a label {labels.max()}."
            )
    else:
        squeezed = labels[..., None] if labels.ndim == len(shape) - 1 else labels
        fits = squeezed.ndim == len(shape) and all(
            size in (None, actual)
            for size, actual in zip(shape[1:], squeezed.shape[1:], strict=True)
        )
    if not fits:
        raise ValidationError(
            f"Labels of shape {labels.shape} do not fit output {name!r} of shape {shape}, taken "
            f"for {task}. {hint}"
        )
