"""Enlarging and shrinking images."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_octet.errors import ExportError
from keras_octet.tflite.emit.common import require_channels_last
from keras_octet.tflite.graph import Graph

RESIZES = {
    "nearest": ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
    "bilinear": ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
}


def emit_resize(layer: Any, graph: Graph, inputs: list[int], output: int) -> None:
    """RESIZE_* to the output's size; Keras samples at pixel centres, files may do otherwise."""
    require_channels_last(layer)
    if layer.interpolation not in RESIZES:
        raise ExportError(
            f"has interpolation={layer.interpolation!r}; expected one of {sorted(RESIZES)}."
        )
    for unsupported in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if getattr(layer, unsupported, False):
            raise ExportError(f"has {unsupported}=True, which has no .tflite form.")
    code, options = RESIZES[layer.interpolation]
    size = np.array(graph.static_shape(output, 1, 2), np.int32)
    graph.operator(
        code,
        [inputs[0], graph.constant(size, name="size")],
        [output],
        options(
            alignCorners=getattr(layer, "align_corners", False),
            halfPixelCenters=getattr(layer, "half_pixel_centers", True),
        ),
    )
