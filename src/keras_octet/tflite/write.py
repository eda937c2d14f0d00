"""From a functional Keras model, float or quantized or both, to the bytes of a `.tflite` file."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_octet.capture.graph import functional_of, iter_nodes, tensor_name
from keras_octet.errors import ExportError
from keras_octet.qparams import QParams
from keras_octet.tflite.batch import shapes_with_batch_size
from keras_octet.tflite.emit import EMITTERS
from keras_octet.tflite.emit.common import EmitFunction
from keras_octet.tflite.file import pack, tensors_in_file
from keras_octet.tflite.fuse import fuse_activations
from keras_octet.tflite.graph import Call, Graph, Quantization, Shape
from keras_octet.tflite.info import FileInfo, Written
from keras_octet.tflite.storage import narrow_constants


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
) -> Written:
    """Write `model` as a `.tflite` file.

    Each call of a layer or `keras.ops` operation becomes the operators its emit function appends.
    The file has one subgraph, and one signature `"serving_default"` with the names of the
    InputLayers and of the operations that make the outputs, unless `model.file_info` says
    otherwise. A batch size of None is 1 in the file and may be resized, unless `batch_size` fixes
    it. The same model always gives the same bytes.

    Args:
        model: Functional or built Sequential model, channels last.
        emitters: emit function for each class of layer or operation; a subclass is another class.
        batch_size: number of samples that the file takes at once, where the model leaves it open.
        weights: how float constants are stored, see `narrow_constants`.

    Returns:
        The bytes of the file, and which of its tensors are variables of the model.

    Raises:
        ExportError: some operations have no .tflite form; the message names all of them. Or the
            model cannot have this batch size.
    """
    functional = functional_of(model)
    if functional is None:
        raise ExportError(
            f"Only a functional model can be written as .tflite. Received: {model.name!r} of class "
            f"{type(model).__name__}. Call keras_octet.capture.capture(model) first."
        )
    _require_emitters(functional, emitters)
    info = getattr(model, "file_info", None) or FileInfo()
    graph = Graph(constant_names=info.constant_names, constant_storage=info.constant_storage)
    read_as = _parameters_of_readers(functional)
    shapes = {} if batch_size is None else shapes_with_batch_size(functional, batch_size)
    for tensor in functional.inputs:
        index = _add_tensor(graph, tensor, info, read_as.get(id(tensor)), shapes)
        graph.bind(tensor, index)
    failures = []
    for node in _in_order(list(iter_nodes(functional)), info.order):
        qparams = getattr(node.operation, "output_qparams", None)
        for tensor in node.outputs:
            parameters = qparams or read_as.get(id(tensor))
            graph.bind(tensor, _add_tensor(graph, tensor, info, parameters, shapes))
        try:
            _emit(node, graph, emitters[type(node.operation)])
        except ExportError as error:
            failures.append(f"  {type(node.operation).__name__} {node.operation.name!r} {error}")
    if failures:
        raise ExportError("These operations cannot be written as .tflite:\n" + "\n".join(failures))
    inputs = [graph.index(tensor) for tensor in functional.inputs]
    outputs = _distinct_outputs(graph, inputs, [graph.index(x) for x in functional.outputs])
    fuse_activations(graph, outputs)
    narrow_constants(graph, weights)
    content = pack(
        graph,
        inputs,
        outputs,
        input_names=info.input_names or [tensor_name(tensor) for tensor in functional.inputs],
        output_names=info.output_names or signature_output_names(functional.outputs),
        name=model.name,
        info=info,
    )
    stored = tensors_in_file(graph, inputs, outputs)
    states = {i: graph.states[index] for i, index in enumerate(stored) if index in graph.states}
    return Written(content, states)


def _in_order(nodes: list[Any], names: Sequence[str]) -> list[Any]:
    """Nodes as near to the order of `names` as their inputs allow; what has no name comes last."""
    if not names:
        return nodes
    places = {name: place for place, name in enumerate(names)}
    priority = [(places.get(node.operation.name, len(places)), i) for i, node in enumerate(nodes)]
    maker = {id(tensor): i for i, node in enumerate(nodes) for tensor in node.outputs}
    needed = [{maker[id(x)] for x in node.input_tensors if id(x) in maker} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, sources in enumerate(needed):
        for source in sources:
            readers[source].append(i)
    ready = [priority[i] for i, sources in enumerate(needed) if not sources]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, i = heapq.heappop(ready)
        ordered.append(nodes[i])
        for reader in readers[i]:
            needed[reader].discard(i)
            if not needed[reader]:
                heapq.heappush(ready, priority[reader])
    return ordered


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
