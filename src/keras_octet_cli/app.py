"""Arguments of the `octet` command."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_octet_cli.boundary import (
    INTERRUPTED,
    Command,
    Commands,
    errors_as_one_line,
)
from keras_octet_cli.options import (
    DATA,
    SOURCES,
    BoundaryDtype,
    Column,
    EngineName,
    ImageSize,
    Json,
    LabelColumn,
    Limit,
    Mean,
    ObserverName,
    Preprocess,
    Quiet,
    Rescale,
    Seed,
    Std,
    TaskName,
    examples,
    one_of,
    source_of,
)

OUTPUT_SUFFIXES = (".keras", ".tflite")

app = typer.Typer(
    name="octet",
    cls=Commands,
    help="Quantize a trained Keras model to int8 and get a Keras model back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "octet demo",
        "octet quantize model.keras --data calibration.npz -o model_int8.keras",
        "octet validate model.keras model_int8.keras --data test.npz",
        "octet quantize --help",
    ),
)
command = functools.partial(app.command, cls=Command)


def main() -> None:
    """Entry point of the `octet` command."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            # At once: a backend with work under way crashes or hangs when Python shuts down.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # takes a while to import

        typer.echo(version("keras-octet"))
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    """Quantize a trained Keras model to int8 and get a Keras model back."""


