"""One operator of a file as its read function sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np

from keras_octet.errors import ModelFileError, RecipeError
from keras_octet.qparams import QParams
from keras_octet.tflite.graph import Operator, Quantization, Tensor
from keras_octet.tflite.read.shapes import Budget

# Elements of a constant that may stand in the configuration of a model, which is JSON.
MAX_ARGUMENT = 1024
# What `kind_of` gives, but for complex types that nothing reads.
REAL_KINDS = ("float", "hybrid", "int8", "int16", "integer")
KINDS = (*REAL_KINDS, "blockwise", "complex64")
# Operator, kind, and type of weights without their zeros of which LiteRT makes what they stand for.
SPARSE_WEIGHTS = {("FULLY_CONNECTED", "float", "float32"), ("FULLY_CONNECTED", "int8", "int8")}
Result = Any
"""What a read function returns: a KerasTensor, an array for a constant, or the `Handle` of a
variable; a list for several or none."""


@dataclass(frozen=True)
class Handle:
    """What a tensor of type resource stands for: the name of a variable."""

    container: str
    shared_name: str


class SubmodelFunction(Protocol):
    """Builds the functional model of another subgraph."""

    def __call__(
        self,
        index: int,
        arguments: Sequence[Operand],
        *,
        reference: keras.KerasTensor | None = None,
        returns: Sequence[Handle | None] = (),
        values_of: Sequence[Handle] = (),
        assigns: bool = True,
    ) -> keras.Model:
        """The model, whose inputs are as `arguments`.

        Args:
            index: of the subgraph.
            arguments: what it is called with.
            reference: the one input of a model without arguments.
            returns: which variable each output of the subgraph must be; none by default.
            values_of: variables whose values are outputs, after those of the subgraph.
            assigns: whether it may assign variables.
        """
        ...


@dataclass(frozen=True)
class Operand:
    """One input of an operator: a tensor of the model being built, or a constant.

    Attributes:
        tensor: what the file says of it.
        value: the KerasTensor; None for a constant.
        constant: the array; None for a tensor. Unknown sizes in shape arithmetic are None in an
            array of objects.
        handle: the variable that a resource stands for; `value` is then its value at this point.
    """

    tensor: Tensor
    value: keras.KerasTensor | None = None
    constant: np.ndarray | None = None
    handle: Handle | None = None

    @property
    def is_constant(self) -> bool:
        return self.value is None

    @property
    def qparams(self) -> QParams:
        return qparams_of(self.tensor)

    @property
    def factor_qparams(self) -> QParams:
        """Of a factor, which may be zeros with a scale of 0; in a sum LiteRT aborts the process."""
        return qparams_of(self.tensor, zeros=True)

    @property
    def quantization(self) -> Quantization:
        """Raises ModelFileError when the tensor has none."""
        if self.tensor.quantization is None:
            raise ModelFileError(f"Tensor {self.tensor.name!r} has no quantization parameters.")
        return self.tensor.quantization


@dataclass
class ReadCall:
    """One operator.

    Attributes:
        operator: code, options and custom code.
        kind: one of `KINDS`; see `kind_of`.
        name: a free name for the layer.
        inputs: in the order of the operator; None for an optional input that is not there.
        outputs, intermediates: what the file says of them.
        reference: some input of the model, for layers that hold a constant.
        unique: a free name for another layer, like the one it is given.
        hold: gives the constant of an input as the output of a layer.
        submodel: builds the functional model of another subgraph, for control flow; see
            `SubmodelFunction`.
        variables: the value of each variable at this point; an operator may replace it.
        initial_values: of the variables of the file; None inside loops and branches.
        budget: bounds what constants and states of the file may take.
        operator_name: the layer that reads the inputs, where that is not the one called `name`.
    """

    operator: Operator
    kind: str
    name: str
    inputs: Sequence[Operand | None]
    outputs: Sequence[Tensor]
    intermediates: Sequence[Tensor]
    reference: keras.KerasTensor
    unique: Callable[[str], str]
    hold: Callable[[int], keras.KerasTensor]
    submodel: SubmodelFunction
    variables: dict[Handle, keras.KerasTensor]
    initial_values: Mapping[Handle, np.ndarray] | None
    budget: Budget
    operator_name: str = ""

    @property
    def code(self) -> str:
        return self.operator.code

    @property
    def options(self) -> Any:
        """The options object of the schema.

        Raises:
            ModelFileError: the file has none for this operator.
        """
        if self.operator.options is None:
            raise ModelFileError(f"{self.code} {self.name!r} has no options.")
        return self.operator.options

    def operand(self, index: int) -> Operand:
        """An input that must be there."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise ModelFileError(f"{self.code} {self.name!r} has no input {index}.")
        return found

    def optional(self, index: int) -> Operand | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> np.ndarray:
        """The value of an input that must be a constant."""
        found = self.operand(index)
        if found.constant is None:
            raise ModelFileError(
                f"{self.code} {self.name!r} needs a constant as input {index}; it is computed when "
                "the model runs, which is not supported."
            )
        return found.constant

    def tensor(self, index: int) -> keras.KerasTensor:
        """An input as a KerasTensor; a constant becomes a layer that holds it."""
        found = self.operand(index)
        if found.value is not None:
            return found.value
        return self.hold(index)

    def state(self, index: int) -> Tensor:
        """An input that must be a variable tensor, which outlives a call."""
        found = self.operand(index)
        if not found.tensor.is_variable or found.value is not None or found.constant is not None:
            raise ModelFileError(
                f"{self.code} {self.name!r} needs a variable tensor as input {index}. Received: "
                f"{found.tensor.name!r}"
            )
        return found.tensor

    def value(self, index: int) -> Any:
        """An input as an argument of a Keras operation.

        A small constant stays an array (a scalar a number) and is stored in the configuration of
        the model; a large one becomes a layer that holds it, as do sizes that are not known.
        """
        found = self.operand(index)
        constant = found.constant
        if constant is None or constant.size > MAX_ARGUMENT or constant.dtype == object:
            return self.tensor(index)
        return constant.item() if constant.ndim == 0 else constant

    def apply(self, operation: type, *args: Any, **config: Any) -> Any:
        """A `keras.ops` operation of this call's name, configured and called."""
        return operation(name=self.name, **config)(*args)

    @property
    def output_qparams(self) -> QParams:
        return qparams_of(self.outputs[0])


