# %% [markdown]
"""Quantize MobileNetV2 with TensorFlow's converter, and load the result back into Keras.

Run it with `python examples/tflite_mobilenet_v2.py`; it needs TensorFlow, which is what converts.
"""

# %%
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from data import mobilenet_v2, photographs

import keras_octet as ko

# %%
SIZE = 224
model = mobilenet_v2(SIZE)
images = keras.applications.mobilenet_v2.preprocess_input(photographs(40, SIZE))


# %%
def representative_data_gen():
    for image in images[:32]:
        yield [image[None]]


converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = representative_data_gen
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
Path("mobilenet_v2_int8.tflite").write_bytes(converter.convert())

# %%
ko.install()
quantized = keras.models.load_model("mobilenet_v2_int8.tflite")
ko.uninstall()

quantized.save("mobilenet_v2_int8.keras")
again = keras.models.load_model("mobilenet_v2_int8.keras")
held_out = images[32:]
assert np.array_equal(again.predict(held_out, verbose=0), quantized.predict(held_out, verbose=0))

# %%
for name, candidate in (("float32", model), ("int8", quantized)):
    candidate.predict_on_batch(held_out[:1])
    started = time.perf_counter()
    for image in held_out:
        candidate.predict_on_batch(image[None])
    milliseconds = (time.perf_counter() - started) * 1000 / len(held_out)
    print(f"{name:8} {milliseconds:6.2f} ms an image")
