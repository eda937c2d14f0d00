"""Arguments of the `octet` command, and the boundary where an error becomes one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from keras_octet_cli.backend import BACKENDS, choose_backend, import_keras
from keras_octet_cli.console import Console, error_line

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
LIMITS_NOT_KEPT = 3
OUTPUT_SUFFIXES = (".keras", ".tflite")

app = typer.Typer(
    name="octet",
    help="Quantize a trained Keras model to int8 and get a Keras model back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class ObserverName(StrEnum):
    """How the ranges of activations are found."""

    min_max = "min_max"
    moving_average = "moving_average"
    percentile = "percentile"
    mse = "mse"
    entropy = "entropy"


class BoundaryDtype(StrEnum):
    """Type of a quantized model's inputs or outputs."""

    float32 = "float32"
    int8 = "int8"


class TaskName(StrEnum):
    """What a model's output is for."""

    classification = "classification"
    binary = "binary"
    regression = "regression"
    reconstruction = "reconstruction"
    anomaly = "anomaly"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


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
        typer.echo(version("keras-octet"))
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """Quantize a trained Keras model to int8 and get a Keras model back."""


@app.command()
def quantize(
    model: Annotated[Path, typer.Argument(help="A trained model: .keras or .h5.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Samples to calibrate with: .npy, or .npz with an array for each model input "
            "(for a single input, any name or `x`)."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File to write: .keras or .tflite.", show_default=False
        ),
    ],
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe saved as JSON; the options below go on top of it.")
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
        typer.Option(help="How the ranges of activations are found.", show_default="min_max"),
    ] = None,
    input_dtype: Annotated[
        BoundaryDtype | None, typer.Option(help="Type of the inputs.", show_default="float32")
    ] = None,
    output_dtype: Annotated[
        BoundaryDtype | None, typer.Option(help="Type of the outputs.", show_default="float32")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantize a Keras model with calibration data, and write a .keras or .tflite file."""
    if output.suffix not in OUTPUT_SUFFIXES:
        raise typer.BadParameter(
            f"{output} must end in {' or '.join(OUTPUT_SUFFIXES)}.", param_hint="--output"
        )
    if data.suffix not in (".npy", ".npz"):
        raise typer.BadParameter(f"{data} must end in .npy or .npz.", param_hint="--data")
    if output.resolve() == model.resolve():
        raise typer.BadParameter("It would replace the float model.", param_hint="--output")
    with _errors_as_one_line():
        from keras_octet_cli.quantize import run

        run(
            model,
            data,
            output,
            recipe_path=recipe,
            keep_float=keep_float or (),
            observer=observer,
            input_dtype=input_dtype,
            output_dtype=output_dtype,
            console=Console(as_json=as_json, quiet=quiet),
        )


@app.command()
def validate(
    model: Annotated[Path, typer.Argument(help="The float model: .keras or .h5.")],
    quantized: Annotated[Path, typer.Argument(help="The model made from it: .keras or .tflite.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Samples to measure on: .npy, or .npz with an array for each model input (for a "
            "single input, any name or `x`) and labels as `y` or `labels`."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels: .npy, or .npz (with an array for each of several outputs)."),
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
        typer.Option(help="What the output is for.", show_default="told from model and labels"),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Most that a metric may get worse: 0.01 is one point of accuracy, or one percent "
            "more error."
        ),
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(help="Least share of equal decisions, 0 to 1.")
    ] = None,
    min_sqnr: Annotated[float | None, typer.Option(help="Least SQNR of an output, in dB.")] = None,
    layer_samples: Annotated[
        int, typer.Option(help="Samples to compare the layers on; 0 leaves them out.")
    ] = 128,
    latency: Annotated[bool, typer.Option(help="Time single calls.")] = True,
    batch_size: Annotated[int, typer.Option(help="Samples run at a time.")] = 32,
    report: Annotated[
        list[Path] | None,
        typer.Option(help="File to write the report to: .html, .json or .txt. Repeatable."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what quantization cost a model, and exit with 3 if that is more than allowed."""
    for path in (data, labels):
        if path is not None and path.suffix not in (".npy", ".npz"):
            name = "--data" if path is data else "--labels"
            raise typer.BadParameter(f"{path} must end in .npy or .npz.", param_hint=name)
    with _errors_as_one_line():
        from keras_octet_cli.validate import run

        passed = run(
            model,
            quantized,
            data,
            labels_path=labels,
            metrics=metric or (),
            task=task,
            max_drop=max_drop,
            min_agreement=min_agreement,
            min_sqnr=min_sqnr,
            layer_samples=layer_samples,
            latency=latency,
            batch_size=batch_size,
            report_paths=report or (),
            console=Console(as_json=as_json, quiet=quiet),
        )
    if not passed:
        raise typer.Exit(LIMITS_NOT_KEPT)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A model: .tflite, .keras or .h5.")],
    target: Annotated[Path, typer.Argument(help="File to write: .keras or .tflite.")],
    signature: Annotated[
        str | None,
        typer.Option(help="Signature of the .tflite file to read.", show_default="the first"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn a .tflite file into a Keras model that computes the same, or a Keras model into .tflite.

    Nothing is quantized: int8 stays int8 and float32 stays float32.
    """
    if target.suffix not in OUTPUT_SUFFIXES:
        raise typer.BadParameter(
            f"{target} must end in {' or '.join(OUTPUT_SUFFIXES)}.", param_hint="TARGET"
        )
    if target.resolve() == source.resolve():
        raise typer.BadParameter("It would replace the source.", param_hint="TARGET")
    with _errors_as_one_line():
        from keras_octet_cli.convert import run

        run(source, target, signature=signature, console=Console(as_json=as_json, quiet=quiet))


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="A model: .tflite, .keras or .h5.")],
    weights: Annotated[
        bool, typer.Option("--weights", "-w", help="List the weights of each operation too.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the operations of a model file: types, shapes, scales, bytes, what stays float."""
    with _errors_as_one_line():
        from keras_octet_cli.inspect import run

        run(model, weights=weights, console=Console(as_json=as_json, quiet=quiet))


@app.command()
def demo(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to keep the float and int8 models in."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a small CNN on real images, quantize it, and measure both on held-out images."""
    with _errors_as_one_line():
        from keras_octet_cli.demo import run

        run(output, console=Console(as_json=as_json, quiet=quiet))


@contextmanager
def _errors_as_one_line() -> Iterator[None]:
    """Run a command: choose the backend first; turn expected errors into `error: ...`, exit 1."""
    if choose_backend() is None:
        _fail(
            f"Keras needs one of {', '.join(BACKENDS)}, and none is installed. "
            "Install one, for example with: pip install 'keras-octet[jax]'"
        )
    try:
        import_keras()
    except KeyboardInterrupt:
        _interrupted()
    except (ImportError, ValueError) as error:
        _fail(f"Keras could not start: {error}. Check KERAS_BACKEND.")
    from keras_octet.errors import OctetError

    try:
        yield
    except KeyboardInterrupt:
        _interrupted()
    except OctetError as error:
        _fail(str(error))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _fail(f"{error.filename}: {reason}" if error.filename else reason)


def _interrupted() -> NoReturn:
    error_line("interrupted")
    raise typer.Exit(INTERRUPTED)


def _fail(message: str) -> NoReturn:
    error_line(message)
    raise typer.Exit(1)
