"""Matrix products: Dense, EinsumDense, Matmul, Dot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.activation import with_activation
from keras_octet.tflite.emit.arithmetic import binary, matmul, reduce, transpose, unary
from keras_octet.tflite.emit.common import NO_ACTIVATION, argument, quantized_bias_type
from keras_octet.tflite.graph import NO_TENSOR, Graph, to_numpy


def fully_connected(
    graph: Graph,
    source: int,
    kernel: int,
    bias: int,
    output: int,
    activation: int = NO_ACTIVATION,
    **settings: Any,
) -> None:
    """FULLY_CONNECTED over the last axis; `kernel` is `(out, in)`. An all-zero bias is left out.

    `settings` are further options of the operator.
    """
    data = graph.tensors[bias].data
    graph.operator(
        "FULLY_CONNECTED",
        [source, kernel, bias if data is not None and data.any() else NO_TENSOR],
        [output],
        schema.FullyConnectedOptionsT(
            fusedActivationFunction=activation,
            keepNumDims=graph.rank(output) > 2,
            **settings,
        ),
    )


def emit_dense(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """FULLY_CONNECTED; kernel `(in, units)` becomes `(units, in)`."""
    if getattr(layer, "lora_enabled", False):
        raise ExportError("has LoRA enabled; merge the adapters into the kernel first.")
    kernel, bias = graph.weights(layer, lambda k: k.T, axis=0, channels=layer.units)
    with_activation(
        layer,
        graph,
        output,
        lambda target, activation: fully_connected(
            graph,
            inputs[0],
            kernel,
            bias,
            target,
            activation,
            asymmetricQuantizeInputs=getattr(layer, "asymmetric_inputs", False),
            quantizedBiasType=quantized_bias_type(layer),
        ),
    )


def emit_matmul(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """BATCH_MATMUL; a constant operand of a float product is allowed on either side."""
    assert graph.call is not None
    operands = list(inputs)
    if len(operands) == 1:
        first, second = argument(graph, "x1"), argument(graph, "x2")
        operands = [graph.operand(value, like=inputs[0]) for value in (first, second)]
    for index in operands:
        if graph.rank(index) < 2:
            raise ExportError(
                f"multiplies a tensor of shape {graph.shape(index)}; BATCH_MATMUL needs at least 2 "
                "dimensions. Add a dimension with Reshape."
            )
    matmul(graph, operands[0], operands[1], graph.shape(output), output)


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, `...` spelled out with capital letters."""
    left, right = equation.replace(" ", "").split("->")
    operands = left.split(",")
    hidden = max(
        (
            rank - len(labels) + 3
            for labels, rank in zip(operands, ranks, strict=True)
            if "..." in labels
        ),
        default=0,
    )
    dots = "ABCDEFGH"[:hidden]
    spelled = []
    for labels, rank in zip(operands, ranks, strict=True):
        width = rank - len(labels) + 3 if "..." in labels else 0
        spelled.append(labels.replace("...", dots[len(dots) - width :]))
    return spelled, right.replace("...", dots)


