"""What an engine is: a name, what it needs, and how it compiles a quantized model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

import keras
import numpy as np

from keras_octet.errors import EngineError
from keras_octet.tflite.info import Written


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine runs a model.

    Attributes:
        num_threads: threads of the engine; None uses the machine: all its cores for many samples,
            and for one batch as many as its work pays for.
        tolerance: for `"auto"`, how far the outputs of an engine may be from those of LiteRT, in
            steps of the output's int8 form. 0 takes only engines that give the same bits.
    """

    num_threads: int | None = None
    tolerance: float = 1.0

    def __post_init__(self) -> None:
        threads = self.num_threads
        if threads is not None and (
            isinstance(threads, bool) or not isinstance(threads, int) or threads < 1
        ):
            raise EngineError(
                f"num_threads must be a positive integer or None. Received: {threads!r}"
            )
        if not isinstance(self.tolerance, (int, float)) or not self.tolerance >= 0:
            raise EngineError(f"tolerance must be at least 0 steps. Received: {self.tolerance!r}")


class Write(Protocol):
    """Gives a model as a `.tflite` file; raises ExportError if it cannot be one."""

    def __call__(self, *, for_xnnpack: bool = False) -> Written:
        """With `for_xnnpack` the file has the form that XNNPACK runs fastest."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What an engine compiles.

    Attributes:
        inputs, outputs: symbolic tensors of the functional model.
        write: gives the model as a file.
        states: variables that a call changes, and that must be the same whatever runs the model.
        separable: each sample's outputs depend on that sample only, so a batch may be cut anywhere.
        multiply_adds: work for one sample, of a convolution, roughly.
        choices: what `"auto"` found to be fastest, by machine and batch; it adds to this.
    """

    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]
    write: Write
    states: Sequence[Any] = ()
    separable: bool = False
    multiply_adds: int = 0
    choices: dict[str, str] = field(default_factory=dict)

    def to_tflite(self) -> bytes:
        """The model as the bytes of a `.tflite` file."""
        return self.write().content


class Program(Protocol):
    """A compiled model; safe to call from several threads at once.

    Inputs are arrays of one sample or more, batch first, that are cast to the dtypes of the model's
    inputs. Outputs are new arrays that nobody else holds.
    """

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One array per input to one array per output, as soon as possible."""
        ...

    def predict(self, inputs: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        """As calls on batches of at most `batch_size` samples, concatenated; as many as possible a
        second. A program of a separable model may cut the samples otherwise.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One entry of the table of engines.

    Attributes:
        name: as in `model.engine = name`.
        package: module that must be installed, or None.
        exact: gives LiteRT's bits.
        stateful: shares the state of stateful layers with the model.
        compile: makes the program.
    """

    name: str
    package: str | None
    exact: bool
    compile: Callable[[Source, EngineOptions], Program]
    stateful: bool = False

    @property
    def installed(self) -> bool:
        return self.package is None or find_spec(self.package) is not None


def in_batches(
    program: Callable[[Sequence[np.ndarray]], list[np.ndarray]],
    inputs: Sequence[np.ndarray],
    batch_size: int,
) -> list[np.ndarray]:
    """`program` on `batch_size` samples at a time, the outputs concatenated."""
    count = len(inputs[0])
    if count <= batch_size:
        return program(inputs)
    parts: list[Any] = [
        program([array[start : start + batch_size] for array in inputs])
        for start in range(0, count, batch_size)
    ]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
