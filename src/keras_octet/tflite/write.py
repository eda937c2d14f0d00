"""From a functional Keras model, float or quantized or both, to the bytes of a `.tflite` file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from ai_edge_litert import schema_py_generated as schema

from keras_octet.capture.graph import functional_of, iter_nodes, tensor_name
from keras_octet.errors import ExportError
from keras_octet.layers.operators import Variable
from keras_octet.qparams import QParams
from keras_octet.tflite.batch import shapes_with_batch_size, shapes_with_inputs
from keras_octet.tflite.emit import EMITTERS
from keras_octet.tflite.emit.common import EmitFunction
from keras_octet.tflite.emit.control import initial_values
from keras_octet.tflite.file import Entry, pack, tensors_in_file
from keras_octet.tflite.fuse import fuse_activations
from keras_octet.tflite.graph import RESOURCE, Call, Function, Graph, Quantization, Shape, Tensor
from keras_octet.tflite.info import FileInfo, State, Written
from keras_octet.tflite.merge import merge_equal_operators
from keras_octet.tflite.order import in_order
from keras_octet.tflite.storage import narrow_constants
from keras_octet.tflite.xnnpack import rewrite_for_xnnpack


def to_tflite(
    model: keras.Model,
    emitters: Mapping[type, EmitFunction] = EMITTERS,
    batch_size: int | None = None,
    weights: str | None = None,
) -> bytes:
    """The bytes of the file that `write` gives."""
    return write(model, emitters, batch_size, weights).content


def write(
    model: keras.Model,
    emitters: Mapping[type, EmitFunction] = EMITTERS,
    batch_size: int | None = None,
    weights: str | None = None,
    variables_outside: bool = False,
    others: Mapping[str, keras.Model] = MappingProxyType({}),
    *,
    for_xnnpack: bool = False,
) -> Written:
    """Write `model` as a `.tflite` file.

    Each call of a layer or `keras.ops` operation becomes the operators its emit function appends.
    The file has a subgraph for the model and for each model that a loop or branch holds, and a
    signature `"serving_default"` with the names of the InputLayers and of the operations that make
    the outputs, unless `model.file_info` says otherwise. A batch size of None is 1 in the file and
    may be resized, unless `batch_size` fixes it. The same model always gives the same bytes.

    Args:
        model: Functional or built Sequential model, channels last.
        emitters: emit function for each class of layer or operation; a subclass is another class.
        batch_size: number of samples that the file takes at once, where the model leaves it open.
        weights: how float constants are stored, see `narrow_constants`.
        variables_outside: the values of variables are further inputs and outputs, for a caller that
            keeps them; else they are resources of the file.
        others: models of further signatures, by their keys.
        for_xnnpack: the form that XNNPACK runs fastest, with the same bits.

    Returns:
        The bytes of the file, and which of its tensors are variables of the model.

    Raises:
        ExportError: some operations have no .tflite form; the message names all of them. Or the
            model cannot have this batch size.
    """
    variables = None if variables_outside else _variables([model, *others.values()])
    writer = _Writer(emitters, weights, variables, for_xnnpack)
    main = writer.function(model, _shapes(model, batch_size))
    outside = main.graph.outside or {}
    main.inputs += [before for before, _ in outside.values()]
    main.outputs += [after for _, after in outside.values()]
    main.outputs = _distinct_outputs(main.graph, main.inputs, main.outputs)
    writer.finish(main)
    entries = []
    for key, other in others.items():
        function = writer.function(other, _shapes(other, batch_size))
        function.outputs = _distinct_outputs(function.graph, function.inputs, function.outputs)
        entries.append(Entry(key, writer.add(function), *_signature_names(other)))
    input_names, output_names = _signature_names(model)
    names = [layer.name for layer in outside]
    content = pack(
        main.graph,
        main.inputs,
        main.outputs,
        input_names=[*input_names, *names],
        output_names=[*output_names, *names],
        name=main.name,
        info=_info(model),
        functions=writer.functions,
        entries=entries,
    )
    return Written(content, _states(main, list(outside)))


def _info(model: keras.Model) -> FileInfo:
    return getattr(model, "file_info", None) or FileInfo()


def _is_from_file(model: keras.Model) -> bool:
    return getattr(model, "file_info", None) is not None


def _shapes(model: keras.Model, batch_size: int | None) -> Mapping[int, Shape]:
    return {} if batch_size is None else shapes_with_batch_size(_functional(model), batch_size)


def _signature_names(model: keras.Model) -> tuple[Sequence[str], Sequence[str]]:
    info, functional = _info(model), _functional(model)
    return (
        info.input_names or [tensor_name(tensor) for tensor in functional.inputs],
        info.output_names or signature_output_names(functional.outputs),
    )


def _variables(models: Sequence[keras.Model]) -> list[Variable]:
    """A layer for each variable; models share those of the same name, see `share_variables`."""
    operations = (node.operation for x in models for node in iter_nodes(_functional(x)))
    return list({id(x.value): x for x in operations if isinstance(x, Variable)}.values())


def _states(main: Function, outside: list[Any]) -> list[State]:
    """The variables of the model that the file shows; the last inputs and outputs are `outside`."""
    stored = tensors_in_file(main.graph, main.inputs, main.outputs)
    known = main.graph.states
    states = [State(known[x], i, i) for i, x in enumerate(stored) if x in known]
    place = {index: i for i, index in enumerate(stored)}
    first, last = (
        indices[len(indices) - len(outside) :] for indices in (main.inputs, main.outputs)
    )
    return states + [
        State(layer.value, place[before], place[after])
        for layer, before, after in zip(outside, first, last, strict=True)
    ]


def _functional(model: keras.Model) -> Any:
    functional = functional_of(model)
    if functional is None:
        raise ExportError(
            f"Only a functional model can be written as .tflite. Received: {model.name!r} of class "
            f"{type(model).__name__}. Call keras_octet.capture.capture(model) first."
        )
    return functional


class _Writer:
    """The subgraphs of one file.

    Args:
        emitters, weights, for_xnnpack: see `write`.
        variables: all that are resources of the file; None if they are outside.
    """

    def __init__(
        self,
        emitters: Mapping[type, EmitFunction],
        weights: str | None,
        variables: Sequence[Variable] | None,
        for_xnnpack: bool,
    ) -> None:
        self._emitters = emitters
        self._weights = weights
        self._variables = variables
        self._for_xnnpack = for_xnnpack
        self._initializer = 0
        self.functions: list[Function] = []  # all but the main one, which is number 0

    def function(
        self, model: keras.Model, shapes: Mapping[int, Shape], handles: Sequence[int] = ()
    ) -> Function:
        """A functional model as a subgraph.

        Args:
            model: what to write.
            shapes: of its tensors, by `id`, where those are not as in the model.
            handles: which inputs are variables.
        """
        functional = _functional(model)
        _require_emitters(functional, self._emitters)
        info = _info(model)
        graph = Graph(
            constant_names=info.constant_names,
            constant_storage=info.constant_storage,
            add=self._add_model,
            outside={} if self._variables is None else None,
        )
        read_as = _parameters_of_readers(functional)
        for position, tensor in enumerate(functional.inputs):
            index = _add_tensor(graph, tensor, info, read_as.get(id(tensor)), shapes)
            graph.bind(tensor, index)
            if position in handles:
                graph.make_handle(index)
        nodes = in_order(list(iter_nodes(functional)), info.order)
        initialized = self._variables is None
        failures = []
        for node in nodes:
            if isinstance(node.operation, Variable) and not initialized:
                self._initialize(graph)
                initialized = True
            qparams = getattr(node.operation, "output_qparams", None)
            for tensor in node.outputs:
                parameters = qparams or read_as.get(id(tensor))
                graph.bind(tensor, _add_tensor(graph, tensor, info, parameters, shapes))
            try:
                _emit(node, graph, self._emitters[type(node.operation)])
            except ExportError as error:
                name = node.operation.name
                failures.append(f"  {type(node.operation).__name__} {name!r} {error}")
        if failures:
            raise ExportError(
                "These operations cannot be written as .tflite:\n" + "\n".join(failures)
            )
        outputs = [graph.index(tensor) for tensor in functional.outputs]
        if not _is_from_file(model):  # which is written as it was
            merge_equal_operators(graph, outputs)
        return Function(
            graph=graph,
            inputs=[graph.index(tensor) for tensor in functional.inputs],
            outputs=outputs,
            name=info.graph_name or model.name,
        )

    def finish(self, function: Function) -> None:
        """Change operators and constants once all readers are known."""
        fuse_activations(function.graph, function.outputs)
        narrow_constants(function.graph, self._weights)
        if self._for_xnnpack:  # last, as its constants must stay as they are
            rewrite_for_xnnpack(function.graph, function.outputs)
            merge_equal_operators(function.graph, function.outputs)

    def _add_model(self, model: Any, arguments: Sequence[Tensor], count: int | None) -> int:
        functional = _functional(model)
        handles = [i for i, x in enumerate(arguments) if x.dtype == RESOURCE]
        wanted = [
            old if i in handles else keras.KerasTensor(new.shape, dtype=old.dtype)
            for i, (old, new) in enumerate(zip(functional.inputs, arguments, strict=False))
        ]
        shapes: Mapping[int, Shape] = {}
        if wanted and any(
            tuple(x.shape) != tuple(y.shape) for x, y in zip(wanted, functional.inputs, strict=True)
        ):
            shapes = shapes_with_inputs(functional, wanted)
        function = self.function(model, shapes, handles)
        # A branch that is called with nothing has one input that it does not read.
        function.inputs = function.inputs[: len(arguments)]
        function.outputs = function.outputs[:count]
        return self.add(function)

    def add(self, function: Function) -> int:
        """The number of a subgraph after the first."""
        self.finish(function)
        self.functions.append(function)
        return len(self.functions)

    def _initialize(self, graph: Graph) -> None:
        """CALL_ONCE of the one subgraph that gives all variables their initial values."""
        if not self._initializer:
            self.functions.append(initial_values(self._variables or ()))
            self._initializer = len(self.functions)
        options = schema.CallOnceOptionsT(initSubgraphIndex=self._initializer)
        graph.operator("CALL_ONCE", [], [], options)


def signature_output_names(outputs: Sequence[keras.KerasTensor]) -> list[str]:
    """Names of the outputs in the signature: those of the tensors, made unique by `"_1"`, ..."""
    names = [tensor_name(tensor) for tensor in outputs]
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}_{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return unique


def _require_emitters(model: Any, emitters: Mapping[type, EmitFunction]) -> None:
    missing = {
        node.operation.name: type(node.operation)
        for node in iter_nodes(model)
        if type(node.operation) not in emitters
    }
    if missing:
        listed = "\n".join(
            f"  {name!r} of class {cls.__module__}.{cls.__name__}" for name, cls in missing.items()
        )
        raise ExportError(
            f"{len(missing)} operation(s) have no .tflite form:\n{listed}\n"
            "Replace them by layers that have one, or save the model as .keras."
        )


def _parameters_of_readers(model: Any) -> dict[int, QParams]:
    """By `id`, the parameters with which quantized layers read each tensor."""
    found: dict[int, QParams] = {}
    for node in iter_nodes(model):
        parameters = getattr(node.operation, "input_qparams", ())
        for tensor, qparams in zip(node.input_tensors, parameters, strict=False):
            found.setdefault(id(tensor), qparams)
    return found


def _add_tensor(
    graph: Graph,
    tensor: keras.KerasTensor,
    info: FileInfo,
    qparams: QParams | None,
    shapes: Mapping[int, Shape],
) -> int:
    dtype = str(tensor.dtype)
    shape = shapes.get(id(tensor), tensor.shape)
    name = tensor_name(tensor)
    qparams = info.tensor_qparams.get(name, qparams)
    quantization = Quantization.of(qparams) if qparams and dtype == qparams.dtype else None
    return graph.tensor(info.tensor_names.get(name, name), shape, dtype, quantization)


def _emit(node: Any, graph: Graph, emit: EmitFunction) -> None:
    graph.call = Call(
        operation=node.operation,
        args=node.arguments.args,
        kwargs=node.arguments.kwargs,
        inputs=[graph.index(tensor) for tensor in node.input_tensors],
        outputs=[graph.index(tensor) for tensor in node.outputs],
    )
    emit(node.operation, graph, list(graph.call.inputs), graph.call.outputs[0])
    graph.call = None


def _distinct_outputs(graph: Graph, inputs: list[int], outputs: list[int]) -> list[int]:
    """Outputs that are no input and no other output: a copy stands in for one that is."""
    taken = {graph.resolve(index) for index in inputs}
    distinct = []
    for index in outputs:
        source = graph.resolve(index)
        if source in taken:
            copy = graph.tensor(
                f"{graph.tensors[source].name}/copy",
                graph.shape(source),
                graph.dtype(source),
                graph.tensors[source].quantization,
            )
            source = graph.reshape(source, graph.shape(source), output=copy)
        taken.add(source)
        distinct.append(source)
    return distinct
