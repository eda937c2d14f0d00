"""`octet demo`: train a small CNN on real images, quantize it, measure both."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_octet as ko
from keras_octet.files import atomic_path
from keras_octet.timing import time_calls
from keras_octet_cli.console import Advance, Console, byte_size, comparison
from keras_octet_cli.demo_data import Images, load_images
from keras_octet_cli.engine import let_engine_introduce_itself

NUM_CALIBRATION_IMAGES = 128
NUM_LATENCY_CALLS = 200
NUM_LATENCY_ROUNDS = 10
BATCH_SIZE = 128
MINIMUM_STEPS = 900
FILES = ("float.keras", "int8.keras", "int8.tflite")


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """One model on the held-out images; latency is the median of calls with one image."""

    accuracy: float
    weight_bytes: int
    keras_bytes: int
    latency_ms: float


def run(output: Path | None, *, console: Console) -> None:
    """Train, quantize, measure and report; keep the models in `output` if it is given.

    Raises:
        OSError: the folder cannot be written.
        OctetError: there are no images.
    """
    started = time.perf_counter()
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    images = load_images()
    console.line(
        f"[bold]{images.name}[/bold] ({images.source}): {len(images.train_images):,} images to "
        f"train, {len(images.test_images):,} held out. Keras {keras.__version__}, "
        f"{keras.backend.backend()} backend."
    )

    lap = time.perf_counter()
    with console.progress("Training a CNN in float32") as advance:
        model = train(images, advance)
    model = without_optimizer(model)
    training_seconds = time.perf_counter() - lap
    console.line(f"Trained {model.count_params():,} parameters in {training_seconds:.0f} s.")

    calibration = images.train_images[:NUM_CALIBRATION_IMAGES]
    let_engine_introduce_itself()
    lap = time.perf_counter()
    quantized = ko.quantize(model, calibration, progress=console.library_progress)
    quantizing_seconds = time.perf_counter() - lap
    layer_counts = {key: quantized.report.count(key) for key in ("int8", "fused", "float")}
    console.line(
        f"Quantized with {len(calibration)} training images in {quantizing_seconds:.1f} s: "
        "{int8} layers in int8, {fused} fused into them, {float} left in float.".format(
            **layer_counts
        )
    )

    with tempfile.TemporaryDirectory() if output is None else nullcontext(output) as folder:
        paths = [Path(folder) / name for name in FILES]
        for path, write in zip(paths, (model.save, quantized.save, quantized.export), strict=True):
            with atomic_path(path) as temporary:
                write(temporary)
        sizes = [path.stat().st_size for path in paths]

    scores: list[np.ndarray] = []
    with console.progress("Predicting held-out images") as advance:
        for each in (model, quantized):
            advance(len(scores), 2)
            scores.append(each.predict(images.test_images, batch_size=BATCH_SIZE, verbose=0))
    # Without a progress bar, whose thread would run beside the calls.
    one = images.test_images[:1]
    times = time_calls(
        {
            "float": lambda: model.predict_on_batch(one),
            "int8": lambda: quantized.predict_on_batch(one),
        },
        max_calls=NUM_LATENCY_CALLS,
        rounds=NUM_LATENCY_ROUNDS,
    )
    latencies = [float(np.median(values)) for values in times.values()]
    choices = [np.argmax(score, axis=-1) for score in scores]
    before, after = (
        Measurements(
            accuracy=float(np.mean(choice == images.test_labels)),
            weight_bytes=weight_bytes(each),
            keras_bytes=size,
            latency_ms=latency,
        )
        for each, choice, size, latency in zip(
            (model, quantized), choices, sizes[:2], latencies, strict=True
        )
    )
    agreement = float(np.mean(choices[0] == choices[1]))
    seconds = time.perf_counter() - started

    _show(console, before, after, tflite_bytes=sizes[2])
    console.line(
        f"Both models give the same class for {agreement:.2%} of the held-out images. "
        f"Latency: one image, NumPy in and out, median of {len(times['float'])} calls."
    )
    if output is not None:
        console.line(f"Wrote {', '.join(str(path) for path in paths)}.")
    console.line(f"Done in {seconds:.0f} s.")
    console.result(
        {
            "command": "demo",
            "data": images.name,
            "source": images.source,
            "backend": keras.backend.backend(),
            "num_test_images": len(images.test_images),
            "float": asdict(before),
            "int8": asdict(after) | {"tflite_bytes": sizes[2]},
            "agreement": agreement,
            "layers": layer_counts,
            "seconds": round(seconds, 2),
            "files": [str(path) for path in paths] if output is not None else [],
        }
    )


def train(images: Images, advance: Advance) -> keras.Model:
    """A trained CNN; `advance(step, num_steps)` is called as it goes."""
    keras.utils.set_random_seed(0)
    num_steps_an_epoch = -(-len(images.train_images) // BATCH_SIZE)
    num_epochs = max(2, -(-MINIMUM_STEPS // num_steps_an_epoch))
    num_steps = num_steps_an_epoch * num_epochs
    model = build_cnn(images.train_images.shape[1:], scale=1.0 / images.highest)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, num_steps)),
        loss="sparse_categorical_crossentropy",
    )
    model.fit(
        images.train_images,
        images.train_labels,
        batch_size=BATCH_SIZE,
        epochs=num_epochs,
        verbose=0,
        callbacks=[_Steps(lambda step: advance(step, num_steps))],
    )
    return model


def without_optimizer(model: keras.Model) -> keras.Model:
    """A copy that was never compiled: its file holds the weights and no optimizer state."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def build_cnn(input_shape: tuple[int, ...], *, scale: float) -> keras.Model:
    """A CNN of two convolutions and three depthwise-separable blocks, two of them residual."""

    def normalized_relu(x: Any) -> Any:
        return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))

    inputs = keras.Input(input_shape, name="image")
    x = layers.Rescaling(scale)(inputs)
    for filters, strides in ((16, 2), (32, 2 if input_shape[0] > 16 else 1)):
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = normalized_relu(x)
    for filters in (64, 64, 64):
        y = normalized_relu(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        y = normalized_relu(layers.Conv2D(filters, 1, use_bias=False)(y))
        x = layers.Add()([x, y]) if x.shape[-1] == filters else y
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(10, activation="softmax")(x)
    return keras.Model(inputs, outputs, name="demo_cnn")


def weight_bytes(model: keras.Model) -> int:
    """Bytes of all variables of a model."""
    sizes = (np.dtype(v.dtype).itemsize * int(np.prod(v.shape)) for v in model.variables)
    return sum(sizes)


class _Steps(keras.callbacks.Callback):
    """Report the number of training steps done."""

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self._report = report
        self._num_steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._num_steps += 1
        self._report(self._num_steps)


def _show(
    console: Console, before: Measurements, after: Measurements, *, tflite_bytes: int
) -> None:
    points = 100 * (after.accuracy - before.accuracy)
    console.table(
        ["", "float32", "int8", "change"],
        [
            (
                "accuracy",
                f"{before.accuracy:.2%}",
                f"{after.accuracy:.2%}",
                f"{points:+.2f} points",
            ),
            (
                "weights",
                byte_size(before.weight_bytes),
                byte_size(after.weight_bytes),
                comparison(before.weight_bytes, after.weight_bytes, less="smaller", more="larger"),
            ),
            (
                ".keras file",
                byte_size(before.keras_bytes),
                byte_size(after.keras_bytes),
                comparison(before.keras_bytes, after.keras_bytes, less="smaller", more="larger"),
            ),
            (".tflite file", "-", byte_size(tflite_bytes), ""),
            (
                "latency",
                f"{before.latency_ms:.3f} ms",
                f"{after.latency_ms:.3f} ms",
                comparison(before.latency_ms, after.latency_ms, less="faster", more="slower"),
            ),
        ],
        right=["float32", "int8"],
    )
