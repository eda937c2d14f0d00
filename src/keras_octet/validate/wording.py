"""Numbers of a report in words, the same in every form of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from keras_octet.validate.results import LatencyResult, MetricResult, SizeResult, Timing
from keras_octet.validate.thresholds import Thresholds

if TYPE_CHECKING:
    from keras_octet.validate.report import ValidationReport

MISSING = "-"


def percentage(share: float, digits: int = 2) -> str:
    """`0.9165` as `"91.65 %"`; what is not nothing is not shown as nothing, nor all as all."""
    if not math.isfinite(share):
        return MISSING
    text = f"{100 * share:.{digits}f}"
    step = 10.0**-digits
    if share > 0 and float(text) == 0:
        return f"<{step:.{digits}f} %"
    if share < 1 and float(text) == 100:
        return f">{100 - step:.{digits}f} %"
    return f"{text} %"


def is_share(metric: MetricResult) -> bool:
    """Whether a metric is shown in percent: scores from 0 to 1 that count cases."""
    words = ("accuracy", "precision", "recall", "AUC", "auc", "AUROC", "iou", "IoU", "f1")
    named = any(word in metric.name for word in words)
    return named and all(0 <= value <= 1 for value in (metric.before, metric.after))


def number(value: float, metric: MetricResult) -> str:
    """A value of a metric."""
    if math.isnan(value):
        return MISSING
    return percentage(value) if is_share(metric) else f"{value:.4g}"


def change_of_metric(metric: MetricResult) -> str:
    """`"-0.24 points"`, or `"+3.1 %"` for other metrics."""
    change = metric.after - metric.before
    if math.isnan(change):
        return MISSING
    if is_share(metric):
        return f"{100 * change:+.2f} points"
    if metric.before == 0:
        return f"{change:+.4g}"
    return f"{100 * change / abs(metric.before):+.2f} %"


def decibel(value: float) -> str:
    """`"28.8 dB"`, `"exact"` for an infinite ratio."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "exact" if value > 0 else "no signal"
    return f"{value:.1f} dB"


def bare_decibel(value: float | None) -> str:
    """`"28.8"`, for a column whose heading has the unit."""
    return "" if value is None else decibel(value).removesuffix(" dB")


def bare_percentage(share: float, digits: int = 2) -> str:
    """`"91.65"`, for a column whose heading has the unit."""
    return percentage(share, digits).removesuffix(" %")


def byte_size(size: int | None) -> str:
    """`12345` as `"12.3 kB"` (powers of ten)."""
    if size is None:
        return MISSING
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def change_of_size(size: SizeResult) -> str:
    """`"3.9x smaller"`."""
    return _factor(size.before, size.after, "smaller", "larger")


def milliseconds(timing: Timing | None) -> str:
    """`"14.2 ms"`, to three digits."""
    if timing is None:
        return ""
    return f"{_three_digits(timing.median)} ms"


def spread(timing: Timing | None) -> str:
    """`"13.9 to 14.6 ms"`: the middle half of the calls."""
    if timing is None:
        return ""
    return f"{_three_digits(timing.low)} to {_three_digits(timing.high)} ms"


def _three_digits(value: float) -> str:
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(max(digits, 0), 4)}f}"


def change_of_latency(latency: LatencyResult, report: ValidationReport) -> str:
    """`"2.0x faster"` on one engine, and how much faster than the float model in Keras."""
    if latency.after is None:
        return ""
    parts = []
    if latency.before is not None:
        parts.append(_factor(latency.before.median, latency.after.median, "faster", "slower"))
    first = report.latencies[0]
    if first is not latency and first.before is not None:
        factor = _factor(first.before.median, latency.after.median, "faster", "slower")
        parts.append(f"{factor} than {first.engine}" if not parts else _than(factor, first.engine))
    return ", ".join(parts)


def _than(factor: str, engine: str) -> str:
    name = engine.split()[0]
    faster = factor.removesuffix(" faster")
    return f"{factor} than {name}" if faster == factor else f"{faster} vs. {name}"


def _factor(before: float | None, after: float | None, less: str, more: str) -> str:
    if before is None or after is None or min(before, after) <= 0:
        return ""
    factor, word = (before / after, less) if after <= before else (after / before, more)
    return f"{factor:.1f}x {word}" if factor < 10 else f"{factor:.0f}x {word}"


def limits(thresholds: Thresholds) -> str:
    """`"max_drop 0.01, min_sqnr 30 dB"`."""
    found = {"max_drop": thresholds.max_drop, "min_agreement": thresholds.min_agreement}
    found |= {f"max_drop of {name}": value for name, value in thresholds.max_drops.items()}
    parts = [f"{name} {value:g}" for name, value in found.items() if value is not None]
    if thresholds.min_sqnr is not None:
        parts.append(f"min_sqnr {thresholds.min_sqnr:g} dB")
    return ", ".join(parts)


def sort_key(value: float | None) -> str:
    """A number as JavaScript reads it; empty without one."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:.6g}" if math.isfinite(value) else f"{'-' if value < 0 else ''}Infinity"


def shortened(text: str, length: int) -> str:
    """At most `length` characters, the middle left out."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
