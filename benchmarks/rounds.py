"""Contestants in turns, round after round, so that all see the same machine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks.worker import Worker

NUM_ROUNDS = 15
SECONDS_PER_TURN = 0.15


@dataclass(frozen=True, kw_only=True)
class Times:
    """Median seconds of a call in each round."""

    rounds: tuple[float, ...]
    batch_size: int | None = None

    @property
    def median(self) -> float:
        return median(self.rounds)

    def over(self, other: Times) -> tuple[float, float, float]:
        """This time over another's, round by round: lower quartile, median, upper quartile."""
        ratios = sorted(a / b for a, b in zip(self.rounds, other.rounds, strict=True))
        return ratios[len(ratios) // 4], median(ratios), ratios[-1 - len(ratios) // 4]

    def minus(self, other: Times) -> float:
        """Median of the difference, in seconds."""
        return median(a - b for a, b in zip(self.rounds, other.rounds, strict=True))


def measure(
    model: str,
    contestants: Sequence[tuple[str, int | None]],
    num_samples: int = 1,
    num_rounds: int = NUM_ROUNDS,
) -> dict[tuple[str, int | None], Times]:
    """Times of each `(contestant, batch size)` that can run the model."""
    with ExitStack() as stack:
        workers = {}
        for contestant, batch_size in contestants:
            worker = Worker(model, contestant, batch_size, num_samples)
            stack.callback(worker.stop)
            try:
                worker.wait()
            except RuntimeError as error:
                print(f"{model}: {error}")
                continue
            workers[contestant, batch_size] = worker
        rounds: dict[tuple[str, int | None], list[float]] = {key: [] for key in workers}
        order = list(workers)
        for _ in range(num_rounds):
            random.shuffle(order)
            for key in order:
                rounds[key].append(median(workers[key].times(SECONDS_PER_TURN)))
    return {key: Times(rounds=tuple(values), batch_size=key[1]) for key, values in rounds.items()}
