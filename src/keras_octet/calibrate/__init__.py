"""Calibrate: a flat model and a representative dataset -> statistics of each tensor."""

from keras_octet.calibrate.calibration import Calibration
from keras_octet.calibrate.datasets import iter_batches
from keras_octet.calibrate.observers import TensorObserver, make_observer
from keras_octet.calibrate.run import Runner, RunnerFactory, calibrate, keras_runner

__all__ = [
    "Calibration",
    "Runner",
    "RunnerFactory",
    "TensorObserver",
    "calibrate",
    "iter_batches",
    "keras_runner",
    "make_observer",
]
