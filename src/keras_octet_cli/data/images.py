"""A directory of images, read as the model's input has them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_octet.cores import num_cores
from keras_octet.errors import CalibrationError
from keras_octet_cli.console import first_line
from keras_octet_cli.data import DataOptions
from keras_octet_cli.data.sampling import BATCH_SIZE, Stream, require, spread

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True)
class Layout:
    """Images as a model's input has them.

    Attributes:
        size: height and width.
        channels: 1, 3 or 4.
        channels_first: the axis of channels comes before height and width.
    """

    size: tuple[int, int]
    channels: int
    channels_first: bool


def load(source: str, options: DataOptions, inputs: Sequence[Any], with_labels: bool) -> Any:
    """A stream of batches of images, with the numbers of their classes where these are wanted.

    Raises:
        MissingDependencyError: Pillow is not installed.
        CalibrationError: the directory has no images, an image cannot be read, or the model's
            input is not one of images.
    """
    require("PIL", "Reading images")
    layout = image_layout(inputs, options.image_size)
    prepare = preparation(options, layout)
    paths, labels, classes = find_images(Path(source))
    chosen = spread(len(paths), options.limit, options.seed)
    positions = np.arange(len(paths)) if chosen is None else chosen

    def batches() -> Iterator[Any]:
        for start in range(0, len(positions), BATCH_SIZE):
            part = positions[start : start + BATCH_SIZE]
            images = prepare(_read_all([paths[i] for i in part], layout))
            if layout.channels_first:
                images = np.moveaxis(images, -1, 1)
            yield (images, labels[part]) if with_labels and classes else images

    return Stream(len(positions), batches, classes)


def image_layout(inputs: Sequence[Any], size: tuple[int, int] | None) -> Layout:
    """What the model's only input wants.

    Args:
        inputs: symbolic tensors of the model's inputs.
        size: height and width asked for.

    Raises:
        CalibrationError: it is not an input for images, or says no size, or another one.
    """
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    shape = shapes[0] if len(shapes) == 1 else ()
    if len(shape) == 2:
        wanted, channels, first = shape, 1, False
    elif len(shape) == 3 and shape[-1] in COLOR_MODES:
        wanted, channels, first = shape[:2], shape[-1], False
    elif len(shape) == 3 and shape[0] in COLOR_MODES:
        wanted, channels, first = shape[1:], shape[0], True
    else:
        raise CalibrationError(
            "Images need a model with one input of shape (height, width, channels) and 1, 3 or 4 "
            f"channels. This one has inputs of shapes {shapes}. Give arrays or a function instead."
        )
    if size is None and None in wanted:
        raise CalibrationError(
            f"The model takes images of any size, {shape}: say which with --image-size."
        )
    size = size or wanted
    if any(fixed not in (None, given) for fixed, given in zip(wanted, size, strict=True)):
        raise CalibrationError(
            f"The model takes images of {wanted[0]}x{wanted[1]} pixels. Received: "
            f"--image-size {size[0]}x{size[1]}; leave it out."
        )
    return Layout(size, channels, first)


def find_images(directory: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """All images under a directory, the class number of each, and the names of the classes.

    As `keras.utils.image_dataset_from_directory` has it: the subdirectories are the classes, in
    alphabetical order. A directory without subdirectories has no classes.

    Raises:
        OSError: it cannot be read.
        CalibrationError: it has no images, or some in subdirectories and some not.
    """
    found = []
    for folder, subfolders, files in os.walk(directory, onerror=_fail):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in sorted(files)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    if not found:
        raise CalibrationError(
            f"{directory} has no images. Expected files that end in {', '.join(SUFFIXES)}, in it "
            "or in a subdirectory for each class."
        )
    parts = [path.relative_to(directory).parts for path in found]
    names = sorted({part[0] for part in parts if len(part) > 1})
    if not names:
        return found, np.zeros(len(found), np.int64), ()
    beside = next((path for path, part in zip(found, parts, strict=True) if len(part) == 1), None)
    if beside is not None:
        raise CalibrationError(
            f"{directory} has images in subdirectories and others beside them, such as "
            f"{beside.name}. Expected either classes as subdirectories, or images only."
        )
    numbers = {name: number for number, name in enumerate(names)}
    return found, np.array([numbers[part[0]] for part in parts]), tuple(names)


def _fail(error: OSError) -> None:
    raise error


def preparation(options: DataOptions, layout: Layout) -> Callable[[np.ndarray], np.ndarray]:
    """From pixels of 0 to 255, `(batch, height, width, channels)`, to what the model wants.

    Raises:
        CalibrationError: the name of the preprocessing or the number of channels does not fit.
    """
    if options.preprocess is not None:
        return _named_preparation(options.preprocess, layout)
    for name in ("mean", "std"):
        given = getattr(options, name)
        if len(given) not in (0, 1, layout.channels):
            raise CalibrationError(
                f"--{name} needs 1 or {layout.channels} numbers for images with "
                f"{layout.channels} channels. Received: {len(given)}."
            )
    if 0 in options.std:
        raise CalibrationError("--std must not be 0.")
    scale = 1.0 if options.rescale is None else options.rescale
    mean = np.array(options.mean or 0.0, np.float32)
    std = np.array(options.std or 1.0, np.float32)
    return lambda pixels: (pixels * np.float32(scale) - mean) / std


def _named_preparation(name: str, layout: Layout) -> Callable[[np.ndarray], np.ndarray]:
    modules = {
        name: module.preprocess_input
        for name, module in vars(keras.applications).items()
        if hasattr(module, "preprocess_input")
    }
    function = modules.get(name.removeprefix("keras.applications."))
    if function is None:
        raise CalibrationError(
            f"--preprocess names a module of keras.applications: {', '.join(sorted(modules))}. "
            f"Received: {name!r}"
        )
    if layout.channels != 3:
        raise CalibrationError(
            f"--preprocess is for images with 3 channels; this model takes {layout.channels}."
        )
    return lambda pixels: np.asarray(function(pixels, data_format="channels_last"))


def _read_all(paths: Sequence[Path], layout: Layout) -> np.ndarray:
    """Images as float32 `(batch, height, width, channels)`."""

    def read(path: Path) -> np.ndarray:
        return _read(path, layout)

    with warnings.catch_warnings(), ThreadPoolExecutor(num_cores()) as pool:
        # Pillow only warns of an image of absurd size.
        warnings.filterwarnings("error", ".*decompression bomb", category=Warning)
        return np.stack(list(pool.map(read, paths)))


def _read(path: Path, layout: Layout) -> np.ndarray:
    try:
        image = keras.utils.load_img(
            path,
            color_mode=COLOR_MODES[layout.channels],
            target_size=layout.size,
            interpolation="bilinear",
        )
        array = np.asarray(image, np.float32)  # decodes it
    # Decoders raise what they like: OSError, ValueError, SyntaxError, struct.error and others.
    except Exception as error:
        reason = first_line(error).partition(" <_io.")[0]  # Keras opens the file for Pillow
        raise CalibrationError(f"{path} is not an image that Pillow can read: {reason}") from error
    return array if array.ndim == 3 else array[..., np.newaxis]
