# %% [markdown]
"""Quantize a Dense MNIST model with TensorFlow's converter, and load the result back into Keras.

Run it with `python examples/tflite_dense.py`; it needs TensorFlow, which is what converts.
"""

# %%
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import io

import keras
import numpy as np
import tensorflow as tf
from data import mnist

import keras_octet as ko

ko.install()  # Keras's load_model accepts .tflite from here on

# %%
(x_train, y_train), (x_test, y_test) = mnist()
keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, epochs=5, verbose=0)


# %%
def representative_dataset():
    for image in x_train[:128]:
        yield [image[None]]


def convert(*, full_integer):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if full_integer:
        converter.representative_dataset = representative_dataset
    return converter.convert()


# %%
def report(name, candidate):
    candidate.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    accuracy = candidate.evaluate(x_test, y_test, return_dict=True, verbose=0)["accuracy"]
    print(f"{name:14} accuracy on {len(x_test)} held-out images: {accuracy:.4f}")


# %%
report("float32", model)
for name, full_integer in (("dynamic range", False), ("full integer", True)):
    tflite = convert(full_integer=full_integer)
    loaded = keras.models.load_model(io.BytesIO(tflite))
    loaded.summary()
    report(name, loaded)

    interpreter = tf.lite.Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    expected = []
    for image in x_test[:100]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    received = loaded.predict(x_test[:100], verbose=0)
    print(f"{name:14} values that differ from the interpreter: {(received != expected).sum()}")
    assert np.array_equal(received, expected)

ko.uninstall()
