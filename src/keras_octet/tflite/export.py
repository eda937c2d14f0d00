"""`export`: any Keras model as a `.tflite` file."""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_octet.capture import capture
from keras_octet.exportable import ExportableModel


def export(model: keras.Model, filepath: str | os.PathLike[str], **kwargs: Any) -> None:
    """Write a Keras model as a `.tflite` file, a float model as float32.

    The file appears whole or not at all.

    Args:
        model: any `keras.Model`; not changed. One that is not an `ExportableModel` is captured
            first: nested models inlined, BatchNormalization folded.
        filepath: ends in `.tflite`.
        **kwargs: of `ExportableModel.export`.

    Raises:
        CaptureError: the model cannot be traced.
        ExportError: naming every layer that `.tflite` cannot express.
    """
    if not isinstance(model, ExportableModel):
        flat = capture(model)
        names = getattr(model, "output_names", None) or flat.output_names
        model = ExportableModel(
            flat._inputs_struct, flat._outputs_struct, name=model.name, output_names=names
        )
    model.export(filepath, **kwargs)
