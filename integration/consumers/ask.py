"""Asking a consumer about a file, in a process of its own: one that aborts is an answer as well."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from integration.consumers.consumers import CONSUMERS, ROOT, Arrays

TIMEOUT_SECONDS = 900
# Lines of a log that say what went wrong.
_REASON = re.compile(
    r"Didn't find op.*|(?<!\w)[Ee]rror: .*(?:\n - .*)?|\[ERROR\] .*|failed at \S+\s+(?P<said>.*)"
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a consumer made of a file.

    Attributes:
        accepted: whether it took the file.
        reason: why not.
        outputs: what it computed, one array for each output; None if it does not compute.
        facts: see the consumer's function.
    """

    accepted: bool
    reason: str = ""
    outputs: Arrays | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def ask(name: str, content: bytes, samples: Arrays) -> Answer:
    """Give the consumer `name` a file, and samples with the dtypes of its inputs."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / "model.tflite").write_bytes(content)
        np.savez(directory / "samples.npz", *samples)
        done = subprocess.run(
            [sys.executable, "-m", __name__, name, str(directory)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
        if done.returncode == -signal.SIGKILL:
            raise RuntimeError(f"The process of {name} was killed from outside.")
        if done.returncode:
            return Answer(accepted=False, reason=_reason(done.stderr, done.returncode))
        facts = json.loads((directory / "facts.json").read_text())
        outputs = None
        if (directory / "outputs.npz").exists():
            outputs = _load(directory / "outputs.npz")
        return Answer(accepted=True, outputs=outputs, facts=facts)


def ask_once(name: str, content: bytes, samples: Arrays) -> Answer:
    """As `ask`; what this version of the consumer has answered before is not asked again."""
    consumer = CONSUMERS[name]
    start = f"{name} {consumer.version} {consumer.settings}".encode()
    key = hashlib.blake2b(start + content, digest_size=16)
    for array in samples:
        key.update(array.tobytes())
    path = ROOT / "build" / "consumers" / key.hexdigest()
    if not path.exists():
        from keras_octet.files import atomic_path  # The process of a consumer needs no Keras.

        answer = ask(name, content, samples)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(pickle.dumps(answer))
    return pickle.loads(path.read_bytes())


def _reason(log: str, code: int) -> str:
    """The first line that says what went wrong."""
    found = _REASON.search(log)
    return (
        (found["said"] or found[0]).strip()
        if found
        else f"ended with code {code}, saying {log.strip()[-300:]}"
    )


def _load(path: Path) -> Arrays:
    with np.load(path) as file:
        return [file[name] for name in file.files]


def _main(name: str, directory: Path) -> None:
    try:
        outputs, facts = CONSUMERS[name].consume(directory, _load(directory / "samples.npz"))
    except Exception as error:  # Each consumer has its own.
        sys.exit(f"{type(error).__name__}: {error}")
    if outputs is not None:
        np.savez(directory / "outputs.npz", *outputs)
    (directory / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
