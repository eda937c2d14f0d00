"""Representative datasets: everything a Keras or TFLite user already has, as batches of arrays.

No library but Keras and NumPy is imported: `tf.data` and torch datasets are recognised by what they
can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import keras

from keras_octet.calibrate.arrays import is_array, to_input
from keras_octet.errors import CalibrationError

EXPECTED = (
    "an array, arrays in the structure of the model's inputs (with or without labels), a function "
    "that returns a generator, an iterable of batches, a tf.data.Dataset, a torch DataLoader or a "
    "keras.utils.PyDataset"
)


@dataclass(frozen=True)
class LabelledBatch:
    """One batch.

    Attributes:
        arrays: one for each of `model.inputs`, batch axis first, checked.
        labels: as the dataset gives them, not checked; None if there are none.
        sample_weight: the same for weights of the samples.
    """

    arrays: list[Any]
    labels: Any = None
    sample_weight: Any = None


BatchType = TypeVar("BatchType")


@dataclass(frozen=True)
class Batches(Generic[BatchType]):
    """A dataset as batches; iterate once.

    Attributes:
        iterator: gives the batches.
        num_batches: None if only iterating tells.
    """

    iterator: Iterator[BatchType]
    num_batches: int | None


def iter_batches(dataset: Any, model: keras.Model, *, batch_size: int = 32) -> Iterator[list[Any]]:
    """Yield the batches of a representative dataset, checked, labels left out.

    * An array is cut into batches of `batch_size`; so are arrays in the structure of the model's
      inputs: list, tuple, or dict by key or by name of the input (further keys are ignored).
    * `(x, y)` and `(x, y, sample_weight)` are inputs and labels when `x` alone has the structure of
      the inputs. A tuple of two arrays is thus both inputs of a model with two, and `x` and labels
      for a model with one. To give a model with one input two batches, use a list.
    * A function without arguments is called; what it returns is the dataset (TFLite's
      representative dataset yields `[x]` or a dict from it).
    * Anything else iterable gives batches: one array, or arrays in any of the structures above,
      lists counting as tuples. A one-shot iterator is consumed once.

    Values are cast to the dtypes of the inputs, float16 and bfloat16 ones to float32.

    Args:
        dataset: see above.
        model: functional model; its inputs say what is expected.
        batch_size: samples in a batch cut from arrays.

    Yields:
        A list with an array for each of `model.inputs`, batch axis first.

    Raises:
        CalibrationError: not a dataset, no samples, or a batch with wrong structure, shape or
            dtype, or with NaN or infinite values. The message names the batch and the input.
    """
    return open_dataset(dataset, model, batch_size=batch_size).iterator


def open_dataset(dataset: Any, model: keras.Model, *, batch_size: int = 32) -> Batches[list[Any]]:
    """As `iter_batches`, with the number of batches where it is known."""
    batches = open_labelled(dataset, model, batch_size=batch_size)
    return Batches((batch.arrays for batch in batches.iterator), batches.num_batches)


def open_labelled(
    dataset: Any, model: keras.Model, *, batch_size: int = 32
) -> Batches[LabelledBatch]:
    """As `open_dataset`, with the labels and sample weights of each batch where there are any."""
    structure = _Structure(model)
    if _is_refused(dataset):
        raise CalibrationError(
            f"The representative dataset must be {EXPECTED}. Received: {_describe(dataset)}"
        )
    whole = _match_whole(dataset, structure)
    if whole is not None:
        return _cut(whole, structure, batch_size)
    if is_array(dataset) or isinstance(dataset, Mapping):
        raise CalibrationError(structure.mismatch("The representative dataset", dataset))
    if isinstance(dataset, keras.utils.PyDataset):
        return _open_py_dataset(dataset, structure)
    if callable(dataset) and not isinstance(dataset, Iterable):
        try:
            result = dataset()
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise CalibrationError(
                    f"The representative dataset is a function, which must take no arguments: "
                    f"{error}"
                ) from error
            raise
        if callable(result) and not isinstance(result, Iterable):
            raise CalibrationError(
                "The function given as representative dataset must return or yield batches. "
                f"Received: {_describe(result)}"
            )
        return open_labelled(result, model, batch_size=batch_size)
    try:
        iterator = iter(dataset)
    except TypeError:
        raise CalibrationError(
            f"The representative dataset must be {EXPECTED}. Received: {_describe(dataset)}"
        ) from None
    return Batches(_checked(iterator, structure), _known_length(dataset))


def _is_refused(dataset: Any) -> bool:
    """Things that iterate or call, but never as a dataset."""
    return (
        dataset is None
        or isinstance(dataset, (str, bytes, type, keras.layers.Layer, keras.KerasTensor))
        or (is_array(dataset) and not len(dataset.shape))
    )


class _Structure:
    """The inputs of a model, and the matching of data against them."""

    def __init__(self, model: keras.Model) -> None:
        self.tensors = list(model.inputs)
        self.names = [tensor.name for tensor in self.tensors]
        self.structure = getattr(model, "_inputs_struct", self.tensors)

    def match(self, value: Any) -> list[Any] | None:
        """The leaves of `value` in the order of the model's inputs, or None if it does not fit."""
        found: dict[int, Any] = {}
        if _match(self.structure, value, found):
            return [found[id(tensor)] for tensor in self.tensors]
        if isinstance(value, Mapping) and all(name in value for name in self.names):
            leaves = [value[name] for name in self.names]
        elif isinstance(value, (list, tuple)) and len(value) == len(self.tensors):
            leaves = list(value)
        else:
            return None
        return leaves if all(is_array(leaf) for leaf in leaves) else None

    def match_labelled(self, value: Any) -> LabelledBatch | None:
        """As `match`, and otherwise with labels and sample weights."""
        leaves = self.match(value)
        if leaves is not None:
            return LabelledBatch(leaves)
        if isinstance(value, (list, tuple)) and 1 <= len(value) <= 3:
            leaves = self.match(value[0])
        return None if leaves is None else LabelledBatch(leaves, *value[1:])

    def mismatch(self, where: str, value: Any) -> str:
        """The error message for data that do not match."""
        expected = keras.tree.map_structure(
            lambda tensor: f"{tensor.name}: {tensor.dtype}{tuple(tensor.shape)}", self.structure
        )
        hint = ""
        if isinstance(value, (list, tuple)) and any(
            isinstance(item, float | int) for item in value
        ):
            hint = " Lists of numbers are not arrays: convert them with numpy.asarray first."
        return (
            f"{where} does not have the structure of the model's inputs. Expected: {expected}, "
            f"with or without labels. Received: {_describe(value)}.{hint}"
        )


