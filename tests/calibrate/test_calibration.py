import json
import os
from pathlib import Path

import numpy as np
import pytest

from keras_octet.calibrate.calibration import Calibration
from keras_octet.calibrate.observers import make_observer
from keras_octet.errors import CalibrationError
from keras_octet.observer_specs import MSE, Entropy, MinMax, MovingAverage, Percentile

SPECS = [MinMax(), MovingAverage(), Percentile(num_bins=64), MSE(num_bins=64), Entropy(num_bins=64)]


def calibration_of(values: np.ndarray, specs=SPECS) -> Calibration:
    observers = {}
    for index, spec in enumerate(specs):
        observers[f"layer_{index}"] = make_observer(spec)
        observers[f"layer_{index}"].update(values.astype(np.float32))
    return Calibration(observers, num_samples=len(values))


VALUES = np.random.default_rng(0).normal(size=(8, 100))


def test_it_is_a_mapping_in_order() -> None:
    calibration = calibration_of(VALUES)
    assert list(calibration) == [f"layer_{index}" for index in range(5)]
    assert "layer_0" in calibration
    assert calibration.num_samples == 8
    low, high = np.float32(VALUES.min()), np.float32(VALUES.max())
    assert calibration.range("layer_0") == (low, high)


def test_symmetric_ranges_pass_through() -> None:
    calibration = calibration_of(np.concatenate([VALUES, 10 * np.abs(VALUES)]))
    assert calibration.range("layer_3", symmetric=True) != calibration.range("layer_3")


def test_an_unknown_tensor_is_a_calibration_error() -> None:
    with pytest.raises(CalibrationError, match=r"'layer_7'.*Did you mean 'layer_"):
        calibration_of(VALUES).range("layer_7")
    with pytest.raises(KeyError):
        calibration_of(VALUES)["layer_7"]


def test_merging_equals_one_run_and_changes_neither_side() -> None:
    specs = [spec for spec in SPECS if not isinstance(spec, MovingAverage)]
    first, second = calibration_of(VALUES[:3], specs), calibration_of(VALUES[3:], specs)
    merged = first | second
    assert merged == calibration_of(VALUES, specs)
    assert merged.num_samples == 8
    assert first == calibration_of(VALUES[:3], specs)
    assert second == calibration_of(VALUES[3:], specs)
    assert merged != first


def test_calibrations_of_different_models_do_not_merge() -> None:
    with pytest.raises(CalibrationError, match="layer_4"):
        calibration_of(VALUES).merge(calibration_of(VALUES, SPECS[:4]))
    with pytest.raises(CalibrationError, match=r"'layer_0'.*specification"):
        calibration_of(VALUES).merge(calibration_of(VALUES, SPECS[::-1]))


def test_save_and_load(tmp_path: Path) -> None:
    calibration = calibration_of(VALUES)
    path = tmp_path / "run.json"
    calibration.save(path)
    restored = Calibration.load(str(path))
    assert restored == calibration
    assert list(restored) == list(calibration)
    for name in calibration:
        assert restored.range(name) == calibration.range(name)
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run.json"
    calibration_of(VALUES).save(path)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        calibration_of(2 * VALUES).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"PK\x03\x04",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"format": "keras-octet calibration", "version": 1, "num_samples": ' + b"9" * 5000 + b"}",
        b'{"format": "keras-octet calibration", "version": NaN}',
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"run\.json"):
        Calibration.load(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Calibration.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["format"], "other"),
        (["version"], 2),
        (["version"], None),
        (["num_samples"], -1),
        (["num_samples"], 1.5),
        (["num_samples"], True),
        (["tensors"], {}),
        (["tensors"], [3]),
        (["tensors", 0, "name"], 3),
        (["tensors", 0, "name"], "layer_1"),
        (["tensors", 0, "observer"], None),
        (["tensors", 0, "observer", "type"], "Median"),
        (["tensors", 0, "observer", "further"], 1),
        (["tensors", 0, "state"], []),
        (["tensors", 0, "state", "minimum"], 1e9),
        (["tensors", 0, "state", "minimum"], None),
        (["tensors", 0, "state", "maximum"], 1e999),
        (["tensors", 0, "state", "count"], -1),
        (["tensors", 3, "state", "counts"], [1]),
        (["tensors", 3, "state", "counts"], "1"),
        (["tensors", 3, "state", "num_bins"], 10**12),
        (["tensors", 3, "observer", "num_bins"], 10**12),
        (["tensors", 3, "state", "exponent"], 10**12),
        (["tensors", 3, "state", "first"], "x"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, keys, value) -> None:
    path = tmp_path / "run.json"
    calibration_of(VALUES).save(path)
    config = json.loads(path.read_text())
    place = config
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(config))
    with pytest.raises(CalibrationError):
        Calibration.load(path)


def test_repr_is_short_and_has_the_ranges() -> None:
    text = repr(calibration_of(VALUES[:1] * 0 + 2.5, [MinMax()] * 40))
    assert text.startswith("Calibration(40 tensors, 1 samples)")
    assert "layer_0: [2.5, 2.5] MinMax" in text
    assert "layer_39" in text
    assert len(text.splitlines()) < 16
