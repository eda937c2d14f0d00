"""From a parsed `.tflite` file to a functional Keras model, operator by operator."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_octet.arithmetic import PACKED_BITS
from keras_octet.capture.graph import nodes_between, tensor_name
from keras_octet.errors import ModelFileError
from keras_octet.exportable import ExportableModel
from keras_octet.layers import Constant, QuantizedLayer, operators
from keras_octet.qparams import INTEGER_RANGES, QParams
from keras_octet.tflite.graph import NO_TENSOR, RESOURCE, TENSOR_TYPES, Operator, Tensor
from keras_octet.tflite.info import SIGNATURE, FileInfo
from keras_octet.tflite.read.call import Handle, Operand, ReadCall, kind_of, qparams_of
from keras_octet.tflite.read.control import require_handles, require_match
from keras_octet.tflite.read.dilation import fuse_dilation
from keras_octet.tflite.read.lists import fuse_lists
from keras_octet.tflite.read.parse import Signature, Subgraph, TFLiteFile
from keras_octet.tflite.read.shapes import MAX_ELEMENTS, Budget, fold, has_unknown, is_folded
from keras_octet.tflite.read.table import find_reader
from keras_octet.tflite.read.variables import (
    handle_of,
    initializers,
    require_unassigned,
    require_values,
    stored,
)
from keras_octet.tflite.storage import storage_of

# Subgraphs inside subgraphs: a loop in a branch in a loop, and so on.
MAX_DEPTH = 16
# Signatures that a warning names.
MAX_NAMED = 8
# Elements of constants that may be built over and over, whatever the size of the file.
MAX_SHARED_ELEMENTS = 1 << 20
INPUT_TYPES = frozenset(TENSOR_TYPES) - {RESOURCE, *PACKED_BITS}
# Where the options of WHILE, IF and CALL_ONCE say what they call.
_CALLED = tuple(f"{name}SubgraphIndex" for name in ("cond", "body", "then", "else", "init"))


@dataclass
class BuiltGraph:
    """KerasTensors of a functional model, and what the file says beside the graph."""

    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]
    name: str
    info: FileInfo


def build(file: TFLiteFile, signature: str | None = None) -> list[BuiltGraph]:
    """Build the subgraphs of signatures.

    Args:
        file: what `parse` gives.
        signature: key of the one to build; by default all, or subgraph 0 if there is none.

    Raises:
        ModelFileError: no such signature; operators that are not supported, all of them named; the
            first signature cannot be built.
        UserWarning: another one cannot.
    """
    first, *others = _chosen_signatures(file, signature)
    for subgraph in file.subgraphs:
        fuse_dilation(subgraph)
        fuse_lists(subgraph)
    nesting = _Nesting(file)
    built, left_out = [_build(nesting, first)], []
    for other in others:
        try:
            built.append(_build(nesting, other))
        except ModelFileError as error:
            assert other is not None
            left_out.append(f"  {other.key!r}: {error}")
    if left_out:
        more = ["  ..."] if len(left_out) > MAX_NAMED else []
        warnings.warn(
            f"{len(left_out)} signature(s) of the file are left out:\n"
            + "\n".join(left_out[:MAX_NAMED] + more),
            stacklevel=3,
        )
    return built


def _build(nesting: _Nesting, chosen: Signature | None) -> BuiltGraph:
    file, index = nesting.file, chosen.subgraph if chosen else 0
    reachable = _reachable(file, index)
    require_readers(file, reachable)
    for number in reachable:
        _require_states_of_their_own(file.subgraphs[number])
    subgraph = file.subgraphs[index]
    input_names = _signature_names(chosen.inputs if chosen else {}, subgraph, subgraph.inputs)
    output_names = _signature_names(chosen.outputs if chosen else {}, subgraph, subgraph.outputs)
    with nesting.enter(index):
        builder = _Builder(nesting, subgraph)
        inputs, outputs = builder.run(input_names)
    return BuiltGraph(
        inputs=inputs,
        outputs=outputs,
        name=layer_name(subgraph.name) or "model",
        info=FileInfo(
            signature=chosen.key if chosen else SIGNATURE,
            input_names=tuple(input_names),
            output_names=tuple(output_names),
            metadata=file.metadata,
            description=file.description,
            **builder.names(inputs, outputs),
        ),
    )


def _reachable(file: TFLiteFile, index: int) -> list[int]:
    """Subgraph `index` and those that its operators call, as far as they exist."""
    found: dict[int, None] = {}
    wanted = [index]
    while wanted:
        number = wanted.pop()
        if number in found or not 0 <= number < len(file.subgraphs):
            continue
        found[number] = None
        for operator in file.subgraphs[number].operators:
            options = operator.options
            wanted += [getattr(options, name) for name in _CALLED if hasattr(options, name)]
    return list(found)


class _Nesting:
    """The subgraphs of a file that are being built, one inside the other.

    Whatever a file claims, building ends: no subgraph is part of itself, and what several operators
    share, and so is built several times, is bounded.
    """

    def __init__(self, file: TFLiteFile) -> None:
        self.file = file
        self._sizes = [
            sum(x.data.size for x in subgraph.tensors if x.data is not None)
            for subgraph in file.subgraphs
        ]
        self.budget = Budget(MAX_ELEMENTS + 4 * sum(self._sizes))
        self._open: list[int] = []
        self._initial_values: dict[int, dict[Handle, np.ndarray]] = {}
        # Each time that a subgraph is built it has layers and weights of its own.
        self._operators_left = 4 * sum(len(x.operators) for x in file.subgraphs) + 64
        self._elements_left = 4 * sum(self._sizes) + MAX_SHARED_ELEMENTS

    @contextmanager
    def enter(self, index: int) -> Iterator[_Nesting]:
        """Raises ModelFileError when subgraph `index` may not be built here."""
        subgraphs = self.file.subgraphs
        if not 0 <= index < len(subgraphs):
            raise ModelFileError(
                f"An operator calls subgraph {index}; the file has {len(subgraphs)} subgraphs."
            )
        if index in self._open or len(self._open) >= MAX_DEPTH:
            chain = " > ".join(map(str, [*self._open, index]))
            raise ModelFileError(
                f"Subgraphs call one another in a cycle, or deeper than {MAX_DEPTH}: {chain}."
            )
        self._operators_left -= len(subgraphs[index].operators) + 1
        self._elements_left -= self._sizes[index]
        if min(self._operators_left, self._elements_left) < 0:
            raise ModelFileError(
                "The operators and signatures of the file call the same subgraphs too often."
            )
        self._open.append(index)
        try:
            yield self
        finally:
            self._open.pop()

    def initial_values(self, index: int) -> dict[Handle, np.ndarray]:
        """What subgraph `index` assigns to variables; signatures may share it."""
        if index not in self._initial_values:
            with self.enter(index):
                builder = _Builder(self, self.file.subgraphs[index])
                self._initial_values[index] = builder.initial_values()
        return self._initial_values[index]


def _chosen_signatures(file: TFLiteFile, key: str | None) -> Sequence[Signature | None]:
    """The first of each key."""
    signatures = {x.key: x for x in reversed(file.signatures)}
    if key is None:
        return [x for x in file.signatures if signatures[x.key] is x] or [None]
    if key in signatures:
        return [signatures[key]]
    raise ModelFileError(
        f"The file has no signature {key!r}. It has: {[x.key for x in file.signatures]}"
    )


def _signature_names(
    names: Mapping[str, int], subgraph: Subgraph, indices: Sequence[int]
) -> list[str]:
    """Names of `indices`: those of the signature, or of the tensors."""
    known = {index: name for name, index in names.items()}
    return [known.get(index, subgraph.tensors[index].name) for index in indices]


def require_readers(file: TFLiteFile, numbers: Sequence[int]) -> None:
    """Raises ModelFileError if operators of these subgraphs have no read function.

    It names every such operator of the file.
    """
    missing = []
    concerned = False
    custom = set()
    for number, subgraph in enumerate(file.subgraphs):
        constant = {i for i, x in enumerate(subgraph.tensors) if _is_constant(x)}
        for position, operator in enumerate(subgraph.operators):
            if is_folded(operator, subgraph.tensors, constant.__contains__):
                constant.update(operator.outputs)
                continue
            kind = kind_of(operator, subgraph.tensors)
            if find_reader(operator, kind) is None:
                where = f"operator {position} of subgraph {number}"
                code = operator.custom_code or operator.code
                if operator.custom_code:
                    custom.add(operator.custom_code)
                concerned = concerned or number in numbers
                missing.append(f"  {code} ({kind}): {where}, {_output_name(operator, subgraph)!r}")
    if concerned:
        hint = "".join(
            f"\nTo read the custom operator {code}, call "
            f"keras_octet.register_custom_operator({code!r}, read) with a function of yours."
            for code in sorted(custom)
        )
        raise ModelFileError(
            f"{len(missing)} operator(s) of the file are not supported:\n"
            + "\n".join(missing)
            + hint
        )


def _require_states_of_their_own(subgraph: Subgraph) -> None:
    """Raises ModelFileError if two operators share a variable tensor, which layers cannot."""
    readers = Counter(index for operator in subgraph.operators for index in operator.inputs)
    for index, tensor in enumerate(subgraph.tensors):
        if tensor.is_variable and readers[index] > 1:
            raise ModelFileError(
                f"{readers[index]} operators share the variable tensor {tensor.name!r}, which is "
                "not supported."
            )


def _is_constant(tensor: Tensor) -> bool:
    """Whether the file holds the value of a tensor; one of no elements has no data."""
    return tensor.data is not None or (0 in tensor.shape and not tensor.is_variable)


def _output_name(operator: Operator, subgraph: Subgraph) -> str:
    return subgraph.tensors[operator.outputs[0]].name if operator.outputs else ""


def layer_name(name: str) -> str:
    """A tensor's name as Keras allows it on every backend: of several joined by `;` the first."""
    return re.sub(r"[^A-Za-z0-9_\-]+", "_", name.split(";")[0]).strip("_-")


