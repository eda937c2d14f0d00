"""Zero padding into the convolution that follows: padding "valid" becomes "same"."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.alias import alias
from keras_octet.capture.graph import producer
from keras_octet.capture.rewrites.replay import Replay
from keras_octet.windows import output_length, same_padding


def merge_padding(replay: Replay, layer: Any, x: Any) -> Any:
    """ZeroPadding2D -> valid convolution becomes a "same" convolution, where both are equal."""
    node = producer(x)
    if type(node.operation) is not keras.layers.ZeroPadding2D or layer.padding != "valid":
        return None
    (source,) = node.input_tensors
    settings = zip(
        source.shape[1:3],
        layer.kernel_size,
        layer.strides,
        layer.dilation_rate,
        node.operation.padding,
        strict=True,
    )
    if not all(_is_same(*setting) for setting in settings):
        return None
    return replay.apply(alias(layer, padding="same"), source)


def _is_same(size: int | None, kernel: int, stride: int, dilation: int, padding: Any) -> bool:
    """Whether the padding has the effect of "same": what "valid" does not reach is ignored."""
    same = same_padding(size, kernel, stride, dilation)
    if same is None:
        return False
    before, after = padding
    if size is None or stride == 1:
        return bool((before, after) == same)
    num_outputs = output_length(size + before + after, kernel, stride, "valid", dilation)
    wanted = output_length(size, kernel, stride, "same", dilation)
    return bool(before == same[0] and after >= same[1] and num_outputs == wanted)