def _match(structure: Any, value: Any, found: dict[int, Any]) -> bool:
    if isinstance(structure, Mapping):
        return isinstance(value, Mapping) and all(
            key in value and _match(part, value[key], found) for key, part in structure.items()
        )
    if isinstance(structure, (list, tuple)):
        if len(structure) == 1 and is_array(value):
            value = (value,)
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(structure)
            and all(_match(*pair, found) for pair in zip(structure, value, strict=True))
        )
    found[id(structure)] = value
    return is_array(value)


def _match_whole(dataset: Any, structure: _Structure) -> LabelledBatch | None:
    """The arrays of a dataset that is given whole, or None if it is given in batches.

    Only a tuple can have labels: a list is a list of batches, unless it has the structure of the
    inputs.
    """
    if isinstance(dataset, tuple):
        return structure.match_labelled(dataset)
    leaves = structure.match(dataset)
    return None if leaves is None else LabelledBatch(leaves)


def _cut(whole: LabelledBatch, structure: _Structure, batch_size: int) -> Batches[LabelledBatch]:
    """Batches of arrays that hold the whole dataset; only a batch at a time is converted."""
    sizes = [int(leaf.shape[0]) if len(leaf.shape) else 0 for leaf in whole.arrays]
    _check_sizes(sizes, structure, "The representative dataset")
    if not sizes[0]:
        raise CalibrationError("The representative dataset is empty.")
    starts = range(0, sizes[0], batch_size)

    def cut(start: int) -> LabelledBatch:
        def part(leaf: Any) -> Any:
            return leaf[start : start + batch_size] if hasattr(leaf, "__getitem__") else leaf

        return LabelledBatch(
            *(
                keras.tree.map_structure(part, value)
                for value in (whole.arrays, whole.labels, whole.sample_weight)
            )
        )

    return Batches(_checked(map(cut, starts), structure), len(starts))


