# %% [markdown]
"""Train a small CNN on scikit-learn's digits, quantize it, save it, load it, export it.

Run it with `python examples/quantize_digits.py`. It writes its models to the current folder.
"""

# %%
import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_octet as ko

# %%
# 1,797 grey images of 8 x 8 pixels; the last 297 are held out.
digits = load_digits()
images = digits.images[..., None].astype("float32") / 16
x_train, x_test = images[:1500], images[1500:]
y_train, y_test = digits.target[:1500], digits.target[1500:]

# %%
keras.utils.set_random_seed(0)
inputs = keras.Input((8, 8, 1), name="image")
x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
x = keras.layers.BatchNormalization()(x)
x = keras.layers.ReLU()(x)
x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
x = keras.layers.BatchNormalization()(x)
x = keras.layers.ReLU(6.0)(x)
x = keras.layers.MaxPooling2D()(x)
x = keras.layers.Flatten()(x)
outputs = keras.layers.Dense(10, activation="softmax", name="digit")(x)
model = keras.Model(inputs, outputs, name="digits")
model.compile(
    optimizer=keras.optimizers.Adam(0.003),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(x_train, y_train, epochs=5, verbose=0)

# %%
q = ko.quantize(model, representative_dataset=x_train[:128])
print(q.report)

# %%
for name, each in (("float32", model), ("int8", q)):
    accuracy = each.evaluate(x_test, y_test, return_dict=True, verbose=0)["accuracy"]
    print(f"{name:8} accuracy on {len(x_test)} held-out images: {accuracy:.4f}")

# %%
# Keep the layer that makes the decision in float32.
careful = ko.quantize(model, x_train[:128], recipe=ko.recipes.w8a8(keep_float=["digit"]))
accuracy = careful.evaluate(x_test, y_test, return_dict=True, verbose=0)["accuracy"]
print(f"{'mixed':8} accuracy on {len(x_test)} held-out images: {accuracy:.4f}")

# %%
q.save("digits_int8.keras")
loaded = keras.saving.load_model("digits_int8.keras")
assert np.array_equal(loaded.predict(x_test, verbose=0), q.predict(x_test, verbose=0))

q.export("digits_int8.tflite")
