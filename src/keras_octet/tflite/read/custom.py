"""Custom operators: Keras layers of the user's own, for what the schema has no operator for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_octet.capture.lower.registry import forget, keep_whole
from keras_octet.errors import ExportError, ModelFileError, RegistrationError
from keras_octet.qparams import QParams
from keras_octet.tflite.graph import NO_TENSOR, Graph, Quantization, Shape, Tensor
from keras_octet.tflite.read.call import Operand, ReadCall, qparams_of

if TYPE_CHECKING:
    from keras_octet.tflite.emit import EmitFunction

CUSTOM = "CUSTOM"


@dataclass(frozen=True, kw_only=True)
class CustomTensor:
    """An input or output of a custom operator.

    Attributes:
        name: in the file.
        shape: None is a size known only when the model runs; `()` may be a shape that the converter
            did not know.
        dtype: as in the file, `"float32"`, `"int8"`, ...
        quantization: scales and zero points, or None.
        value: of an input the KerasTensor, or the array of a constant; of an output None.
    """

    name: str
    shape: Shape
    dtype: str
    quantization: Quantization | None = None
    value: keras.KerasTensor | np.ndarray | None = None

    @property
    def qparams(self) -> QParams | None:
        """The parameters of a tensor with one scale; None if it has none.

        Raises:
            ModelFileError: it has one scale per channel; see `quantization`.
        """
        tensor = Tensor(self.name, self.shape, self.dtype, self.quantization)
        return qparams_of(tensor) if self.quantization else None


@dataclass(frozen=True, kw_only=True)
class CustomOperator:
    """A custom operator of a file, for the function that reads it.

    Attributes:
        code: name of the operator, its `custom_code`.
        name: a name for the layer that no other layer of the model has. The layer that has it keeps
            its place and the names of its constants when the model is exported.
        inputs: in the order of the file; None for an optional input that is not there.
        outputs: what the file says of the results.
        options: the bytes that the converter stored for the operator. They are untrusted, like all
            of the file.
    """

    code: str
    name: str
    inputs: tuple[CustomTensor | None, ...]
    outputs: tuple[CustomTensor, ...]
    options: bytes

    @property
    def tensors(self) -> list[keras.KerasTensor]:
        """The inputs that are no constants."""
        values = [x.value for x in self.inputs if x is not None]
        return [x for x in values if isinstance(x, keras.KerasTensor)]


@dataclass(frozen=True, kw_only=True)
class CustomForm:
    """A layer as a custom operator, for the file that is written.

    Attributes:
        inputs: in the order of the operator: KerasTensors that the layer was called with, arrays
            for constants, `(array, Quantization)` for quantized constants, None for an optional
            input that is not there.
        options: the bytes to store for the operator.
    """

    inputs: Sequence[Any]
    options: bytes = b""


ReadCustom = Callable[[CustomOperator], Any]
WriteCustom = Callable[[Any, list[keras.KerasTensor]], CustomForm]


@dataclass(frozen=True)
class _Registered:
    read: ReadCustom
    layer: type | None


_REGISTERED: dict[str, _Registered] = {}


def register_custom_operator(
    code: str,
    read: ReadCustom,
    *,
    layer: type[keras.layers.Layer] | None = None,
    write: WriteCustom | None = None,
) -> None:
    """Say how a custom operator becomes a Keras layer, and how that becomes the operator again.

    Holds for this process, until `unregister_custom_operator(code)`. A model with the layer loads
    from `.keras` if Keras knows its class: decorate it with
    `keras.saving.register_keras_serializable`.

    Args:
        code: name of the operator in the file, for example `"AudioSpectrogram"`.
        read: called with a `CustomOperator` when a file is loaded; calls Keras layers on its
            tensors and returns the KerasTensor of the result, or a list of one for each output.
            Shapes and dtypes must be those of the file.
        layer: class of the layer that `write` writes; no subclass of it.
        write: called with a layer and the KerasTensors it was called with when a model is exported;
            returns a `CustomForm`. Without it, models with the operator can be loaded, run and
            saved, but not exported.

    Raises:
        RegistrationError: the operator, or the layer, is registered already; an argument is not of
            the expected kind.
    """
    # The whole table of operators, which only writing a file needs.
    from keras_octet.tflite.emit.table import EMITTERS, add_emitter

    if not isinstance(code, str) or not code:
        raise RegistrationError(f"Expected the name of a custom operator. Received: {code!r}")
    if not callable(read):
        raise RegistrationError(
            f"Expected a function that reads {code!r}, of one argument. Received: {read!r}"
        )
    if (layer is None) != (write is None):
        raise RegistrationError(
            f"To write {code!r}, both the class of its layer and a function are needed. Received: "
            f"layer={layer!r}, write={write!r}"
        )
    if layer is not None and not (
        isinstance(layer, type) and issubclass(layer, keras.layers.Layer)
    ):
        raise RegistrationError(f"Expected a class of Keras layers. Received: layer={layer!r}")
    if code in _REGISTERED:
        raise RegistrationError(
            f"The custom operator {code!r} is registered already. Call "
            f"keras_octet.unregister_custom_operator({code!r}) first."
        )
    if layer in EMITTERS:
        raise RegistrationError(
            f"Layers of class {layer.__name__} are written as another operator already. "
            f"Give {code!r} a class of its own."
        )
    if layer is not None and write is not None:
        add_emitter(_emitter(code, write), layer)
        keep_whole(layer)
    _REGISTERED[code] = _Registered(read, layer)


def unregister_custom_operator(code: str) -> None:
    """Take back `register_custom_operator`.

    Raises:
        RegistrationError: the operator is not registered.
    """
    from keras_octet.tflite.emit.table import EMITTERS

    found = _REGISTERED.pop(code, None)
    if found is None:
        raise RegistrationError(
            f"The custom operator {code!r} is not registered. Registered: {sorted(_REGISTERED)}"
        )
    if found.layer is not None:
        del EMITTERS[found.layer]
        forget(found.layer)


def is_registered(code: str) -> bool:
    """Whether `read_custom` can read the custom operator `code`."""
    return code in _REGISTERED


def read_custom(call: ReadCall) -> Any:
    """What the registered function makes of a custom operator, checked against the file."""
    code = call.operator.custom_code
    operator = CustomOperator(
        code=code,
        name=call.name,
        inputs=tuple(None if x is None else _described(x.tensor, x) for x in call.inputs),
        outputs=tuple(_described(x) for x in call.outputs),
        options=call.operator.custom_options,
    )
    try:
        made = _REGISTERED[code].read(operator)
    except Exception as error:
        raise ModelFileError(
            f"The function that reads custom operator {code!r} failed on {call.name!r}: {error}"
        ) from error
    results = list(made) if isinstance(made, (list, tuple)) else [made]
    expected = [(x.shape, x.dtype) for x in operator.outputs]
    received = [_spec(x) for x in results]
    if len(received) != len(expected) or not all(map(_fits, received, expected)):
        raise ModelFileError(
            f"The function that reads custom operator {code!r} must return tensors as the file "
            f"says of {call.name!r}: shapes and dtypes {expected}. Received: {received}"
        )
    return results


def _described(tensor: Tensor, operand: Operand | None = None) -> CustomTensor:
    value = None
    if operand is not None:
        value = operand.constant if operand.value is None else operand.value
    return CustomTensor(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        quantization=tensor.quantization,
        value=value,
    )


def _spec(value: Any) -> Any:
    if not isinstance(value, (keras.KerasTensor, np.ndarray)):
        return value
    return tuple(value.shape), str(value.dtype)


def _fits(received: Any, expected: tuple[Shape, str]) -> bool:
    """Whether a result may be what the file declares; unknown sizes fit any."""
    if not isinstance(received, tuple) or received[1] != expected[1]:
        return False
    if not expected[0]:
        return True
    return len(received[0]) == len(expected[0]) and all(
        None in (ours, theirs) or ours == theirs
        for ours, theirs in zip(received[0], expected[0], strict=True)
    )


def _emitter(code: str, write: WriteCustom) -> EmitFunction:
    def emit(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
        assert graph.call is not None
        given = [
            x
            for x in keras.tree.flatten((graph.call.args, graph.call.kwargs))
            if isinstance(x, keras.KerasTensor)
        ]
        form = write(layer, given)
        if not isinstance(form, CustomForm):
            raise ExportError(
                f"was to become a custom operator {code!r}, but the function that writes it "
                f"returned {type(form).__name__}; expected keras_octet.CustomForm."
            )
        graph.operator(
            CUSTOM,
            [_index(graph, x) for x in form.inputs],
            graph.call.outputs,
            custom_code=code,
            custom_options=bytes(form.options),
        )

    return emit


def _index(graph: Graph, value: Any) -> int:
    if value is None:
        return NO_TENSOR
    if isinstance(value, tuple):
        array, quantization = value
        return graph.constant(np.asarray(array), quantization=quantization)
    return graph.operand(value)