def emit_einsum_dense(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """FULLY_CONNECTED when the equation is a matrix product with the kernel, after transposing
    and reshaping; a label shared by input, kernel and output has no such form.
    """
    kernel = to_numpy(layer.kernel)
    (left, weights), result = parse_equation(layer.equation, [graph.rank(inputs[0]), kernel.ndim])
    contracted = [label for label in left if label in weights]
    if any(label in result for label in contracted) or len(set(left)) < len(left):
        raise ExportError(
            f"has equation {layer.equation!r}, which is not a matrix product with the kernel."
        )
    batch = [label for label in left if label not in weights]
    if any(label not in result for label in batch):
        raise ExportError(f"has equation {layer.equation!r}, which sums over an axis of one input.")
    free = [label for label in result if label in weights]
    sizes = dict(zip(weights, kernel.shape, strict=True))
    depth = math.prod(sizes[label] for label in contracted)
    units = math.prod(sizes[label] for label in free)
    matrix = kernel.transpose([weights.index(label) for label in free + contracted])
    matrix = matrix.reshape(units, depth)
    # A bias that does not run along the whole kernel side of the output is added afterwards.
    bias = None if layer.bias is None else to_numpy(layer.bias)
    late_bias = None
    full_bias = np.zeros(units, np.float32)
    if bias is not None:
        positions = [result.index(label) for label in free]
        rank = len(result)
        shaped = bias.reshape((1,) * (rank - bias.ndim) + bias.shape)
        if all(size == 1 or i in positions for i, size in enumerate(shaped.shape)):
            along_free = shaped.transpose(
                positions + [i for i in range(rank) if i not in positions]
            )
            along_free = along_free.reshape([shaped.shape[i] for i in positions])
            full_bias = np.broadcast_to(along_free, [sizes[label] for label in free]).reshape(-1)
        else:
            late_bias = shaped

    shape = dict(zip(left, graph.shape(inputs[0]), strict=True))
    source = transpose(graph, inputs[0], [left.index(label) for label in batch + contracted])
    batch_shape = [shape[label] for label in batch]
    if len(contracted) != 1:
        source = graph.reshape(source, [*batch_shape, depth])
    product_labels = "".join(batch + free)
    steps = [
        product_labels != result,
        len(free) != 1,
        late_bias is not None,
    ]

    def emit(target: int, activation: int) -> None:
        full_shape = [*batch_shape, *(sizes[label] for label in free)]
        product = (
            target
            if not any(steps)
            else graph.temporary([*batch_shape, units], like=output, name="product")
        )
        fully_connected(
            graph,
            source,
            graph.constant(matrix, name="kernel"),
            graph.constant(np.ascontiguousarray(full_bias), name="bias"),
            product,
            # An activation commutes with moving elements, but not with a bias added later.
            NO_ACTIVATION if late_bias is not None else activation,
        )
        if len(free) != 1:
            last = not (steps[0] or steps[2])
            product = graph.reshape(product, full_shape, output=target if last else None)
        if product_labels != result:
            permutation = [product_labels.index(label) for label in result]
            product = transpose(graph, product, permutation, None if steps[2] else target)
        if late_bias is not None:
            binary(
                graph, "ADD", product, graph.constant(late_bias, name="bias"), target, activation
            )

    with_activation(layer, graph, output, emit)


def einsum(graph: Graph, equation: str, first: int, second: int, output: int | None = None) -> int:
    """A two-operand einsum as TRANSPOSE, RESHAPE and BATCH_MATMUL.

    Raises:
        ExportError: it is not a batched matrix product, or its sizes are not known.
    """
    (left, right), result = parse_equation(equation, [graph.rank(first), graph.rank(second)])
    shapes = dict(zip(left, graph.shape(first), strict=True))
    shapes.update(zip(right, graph.shape(second), strict=True))
    shared = [x for x in result if x in left and x in right]
    contracted = [x for x in left if x in right and x not in result]
    rows = [x for x in left if x not in right]
    columns = [x for x in right if x not in left]
    if (
        any(x not in result for x in rows + columns)
        or len(set(left)) < len(left)
        or len(set(right)) < len(right)
    ):
        raise ExportError(f"has equation {equation!r}, which is not a batched matrix product.")

    def merged(labels: list[str]) -> list[int | None]:
        sizes = [shapes[x] for x in labels]
        if len(sizes) == 1:
            return sizes
        known = [size for size in sizes if size is not None]
        return [math.prod(known) if len(known) == len(sizes) else None]

    def arranged(index: int, labels: str, groups: list[list[str]]) -> int:
        order = [x for group in groups for x in group]
        moved = transpose(graph, index, [labels.index(x) for x in order])
        lead = [shapes[x] for x in groups[0]]
        if all(len(group) == 1 for group in groups[1:]):
            return moved
        return graph.reshape(moved, lead + merged(groups[1]) + merged(groups[2]))

    a = arranged(first, left, [shared, rows, contracted])
    # The product can read its second operand transposed; take the order that moves nothing.
    adjoint = list(right) == shared + columns + contracted
    groups = [shared, columns, contracted] if adjoint else [shared, contracted, columns]
    b = arranged(second, right, groups)
    lead = [shapes[x] for x in shared]
    labels = "".join(shared + rows + columns)
    plain = len(rows) == 1 and len(columns) == 1
    product = matmul(
        graph,
        a,
        b,
        lead + merged(rows) + merged(columns),
        output if plain and labels == result else None,
        transpose_second=adjoint,
    )
    if not plain:
        product = graph.reshape(
            product, [shapes[x] for x in labels], output=output if labels == result else None
        )
    if labels != result:
        product = transpose(graph, product, [labels.index(x) for x in result], output)
    return product


def emit_einsum(operation: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.ops.einsum` of two tensors."""
    equation = argument(graph, "subscripts")
    if len(inputs) != 2 or "->" not in equation:
        raise ExportError(
            f"is an einsum {equation!r} of {len(inputs)} tensors; expected two tensors and '->'."
        )
    einsum(graph, equation, inputs[0], inputs[1], output)


def emit_dot(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """`keras.layers.Dot` over one axis of each input, as an einsum."""
    ranks = [graph.rank(index) for index in inputs]
    axes = layer.axes if isinstance(layer.axes, (tuple, list)) else (layer.axes, layer.axes)
    first_axis, second_axis = (axis % rank for axis, rank in zip(axes, ranks, strict=True))
    left = ["b", *"cdef"[: ranks[0] - 1]]
    right = ["b", *"wxyz"[: ranks[1] - 1]]
    left[first_axis] = right[second_axis] = "k"
    result = [x for x in left + right[1:] if x != "k"]
    operands = list(inputs)
    if layer.normalize:
        operands = [
            l2_normalize(graph, index, axis)
            for index, axis in zip(inputs, (first_axis, second_axis), strict=True)
        ]
    if len(result) == 1:
        # `(batch, k)` with `(batch, k)`: Keras keeps a last axis of size 1.
        product = binary(graph, "MUL", operands[0], operands[1])
        reduce(graph, "SUM", product, [1], True, output)
        return
    equation = f"{''.join(left)},{''.join(right)}->{''.join(result)}"
    einsum(graph, equation, operands[0], operands[1], output)


def l2_normalize(
    graph: Graph, source: int, axis: int, output: int | None = None, epsilon: float = 1e-12
) -> int:
    """`x * rsqrt(max(sum(x ** 2), epsilon))` over one axis."""
    total = reduce(graph, "SUM", unary(graph, "SQUARE", source), [axis], True)
    inverse = unary(graph, "RSQRT", binary(graph, "MAXIMUM", total, epsilon))
    return binary(graph, "MUL", source, inverse, output)
