"""The plots of a report, as SVG that takes its colours and its font from the page around it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from keras_octet.validate.results import HistogramResult, LatencyResult, LayerResult, OutputResult
from keras_octet.validate.wording import byte_size, decibel, milliseconds, shortened

if TYPE_CHECKING:
    from keras_octet.validate.report import ValidationReport

# Colours that Matplotlib writes, and the variables of the page's style that take their place.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
FLOAT, INT8, EFFECT, RANGE = "#040404", "#050505", "#060606", "#070707"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    FLOAT: "--float",
    INT8: "--int8",
    EFFECT: "--effect",
    RANGE: "--range",
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keras-octet",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
# Above this a layer is as good as exact, and would flatten the rest of the plot.
HIGHEST_DECIBEL = 70.0


def _plain(value: float, position: int | None = None) -> str:
    """`"0.01"`, `"100"`, `"10k"`: ticks without powers."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            return f"{value / (1e3 if unit == 'k' else factor):.4g}{unit}"
    return f"{value:.4g}"


PLAIN = FuncFormatter(_plain)


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of a size in inches, in the style of the page."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an SVG element that scales with its container and has a text alternative."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    # Identifiers are unique within a figure; a page has several.
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    view = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view[0] if view else ""} role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{body.strip()}'
    )


def layers_plot(report: ValidationReport) -> str:
    """SQNR of every int8 layer in graph order: accumulated, own, and of the outputs."""
    rows = [row for row in report.layers if row.own is not None]
    series = [
        ("outputs, this layer alone in int8", EFFECT, "o", [row.effect for row in rows]),
        ("its own result", FLOAT, "s", [row.own.sqnr if row.own else None for row in rows]),
        (
            "its result with all before it in int8",
            INT8,
            "D",
            [row.accumulated.sqnr if row.accumulated else None for row in rows],
        ),
    ]
    with _figure(9.2, 3.7) as figure:
        axes = figure.subplots()
        for label, colour, marker, values in series:
            if any(value is not None for value in values):
                heights = [math.nan if v is None else min(v, HIGHEST_DECIBEL) for v in values]
                axes.plot(
                    range(1, len(rows) + 1), heights, marker=marker, markersize=3.5,
                    linewidth=1.2, color=colour, label=label, clip_on=False,
                )  # fmt: skip
        axes.set_xlabel("layer, in graph order")
        axes.set_ylabel("SQNR (dB)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, len(rows) + 0.5)
        axes.margins(y=0.08)
        _name_layers(axes, report.worst_layers(3), rows)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, fontsize=9)
        return _svg(
            figure,
            "layers",
            "SQNR of every int8 layer",
            "Higher is better. The numbers are in the table of layers.",
        )


def _name_layers(axes: Any, named: Sequence[LayerResult], rows: Sequence[LayerResult]) -> None:
    """Names in a band above the lines, each with a line down to its mark.

    The outermost is the highest, so that no line crosses another's name.
    """
    places = {rows.index(row) + 1: row for row in named if row.effect is not None}
    if not places:
        return
    low, high = axes.get_ylim()
    row_height = 0.085 * (high - low)
    axes.set_ylim(low, high + row_height * len(places))
    middle = 0.7 * len(rows)
    inwards = sorted(places, key=lambda place: abs(place - middle))
    for step, place in enumerate(inwards):
        row, top = places[place], high + row_height * (step + 0.35)
        mark = min(row.effect or 0.0, HIGHEST_DECIBEL)
        axes.plot([place, place], [mark, top], color=MUTED, linewidth=0.9, zorder=1.5)
        late = place > middle
        axes.annotate(
            shortened(row.name, 40), (place, top),
            xytext=(-4 if late else 4, 0), textcoords="offset points",
            ha="right" if late else "left", va="center", fontsize=9, color=INK,
        )  # fmt: skip


def trials_plot(report: ValidationReport) -> str:
    """SQNR of the outputs against the number of layers left in float."""
    counts = [len(trial.layers) for trial in report.trials]
    values = [min(trial.sqnr, HIGHEST_DECIBEL) for trial in report.trials]
    labels = [str(count) for count in counts]
    with _figure(4.4, 3.0) as figure:
        axes = figure.subplots()
        bars = axes.bar(labels, values, color=EFFECT, width=0.62)
        bars[0].set_color(INT8)
        axes.bar_label(bars, [f"{value:.1f}" for value in values], fontsize=9, padding=2)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("layers left in float, the most costly first")
        axes.set_ylabel("SQNR of the outputs (dB)")
        axes.margins(y=0.12)
        said = ", ".join(
            f"{count} layers {decibel(trial.sqnr)}"
            for count, trial in zip(counts, report.trials, strict=True)
        )
        return _svg(figure, "trials", "The outputs with some layers in float", said)


def scatter_plot(output: OutputResult, index: int) -> str:
    """Quantized against float values of an output."""
    with _figure(4.4, 3.6) as figure:
        axes = figure.subplots()
        if output.points:
            xs, ys = zip(*output.points, strict=True)
            low, high = min(*xs, *ys), max(*xs, *ys)
            axes.plot([low, high], [low, high], color=MUTED, linewidth=1, dashes=(4, 3))
            axes.scatter(xs, ys, s=9, color=INT8, alpha=0.55, linewidths=0)
        axes.set_xlabel("float32")
        axes.set_ylabel("int8")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return _svg(
            figure,
            f"scatter-{index}",
            f"Output {output.name}, int8 against float32",
            f"{len(output.points)} values; on the dashed line they are equal. "
            f"SQNR {decibel(output.difference.sqnr)}.",
        )


