"""Comparing a model with what `capture` makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_octet.capture import capture, is_canonical, iter_nodes
from keras_octet.capture.keras_private import tree
from tests.models import randomize

L = keras.layers


def to_numpy(structure: Any) -> Any:
    return tree.map_structure(lambda t: np.asarray(keras.ops.convert_to_numpy(t)), structure)


def example(structure: Any, batch: int = 3, size: int = 10, seed: int = 0) -> Any:
    """Random data for a structure of KerasTensors; unknown sizes become `size`."""
    rng = np.random.default_rng(seed)

    def one(tensor: keras.KerasTensor) -> np.ndarray:
        shape = [batch, *(size if n is None else n for n in tensor.shape[1:])]
        if tensor.shape[0] is not None:
            shape[0] = tensor.shape[0]
        if "int" in tensor.dtype:
            return rng.integers(0, 5, shape).astype(tensor.dtype)
        return rng.normal(0, 1, shape).astype("float32")

    return tree.map_structure(one, structure)


def run(model: keras.Model, data: Any) -> Any:
    if keras.backend.backend() != "jax":
        return to_numpy(model(data, training=False))
    import jax

    options = {"training": False} if model._call_has_training_arg else {}

    def call(trainable: Any, other: Any, data: Any) -> Any:
        return model.stateless_call(trainable, other, data, **options)[0]

    # One hasty compilation instead of one for each operation.
    call = jax.jit(call, compiler_options={"xla_backend_optimization_level": 0})
    variables = model.trainable_variables, model.non_trainable_variables
    return to_numpy(call(*([v.value for v in group] for group in variables), data))


def assert_same(expected: Any, received: Any, tolerance: float = 2e-5) -> None:
    tree.assert_same_structure(expected, received)
    for a, b in zip(tree.flatten(expected), tree.flatten(received), strict=True):
        assert a.shape == b.shape
        scale = max(1.0, float(np.abs(a.astype(np.float64)).max()))
        np.testing.assert_allclose(
            b.astype(np.float64), a.astype(np.float64), atol=tolerance * scale, rtol=0
        )


def operations(flat: keras.Model) -> list[Any]:
    return [node.operation for node in iter_nodes(flat)]


def kinds(flat: keras.Model) -> Counter[str]:
    return Counter(type(operation).__name__ for operation in operations(flat))


def islands(flat: keras.Model) -> list[str]:
    return [type(o).__name__ for o in operations(flat) if not is_canonical(o)]


def assert_is_flat(flat: keras.Model) -> None:
    """What the contract says about every flat model."""
    found = operations(flat)
    names = [operation.name for operation in found] + [t.name for t in flat.inputs]
    assert len(names) == len(set(names)), names
    assert len({id(operation) for operation in found}) == len(found)
    for operation in found:
        assert len(operation._inbound_nodes) == 1, operation.name
        if isinstance(operation, keras.layers.Layer):
            assert operation.dtype_policy.name == "float32", operation.name
        if is_canonical(operation):
            assert getattr(operation, "data_format", "channels_last") == "channels_last"
            if isinstance(operation, (L.Dense, L.Conv2D, L.DepthwiseConv2D, L.Conv2DTranspose)):
                assert operation.activation is keras.activations.linear
                assert operation.use_bias
    for tensor in [t for node in iter_nodes(flat) for t in node.outputs]:
        assert tensor.dtype not in ("float16", "bfloat16", "float64")


def _randomize(model: keras.Model) -> None:
    """Random weights, apart from the statistics of Normalization layers."""
    layers = [part for part in model._flatten_layers() if isinstance(part, L.Normalization)]
    kept = [(v, np.array(keras.ops.convert_to_numpy(v))) for part in layers for v in part.weights]
    randomize(model)
    for variable, value in kept:
        variable.assign(value)


def captured(
    model: keras.Model,
    data: Any = None,
    *,
    tolerance: float = 2e-5,
    **options: Any,
) -> keras.Model:
    """`capture(model)`, checked to be flat and to compute the same on data."""
    _randomize(model)
    flat = capture(model, **options)
    assert_is_flat(flat)
    if data is None:
        data = example(flat.input)
    assert_same(run(model, data), run(flat, data), tolerance)
    return flat


def sequential(shape: tuple[int | None, ...], *layers: Any) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers])


def functional(
    function: Callable[..., Any], *shapes: tuple[int | None, ...], **options: Any
) -> keras.Model:
    """The model that computes `function` of one input for each shape."""
    inputs = [keras.Input(shape, **options) for shape in shapes]
    outputs = function(*inputs)
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs)
