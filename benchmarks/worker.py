"""A contestant in a process of its own: measures when it is asked, is idle else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any

from benchmarks import files
from benchmarks.contestants import CONTESTANTS, Run

WARM_UP_SECONDS = 0.5


class Worker:
    """The handle of a process that runs one contestant on one model.

    Args:
        model: of the zoo.
        contestant: of the table.
        batch_size: for many samples at a time; None for single calls.
        num_samples: in each call.
    """

    def __init__(
        self, model: str, contestant: str, batch_size: int | None = None, num_samples: int = 1
    ) -> None:
        self.contestant, self.batch_size = contestant, batch_size
        backend = CONTESTANTS[contestant].backend
        arguments = [model, contestant, str(batch_size or 0), str(num_samples)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *arguments],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def wait(self) -> None:
        """Until it is ready to measure.

        Raises:
            RuntimeError: the contestant cannot run this model; says why.
        """
        self._receive()

    def times(self, seconds: float) -> list[float]:
        """Seconds of each of as many calls as fit into `seconds`, at least one."""
        assert self._process.stdin is not None
        print(json.dumps(seconds), file=self._process.stdin, flush=True)
        return self._receive()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)["result"]
        self._errors.seek(0)
        raise RuntimeError(f"{self.contestant}: {self._errors.read()[-2000:]}")


def _serve(arguments: Sequence[str], requests: IO[str]) -> None:
    model, contestant, batch_size, num_samples = arguments
    folder = files.FOLDER / model
    entry = CONTESTANTS[contestant]
    samples = files.load_samples(folder, int(num_samples))
    size = int(batch_size)
    run = entry.throughput(folder, size) if size else entry.one_by_one(folder)
    run(samples)
    _times(run, samples, WARM_UP_SECONDS)
    _answer(None)
    for line in requests:
        _answer(_times(run, samples, json.loads(line)))


def _times(run: Run, samples: Any, seconds: float) -> list[float]:
    taken = []
    end = time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        run(samples)
        now = time.perf_counter()
        taken.append(now - started)
        if now >= end:
            return taken


def _answer(result: Any) -> None:
    print(json.dumps({"result": result}), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1:], sys.stdin)
