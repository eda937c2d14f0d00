from __future__ import annotations

import os
from pathlib import Path

import pytest

from keras_octet.files import atomic_path


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.tflite"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"first")
        assert temporary.suffix == ".tflite"
        assert not path.exists()
    assert path.read_bytes() == b"first"
    with pytest.raises(FileExistsError), atomic_path(path) as temporary:
        (temporary.write_bytes(b"half"), tmp_path.mkdir())
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with atomic_path(tmp_path / "out") as temporary:
        temporary.write_bytes(b"")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    (tmp_path / "folder").mkdir()
    link.symlink_to(Path("folder") / "target.json")
    with atomic_path(os.fspath(link)) as temporary:
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert (tmp_path / "folder" / "target.json").read_bytes() == b"new"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError) as caught, atomic_path(folder / "out.json"):
        pytest.fail("the block must not run")
    assert caught.value.filename == str(folder)
