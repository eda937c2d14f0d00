"""Options that several commands have, and the values they take."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from keras_octet_cli.boundary import fail, os_error_text
from keras_octet_cli.data import DataOptions, Source, open_source


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


class EngineName(StrEnum):
    """What runs a model."""

    litert = "litert"
    openvino = "openvino"
    keras = "keras"
    auto = "auto"


def parse_size(text: str) -> tuple[int, int]:
    """`"224"` or `"192x256"` as height and width."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) < 2**15 for part in parts):
        raise ValueError(f"{text!r} is no size. Expected 224, or 192x256 (height x width).")
    return int(parts[0]), int(parts[-1])


def parse_factor(text: str) -> float:
    """`"0.5"` or `"1/255"`."""
    above, _, below = text.partition("/")
    try:
        value = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no number. Expected one such as 0.5 or 1/255.")
    return value


def parse_numbers(text: str) -> tuple[float, ...]:
    """`"0.485,0.456,0.406"`."""
    return tuple(parse_factor(part) for part in text.split(","))


PARSERS: dict[str, Callable[[str], Any]] = {
    "image_size": parse_size,
    "rescale": parse_factor,
    "mean": parse_numbers,
    "std": parse_numbers,
    "column": tuple,
}


def source_of(text: str, **options: Any) -> Source:
    """`--data` with the options that go with it.

    Raises:
        BadParameter: it is no source, or an option has no such value or is not for this source.
        Exit: there is no such file or directory.
    """
    given = {name: value for name, value in options.items() if value not in (None, [])}
    for name in given.keys() & PARSERS.keys():
        try:
            given[name] = PARSERS[name](given[name])
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=f"--{name.replace('_', '-')}") from None
    try:
        return open_source(text, DataOptions(**given))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from None
    except OSError as error:
        fail(os_error_text(error))


def one_of(choices: type[StrEnum]) -> str:
    """`"a, b or c"`."""
    *others, last = choices
    return f"{', '.join(others)} or {last}"


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  {command}" for command in commands)])


DATA = "Data"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]

SOURCES = (
    "a .npy, .npz, .csv or .parquet file, a directory of images, or module:function, a Python "
    "function (its code is executed)"
)
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Use N samples, spread evenly over all.",
        show_default="all",
        rich_help_panel=DATA,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Of the choice that --limit makes.",
        show_default="0",
        rich_help_panel=DATA,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Table: the column of labels.", rich_help_panel=DATA),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Table: a column of the model's input, or a pattern such as 'pixel_*'. Repeatable.",
        show_default="all but labels",
        rich_help_panel=DATA,
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Images: 224, or 192x256 (height x width).",
        show_default="the model's",
        rich_help_panel=DATA,
    ),
]
Rescale = Annotated[
    str | None,
    typer.Option(
        metavar="FACTOR",
        help="Images: multiply pixels (0 to 255) by this, such as 1/255.",
        rich_help_panel=DATA,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        help="Images: then subtract this, such as 0.5 or 0.485,0.456,0.406.",
        rich_help_panel=DATA,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        help="Images: then divide by this.",
        rich_help_panel=DATA,
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Images: instead, as keras.applications.NAME prepares them: mobilenet_v2 or another.",
        rich_help_panel=DATA,
    ),
]
