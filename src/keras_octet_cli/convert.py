"""`octet convert`: `.tflite` to `.keras` and back."""

from __future__ import annotations

from pathlib import Path

import keras_octet as ko
from keras_octet.files import atomic_path, check_folder
from keras_octet_cli.console import Console, byte_size
from keras_octet_cli.files import load_model


def run(
    source: Path,
    target: Path,
    *,
    signature: str | None,
    for_xnnpack: bool,
    console: Console,
) -> None:
    """Write the model of `source` in the format that the suffix of `target` says.

    Raises:
        OSError: a file cannot be read or written.
        OctetError: the model cannot be read, or not be expressed in the other format.
    """
    check_folder(target)
    model = load_model(source, signature)
    if target.suffix == ".tflite":
        ko.export(model, target, for_xnnpack=for_xnnpack)
    else:
        with atomic_path(target) as temporary:
            model.save(temporary)
    sizes = source.stat().st_size, target.stat().st_size
    operations = len(ko.inspect(model).operations)
    console.wrote(
        target,
        f": {type(model).__name__} of {operations} operations, "
        f"{byte_size(sizes[1])}, from {byte_size(sizes[0])}.",
    )
    console.result(
        {
            "command": "convert",
            "source": str(source),
            "target": str(target),
            "model_class": type(model).__name__,
            "operations": operations,
            "bytes_before": sizes[0],
            "bytes_after": sizes[1],
        }
    )
