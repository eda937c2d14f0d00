from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import pytest
from keras import ops

from tests.capture.support import captured, functional, islands, kinds, operations, sequential

L = keras.layers

# How a user can write it -> the operations it becomes.
FORMS: dict[str, tuple[Any, dict[str, int]]] = {
    "relu layer": (L.ReLU(), {"ReLU": 1}),
    "relu activation layer": (L.Activation("relu"), {"ReLU": 1}),
    "relu operation": (ops.relu, {"ReLU": 1}),
    "relu by maximum": (lambda x: ops.maximum(x, 0.0), {"ReLU": 1}),
    "relu6 layer": (L.ReLU(6.0), {"ReLU": 1}),
    "relu6 activation layer": (L.Activation("relu6"), {"ReLU": 1}),
    "relu6 operation": (ops.relu6, {"ReLU": 1}),
    "relu6 function": (lambda x: keras.activations.relu(x, max_value=6), {"ReLU": 1}),
    "relu6 by clip": (lambda x: ops.clip(x, 0, 6), {"ReLU": 1}),
    "leaky layer": (L.LeakyReLU(0.1), {"LeakyReLU": 1}),
    "leaky relu layer": (L.ReLU(negative_slope=0.1), {"LeakyReLU": 1}),
    "leaky operation": (lambda x: ops.leaky_relu(x, 0.1), {"LeakyReLU": 1}),
    "leaky activation": (L.Activation("leaky_relu"), {"LeakyReLU": 1}),
    "leaky with a bound": (
        L.ReLU(max_value=0.5, negative_slope=0.1),
        {"LeakyReLU": 1, "Rescaling": 2, "ReLU": 1},
    ),
    "elu": (L.ELU(0.7), {"ELU": 1}),
    "elu operation": (lambda x: ops.elu(x, 0.7), {"ELU": 1}),
    "selu": (L.Activation("selu"), {"ELU": 1, "Rescaling": 1}),
    "selu operation": (ops.selu, {"ELU": 1, "Rescaling": 1}),
    "prelu": (L.PReLU(shared_axes=[1, 2]), {"PReLU": 1}),
    "sigmoid": (L.Activation("sigmoid"), {"Activation": 1}),
    "sigmoid operation": (ops.sigmoid, {"Activation": 1}),
    "tanh operation": (ops.tanh, {"Activation": 1}),
    "gelu": (L.Activation("gelu"), {"Activation": 1}),
    "gelu operation": (lambda x: ops.gelu(x, approximate=False), {"Activation": 1}),
    "silu": (L.Activation("silu"), {"Activation": 1, "Multiply": 1}),
    "swish operation": (ops.swish, {"Activation": 1, "Multiply": 1}),
    "hard_silu": (L.Activation("hard_swish"), {"Activation": 1}),
    "hard_silu operation": (ops.hard_silu, {"Activation": 1}),
    "hard_sigmoid": (L.Activation("hard_sigmoid"), {"Rescaling": 2, "ReLU": 1}),
    "hard_sigmoid operation": (ops.hard_sigmoid, {"Rescaling": 2, "ReLU": 1}),
    "softmax": (L.Softmax(), {"Softmax": 1}),
    "softmax operation": (ops.softmax, {"Softmax": 1}),
    "softmax over rows": (L.Softmax(axis=1), {"Softmax": 1, "Permute": 2}),
    "function of operations": (
        L.Activation(lambda x: ops.relu(x) * 2.0),
        {"ReLU": 1, "Rescaling": 1},
    ),
    "layer as activation": (L.Activation(L.LeakyReLU(0.3)), {"LeakyReLU": 1}),
    "linear": (L.Activation("linear"), {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_way_to_write_an_activation_has_one_form(name: str) -> None:
    form, expected = FORMS[name]
    flat = captured(functional(form, (4, 5, 3)))
    assert kinds(flat) == Counter(expected)
    assert not islands(flat)


@pytest.mark.parametrize("activation", ["relu", "silu", "softmax", "gelu", "hard_sigmoid"])
def test_an_activation_argument_becomes_an_operation(activation: str) -> None:
    flat = captured(sequential((6,), L.Dense(4, activation=activation, name="scores")))
    assert "scores" in [operation.name for operation in operations(flat)]
    assert kinds(flat)["Dense"] == 1
    assert len(operations(flat)) > 1


@pytest.mark.parametrize(
    "layer",
    [L.Activation("softplus"), L.ReLU(threshold=0.4), L.Softmax(axis=(1, 2)), L.Activation("mish")],
    ids=["softplus", "threshold", "softmax of two axes", "mish"],
)
def test_other_activations_are_islands(layer: Any) -> None:
    flat = captured(sequential((4, 5, 3), layer))
    assert len(islands(flat)) == 1


def test_gelu_with_tanh_stays_an_operation() -> None:
    flat = captured(functional(lambda x: ops.gelu(x, approximate=True), (7,)))
    assert kinds(flat) == Counter(Gelu=1)


def test_prelu_keeps_its_alpha() -> None:
    flat = captured(sequential((4, 3), L.PReLU()))
    (layer,) = operations(flat)
    assert tuple(layer.alpha.shape) == (4, 3)
