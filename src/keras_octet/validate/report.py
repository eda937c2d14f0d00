"""`ValidationReport`: what `keras_octet.validate` found, to print, save and test."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_octet.errors import ThresholdError, ValidationError
from keras_octet.files import atomic_path
from keras_octet.validate.codec import decode, encode
from keras_octet.validate.overlay import overlay
from keras_octet.validate.results import (
    Advice,
    FloatTrial,
    LatencyResult,
    LayerResult,
    MetricResult,
    OutputResult,
    SizeResult,
)
from keras_octet.validate.thresholds import Thresholds

REPORT_FORMAT = "keras-octet validation report"
REPORT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """A quantized model against the float model it was made from.

    `print(report)` gives a summary of at most 80 columns; `save` writes everything as JSON or as
    a page of HTML.

    Attributes:
        model: name of the float model.
        num_samples: samples that the metrics and outputs were measured on.
        num_layer_samples: samples that the layers were compared on.
        metrics: task metrics, before and after.
        outputs: SQNR, cosine and agreement of each output.
        layers: every compared layer, in graph order.
        num_effect_samples: samples that the effects of layers on the outputs were measured on.
        trials: the outputs with none, one, two and more of the worst layers in float.
        num_fused: layers of the float model that were fused into others.
        sizes: files, weights, activations.
        latencies: of single calls on this machine.
        advice: what to try next, most promising first.
        thresholds: the limits that were set.
        failures: one sentence for each limit that is not kept.
        notes: what could not be measured, and why.
        machine: processor and versions.
        created: when, in ISO 8601, UTC.
    """

    model: str
    num_samples: int
    num_layer_samples: int = 0
    metrics: tuple[MetricResult, ...] = ()
    outputs: tuple[OutputResult, ...] = ()
    layers: tuple[LayerResult, ...] = ()
    num_effect_samples: int = 0
    trials: tuple[FloatTrial, ...] = ()
    num_fused: int = 0
    sizes: tuple[SizeResult, ...] = ()
    latencies: tuple[LatencyResult, ...] = ()
    advice: tuple[Advice, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    machine: dict[str, str] = field(default_factory=dict)
    created: str = ""

    @property
    def passed(self) -> bool:
        """Whether all limits are kept."""
        return not self.failures

    @property
    def has_thresholds(self) -> bool:
        """Whether any limit was set."""
        return self.thresholds != Thresholds()

    def raise_for_failures(self) -> None:
        """Do nothing if the report passed.

        Raises:
            ThresholdError: naming every limit that is not kept.
        """
        if not self.passed:
            raise ThresholdError(f"{self.model} did not pass: " + "; ".join(self.failures) + ".")

    def worst_layers(self, count: int | None = None) -> tuple[LayerResult, ...]:
        """The int8 layers, those that cost the outputs most first.

        By their effect on the outputs, or where that was not measured by their own SQNR.
        """
        rows = [row for row in self.layers if row.own is not None]
        return tuple(sorted(rows, key=_loss)[:count])

    def float_layers(self) -> tuple[LayerResult, ...]:
        """The layers that stayed in float."""
        return tuple(row for row in self.layers if row.status == "float")

    def __str__(self) -> str:
        from keras_octet.validate.text import to_text

        return to_text(self)

    def __rich__(self) -> Any:
        from keras_octet.validate.text import renderable

        return renderable(self)

    def get_config(self) -> dict[str, Any]:
        """Everything as JSON-compatible values, with a format name and a version.

        Numbers that are not finite are the texts `"inf"`, `"-inf"` and `"nan"`.
        """
        return {"format": REPORT_FORMAT, "version": REPORT_VERSION, "passed": self.passed} | encode(
            self
        )

    @classmethod
    def from_config(cls, config: Any) -> ValidationReport:
        """The inverse of `get_config`.

        Raises:
            ValidationError: not a report, of another version, or damaged.
        """
        if not isinstance(config, dict) or config.get("format") != REPORT_FORMAT:
            raise ValidationError(f"Expected a {REPORT_FORMAT}. Received another kind of data.")
        if config.get("version") != REPORT_VERSION:
            raise ValidationError(
                f"This release reads reports of version {REPORT_VERSION}. "
                f"Received: {config.get('version')!r}"
            )
        own = ("format", "version", "passed")
        return decode(cls, {key: value for key, value in config.items() if key not in own})

    def to_html(self) -> str:
        """The report as one HTML page that needs no other file and no network.

        Raises:
            MissingDependencyError: jinja2 or matplotlib is missing.
        """
        from keras_octet.validate.html import to_html

        return to_html(self)

    @staticmethod
    def check_format(path: str | os.PathLike[str]) -> None:
        """Check, before the work starts, that a report can be saved in the format of `path`.

        Raises:
            ValidationError: the suffix is none of `.json`, `.html` and `.txt`.
            MissingDependencyError: for `.html`, jinja2 or matplotlib is missing.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".json", ".html", ".txt"):
            raise ValidationError(
                f"A report is saved as .json, .html or .txt. Received: {os.fspath(path)!r}"
            )
        if suffix == ".html":
            from keras_octet.validate.html import require_html

            require_html()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `.json`, `.html` or `.txt`, by the suffix. The file appears whole or not at all.

        Raises:
            ValidationError: another suffix.
            MissingDependencyError: for `.html`, jinja2 or matplotlib is missing.
            OSError: the file cannot be written.
        """
        self.check_format(path)
        suffix = Path(path).suffix.lower()
        if suffix == ".html":
            text = self.to_html()
        elif suffix == ".json":
            text = json.dumps(self.get_config(), indent=1, allow_nan=False) + "\n"
        else:
            text = f"{self}\n"
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def save_overlay(self, path: str | os.PathLike[str], measure: str = "effect") -> None:
        """Write the error of every layer as node data for Model Explorer, in JSON.

        Open the `.tflite` file that the quantized model exports in Model Explorer
        (`pip install ai-edge-model-explorer`), and this file over it. Nodes show SQNR in dB, in
        colours from red (up to 20 dB) to green (over 50 dB); layers that are exact have none.

        Args:
            path: file to write; it appears whole or not at all.
            measure: `"effect"` (of the outputs, with this layer quantized and all others in float),
                `"own"` (of the layer's output, from float inputs), or `"accumulated"` (that of the
                layers before included).

        Raises:
            ValidationError: no such measure, or the report does not have it.
            OSError: the file cannot be written.
        """
        text = json.dumps(overlay(self, measure), indent=1, allow_nan=False) + "\n"
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ValidationReport:
        """Read a `.json` file that `save` wrote.

        Raises:
            ValidationError: the file is not a report, of another version, or damaged.
            OSError: the file cannot be read.
        """
        try:
            return cls.from_config(json.loads(Path(path).read_bytes(), parse_constant=_no_constant))
        except ValidationError as error:
            raise ValidationError(f"{os.fspath(path)}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise ValidationError(
                f"{os.fspath(path)} is not a validation report: {error}"
            ) from None


def _loss(row: LayerResult) -> tuple[float, float]:
    own = row.own.sqnr if row.own else math.inf
    return (row.effect if row.effect is not None else own, own)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not valid JSON")
