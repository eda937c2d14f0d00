"""Operators that compute the same are one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from keras_octet.tflite.graph import NO_TENSOR, RESOURCE, Graph, Operator

_NOT_A_FUNCTION_OF_INPUTS = frozenset(
    [
        "BERNOULLI",
        "CALL",
        "CALL_ONCE",
        "CUSTOM",
        "IF",
        "MULTINOMIAL",
        "RANDOM_STANDARD_NORMAL",
        "RANDOM_UNIFORM",
        "WHILE",
    ]
)


def merge_equal_operators(graph: Graph, outputs: Sequence[int]) -> None:
    """Keep the first of operators with equal inputs, options and kinds of outputs, in place.

    Those that make outputs of the model stay, as do those that variables or chance decide.
    """
    first: dict[Hashable, Operator] = {}
    kept, results = [], set(outputs)
    for operator in graph.operators:
        earlier = operator
        if _is_function_of_inputs(graph, operator) and results.isdisjoint(operator.outputs):
            earlier = first.setdefault(_key(graph, operator), operator)
        if earlier is operator:
            kept.append(operator)
        else:
            for index, same in zip(operator.outputs, earlier.outputs, strict=True):
                graph.alias(same, index)
    graph.operators = kept


def _is_function_of_inputs(graph: Graph, operator: Operator) -> bool:
    indices = (*operator.inputs, *operator.outputs, *operator.intermediates)
    tensors = [graph.tensors[graph.resolve(i)] for i in indices if i != NO_TENSOR]
    return operator.code not in _NOT_A_FUNCTION_OF_INPUTS and not any(
        tensor.is_variable or tensor.dtype == RESOURCE for tensor in tensors
    )


def _key(graph: Graph, operator: Operator) -> Hashable:
    """What equal operators share."""
    options = {} if operator.options is None else vars(operator.options)
    tensors = [graph.tensors[i] for i in (*operator.outputs, *operator.intermediates)]
    return (
        operator.code,
        tuple(graph.resolve(i) for i in operator.inputs),
        tuple((name, str(np.asarray(value).tolist())) for name, value in sorted(options.items())),
        tuple((x.shape, x.dtype, x.quantization and x.quantization.key) for x in tensors),
    )
