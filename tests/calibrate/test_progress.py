import io

import pytest

from keras_octet.calibrate import progress as progress_module
from keras_octet.calibrate.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch, stream: io.StringIO, delay: float, enabled: bool = True) -> str:
    monkeypatch.setattr(progress_module, "DELAY_SECONDS", delay)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("Calibrating", total=3, enabled=enabled) as bar:
        for done in range(3):
            bar.update(done, f"{done} samples")
    return stream.getvalue()


def test_long_work_on_a_terminal_is_shown(monkeypatch) -> None:
    text = drawn(monkeypatch, Terminal(), delay=0.0)
    assert "Calibrating" in text
    assert "2 samples" in text


@pytest.mark.parametrize(
    ("stream", "delay", "enabled"),
    [(Terminal(), 60.0, True), (io.StringIO(), 0.0, True), (Terminal(), 0.0, False)],
    ids=["short", "no terminal", "off"],
)
def test_nothing_is_drawn_otherwise(monkeypatch, stream, delay, enabled) -> None:
    for name in ("FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert drawn(monkeypatch, stream, delay, enabled) == ""