@command(
    epilog=examples(
        "octet quantize model.keras --data calibration.npz -o model_int8.keras",
        "octet quantize model.keras --data images/ --rescale 1/255 --limit 200 \\",
        "    -o model_int8.tflite",
        "octet quantize model.keras --data table.csv --label-column y -o int8.keras",
        "octet quantize model.keras --data my_data:batches -o int8.keras",
        "octet quantize model.keras --data x.npy --keep-float 'head_*' -o int8.keras",
    )
)
def quantize(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained model: .keras or .h5.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help=f"Samples to calibrate with, about a hundred: {SOURCES}.",
            rich_help_panel=DATA,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write: .keras or .tflite.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A recipe saved as JSON; the options below go on top of it."
        ),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A layer to leave in float32, or a pattern such as 'block_1*'. Repeatable.",
        ),
    ] = None,
    observer: Annotated[
        ObserverName | None,
        typer.Option(
            metavar="NAME",
            help=f"How the ranges of activations are found: {one_of(ObserverName)}.",
            show_default="min_max",
        ),
    ] = None,
    input_dtype: Annotated[
        BoundaryDtype | None,
        typer.Option(
            metavar="DTYPE", help="Type of the inputs: float32 or int8.", show_default="float32"
        ),
    ] = None,
    output_dtype: Annotated[
        BoundaryDtype | None,
        typer.Option(
            metavar="DTYPE", help="Type of the outputs: float32 or int8.", show_default="float32"
        ),
    ] = None,
    limit: Limit = None,
    seed: Seed = None,
    label_column: LabelColumn = None,
    column: Column = None,
    image_size: ImageSize = None,
    rescale: Rescale = None,
    mean: Mean = None,
    std: Std = None,
    preprocess: Preprocess = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantize a Keras model with calibration data, and write a .keras or .tflite file."""
    _check_output(output, model, "--output")
    source = source_of(
        data,
        limit=limit,
        seed=seed,
        label_column=label_column,
        column=column,
        image_size=image_size,
        rescale=rescale,
        mean=mean,
        std=std,
        preprocess=preprocess,
    )
    with errors_as_one_line():
        from keras_octet_cli.console import Console
        from keras_octet_cli.quantize import run

        run(
            model,
            source,
            output,
            recipe_path=recipe,
            keep_float=keep_float or (),
            observer=observer,
            input_dtype=input_dtype,
            output_dtype=output_dtype,
            console=Console(as_json=as_json, quiet=quiet),
        )


@command(
    epilog=examples(
        "octet validate model.keras model_int8.keras --data test.npz",
        "octet validate model.keras model_int8.keras --data x.npy --labels y.npy",
        "octet validate model.keras model_int8.tflite --data test_images/ \\",
        "    --rescale 1/255 --report report.html",
        "octet validate model.keras model_int8.keras --data test.parquet \\",
        "    --label-column digit --max-drop 0.01 || echo worse than allowed",
    )
)
def validate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The float model: .keras or .h5.")],
    quantized: Annotated[
        Path, typer.Argument(metavar="QUANTIZED", help="The model made from it: .keras or .tflite.")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE", help=f"Samples to measure on: {SOURCES}.", rich_help_panel=DATA
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="NumPy files: labels, as .npy, or .npz (an array for each of several outputs).",
            show_default="`y` or `labels` in --data",
            rich_help_panel=DATA,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A Keras metric such as 'accuracy' or 'mae'. Repeatable.",
            show_default="those of the task",
        ),
    ] = None,
    task: Annotated[
        TaskName | None,
        typer.Option(
            metavar="NAME",
            help=f"What the output is for: {one_of(TaskName)}.",
            show_default="told from model and labels",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="NUMBER",
            help="Most that a metric may get worse: 0.01 is one point of accuracy, or one percent "
            "more error.",
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="SHARE", help="Least share of equal decisions, 0 to 1."),
    ] = None,
    min_sqnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Least SQNR of an output, in dB.")
    ] = None,
    layer_samples: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Samples to compare the layers on; 0 leaves them out."
        ),
    ] = 128,
    effects: Annotated[
        bool,
        typer.Option(
            help="Quantize the layers one by one, to see what each does to the outputs.",
        ),
    ] = True,
    latency: Annotated[bool, typer.Option(help="Time single calls.")] = True,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Samples run at a time.")
    ] = 32,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="File to write the report to: .html, .json or .txt. Repeatable.",
        ),
    ] = None,
    limit: Limit = None,
    seed: Seed = None,
    label_column: LabelColumn = None,
    column: Column = None,
    image_size: ImageSize = None,
    rescale: Rescale = None,
    mean: Mean = None,
    std: Std = None,
    preprocess: Preprocess = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what quantization cost a model, and exit with 3 if that is more than allowed."""
    if labels is not None and labels.suffix not in (".npy", ".npz"):
        raise typer.BadParameter(f"{labels} must end in .npy or .npz.", param_hint="--labels")
    source = source_of(
        data,
        labels=labels,
        limit=limit,
        seed=seed,
        label_column=label_column,
        column=column,
        image_size=image_size,
        rescale=rescale,
        mean=mean,
        std=std,
        preprocess=preprocess,
    )
    with errors_as_one_line():
        from keras_octet_cli.console import Console
        from keras_octet_cli.validate import run

        run(
            model,
            quantized,
            source,
            metrics=metric or (),
            task=task,
            max_drop=max_drop,
            min_agreement=min_agreement,
            min_sqnr=min_sqnr,
            layer_samples=layer_samples,
            effects=effects,
            latency=latency,
            batch_size=batch_size,
            report_paths=report or (),
            console=Console(as_json=as_json, quiet=quiet),
        )


