"""`octet quantize`: read a model, data and a recipe; quantize; write and report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras_octet as ko
from keras_octet.errors import RecipeError
from keras_octet.files import check_folder
from keras_octet.observer_specs import OBSERVERS
from keras_octet_cli.console import Console, byte_size, comparison
from keras_octet_cli.data import Source
from keras_octet_cli.engine import let_engine_introduce_itself
from keras_octet_cli.files import inputs_of, load_float_model


def run(
    model_path: Path,
    source: Source,
    output_path: Path,
    *,
    recipe_path: Path | None,
    keep_float: Sequence[str],
    observer: str | None,
    input_dtype: str | None,
    output_dtype: str | None,
    console: Console,
) -> None:
    """Quantize the model at `model_path` and write it to `output_path`.

    Raises:
        OSError: a file cannot be read or written.
        OctetError: a file's content, the recipe or the model cannot be used.
    """
    check_folder(output_path)
    recipe = build_recipe(
        recipe_path,
        keep_float=keep_float,
        observer=observer,
        input_dtype=input_dtype,
        output_dtype=output_dtype,
    )
    model = load_float_model(model_path)
    data = source.load(inputs_of(model))
    let_engine_introduce_itself()
    started = time.perf_counter()
    quantized = ko.quantize(model, data, recipe=recipe, progress=console.library_progress)
    seconds = time.perf_counter() - started
    write = quantized.export if output_path.suffix == ".tflite" else quantized.save
    write(output_path)

    report = quantized.report
    sizes = model_path.stat().st_size, output_path.stat().st_size
    _show(console, report)
    console.wrote(
        output_path,
        f": {byte_size(sizes[1])}, from {byte_size(sizes[0])} "
        f"({comparison(*sizes, less='smaller', more='larger')}), quantized in {seconds:.1f} s.",
    )
    console.result(
        {
            "command": "quantize",
            "model": str(model_path),
            "data": source.text,
            "output": str(output_path),
            "bytes_before": sizes[0],
            "bytes_after": sizes[1],
            "seconds": round(seconds, 3),
            "layers": [asdict(row) for row in report.layers],
            "unmatched_rules": list(report.unmatched_rules),
        }
    )


def build_recipe(
    path: Path | None,
    *,
    keep_float: Sequence[str] = (),
    observer: str | None = None,
    input_dtype: str | None = None,
    output_dtype: str | None = None,
) -> ko.Recipe:
    """The recipe at `path`, or the default one, with the command's options on top.

    Raises:
        OSError: the file cannot be read.
        RecipeError: the file or an option is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8") if path else None
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not a text file. Expected a recipe as JSON.") from None
    recipe = ko.Recipe.from_json(text) if text is not None else ko.recipes.w8a8()
    changes: dict[str, Any] = {
        "rules": (*(ko.Rule(name=name, keep_float=True) for name in keep_float), *recipe.rules)
    }
    if observer is not None:
        observers = {_snake_case(name): kind for name, kind in OBSERVERS.items()}
        changes["scheme"] = replace(recipe.scheme, observer=observers[observer]())
    if input_dtype is not None:
        changes["input_dtype"] = str(input_dtype)
    if output_dtype is not None:
        changes["output_dtype"] = str(output_dtype)
    return replace(recipe, **changes)


def _snake_case(name: str) -> str:
    """`"MinMax"` as `"min_max"`, `"MSE"` as `"mse"`."""
    if name.isupper():
        return name.lower()
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _show(console: Console, report: ko.QuantizationReport) -> None:
    console.table(
        ["layer", "type", "runs in", "why"],
        [(row.name, row.layer_type, row.status, row.reason) for row in report.layers],
        styles={"int8": "green", "fused": "dim", "float": "yellow"},
    )
    counts = (report.count(status) for status in ("int8", "fused", "float"))
    console.line("{} layers in int8, {} fused into them, {} left in float.".format(*counts))
    for rule in report.unmatched_rules:
        console.warning(f"no layer matches {rule}")
