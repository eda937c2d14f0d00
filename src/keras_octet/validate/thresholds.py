"""What a validation may cost before it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_octet.errors import ValidationError
from keras_octet.validate.results import MetricResult, OutputResult


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits; None does not limit.

    Attributes:
        max_drop: most that a metric may get worse (see `MetricResult.drop`): one number for all,
            or some by name.
        min_agreement: least share of decisions that stay the same, from 0 to 1.
        min_sqnr: least SQNR of an output, in dB.
    """

    max_drop: float | None = None
    max_drops: dict[str, float] = field(default_factory=dict)
    min_agreement: float | None = None
    min_sqnr: float | None = None

    @classmethod
    def of(
        cls,
        max_drop: float | Mapping[str, float] | None,
        min_agreement: float | None,
        min_sqnr: float | None,
    ) -> Thresholds:
        """Checked limits.

        Raises:
            ValidationError: a limit is not a number, or outside the range where it means something.
        """
        drops: dict[str, Any] = dict(max_drop) if isinstance(max_drop, Mapping) else {}
        one: Any = None if isinstance(max_drop, Mapping) else max_drop
        for name, value in {**drops, "max_drop": one}.items():
            if value is not None and not (_is_number(value) and value >= 0):
                raise ValidationError(
                    f"max_drop must be a number of at least 0, such as 0.01 for one point of "
                    f"accuracy. Received for {name!r}: {value!r}"
                )
        if min_agreement is not None and not (
            _is_number(min_agreement) and 0 <= min_agreement <= 1
        ):
            raise ValidationError(
                f"min_agreement must be a share from 0 to 1. Received: {min_agreement!r}"
            )
        if min_sqnr is not None and not _is_number(min_sqnr):
            raise ValidationError(f"min_sqnr must be a number of dB. Received: {min_sqnr!r}")
        return cls(
            max_drop=None if one is None else float(one),
            max_drops={str(name): float(value) for name, value in drops.items()},
            min_agreement=None if min_agreement is None else float(min_agreement),
            min_sqnr=None if min_sqnr is None else float(min_sqnr),
        )

    def failures(
        self, metrics: Sequence[MetricResult], outputs: Sequence[OutputResult]
    ) -> tuple[str, ...]:
        """One sentence for each limit that is not kept.

        Raises:
            ValidationError: a limit is about something that was not measured.
        """
        return (*self._drops(metrics), *self._agreements(outputs), *self._sqnrs(outputs))

    def _drops(self, metrics: Sequence[MetricResult]) -> list[str]:
        if self.max_drop is not None and not metrics:
            raise ValidationError(
                "max_drop limits task metrics, and there are none: pass labels with the data, as "
                "in validate(model, quantized, (x, y))."
            )
        known = {metric.name for metric in metrics} | {metric.label for metric in metrics}
        for name in self.max_drops:
            if name not in known:
                raise ValidationError(
                    f"max_drop names a metric {name!r} that was not measured. Measured: "
                    f"{', '.join(map(repr, sorted(known))) or 'none (there are no labels)'}."
                )
        failures = []
        for metric in metrics:
            limit = self.max_drops.get(metric.label, self.max_drops.get(metric.name, self.max_drop))
            # Written so that NaN fails.
            if limit is not None and not metric.drop <= limit:
                failures.append(f"{describe_drop(metric)}; at most {_limit(metric, limit)} allowed")
        return failures

    def _agreements(self, outputs: Sequence[OutputResult]) -> list[str]:
        if self.min_agreement is None:
            return []
        deciding = [output for output in outputs if output.agreement is not None]
        if not deciding:
            raise ValidationError(
                "min_agreement needs an output that decides between classes, and there is none. "
                "Pass task='classification' or task='binary' if there is one."
            )
        return [
            f"agreement with the float model is {_floor(100 * (output.agreement or 0.0)):.2f} %"
            f"{_of(output, outputs)}; at least {100 * self.min_agreement:.4g} % required"
            for output in deciding
            if not (output.agreement or 0.0) >= self.min_agreement
        ]

    def _sqnrs(self, outputs: Sequence[OutputResult]) -> list[str]:
        if self.min_sqnr is None:
            return []
        return [
            f"SQNR is {_floor(output.difference.sqnr):.2f} dB{_of(output, outputs)}; at least "
            f"{self.min_sqnr:.4g} dB required"
            for output in outputs
            if not output.difference.sqnr >= self.min_sqnr
        ]


def describe_drop(metric: MetricResult) -> str:
    """`"top-1 accuracy fell from 0.9165 to 0.9065"`."""
    if math.isnan(metric.drop):
        return f"{metric.label} is not a number"
    verb = "rose" if metric.lower_is_better else "fell"
    return f"{metric.label} {verb} from {metric.before:.6g} to {metric.after:.6g}"


def _limit(metric: MetricResult, limit: float) -> str:
    return f"{100 * limit:.4g} % more" if metric.lower_is_better else f"{limit:.4g} less"


def _floor(value: float) -> float:
    """Rounded down to two digits: a value that fails must not be shown as one that passes."""
    return math.floor(100 * value) / 100 if math.isfinite(value) else value


def _of(output: OutputResult, outputs: Sequence[OutputResult]) -> str:
    return f" for output {output.name!r}" if len(outputs) > 1 else ""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
