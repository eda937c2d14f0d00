"""Writing a file so that it appears whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_folder(path: str | os.PathLike[str]) -> None:
    """Fail if the folder that the file `path` is to be written into does not exist.

    Raises:
        FileNotFoundError: naming the folder.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(folder))


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what the block writes there becomes `path`.

    The temporary file has the suffix of `path`. If the block raises or is interrupted, it is
    removed and `path` is as it was.

    Raises:
        FileNotFoundError: the folder does not exist, or the block has written no file.
    """
    target = Path(os.path.realpath(path))  # as `open`, through symbolic links
    check_folder(target)
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex}{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
