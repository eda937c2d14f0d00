"""Timing calls that are compared with one another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

NUM_WARM_UP_CALLS = 10
# Threads of an idle engine go on spinning for a while and slow the next one down: for so long its
# calls are not counted.
SETTLE_SECONDS = 0.02


def time_calls(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    min_calls: int = 20,
    max_calls: int = 200,
    rounds: int = 1,
    after_round: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Milliseconds of single calls, by name.

    The calls take turns, some of each in every round, so that drift of the machine hits all alike.

    Args:
        calls: functions without arguments, by name.
        seconds: to spend on each call; after `min_calls` no more.
        min_calls, max_calls: of each, in all rounds together.
        rounds: how many times each has its turn.
        after_round: called with the number of rounds done; not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        _repeat(call, seconds, 1, NUM_WARM_UP_CALLS)
    for done in range(1, rounds + 1):
        least, most = (-(-number * done // rounds) for number in (min_calls, max_calls))
        for name, call in calls.items():
            if len(calls) > 1:
                _repeat(call, SETTLE_SECONDS, 1, max_calls)
            counted = times[name]
            counted += _repeat(call, seconds / rounds, least - len(counted), most - len(counted))
        if after_round is not None:
            after_round(done)
    return {name: np.array(values) for name, values in times.items()}


def _repeat(call: Callable[[], object], seconds: float, least: int, most: int) -> list[float]:
    """Call for so many seconds, at least and at most so many times."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return times