def _check_sizes(sizes: list[int], structure: _Structure, where: str) -> None:
    if len(set(sizes)) > 1:
        received = ", ".join(
            f"{name!r}: {size}" for name, size in zip(structure.names, sizes, strict=True)
        )
        raise CalibrationError(
            f"{where}: every input must have the same number of samples. Received: {received}"
        )


def _checked(batches: Iterator[Any], structure: _Structure) -> Iterator[LabelledBatch]:
    """Batches of arrays ready for the model; batches without samples are left out."""
    empty = True
    for index, batch in enumerate(batches):
        where = f"Batch {index} of the representative dataset"
        found = batch if isinstance(batch, LabelledBatch) else structure.match_labelled(batch)
        if found is None:
            raise CalibrationError(structure.mismatch(where, batch))
        arrays = [
            to_input(leaf, tensor, f"{where}, input {tensor.name!r}")
            for leaf, tensor in zip(found.arrays, structure.tensors, strict=True)
        ]
        _check_sizes([len(array) for array in arrays], structure, where)
        if len(arrays[0]):
            empty = False
            yield replace(found, arrays=arrays)
    if empty:
        raise CalibrationError(
            "The representative dataset is empty. (An iterator gives its batches only once: pass a "
            "function that returns a new one.)"
        )


def _open_py_dataset(
    dataset: keras.utils.PyDataset, structure: _Structure
) -> Batches[LabelledBatch]:
    try:
        num_batches = dataset.num_batches
    except NotImplementedError:
        num_batches = None
    if num_batches is None:
        raise CalibrationError(
            f"{type(dataset).__name__} does not say how many batches it has: implement "
            "`num_batches` (or `__len__`)."
        )
    return Batches(_checked((dataset[i] for i in range(num_batches)), structure), num_batches)


def _known_length(dataset: Any) -> int | None:
    """The number of batches, if the dataset tells without being iterated.

    Raises:
        CalibrationError: it says that it is endless.
    """
    cardinality: Callable[[], Any] | None = getattr(dataset, "cardinality", None)
    if callable(cardinality):  # tf.data: -1 is infinite, -2 is unknown
        number = int(cardinality())
        if number == -1:
            raise CalibrationError(
                "The representative dataset is infinite. Take a part of it: dataset.take(8)."
            )
        return number if number >= 0 else None
    try:
        return len(dataset)
    except (TypeError, NotImplementedError, AttributeError):
        return None


def _describe(value: Any, depth: int = 0) -> str:
    """Structure, dtypes and shapes, without the values."""
    if is_array(value):
        dtype = str(getattr(value, "dtype", type(value).__name__))
        return f"{dtype.removeprefix('torch.')}{tuple(value.shape)}"
    if isinstance(value, Mapping) and depth < 3:
        items = [f"{key!r}: {_describe(item, depth + 1)}" for key, item in list(value.items())[:8]]
        return "{" + ", ".join(items) + (", ..." if len(value) > 8 else "") + "}"
    if isinstance(value, (list, tuple)) and depth < 3:
        items = [_describe(item, depth + 1) for item in value[:8]]
        body = ", ".join(items) + (", ..." if len(value) > 8 else "")
        return f"[{body}]" if isinstance(value, list) else f"({body})"
    if isinstance(value, (str, int, float, type(None))):
        return repr(value) if len(repr(value)) < 60 else type(value).__name__
    return f"an object of class {type(value).__name__}"
