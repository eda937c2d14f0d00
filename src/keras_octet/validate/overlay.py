"""The error of each layer as node data for Model Explorer.

Model Explorer finds a node of a `.tflite` graph by the name of the tensor that it makes, which in a
file that `QuantizedModel.export` wrote is the name of the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_octet.errors import ValidationError
from keras_octet.validate.results import LayerResult

if TYPE_CHECKING:
    from keras_octet.validate.report import ValidationReport

MEASURES: dict[str, tuple[str, Callable[[LayerResult], float | None]]] = {
    "effect": ("effect on the outputs", lambda row: row.effect),
    "own": ("own error", lambda row: row.own.sqnr if row.own else None),
    "accumulated": (
        "accumulated error",
        lambda row: row.accumulated.sqnr if row.accumulated else None,
    ),
}
# Upper ends in dB and their colours; dark text is legible on all of them.
COLOURS = ((20, "#f4a8a0"), (30, "#fac898"), (40, "#f7e6a1"), (50, "#d3ebb1"), (1000, "#a8dcb5"))
TEXT_COLOUR = "#1a1a1a"


def overlay(report: ValidationReport, measure: str) -> dict[str, Any]:
    """`GraphNodeData` of Model Explorer: SQNR in dB by the name of the layer.

    Layers that are exact, which have no number, and layers without this measure are left out.

    Raises:
        ValidationError: no such measure, or it was not measured.
    """
    if measure not in MEASURES:
        raise ValidationError(f"measure must be one of {list(MEASURES)}. Received: {measure!r}")
    title, value_of = MEASURES[measure]
    values = {row.name: value_of(row) for row in report.layers}
    if all(value is None for value in values.values()):
        raise ValidationError(
            f"The report of {report.model!r} has no {measure!r} of its layers: validate a "
            "QuantizedModel, with layer_samples > 0 and for 'effect' with effects=True."
        )
    return {
        "name": f"{title}, dB",
        "results": {
            name: {"value": round(value, 2)}
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        },
        "thresholds": [
            {"value": value, "bgColor": colour, "textColor": TEXT_COLOUR}
            for value, colour in COLOURS
        ],
        # A sum of decibels says nothing.
        "hideAggregatedStats": ["sum"],
        "hideInChildrenStatsTable": True,
    }
