# %% [markdown]
"""Look at the int8 weights that TensorFlow's converter made, as variables of a Keras model.

Run it with `python examples/tflite_weights.py`; it needs TensorFlow, which is what converts.
"""

# %%
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from data import mnist

import keras_octet as ko

# %%
(x_train, y_train), _ = mnist()
keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(12, 3, activation="relu", name="conv"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, name="head"),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x_train[..., None], y_train, verbose=0)

# %%
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([image[None, ..., None]] for image in x_train[:128])
quantized = ko.load_model(converter.convert())

# %%
for layer in quantized.layers:
    for weight in layer.weights:
        print(f"{layer.name:32} {weight.name:14} {weight.dtype:8} {tuple(weight.shape)}")

# %%
kernel = model.get_layer("conv").kernel.numpy()
(layer,) = (x for x in quantized.layers if type(x).__name__ == "QuantizedConv2D")
restored = layer.kernel.numpy() * layer.kernel_scale.numpy()
assert layer.kernel.dtype == "int8"
print("largest rounding error, in steps:", np.abs((restored - kernel) / layer.kernel_scale).max())
