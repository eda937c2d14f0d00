# %% [markdown]
"""A quantized backbone inside a larger Keras model: int8 features, a float head that trains.

A small CNN learns to tell even digits from odd ones; quantized and frozen, it is the backbone of a
model that learns the ten digits. Run it with `python examples/quantized_backbone.py`.
"""

# %%
import keras
import numpy as np
from data import mnist

import keras_octet as ko

L = keras.layers
(x_train, y_train), (x_test, y_test) = mnist()
x_train, x_test = x_train[:6000, ..., None], x_test[:2000, ..., None]
y_train, y_test = y_train[:6000], y_test[:2000]

# %%
keras.utils.set_random_seed(0)
images = keras.Input((28, 28, 1), name="image")
x = L.Conv2D(16, 3, strides=2, padding="same", activation="relu")(images)
x = L.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
features = L.Flatten()(x)
backbone = keras.Model(images, features, name="backbone")
parity = keras.Model(images, L.Dense(2, activation="softmax")(features))
parity.compile("adam", "sparse_categorical_crossentropy")
parity.fit(x_train, y_train % 2, epochs=3, verbose=0)

# %%
quantized = ko.quantize(backbone, x_train[:128])
print(quantized.report)

# %%
inputs = keras.Input((28, 28, 1))
outputs = L.Dense(10, activation="softmax", name="head")(quantized(inputs))
model = keras.Model(inputs, outputs, name="digits_on_int8_features")
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
before = quantized.get_weights()
model.fit(x_train, y_train, epochs=5, verbose=0)
assert all(np.array_equal(a, b) for a, b in zip(before, quantized.get_weights(), strict=True))

# %%
accuracy = model.evaluate(x_test, y_test, return_dict=True, verbose=0)["accuracy"]
trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
print(f"accuracy on {len(x_test)} held-out digits: {accuracy:.3f}; {trained:,} trained weights")

# %%
model.save("digits_on_int8_features.keras")
loaded = keras.saving.load_model("digits_on_int8_features.keras")
assert np.allclose(loaded.predict(x_test, verbose=0), model.predict(x_test, verbose=0))
