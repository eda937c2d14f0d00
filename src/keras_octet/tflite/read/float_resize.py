"""Float images in another size, and blocks of them."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.canonical import make_layer
from keras_octet.errors import ModelFileError
from keras_octet.layers import operators
from keras_octet.tflite.read.call import ReadCall
from keras_octet.tflite.read.shapes import as_ints

MAX_EDGE = 2**20
_INTERPOLATIONS = {"RESIZE_NEAREST_NEIGHBOR": "nearest", "RESIZE_BILINEAR": "bilinear"}
_BLOCKS = {"SPACE_TO_DEPTH": operators.SpaceToDepth, "DEPTH_TO_SPACE": operators.DepthToSpace}


def size_of_image(call: ReadCall) -> list[int]:
    """Height and width of the result of a RESIZE_*.

    Raises:
        ModelFileError: they are no sizes, or so large that working out where their pixels come from
            would need more memory than the file accounts for.
    """
    sizes = as_ints(call.constant(1))
    if len(sizes) != 2 or not all(0 < size <= MAX_EDGE for size in sizes):
        raise ModelFileError(
            f"{call.code} {call.name!r} has size {sizes}; expected a height and a width of at most "
            f"{MAX_EDGE}."
        )
    return sizes


def read_resize(call: ReadCall) -> Any:
    """UpSampling2D or Resizing where they place samples alike: at the centres of pixels."""
    options, source = call.options, call.tensor(0)
    height, width = size_of_image(call)
    interpolation = _INTERPOLATIONS[call.code]
    if options.alignCorners or not options.halfPixelCenters or call.kind != "float":
        layer = operators.ResizeImage(
            height=height,
            width=width,
            interpolation=interpolation,
            align_corners=bool(options.alignCorners),
            half_pixel_centers=bool(options.halfPixelCenters),
            name=call.name,
        )
        return layer(source)
    before = source.shape[1:3]
    if None not in before and not height % before[0] and not width % before[1]:
        layer = make_layer(
            keras.layers.UpSampling2D,
            call.name,
            size=(height // before[0], width // before[1]),
            interpolation=interpolation,
        )
    else:
        layer = make_layer(
            keras.layers.Resizing,
            call.name,
            height=height,
            width=width,
            interpolation=interpolation,
        )
    return layer(source)


def read_blocks(call: ReadCall) -> Any:
    """SPACE_TO_DEPTH, DEPTH_TO_SPACE."""
    layer = _BLOCKS[call.code](block_size=call.options.blockSize, name=call.name)
    return layer(call.tensor(0))


def _block_settings(call: ReadCall) -> tuple[list[int], list[list[int]]]:
    sizes = as_ints(call.constant(1))
    borders = call.constant(2)
    if borders.shape != (len(sizes), 2) or min(sizes, default=0) < 1:
        raise ModelFileError(
            f"{call.code} {call.name!r} has blocks {sizes} and borders of shape {borders.shape}."
        )
    return sizes, borders.tolist()


def read_space_to_batch(call: ReadCall) -> Any:
    """SPACE_TO_BATCH_ND."""
    blocks, paddings = _block_settings(call)
    layer = operators.SpaceToBatch(block_shape=blocks, paddings=paddings, name=call.name)
    return layer(call.tensor(0))


def read_batch_to_space(call: ReadCall) -> Any:
    """BATCH_TO_SPACE_ND."""
    blocks, crops = _block_settings(call)
    layer = operators.BatchToSpace(block_shape=blocks, crops=crops, name=call.name)
    return layer(call.tensor(0))
