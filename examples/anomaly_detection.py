# %% [markdown]
"""Real-time anomaly detection: an autoencoder over arterial blood pressure, before and after int8.

The series is the InternalBleeding16 recording of the UCR anomaly archive, 7,501 samples with one
labelled anomaly, which the package aeon ships (`pip install aeon`). The autoencoder learns the
first 1,200 samples, which are normal; a window's score is its reconstruction error.

Run it with `python examples/anomaly_detection.py`.
"""

# %%
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

import keras_octet as ko

# %%
WINDOW = 64
BUDGET_MS = 1.0  # for one window, from NumPy in to NumPy out

package = find_spec("aeon")
if package is None or package.origin is None:
    sys.exit("This example reads a series that aeon ships. Install it with: pip install aeon")
folder = Path(package.origin).parent / "datasets" / "data" / "KDD-TSAD_135"
read = np.genfromtxt(folder / "135_UCR_Anomaly_InternalBleeding16_TEST.csv", delimiter=",")[1:]
pressure, is_anomaly = read[:, 1].astype(np.float32), read[:, 2].astype(bool)

normal = 1200
mean, deviation = pressure[:normal].mean(), pressure[:normal].std()
windows = np.lib.stride_tricks.sliding_window_view((pressure - mean) / deviation, WINDOW)
windows = windows[..., None].astype(np.float32)
labels = np.lib.stride_tricks.sliding_window_view(is_anomaly, WINDOW).any(axis=1)
x_train, x_test, y_test = windows[: normal - WINDOW], windows[normal:], labels[normal:]

# %%
keras.utils.set_random_seed(0)
L = keras.layers
model = keras.Sequential(
    [
        keras.Input((WINDOW, 1), name="pressure"),
        L.Conv1D(16, 5, strides=2, padding="same", activation="relu"),
        L.Conv1D(8, 5, strides=2, padding="same", activation="relu"),
        L.Flatten(),
        L.Dense(8, activation="relu"),
        L.Dense(16 * 8, activation="relu"),
        L.Reshape((16, 8)),
        L.Conv1DTranspose(16, 5, strides=2, padding="same", activation="relu"),
        L.Conv1DTranspose(1, 5, strides=2, padding="same"),
    ],
    name="pressure_autoencoder",
)
model.compile(keras.optimizers.Adam(0.003), "mse")
model.fit(x_train, x_train, epochs=60, batch_size=64, verbose=0)

# %%
quantized = ko.quantize(model, representative_dataset=x_train[::8])
print(quantized.report)
quantized.save("pressure_autoencoder.keras")


# %%
def errors(candidate):
    return np.square(candidate.predict(x_test, verbose=0) - x_test).mean(axis=(1, 2))


def milliseconds_a_window(candidate):
    window = x_test[:1]
    candidate.predict_on_batch(window)
    times = []
    for _ in range(300):
        started = time.perf_counter()
        candidate.predict_on_batch(window)
        times.append(time.perf_counter() - started)
    return np.median(times) * 1000, np.quantile(times, 0.99) * 1000


# %%
scores = {}
for name, candidate in (("float32", model), ("int8", quantized)):
    scores[name] = errors(candidate)
    median, slowest = milliseconds_a_window(candidate)
    within = "within" if slowest < BUDGET_MS else "over"
    print(
        f"{name:8} AUROC {roc_auc_score(y_test, scores[name]):.4f}, "
        f"highest score in the anomaly: {bool(y_test[scores[name].argmax()])}, "
        f"{median:.3f} ms a window, 99% under {slowest:.3f} ms: {within} the {BUDGET_MS} ms budget"
    )
drop = roc_auc_score(y_test, scores["float32"]) - roc_auc_score(y_test, scores["int8"])
print(f"AUROC lost to int8: {drop:+.4f}")