ReadFunction = Callable[[ReadCall], Result]


def qparams_of(tensor: Tensor, *, zeros: bool = False) -> QParams:
    """Per-tensor parameters.

    Args:
        tensor: of the file.
        zeros: whether the scale may be 0, which TensorFlow's converter gives int16 zeros.

    Raises:
        ModelFileError: there are none, or one per channel.
    """
    quantization = tensor.quantization
    if quantization is None or quantization.scale.size != 1:
        found = "none" if quantization is None else f"{quantization.scale.size}"
        raise ModelFileError(
            f"Tensor {tensor.name!r} of type {tensor.dtype} needs one scale. Received: {found}."
        )
    if quantization.scale[0] == 0 and not zeros:
        raise ModelFileError(f"Tensor {tensor.name!r} of type {tensor.dtype} has a scale of 0.0.")
    try:
        return QParams(
            scale=float(quantization.scale[0]),
            zero_point=int(quantization.zero_point[0]),
            dtype=tensor.dtype,
        )
    except RecipeError as error:
        raise ModelFileError(f"Tensor {tensor.name!r}: {error}") from error


def kind_of(operator: Operator, tensors: Sequence[Tensor]) -> str:
    """Which arithmetic an operator uses, from the types of its tensors.

    `"hybrid"`: float inputs with integer weights. `"blockwise"`: any input has a scale for each
    block of its values. `"sparse ..."`: any input leaves out zeros, and what LiteRT makes of that
    is not known, or, with hybrid weights, wrong. Complex types: any input has them. `"integer"`:
    anything else but float, int8, int16.
    """
    inputs = [tensors[i] for i in operator.inputs if i >= 0]
    kind = _kind_of_dense(operator, tensors, inputs)
    sparse = [i for i in operator.inputs if i >= 0 and tensors[i].sparse]
    if not sparse:
        return kind
    known = (operator.code, kind, tensors[sparse[0]].dtype) in SPARSE_WEIGHTS
    return kind if known and sparse == operator.inputs[1:2] else f"sparse {kind}"


def _kind_of_dense(operator: Operator, tensors: Sequence[Tensor], inputs: Sequence[Tensor]) -> str:
    if any(x.blocks for x in inputs):
        return "blockwise"
    for tensor in inputs:
        if tensor.dtype.startswith("complex"):
            return tensor.dtype
    running = [x for x in inputs if x.data is None] or inputs
    # TRANSPOSE_CONV and some others read a shape first; GATHER may read from a constant.
    known = [x.dtype for x in (*running, *inputs) if x.dtype in ("float32", "int8", "int16")]
    dtype = known[0] if known else (running[0].dtype if running else "")
    if operator.code in ("QUANTIZE", "DEQUANTIZE") and dtype == "uint8":
        # At the inputs of int8 models that take uint8 images.
        dtype = "int8"
    if operator.code == "EMBEDDING_LOOKUP" and operator.outputs:
        # What runs are the ids; a float result of an integer table is hybrid.
        dtype = tensors[operator.outputs[0]].dtype
    if dtype == "float32":
        weights = (x for x in inputs if x.data is not None and x.quantization)
        return "hybrid" if any(x.dtype in ("int8", "int4", "int2") for x in weights) else "float"
    return dtype if dtype in ("int8", "int16") else "integer"