def histogram_plot(row: LayerResult, kind: str, index: int) -> str:
    """Histogram of a layer's `"weights"` or `"activation"`, and the range that int8 covers."""
    if kind == "weights" and row.weights is not None:
        histogram, low, high = row.weights.histogram, row.weights.low, row.weights.high
        inner = row.weights.smallest_high
        word = "weights"
    else:
        assert row.activation is not None
        histogram, low, high = row.activation.histogram, row.activation.low, row.activation.high
        inner, word = None, "outputs"
    with _figure(2.9, 1.95) as figure:
        axes = figure.subplots()
        axes.axvspan(low, high, color=RANGE, alpha=0.22, linewidth=0)
        for edge in (low, high):
            axes.axvline(edge, color=RANGE, linewidth=1.3)
        if inner is not None and inner < 0.98 * high:
            for edge in (-inner, inner):
                axes.axvline(edge, color=RANGE, linewidth=1.1, dashes=(2, 2))
        if histogram is not None:
            _draw_histogram(axes, histogram, FLOAT)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", visible=False)
        axes.set_xlabel(word)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(PLAIN)
        shown = shortened(row.name, 60)
        return _svg(
            figure,
            f"{kind}-{index}",
            f"{shown}: {word} in float32 and the range of their int8 form",
            f"Int8 covers {low:.4g} to {high:.4g}.",
        )


def _draw_histogram(axes: Any, histogram: HistogramResult, colour: str) -> None:
    """Bars as high as the counts per width: bin 0 is twice as wide as the others."""
    widths = [right - left for left, right in pairwise(histogram.edges)]
    narrowest = min(widths, default=1.0)
    heights = [
        count * narrowest / width for count, width in zip(histogram.counts, widths, strict=True)
    ]
    axes.stairs(heights, histogram.edges, fill=True, color=colour, alpha=0.75, linewidth=0)
    tallest = max(heights, default=1.0)
    axes.set_ylim(0.5, max(tallest * 2, 2))


def sizes_plot(report: ValidationReport) -> str:
    """Sizes of both models, as shares of the float one."""
    rows = [size for size in report.sizes if size.before and size.after]
    return _pairs_plot(
        "sizes",
        "Sizes",
        [row.name for row in rows],
        [float(row.before or 0) for row in rows],
        [float(row.after or 0) for row in rows],
        [byte_size(row.before) for row in rows],
        [byte_size(row.after) for row in rows],
    )


def latency_plot(latencies: Sequence[LatencyResult]) -> str:
    """Median milliseconds of a call with the middle half of the calls, on a logarithmic axis."""
    bars = [
        (f"{kind}, {latency.engine}", colour, timing)
        for latency in latencies
        for kind, colour, timing in (
            ("float32", FLOAT, latency.before),
            ("int8", INT8, latency.after),
        )
        if timing is not None
    ]
    with _figure(4.3, 0.75 + 0.42 * len(bars)) as figure:
        axes = figure.subplots()
        for position, (_, colour, timing) in enumerate(bars):
            error = [[timing.median - timing.low], [timing.high - timing.median]]
            axes.barh(position, timing.median, color=colour, height=0.62)
            axes.errorbar(timing.median, position, xerr=error, color=INK, linewidth=1.2, capsize=3)
            axes.annotate(
                milliseconds(timing), (timing.high, position), xytext=(6, 0),
                textcoords="offset points", va="center", fontsize=9,
            )  # fmt: skip
        axes.set_yticks(range(len(bars)), [label for label, _, _ in bars])
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.xaxis.set_minor_formatter(NullFormatter())
        lowest = min(timing.low for _, _, timing in bars)
        highest = max(timing.high for _, _, timing in bars)
        axes.set_xlim(lowest / 3, highest * 10)
        axes.set_xlabel("ms a call (logarithmic)")
        said = "; ".join(f"{label} {milliseconds(timing)}" for label, _, timing in bars)
        return _svg(figure, "latency", "Latency of one call", said)


def _pairs_plot(
    name: str,
    title: str,
    labels: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    texts_before: Sequence[str],
    texts_after: Sequence[str],
) -> str:
    """Two bars a label, each pair as shares of its larger one."""
    with _figure(4.3, 0.4 + 0.62 * max(len(labels), 1)) as figure:
        axes = figure.subplots()
        for position, (f, q) in enumerate(zip(before, after, strict=True)):
            whole = max(f, q)
            for value, offset, colour, text in (
                (f, -0.19, FLOAT, f"{texts_before[position]} float32"),
                (q, 0.19, INT8, f"{texts_after[position]} int8"),
            ):
                axes.barh(position + offset, value / whole, color=colour, height=0.34)
                axes.annotate(
                    text, (value / whole, position + offset), xytext=(5, 0),
                    textcoords="offset points", va="center", fontsize=9,
                )  # fmt: skip
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_xlim(0, 1.75)
        said = "; ".join(
            f"{label}: {a} in float32, {b} in int8"
            for label, a, b in zip(labels, texts_before, texts_after, strict=True)
        )
        return _svg(figure, name, title, said)
