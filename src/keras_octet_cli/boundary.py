"""Where an error becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
import typer.core

from keras_octet_cli.backend import BACKENDS, choose_backend, import_keras

FAILED = 1
WRONG_USAGE = 2
LIMITS_NOT_KEPT = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class FlagsWithoutType:
    """Options that take no value are shown without the `<bool>` that Typer has for them."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class Command(FlagsWithoutType, typer.core.TyperCommand):
    """One command."""


class Commands(FlagsWithoutType, typer.core.TyperGroup):
    """The commands; wrong usage is one line too."""

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        if not standalone_mode:
            return super().main(*args, **kwargs)
        try:
            code = super().main(*args, **kwargs)
        except typer.Abort:
            code = INTERRUPTED
        except Exception as error:
            # Typer's usage errors have no public class; this is what sets them apart.
            if not hasattr(error, "format_message"):
                raise
            code = WRONG_USAGE
            _show_usage_error(error)
        sys.exit(code)


def _show_usage_error(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
        return
    message = error.format_message().removeprefix("Invalid value for ").replace("Value error, ", "")
    command = getattr(getattr(error, "ctx", None), "command_path", "octet")
    end = "" if message.endswith((".", "?")) else "."
    error_line(f"{message}{end} See: {command} --help")


@contextmanager
def errors_as_one_line() -> Iterator[None]:
    """Run a command: choose the backend first; turn expected errors into `error: ...`, exit 1."""
    if choose_backend() is None:
        fail(
            f"Keras needs one of {', '.join(BACKENDS)}, and none is installed. "
            "Install one, for example with: pip install 'keras-octet[jax]'"
        )
    try:
        import_keras()
    except KeyboardInterrupt:
        _interrupted()
    except (ImportError, ValueError) as error:
        fail(f"Keras could not start: {error}. Check KERAS_BACKEND.")
    from keras_octet.errors import OctetError, ThresholdError

    try:
        yield
    except KeyboardInterrupt:
        _interrupted()
    except ThresholdError as error:
        fail(str(error), LIMITS_NOT_KEPT)
    except OctetError as error:
        fail(str(error))
    except BrokenPipeError:  # `octet inspect m.keras | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left of the output goes there
        raise typer.Exit(FAILED) from None
    except OSError as error:
        fail(os_error_text(error))


def os_error_text(error: OSError) -> str:
    """`"gone.npz: no such file or directory"`."""
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def error_line(message: str) -> None:
    """Print `error: message` on standard error, on one line."""
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble(("error:", "bold red"), " ", " ".join(message.split()))
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _interrupted() -> NoReturn:
    error_line("interrupted")
    raise typer.Exit(INTERRUPTED)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print an error and exit."""
    error_line(message)
    raise typer.Exit(code)
