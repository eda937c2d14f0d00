# %% [markdown]
"""A digit classifier for a microcontroller, run by TensorFlow Lite for Microcontrollers.

A small CNN learns scikit-learn's 8x8 digits. It becomes a `.tflite` file with int8 inputs and
outputs and a batch of 1, then a C array to compile into a firmware. The Python interpreter of
TensorFlow Lite for Microcontrollers (`pip install tflite-micro`) runs the same kernels as the
device would, without its accelerated libraries, and is compared with the Keras model.

Run it with `python examples/microcontroller.py`. It writes its files to the current folder.
"""

# %%
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_octet as ko

# %%
# 1,797 grey images, 0 to 16; the last 297 are held out.
digits = load_digits()
images = digits.images[..., None].astype("float32")
x_train, x_test = images[:1500], images[1500:]
y_train, y_test = digits.target[:1500], digits.target[1500:]

# %%
# Without a softmax: the largest score decides, and the device saves its exponentials.
keras.utils.set_random_seed(0)
L = keras.layers
model = keras.Sequential(
    [
        keras.Input((8, 8, 1), name="image"),
        L.Rescaling(1 / 16),
        L.Conv2D(8, 3, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.SeparableConv2D(16, 3, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(10, name="score"),
    ],
    name="digits",
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.005), loss, metrics=["accuracy"])
model.fit(x_train, y_train, epochs=25, verbose=0)

# %%
# Integers in, integers out: the device needs no float arithmetic.
recipe = ko.recipes.w8a8(input_dtype="int8", output_dtype="int8")
quantized = ko.quantize(model, x_train[:128], recipe=recipe)
print(quantized.report)
(source,), (target,) = quantized.input_qparams.values(), quantized.output_qparams.values()
print(f"input:  real = {source.scale:.6g} * (q {-source.zero_point:+d})")
print(f"output: real = {target.scale:.6g} * (q {-target.zero_point:+d})")

quantized.export("digits_int8.tflite", batch_size=1)
content = Path("digits_int8.tflite").read_bytes()

# %%
# What goes into the firmware, and the operators that its resolver must add.
values = [f"0x{byte:02x}" for byte in content]
rows = [", ".join(values[start : start + 12]) for start in range(0, len(values), 12)]
Path("digits_int8.h").write_text(
    "alignas(16) const unsigned char digits_int8[] = {\n  " + ",\n  ".join(rows) + "\n};\n"
    f"const unsigned int digits_int8_len = {len(content)};\n"
)
operators = sorted({row.operation for row in ko.inspect("digits_int8.tflite").operations})
print(f"digits_int8.h: {len(content):,} bytes; operators: {', '.join(operators)}")

# %%
# What the Keras model gives for the held-out images.
integers = source.quantize(x_test)
expected = quantized.predict(integers, verbose=0)
accuracy = model.evaluate(x_test, y_test, return_dict=True, verbose=0)["accuracy"]
print(f"float32 in Keras        accuracy {accuracy:.4f}")
print(f"int8 in Keras           accuracy {(expected.argmax(axis=1) == y_test).mean():.4f}")

# %%
# The same from the interpreter of the microcontroller, image by image.
if find_spec("tflite_micro") is None:
    print(
        "tflite-micro is not installed, so the file was not run as a microcontroller would. "
        "Install it with: pip install tflite-micro"
    )
else:
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=16 * 1024)
    received = np.empty_like(expected)
    for i, image in enumerate(integers):
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        received[i] = interpreter.get_output(0)[0]

    steps = np.abs(received.astype(int) - expected)
    print(f"int8 on microcontroller accuracy {(received.argmax(axis=1) == y_test).mean():.4f}")
    print(f"outputs that differ: {(steps > 0).mean():.2%}, at most {steps.max()} output step(s)")
    assert steps.max() <= 2

    # The arena as this 64-bit machine needs it; pointers of a microcontroller are half as long.
    interpreter.print_allocations()
