# %% [markdown]
"""Up to six quantizers on one model, with the same data: accuracy, error, size and latency.

A small CNN with depthwise convolutions and BatchNormalization learns Fashion-MNIST (without a
network and without Debian's package `dataset-fashion-mnist`: scikit-learn's digits). Then Keras's
own `quantize("int8")`, TensorFlow's converter and Keras Octet make int8 models of it, and so do the
LiteRT quantizer, NNCF for OpenVINO and ONNX Runtime where they are installed:

    pip install ai-edge-quantizer nncf openvino onnx onnxruntime tf2onnx

Of TensorFlow's Model Optimization Toolkit (`pip install tensorflow-model-optimization tf_keras`) it
shows what that says to a Keras 3 model.

Run it with `python examples/compare_quantizers.py`; it needs TensorFlow for its converter.
"""

# %%
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import time
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_octet as ko
from keras_octet_cli.demo_data import load_images

# %%
data = load_images()
print(f"{data.name} ({data.source})")
x_train, y_train = data.train_images[:20000] / data.highest, data.train_labels[:20000]
x_test, y_test = data.test_images[:5000] / data.highest, data.test_labels[:5000]
calibration = x_train[:128]

keras.utils.set_random_seed(0)
L = keras.layers
inputs = keras.Input(x_train.shape[1:], name="image")
x = L.Conv2D(32, 3, strides=min(2, inputs.shape[1] // 8), padding="same", use_bias=False)(inputs)
x = L.ReLU()(L.BatchNormalization()(x))
for filters in (64, 128):
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.Conv2D(filters, 1, use_bias=False)(x)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.MaxPooling2D()(x)
x = L.Flatten()(x)
model = keras.Model(inputs, L.Dense(10, activation="softmax")(x), name="cnn")
BATCH = 64
EPOCHS = max(5, 100_000 // len(x_train))  # of few images more, for as many steps
rate = keras.optimizers.schedules.CosineDecay(0.003, EPOCHS * len(x_train) // BATCH)
model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
model.fit(x_train, y_train, epochs=EPOCHS, batch_size=BATCH, verbose=0)
reference = model.predict(x_test, verbose=0)


# %%
# One row of the table. `call` takes one image, NumPy in and NumPy out.
rows = []


def measure(name, call, size):
    for _ in range(20):
        call(x_test[:1])
    times = []
    for _ in range(200):
        started = time.perf_counter()
        call(x_test[:1])
        times.append(time.perf_counter() - started)
    outputs = np.concatenate([call(image[None]) for image in x_test])
    accuracy = (outputs.argmax(axis=1) == y_test).mean()
    agreement = (outputs.argmax(axis=1) == reference.argmax(axis=1)).mean()
    noise = np.square(outputs - reference).sum()
    sqnr = 10 * np.log10(np.square(reference).sum() / noise) if noise else np.inf
    rows.append((name, accuracy, agreement, sqnr, size, np.median(times) * 1000))


def litert(content):
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def call(image):
        if source["dtype"] == np.int8:  # as the LiteRT quantizer makes its inputs
            scale, zero_point = source["quantization"]
            image = np.clip(np.rint(image / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        result = interpreter.get_tensor(target["index"])
        if target["dtype"] == np.int8:
            scale, zero_point = target["quantization"]
            result = (result.astype(np.float32) - zero_point) * np.float32(scale)
        return result

    return call


def saved_bytes(candidate):
    candidate.save("candidate.keras")
    return Path("candidate.keras").stat().st_size


# %%
bare = keras.Model(model.inputs, model.outputs)  # without the optimizer's variables
measure("float32, Keras", model.predict_on_batch, saved_bytes(bare))

# %%
# Keras quantizes Dense, EinsumDense and Embedding; the file is a .keras.
own = keras.models.clone_model(bare)
own.set_weights(model.get_weights())
own.quantize("int8")
measure('Keras quantize("int8")', own.predict_on_batch, saved_bytes(own))


# %%
def representative_dataset():
    for image in calibration:
        yield [image[None]]


converter = tf.lite.TFLiteConverter.from_keras_model(model)
float_file = converter.convert()
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = representative_dataset
content = converter.convert()
measure("TensorFlow's converter", litert(content), len(content))

# %%
if find_spec("ai_edge_quantizer") is None:
    print("The LiteRT quantizer is not installed: pip install ai-edge-quantizer")
else:
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(float_file, recipe.static_wi8_ai8())
    (key,) = Interpreter(model_content=float_file).get_signature_list()
    (name,) = Interpreter(model_content=float_file).get_signature_list()[key]["inputs"]
    statistics = tool.calibrate({key: [{name: image[None]} for image in calibration]})
    content = bytes(tool.quantize(statistics).quantized_model)
    measure("LiteRT quantizer", litert(content), len(content))

# %%
# NNCF quantizes OpenVINO's form of the model, which is a graph and a file of weights.
if find_spec("nncf") is None or find_spec("openvino") is None:
    print("NNCF is not installed: pip install nncf openvino")
else:
    import nncf
    import openvino as ov

    model.export("saved_model", format="tf_saved_model", verbose=False)
    converted = ov.convert_model("saved_model", input=[-1, *inputs.shape[1:]])
    dataset = nncf.Dataset(calibration, lambda image: image[None])
    ov.save_model(nncf.quantize(converted, dataset, subset_size=len(calibration)), "nncf.xml")
    compiled = ov.compile_model("nncf.xml", "CPU", {"INFERENCE_NUM_THREADS": 1})
    size = sum(Path(f"nncf.{suffix}").stat().st_size for suffix in ("xml", "bin"))
    measure("NNCF, on OpenVINO", lambda image: compiled(image)[0].copy(), size)

# %%
# ONNX Runtime, after the pre-processing that its documents advise.
if any(find_spec(name) is None for name in ("onnx", "onnxruntime", "tf2onnx")):
    print("ONNX Runtime is not installed: pip install onnx onnxruntime tf2onnx")
else:
    import onnxruntime
    import tf2onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        """The calibration images, one at a time."""

        images = iter(calibration)

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {"image": image[None]}

    tf2onnx.convert.from_function(
        tf.function(lambda image: model(image, training=False)),
        input_signature=[tf.TensorSpec((None, *inputs.shape[1:]), tf.float32, name="image")],
        opset=17,
        output_path="float.onnx",
    )
    quant_pre_process("float.onnx", "prepared.onnx")
    quantize_static("prepared.onnx", "int8.onnx", Images(), per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession("int8.onnx", options)
    size = Path("int8.onnx").stat().st_size
    measure("ONNX Runtime", lambda image: session.run(None, {"image": image})[0], size)

# %%
# The Model Optimization Toolkit prepares models for quantization-aware training: those of Keras 2.
if find_spec("tensorflow_model_optimization") is None:
    print("TFMOT is not installed: pip install tensorflow-model-optimization tf_keras")
else:
    import tensorflow_model_optimization as tfmot

    try:
        tfmot.quantization.keras.quantize_model(model)
    except ValueError as error:
        print(f"TFMOT rejects this model of Keras {keras.__version__}: {error}")

# %%
quantized = ko.quantize(model, calibration)
measure("Keras Octet, .tflite", litert(quantized.to_tflite()), len(quantized.to_tflite()))
measure("Keras Octet, Keras model", quantized.predict_on_batch, saved_bytes(quantized))

# %%
print(f"{'':32} accuracy  agreement  SQNR, dB    bytes       ms")
for name, accuracy, agreement, sqnr, size, milliseconds in rows:
    print(f"{name:32} {accuracy:8.4f} {agreement:10.4f} {sqnr:9.1f} {size:8,} {milliseconds:8.3f}")