class _Builder:
    """One subgraph on its way to a functional graph."""

    def __init__(self, nesting: _Nesting, subgraph: Subgraph) -> None:
        self._nesting = nesting
        self._subgraph = subgraph
        self._values: dict[int, Any] = {}
        self._names: dict[str, int] = {}
        self._held: dict[int, keras.KerasTensor] = {}
        self.tensor_names: dict[str, str] = {}
        self.constant_names: dict[str, str] = {}
        self.constant_storage: dict[str, dict[str, Any]] = {}
        self._storage: dict[int, dict[str, Any]] = {}
        self.tensor_qparams: dict[str, QParams] = {}
        self.variables: dict[Handle, keras.KerasTensor] = {}
        self.starts: dict[Handle, keras.KerasTensor] = {}
        self._initial_values: dict[Handle, np.ndarray] | None = None

    def run(
        self,
        input_names: Sequence[str],
        arguments: Sequence[Operand] | None = None,
        reference: keras.KerasTensor | None = None,
    ) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
        """The inputs and the outputs, in the order of the subgraph.

        Args:
            input_names: one for each input.
            arguments: what the inputs are, where an operator calls the subgraph.
            reference: stands in for the inputs of a subgraph that has none.
        """
        graph = self._subgraph
        inputs = []
        for position, (index, name) in enumerate(zip(graph.inputs, input_names, strict=True)):
            tensor: Any = graph.tensors[index]
            handle = None
            if arguments is not None:
                tensor, handle = arguments[position].value, arguments[position].handle
            elif tensor.dtype == RESOURCE:
                raise ModelFileError(f"Input {name!r} of the model is a variable.")
            elif tensor.dtype not in INPUT_TYPES:
                raise ModelFileError(
                    f"Input {name!r} of the model has type {tensor.dtype}; expected one of "
                    f"{sorted(INPUT_TYPES)}."
                )
            value = self._input(name, tensor)
            inputs.append(value)
            if handle is not None:
                self.variables.setdefault(handle, value)
            self._bind(index, handle or value)
        if not inputs and reference is not None:
            inputs = [self._input("condition", reference)]
        if not inputs or not graph.outputs:
            raise ModelFileError(
                f"Subgraph {graph.name!r} has {len(inputs)} inputs and {len(graph.outputs)} "
                "outputs; expected at least one of each."
            )
        if arguments is None:
            self._initial_values = {}
            for index in initializers(graph):
                self._initial_values.update(self._nesting.initial_values(index))
        for operator in graph.operators:
            self._add(operator, inputs[0])
        outputs = [self._output(index, inputs[0]) for index in graph.outputs]
        if arguments is None:
            require_handles(graph, self.output_handles(), ())
            outputs[0] = stored(self.starts, self.variables, outputs[0])
        return inputs, outputs

    def initial_values(self) -> dict[Handle, np.ndarray]:
        """What a subgraph that only assigns constants to variables assigns."""
        found: dict[Handle, np.ndarray] = {}
        for operator in self._subgraph.operators:
            if self._folds(operator):
                continue
            value = None
            if operator.code == "VAR_HANDLE" and len(operator.outputs) == 1:
                self._values[operator.outputs[0]] = handle_of(operator.options)
                continue
            if operator.code == "ASSIGN_VARIABLE" and len(operator.inputs) == 2:
                handle, value = (
                    self._values.get(operator.inputs[0]),
                    self._operand(operator.inputs[1]),
                )
            if value is None or value.constant is None or not isinstance(handle, Handle):
                raise ModelFileError(
                    f"CALL_ONCE runs subgraph {self._subgraph.name!r}, in which {operator.code} "
                    "does more than to give a variable a constant value, which is not supported."
                )
            found[handle] = value.constant
        return found

    def output_handles(self) -> list[Handle | None]:
        """The variable that each output of the subgraph is."""
        found = [self._values.get(index) for index in self._subgraph.outputs]
        return [x if isinstance(x, Handle) else None for x in found]

    def _input(self, name: str, like: Any) -> keras.KerasTensor:
        name = self._free(layer_name(name))
        return keras.Input(batch_shape=tuple(like.shape), dtype=str(like.dtype), name=name)

    def names(
        self, inputs: list[keras.KerasTensor], outputs: list[keras.KerasTensor]
    ) -> dict[str, Any]:
        """Arguments of `FileInfo` that say what is called what in this subgraph."""
        return {
            "graph_name": self._subgraph.name,
            "tensor_names": self.tensor_names,
            "constant_names": self.constant_names,
            "constant_storage": self.constant_storage,
            "tensor_qparams": self.tensor_qparams,
            "order": self._order(inputs, outputs),
        }

    def _order(
        self, inputs: list[keras.KerasTensor], outputs: list[keras.KerasTensor]
    ) -> tuple[str, ...]:
        """Names of what the outputs are computed by, in the order of the file."""
        used = {node.operation.name for node in nodes_between(inputs, outputs)}
        return tuple(name for name in self._names if name in used)

    def _add(self, operator: Operator, reference: keras.KerasTensor) -> None:
        tensors = self._subgraph.tensors
        if self._folds(operator):
            return
        kind = kind_of(operator, tensors)
        read = find_reader(operator, kind)
        if read is None:
            raise ModelFileError(
                f"{operator.code} {_output_name(operator, self._subgraph)!r} computes a constant "
                "in a way that is not supported."
            )
        inputs = [None if i == NO_TENSOR else self._operand(i) for i in operator.inputs]
        require_values(operator, inputs)
        call = ReadCall(
            operator=operator,
            kind=kind,
            name=self._free(
                layer_name(_output_name(operator, self._subgraph)) or operator.code.lower()
            ),
            inputs=inputs,
            outputs=[tensors[i] for i in operator.outputs],
            intermediates=[tensors[i] for i in operator.intermediates],
            reference=reference,
            unique=self._free,
            hold=lambda position: self._hold(operator.inputs[position], reference),
            submodel=self._submodel,
            variables=self.variables,
            initial_values=self._initial_values,
            budget=self._nesting.budget,
        )
        try:
            results = read(call)
        except ModelFileError:
            raise
        except Exception as error:
            # A layer refuses what the file says of it: shapes that do not fit, say.
            raise ModelFileError(
                f"{operator.code} {call.name!r} does not fit its tensors: {error}"
            ) from error
        for position, index in enumerate((*operator.inputs, *operator.intermediates)):
            key = f"{call.operator_name or call.name}:{position}"
            if index in self._storage:
                self.constant_storage[key] = self._storage[index]
            if index in self._storage or (index >= 0 and index not in self._values):
                self.constant_names[key] = tensors[index].name
        results = results if isinstance(results, (list, tuple)) else [results]
        if len(results) != len(operator.outputs):
            raise ModelFileError(
                f"{operator.code} {call.name!r} has {len(operator.outputs)} outputs; expected "
                f"{len(results)}."
            )
        for index, result in zip(operator.outputs, results, strict=True):
            self._bind(index, result)

    def _folds(self, operator: Operator) -> bool:
        """Compute the outputs of an operator if they are constants; whether they are."""
        tensors = self._subgraph.tensors
        folded = self._fold(operator) if is_folded(operator, tensors, self._is_known) else None
        if folded is None:
            return False
        self._values.update(zip(operator.outputs, folded, strict=True))
        if operator.code == "DEQUANTIZE":
            self._storage[operator.outputs[0]] = storage_of(tensors[operator.inputs[0]])
        return True

    def _is_known(self, index: int) -> bool:
        """Whether the value of a tensor is known before the model runs, sizes apart."""
        if index in self._values:
            return isinstance(self._values[index], np.ndarray)
        return _is_constant(self._subgraph.tensors[index])

    def _fold(self, operator: Operator) -> list[np.ndarray] | None:
        tensors = self._subgraph.tensors
        inputs = [None if i == NO_TENSOR else self._operand(i) for i in operator.inputs]
        return fold(
            operator,
            [x and (x.value if x.constant is None else x.constant) for x in inputs],
            [None if x is None else x.tensor for x in inputs],
            [tensors[i] for i in operator.outputs],
            self._nesting.budget,
        )

    def _bind(self, index: int, value: Any) -> None:
        self._values[index] = value
        if isinstance(value, Handle) != (self._subgraph.tensors[index].dtype == RESOURCE):
            tensor = self._subgraph.tensors[index]
            raise ModelFileError(
                f"Tensor {tensor.name!r} of type {tensor.dtype} is a variable, or should be one."
            )
        if isinstance(value, Handle):
            value = self.variables[value]
            self.starts.setdefault(self._values[index], value)
        if not isinstance(value, keras.KerasTensor):
            return
        tensor, name = self._subgraph.tensors[index], tensor_name(value)
        if name != tensor.name:
            self.tensor_names.setdefault(name, tensor.name)
        knows = isinstance(value._keras_history.operation, QuantizedLayer)
        if not knows and tensor.quantization and tensor.dtype in INTEGER_RANGES:
            self.tensor_qparams.setdefault(name, qparams_of(tensor, zeros=True))

    def _operand(self, index: int) -> Operand:
        tensor = self._subgraph.tensors[index]
        value = self._values.get(index, tensor.data)
        if value is None and tensor.is_variable:
            if self._initial_values is None:
                raise ModelFileError(
                    f"{tensor.name!r} is a variable tensor inside a loop or branch, which is not "
                    "supported."
                )
            return Operand(tensor)
        if value is None:
            value = np.zeros([size or 0 for size in tensor.shape], np.float32)
        if isinstance(value, Handle):
            return Operand(tensor, value=self.variables[value], handle=value)
        if isinstance(value, keras.KerasTensor):
            return Operand(tensor, value=value)
        return Operand(tensor, constant=value)

    def _hold(self, index: int, reference: keras.KerasTensor) -> keras.KerasTensor:
        """A layer for a constant, one for all its readers."""
        operand = self._operand(index)
        if index not in self._held:
            tensor, array = operand.tensor, operand.constant
            if array is None:
                raise ModelFileError(
                    f"{tensor.name!r} is a variable tensor; only recurrent operators may read one."
                )
            size = array.item() if array.ndim == 0 and has_unknown(array) else None
            if size is not None and size.tensor is not None:
                name = self._free(layer_name(tensor.name) or "size")
                self._held[index] = operators.SizeOf(axis=size.axis, name=name)(size.tensor)
                return self._held[index]
            if has_unknown(array):
                raise ModelFileError(
                    f"{tensor.name!r} holds sizes that are known only when the model runs, and is "
                    "not the shape of anything. Convert the model with a fixed input shape."
                )
            if array.dtype.kind == "c":
                # Keras has no size for complex weights, which `summary` asks for.
                raise ModelFileError(
                    f"{tensor.name!r} is a complex constant that is read when the model runs, "
                    "which is not supported."
                )
            layer = Constant(
                shape=array.shape,
                value_dtype=array.dtype.name,
                output_qparams=qparams_of(tensor, zeros=True) if tensor.quantization else None,
                name=self._free(layer_name(tensor.name) or "constant"),
            )
            self._held[index] = layer(reference)
            layer.value.assign(array)
            if layer.name != tensor.name:
                self.tensor_names[layer.name] = tensor.name
        return self._held[index]

    def _output(self, index: int, reference: keras.KerasTensor) -> keras.KerasTensor:
        operand = self._operand(index)
        return self._hold(index, reference) if operand.value is None else operand.value

    def _submodel(
        self,
        index: int,
        arguments: Sequence[Operand],
        *,
        reference: keras.KerasTensor | None = None,
        returns: Sequence[Handle | None] = (),
        values_of: Sequence[Handle] = (),
        assigns: bool = True,
    ) -> keras.Model:
        with self._nesting.enter(index) as nesting:
            subgraph = nesting.file.subgraphs[index]
            require_match(subgraph, arguments)
            builder = _Builder(nesting, subgraph)
            names = [subgraph.tensors[i].name for i in subgraph.inputs]
            inputs, outputs = builder.run(names, arguments, reference)
        require_handles(subgraph, builder.output_handles(), returns)
        if not assigns:
            require_unassigned(subgraph, builder.starts, builder.variables)
        outputs += [builder.variables[handle] for handle in values_of]
        return ExportableModel(
            inputs,
            outputs,
            name=layer_name(subgraph.name) or f"subgraph_{index}",
            file_info=FileInfo(**builder.names(inputs, outputs)),
        )

    def _free(self, name: str) -> str:
        name = name or "input"
        seen = self._names.get(name, 0)
        self._names[name] = seen + 1
        return self._free(f"{name}_{seen}") if seen else name
