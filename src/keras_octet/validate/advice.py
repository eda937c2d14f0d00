"""What to try next: from what was measured to a change of the recipe."""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keras_octet.validate.results import Advice, FloatTrial, LayerResult
from keras_octet.validate.wording import decibel

if TYPE_CHECKING:
    from keras_octet.validate.report import ValidationReport

MAX_LAYERS = 3
# Outputs this close to float ones need no advice.
FINE_OUTPUT = 40.0
# A layer that loses less than this by itself is not worth a change.
FINE_SQNR = 40.0
# A layer this far, in dB, above the worst one adds a tenth of its error.
SMALL_GAP = 10.0
# What a few layers in float must bring, in dB: half of the error.
TRIAL_GAIN = 3.0
CLIPPED_SHARE = 1e-3
RANGE_GAIN = 3.0
# On average over the layers, it is worth another observer.
MEAN_RANGE_GAIN = 1.0
MUCH_NARROWER = 0.9
# Half of the error or more comes from the weights if they alone are within 3 dB of the whole.
WEIGHTS_GAP = 3.0
COARSE_SHARE = 0.25

Rule = Callable[[LayerResult], Advice | None]

QUANTIZE = "q = ko.quantize(model, representative_dataset, recipe=recipe)"
IN_FLOAT = "Leave it in float, and see what that costs in size and time."


def give_advice(report: ValidationReport) -> tuple[Advice, ...]:
    """Advice for a few layers in float, for the layers that cost most, and for the model."""
    found = []
    if any(output.difference.sqnr < FINE_OUTPUT for output in report.outputs):
        found += _from_trials(report)
        spread = len(report.trials) > 1 and not _few_to_blame(report)
        # Where a few layers in float bring little, one does not either; its range still may.
        rules = RANGE_RULES if spread else RULES
        said = {advice.code for advice in found}
        about = (_about_layer(row, rules) for row in _costly(report))
        found += [a for a in about if a is not None and a.code not in said]
    wide = _wide_ranges(report.layers)
    return (*found, wide) if wide else tuple(found)


def _from_trials(report: ValidationReport) -> list[Advice]:
    """What a few layers in float bring, as measured."""
    if len(report.trials) < 2:
        return []
    rows = {row.name: row for row in report.layers}
    baseline, *others = report.trials
    trial = _few_to_blame(report)
    if trial is not None:
        return [_keep_in_float(trial, baseline, rows, report.num_effect_samples)]
    best = max(others, key=lambda trial: trial.sqnr)
    gains = [row.activation.better_range_gain for row in report.layers if row.activation]
    finer = sum(gains) / max(len(gains), 1) >= MEAN_RANGE_GAIN
    return [
        Advice(
            layer="",
            problem=(
                f"No few layers are to blame: with the {len(best.layers)} that cost most in float "
                f"the outputs would be at {decibel(best.sqnr)} instead of {decibel(baseline.sqnr)}."
            ),
            action=(
                "Choose all ranges by their squared error."
                if finer
                else "Calibrate on more samples, of every kind the model will see."
            ),
            code=f"recipe = ko.recipes.w8a8(observer=ko.MSE())\n{QUANTIZE}" if finer else "",
        )
    ]


def _few_to_blame(report: ValidationReport) -> FloatTrial | None:
    """The first trial, of the fewest layers, that halves the error of the outputs."""
    baseline, *others = report.trials
    return next((t for t in others if t.sqnr >= baseline.sqnr + TRIAL_GAIN), None)


def _keep_in_float(
    trial: FloatTrial, baseline: FloatTrial, rows: dict[str, LayerResult], num_samples: int
) -> Advice:
    count = len(trial.layers)
    which = "this layer" if count == 1 else f"these {count} layers"
    return Advice(
        layer="",
        problem=(
            f"{_listed(trial.layers)} cost{'s' if count == 1 else ''} most: with {which} in float "
            f"the outputs are {_at(trial.sqnr)} instead of {decibel(baseline.sqnr)} (measured on "
            f"{num_samples} samples)."
        ),
        action=f"Leave {which} in float, if the model may grow by that much.",
        code=_kept([rows[name] for name in trial.layers if name in rows]),
    )


def _costly(report: ValidationReport) -> list[LayerResult]:
    """The layers that deserve advice of their own, the worst first."""
    worst = report.worst_layers(MAX_LAYERS)
    if not worst:
        return []
    limit = min(FINE_SQNR, _cost(worst[0]) + SMALL_GAP)
    return [row for row in worst if _cost(row) < limit and _has_remedy(row)]


def _has_remedy(row: LayerResult) -> bool:
    """A boundary is no layer of the float model: only its range can change."""
    return row.layer_type not in ("Quantize", "Requantize") or any(
        rule(row) for rule in RANGE_RULES
    )


def _cost(row: LayerResult) -> float:
    if row.effect is not None:
        return row.effect
    return row.own.sqnr if row.own is not None else FINE_SQNR


def _about_layer(row: LayerResult, rules: Sequence[Rule]) -> Advice | None:
    """Advice on the first thing that is wrong with a layer."""
    return next((advice for rule in rules if (advice := rule(row)) is not None), None)


