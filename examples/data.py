"""Real images for the examples: Keras's own loaders where there is a network, packages' data else.

`OCTET_EXAMPLES_OFFLINE=1` does not try the network.
"""

from __future__ import annotations

import os

import keras
import numpy as np

OFFLINE = bool(os.environ.get("OCTET_EXAMPLES_OFFLINE"))
Split = tuple[np.ndarray, np.ndarray]


def mnist() -> tuple[Split, Split]:
    """`(x_train, y_train), (x_test, y_test)`: images `(n, 28, 28)` float32 in [0, 1].

    Without a network, scikit-learn's 8x8 digits, each pixel repeated and framed to 28x28.
    """
    if not OFFLINE:
        try:
            (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
            return (x_train / np.float32(255), y_train), (x_test / np.float32(255), y_test)
        except Exception as error:  # urllib's and the file system's
            print(f"No MNIST ({error}); scikit-learn's digits instead.")
    else:
        print("Offline: scikit-learn's digits instead of MNIST.")
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images.astype(np.float32).repeat(3, axis=1).repeat(3, axis=2) / 16
    x = np.pad(x, ((0, 0), (2, 2), (2, 2)))
    return (x[:1500], digits.target[:1500]), (x[1500:], digits.target[1500:])


def photographs(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Crops of scikit-learn's two photographs, `(count, size, size, 3)` float32 in [0, 255]."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    images = load_sample_images().images
    crops = []
    for i in range(count):
        image = images[i % 2]
        edge = int(rng.integers(size, min(image.shape[:2]) + 1))
        top, left = (int(rng.integers(0, n - edge + 1)) for n in image.shape[:2])
        places = np.linspace(0, edge - 1, size).astype(int)
        crops.append(image[top + places][:, left + places])
    return np.stack(crops).astype(np.float32)


def mobilenet_v2(size: int = 224) -> keras.Model:
    """MobileNetV2 with its ImageNet weights; without a network, with random ones."""
    shape = (size, size, 3)
    if not OFFLINE:
        try:
            return keras.applications.MobileNetV2(input_shape=shape, weights="imagenet")
        except Exception as error:
            print(f"No ImageNet weights ({error}); random ones instead.")
    else:
        print("Offline: MobileNetV2 with random weights.")
    return keras.applications.MobileNetV2(input_shape=shape, weights=None)