@command(
    epilog=examples(
        "octet convert model.tflite model.keras",
        "octet convert model_int8.keras model_int8.tflite",
        "octet convert model_int8.tflite faster.tflite --for-xnnpack",
    )
)
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A model: .tflite, .keras or .h5.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="File to write: .keras or .tflite.")
    ],
    signature: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Signature of the .tflite file to read.",
            show_default="the first",
        ),
    ] = None,
    for_xnnpack: Annotated[
        bool,
        typer.Option(
            "--for-xnnpack",
            help="Write the form that LiteRT's XNNPACK runs fastest, with the same results: "
            "faster on CPUs, not for accelerators and microcontrollers.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn a .tflite file into a Keras model that computes the same, or a Keras model into .tflite.

    Nothing is quantized: int8 stays int8 and float32 stays float32.
    """
    _check_output(target, source, "TARGET")
    if for_xnnpack and target.suffix != ".tflite":
        raise typer.BadParameter(
            f"Only a .tflite file is written for XNNPACK. Received TARGET {str(target)!r}.",
            param_hint="--for-xnnpack",
        )
    with errors_as_one_line():
        from keras_octet_cli.console import Console
        from keras_octet_cli.convert import run

        run(
            source,
            target,
            signature=signature,
            for_xnnpack=for_xnnpack,
            console=Console(as_json=as_json, quiet=quiet),
        )


@command(
    epilog=examples(
        "octet inspect model_int8.tflite",
        "octet inspect model_int8.keras --weights --json",
    )
)
def inspect(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model: .tflite, .keras or .h5.")
    ],
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            "-w",
            help="List the weights of each operation too.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the operations of a model file: types, shapes, scales, bytes, what stays float."""
    with errors_as_one_line():
        from keras_octet_cli.console import Console
        from keras_octet_cli.inspect import run

        run(model, weights=weights, console=Console(as_json=as_json, quiet=quiet))


@command(
    epilog=examples(
        "octet bench model.keras model_int8.keras",
        "octet bench model_int8.tflite --engine litert --engine openvino",
        "octet bench model.keras --batch-size 1 --batch-size 128 --threads 2 --json",
    )
)
def bench(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="Models: .keras, .h5 or .tflite.")
    ],
    engine: Annotated[
        list[EngineName] | None,
        typer.Option(
            metavar="NAME",
            help=f"What runs the models: {one_of(EngineName)}. Repeatable.",
            show_default="what each model uses",
        ),
    ] = None,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            min=1, metavar="N", help="Samples in a call. Repeatable.", show_default="1, 32"
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Threads of litert and openvino; keras uses its backend's.",
            show_default="as many as pay",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, metavar="S", help="To spend on each figure of each model.")
    ] = 2.0,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help=f"Samples to run: {SOURCES}.",
            show_default="random numbers",
            rich_help_panel=DATA,
        ),
    ] = None,
    limit: Limit = None,
    seed: Seed = None,
    label_column: LabelColumn = None,
    column: Column = None,
    image_size: ImageSize = None,
    rescale: Rescale = None,
    mean: Mean = None,
    std: Std = None,
    preprocess: Preprocess = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure latency and throughput of models on this machine, taking turns."""
    given = {
        "limit": limit,
        "seed": seed,
        "label_column": label_column,
        "column": column,
        "image_size": image_size,
        "rescale": rescale,
        "mean": mean,
        "std": std,
        "preprocess": preprocess,
    }
    if data is None and any(value not in (None, []) for value in given.values()):
        raise typer.BadParameter(
            "It is missing, and options for it are given.", param_hint="--data"
        )
    source = source_of(data, **given) if data is not None else None
    with errors_as_one_line():
        from keras_octet_cli.bench import run
        from keras_octet_cli.console import Console

        run(
            models,
            engines=list(dict.fromkeys(str(name) for name in engine or ())),
            batch_sizes=list(dict.fromkeys(batch_size or (1, 32))),
            threads=threads,
            seconds=seconds,
            source=source,
            console=Console(as_json=as_json, quiet=quiet),
        )


@command(epilog=examples("octet demo", "octet demo --output demo_models"))
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder to keep the float and int8 models in.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a small CNN on real images, quantize it, and measure both on held-out images."""
    with errors_as_one_line():
        from keras_octet_cli.console import Console
        from keras_octet_cli.demo import run

        run(output, console=Console(as_json=as_json, quiet=quiet))


def _check_output(target: Path, source: Path, hint: str) -> None:
    if target.suffix not in OUTPUT_SUFFIXES:
        raise typer.BadParameter(
            f"{target} must end in {' or '.join(OUTPUT_SUFFIXES)}.", param_hint=hint
        )
    if target.resolve() == source.resolve():
        raise typer.BadParameter(f"It would replace {source}.", param_hint=hint)
