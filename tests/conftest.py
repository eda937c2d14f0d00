"""Settings for every test: the backend comes from `KERAS_BACKEND`, randomness from a fixed seed."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest
from hypothesis import settings

# Compilation makes a first example slow, which says nothing about the code under test.
# CI runs the same examples every time; elsewhere each run tries new ones.
settings.register_profile("octet", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("octet")


def pytest_report_header() -> str:
    return f"keras {keras.__version__}, {keras.backend.backend()} backend"


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    keras.utils.set_random_seed(0)
