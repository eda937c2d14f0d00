"""Images for `octet demo`: Fashion-MNIST where it can be had, else scikit-learn's digits."""

from __future__ import annotations

import gzip
import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_octet.errors import CalibrationError
from keras_octet_cli.backend import keras_home

FASHION_MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist
DOWNLOAD_ADDRESS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
PROBE_SECONDS = 4.0
DOWNLOAD_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Images:
    """A labelled set of grey images.

    Attributes:
        name: of the data set.
        source: where it came from, in words.
        train_images, test_images: float32 of shape `(samples, height, width, 1)`, raw grey values.
        train_labels, test_labels: integers of shape `(samples,)`, 0 to 9.
        highest: the largest grey value the images can have.
    """

    name: str
    source: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    highest: float


def load_images() -> Images:
    """Fashion-MNIST from this machine's files or the network, else scikit-learn's digits.

    Raises:
        CalibrationError: there is no network, no file and no scikit-learn.
    """
    cache = keras_home() / "datasets" / "fashion-mnist"
    for folder, source in ((cache, "Keras's cache"), (DEBIAN_FOLDER, "Debian's package")):
        try:
            return _fashion_mnist(folder, f"{source}, {folder}")
        except (OSError, EOFError, ValueError):
            continue
    if _network_answers() and _download():
        return _fashion_mnist(cache, "downloaded by keras.datasets")
    return _digits()


def _fashion_mnist(folder: Path, source: str) -> Images:
    """Read the four IDX files of Fashion-MNIST. OSError or ValueError if one is not there."""
    arrays = [_read_idx(folder / name) for name in FASHION_MNIST_FILES]
    return Images(
        name="Fashion-MNIST",
        source=source,
        train_images=arrays[0][..., None].astype("float32"),
        train_labels=arrays[1],
        test_images=arrays[2][..., None].astype("float32"),
        test_labels=arrays[3],
        highest=255.0,
    )


def _read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of bytes: two zeros, type 8, rank, sizes (big-endian int32), values."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes.")
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _network_answers() -> bool:
    """Whether the data set's server answers soon; Keras itself would wait and retry."""
    request = urllib.request.Request(DOWNLOAD_ADDRESS + FASHION_MNIST_FILES[1], method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _download() -> bool:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        keras.datasets.fashion_mnist.load_data()
    except Exception:  # keras.utils.get_file raises a bare Exception
        return False
    finally:
        socket.setdefaulttimeout(before)
    return True


def _digits() -> Images:
    """scikit-learn's 1,797 digits of 8 x 8 pixels; every fifth is held out."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise CalibrationError(
            "The demo found no images: Fashion-MNIST could not be downloaded and scikit-learn is "
            "not installed. Install it with: pip install 'keras-octet[demo]'"
        ) from None
    digits = load_digits()
    images = digits.images.astype("float32")[..., None]
    held_out = np.arange(len(images)) % 5 == 0
    return Images(
        name="scikit-learn digits",
        source="Fashion-MNIST was neither on this machine nor within reach",
        train_images=images[~held_out],
        train_labels=digits.target[~held_out],
        test_images=images[held_out],
        test_labels=digits.target[held_out],
        highest=16.0,
    )
