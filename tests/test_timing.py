"""Timing: how often each is called, in what order, and what the times are."""

from __future__ import annotations

import time

import numpy as np

from keras_octet.timing import NUM_WARM_UP_CALLS, time_calls


def test_a_call_is_timed_after_warming_up() -> None:
    calls = []
    times = time_calls({"a": lambda: calls.append(0)}, min_calls=20, max_calls=50)["a"]
    assert len(times) == 50
    assert len(calls) == 50 + NUM_WARM_UP_CALLS
    assert (times >= 0).all()


def test_slow_calls_stop_at_the_least_number() -> None:
    times = time_calls({"a": lambda: time.sleep(0.002)}, seconds=0.001, min_calls=7)["a"]
    assert len(times) == 7
    assert np.median(times) >= 2.0


def test_calls_take_turns() -> None:
    order: list[str] = []
    rounds: list[int] = []
    times = time_calls(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        min_calls=5,
        max_calls=10,
        rounds=3,
        after_round=rounds.append,
    )
    turns = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert turns == ["a", "b"] * 4  # warming up, and three rounds
    assert {name: len(values) for name, values in times.items()} == {"a": 10, "b": 10}
    assert rounds == [1, 2, 3]