def _clipping(row: LayerResult) -> Advice | None:
    values = row.activation
    if values is None or values.prescribed or values.clipped < CLIPPED_SHARE:
        return None
    return Advice(
        layer=row.name,
        problem=(
            f"{_measured(row)} {100 * values.clipped:.2g} % of its outputs clip "
            f"({values.num_clipped:,} values): they go from {values.minimum:.4g} to "
            f"{values.maximum:.4g}, and it was calibrated for {values.low:.4g} to "
            f"{values.high:.4g}."
        ),
        action=(
            "Calibrate on data that reaches these values: more samples, of every kind the model "
            "will see, prepared as these. If an observer cut the range, give this tensor its "
            "extremes."
        ),
        code=_with_rule(f"ko.Rule(name={_pattern(row.tensor)}, observer=ko.MinMax())"),
    )


def _outliers(row: LayerResult) -> Advice | None:
    values = row.activation
    if values is None or values.better_range is None or values.better_range_gain < RANGE_GAIN:
        return None
    low, high = values.better_range
    if high - low >= MUCH_NARROWER * (values.high - values.low):
        return None
    return Advice(
        layer=row.name,
        problem=(
            f"{_measured(row)} A few large values stretch its range to {values.low:.4g} to "
            f"{values.high:.4g}; {low:.4g} to {high:.4g} would round this data "
            f"{values.better_range_gain:.1f} dB finer, clipping included."
        ),
        action="Choose the range of this tensor by its squared error.",
        code=_with_rule(f"ko.Rule(name={_pattern(row.tensor)}, observer=ko.MSE())"),
    )


def _weights(row: LayerResult) -> Advice | None:
    weights = row.weights
    if row.weights_only is None or weights is None or row.own is None:
        return None
    if row.weights_only.sqnr > row.own.sqnr + WEIGHTS_GAP:
        return None
    if weights.coarse_channels > weights.num_channels * COARSE_SHARE:
        return Advice(
            layer=row.name,
            problem=(
                f"{_measured(row)} Most of it comes from the weights: {weights.coarse_channels} of "
                f"{weights.num_channels} channels use less than a quarter of the int8 range."
            ),
            action="Give each output channel its own scale.",
            code=_with_rule(
                f"ko.Rule(name={_pattern(row.name)}, "
                'scheme=ko.Scheme(weight_granularity="per_channel"))'
            ),
        )
    return Advice(
        layer=row.name,
        problem=(
            f"{_measured(row)} Most of it comes from the weights: with nothing but these in int8 "
            f"it is {_at(row.weights_only.sqnr)}. Other ranges of activations would not help."
        ),
        action=IN_FLOAT,
        code=_kept([row]),
    )


def _coarse_channels(row: LayerResult) -> Advice | None:
    values = row.activation
    if values is None or values.coarse_channels <= values.num_channels * COARSE_SHARE:
        return None
    return Advice(
        layer=row.name,
        problem=(
            f"{_measured(row)} {values.coarse_channels} of its {values.num_channels} output "
            "channels vary over fewer than 8 of the 256 levels: their ranges differ too much for "
            "one scale."
        ),
        action=IN_FLOAT,
        code=_kept([row]),
    )


def _rounding(row: LayerResult) -> Advice | None:
    reason = "Nothing is wrong with its ranges: it needs more than 8 bits."
    if row.activation is not None and row.activation.prescribed:
        step = row.activation.scale
        reason = f"Its output has the step that the int8 specification prescribes, {step:.3g}."
    return Advice(
        layer=row.name,
        problem=f"{_measured(row)} {reason}",
        action=IN_FLOAT,
        code=_kept([row]),
    )


RANGE_RULES: tuple[Rule, ...] = (_clipping, _outliers)
RULES: tuple[Rule, ...] = (*RANGE_RULES, _weights, _coarse_channels, _rounding)


def _wide_ranges(rows: Sequence[LayerResult]) -> Advice | None:
    """Whether calibration saw much larger values than this data has, in most layers."""
    shares = [
        row.activation.used for row in rows if row.activation and not row.activation.prescribed
    ]
    narrow = sum(share < 0.5 for share in shares)
    if narrow < 3 or narrow <= len(shares) / 2:
        return None
    return Advice(
        layer="",
        problem=(
            f"In {narrow} of {len(shares)} layers this data uses less than half of the calibrated "
            "range: calibration saw larger values."
        ),
        action=(
            "Check that both data sets are prepared alike. If they are, let outliers of the "
            "calibration data saturate."
        ),
        code=f"recipe = ko.recipes.w8a8(observer=ko.Percentile(percentile=99.99))\n{QUANTIZE}",
    )


def _measured(row: LayerResult) -> str:
    own = f"its own error is {decibel(row.own.sqnr)}" if row.own is not None else ""
    if row.effect is None:
        return f"{own[:1].upper()}{own[1:]}."
    return f"Quantized alone it takes the outputs to {decibel(row.effect)}; {own}."


def _at(sqnr: float) -> str:
    """`"at 34.2 dB"`, or `"exact"`."""
    return f"at {decibel(sqnr)}" if math.isfinite(sqnr) else decibel(sqnr)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _pattern(name: str) -> str:
    """A name as the Python text of a pattern that matches it alone."""
    return repr(glob.escape(name.split(":")[0]))


def _with_rule(rule: str) -> str:
    return f"recipe = ko.recipes.w8a8(\n    rules=[{rule}]\n)\n{QUANTIZE}"


def _kept(rows: Sequence[LayerResult]) -> str:
    """Code that leaves layers, and the activations fused into them, in float."""
    names = [name for row in rows for name in (row.name, row.fused) if name]
    if len(names) == 1:
        listed = _pattern(names[0])
    else:
        listed = "[\n" + "".join(f"        {_pattern(name)},\n" for name in names) + "    ]"
    return f"recipe = ko.recipes.w8a8(\n    keep_float={listed}\n)\n{QUANTIZE}"
