"""What TensorFlow's converter makes of every layer of Keras, in a process of its own.

`python -m integration.layer_files FOLDER` writes `NAME.KIND.tflite` and `NAME.npz`, the inputs, for
each case and kind that is not there yet, and `NAME.KIND.txt`, the converter's reason, for what it
does not convert. A kind that gives the bytes of float32 is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from tests.tflite.support import randomized

from integration.converters import convert

ROOT = Path(__file__).parents[1]
KINDS = ("float32", "float16", "dynamic", "int8", "int16")
CRASHED = "the converter crashed"
BATCH = 2
L = keras.layers
Layers = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A function of KerasTensors of `shapes`, without the batch.

    Attributes:
        dtype: of the inputs; integers lie in [0, 9).
        batch: of the file; None leaves it open.
    """

    function: Layers
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float32"
    batch: int | None = None


SOUND, ROWS, IMAGE, VOLUME = (256,), (10, 32), (9, 8, 16), (6, 5, 4, 16)
CASES: dict[str, Case] = {}
ACTIVATIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign sparse_plus sparse_sigmoid sparsemax squareplus tanh tanh_shrink threshold
"""


def add(name: str, function: Layers, *shapes: tuple[int, ...], **options: Any) -> None:
    if name in CASES:
        raise ValueError(f"two cases {name!r}")
    CASES[name] = Case(function, shapes or (IMAGE,), **options)


def both(layer: Any) -> Layers:
    return lambda x, y: layer([x, y])


def attention(layer: Any) -> Layers:
    return lambda x, y: layer(x, y)


# Core, dense
add("Dense", L.Dense(40, activation="relu"), ROWS[1:])
add("Dense-rows", L.Dense(40), ROWS)
add("EinsumDense", L.EinsumDense("abc,cde->abde", (None, 4, 16), bias_axes="de"), ROWS)
add("Embedding", L.Embedding(9, 160), (7,), dtype="int32")
add("ReversibleEmbedding", L.ReversibleEmbedding(9, 160), (7,), dtype="int32")
add("Identity", lambda x: L.Dense(4)(L.Identity()(x)), ROWS)
add("Lambda", L.Lambda(lambda x: x * 2 + 1, output_shape=lambda shape: shape), ROWS)
add("Masking", lambda x: L.Masking(0.5)(x), ROWS)
add("TimeDistributed", L.TimeDistributed(L.Conv2D(8, 3)), (3, *IMAGE))
add("SpectralNormalization", L.SpectralNormalization(L.Dense(40)), ROWS)
# Convolutions
for rank, shape in ((1, ROWS), (2, IMAGE), (3, VOLUME)):
    convolution = getattr(L, f"Conv{rank}D")
    add(f"Conv{rank}D", convolution(24, 3, padding="same", activation="relu"), shape)
    add(f"Conv{rank}D-strides", convolution(24, 2, strides=2), shape)
    add(f"Conv{rank}DTranspose", getattr(L, f"Conv{rank}DTranspose")(16, 3, strides=2), shape)
    add(
        f"Conv{rank}DTranspose-same",
        getattr(L, f"Conv{rank}DTranspose")(16, 3, padding="same", activation="relu"),
        shape,
    )
for rank, shape in ((1, ROWS), (2, IMAGE)):
    depthwise, separable = (getattr(L, f"{kind}Conv{rank}D") for kind in ("Depthwise", "Separable"))
    add(f"Conv{rank}D-dilated", getattr(L, f"Conv{rank}D")(24, 3, dilation_rate=2), shape)
    add(
        f"Conv{rank}D-causal" if rank == 1 else "Conv2D-groups",
        L.Conv1D(24, 3, padding="causal") if rank == 1 else L.Conv2D(24, 3, groups=2),
        shape,
    )
    add(f"DepthwiseConv{rank}D", depthwise(3, padding="same", activation="relu6"), shape)
    add(f"DepthwiseConv{rank}D-multiplier", depthwise(3, depth_multiplier=2), shape)
    add(f"SeparableConv{rank}D", separable(24, 3), shape)
# Pooling
for rank, shape in ((1, ROWS), (2, IMAGE), (3, VOLUME)):
    for kind in ("Average", "Max"):
        add(f"{kind}Pooling{rank}D", getattr(L, f"{kind}Pooling{rank}D")(2), shape)
        add(
            f"{kind}Pooling{rank}D-same",
            getattr(L, f"{kind}Pooling{rank}D")(3, strides=2, padding="same"),
            shape,
        )
        add(f"Global{kind}Pooling{rank}D", getattr(L, f"Global{kind}Pooling{rank}D")(), shape)
        add(f"Adaptive{kind}Pooling{rank}D", getattr(L, f"Adaptive{kind}Pooling{rank}D")(3), shape)
# Normalization
add("BatchNormalization", L.BatchNormalization())
add(
    "Conv-BatchNormalization-ReLU",
    lambda x: L.ReLU()(L.BatchNormalization()(L.Conv2D(24, 3, use_bias=False)(x))),
)
add("GroupNormalization", L.GroupNormalization(4))
add("LayerNormalization", L.LayerNormalization(), ROWS)
add("RMSNormalization", L.RMSNormalization(), ROWS)
add("UnitNormalization", L.UnitNormalization(), ROWS)
add("Normalization", L.Normalization(mean=[0.1] * 32, variance=[2.0] * 32), ROWS)
# Activations
for activation in ACTIVATIONS.split():
    function = getattr(keras.activations, activation)
    if activation == "threshold":
        add("activation-threshold", L.Lambda(lambda x: keras.ops.threshold(x, 0.3, 0.1)), ROWS)
    else:
        add(f"activation-{activation}", L.Activation(function), ROWS)
add("Activation", L.Activation("gelu"), ROWS)
add("ELU", L.ELU(), ROWS)
add("LeakyReLU", L.LeakyReLU(0.2), ROWS)
add("PReLU", L.PReLU(shared_axes=[1, 2]))
add("ReLU", L.ReLU(), ROWS)
add("ReLU-all", L.ReLU(3.0, 0.1, 0.5), ROWS)
add("Softmax", L.Softmax(), ROWS)
add("Softmax-axis", L.Softmax(axis=1), ROWS)
# Merging
for merge in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate"):
    add(merge, both(getattr(L, merge)()), IMAGE, IMAGE)
add("Add-channels", both(L.Add()), IMAGE, (1, 1, 16))
add("Concatenate-axis", both(L.Concatenate(axis=1)), ROWS, ROWS)
add("Dot", both(L.Dot(axes=2)), ROWS, ROWS)
# Attention
add("AdditiveAttention", both(L.AdditiveAttention()), ROWS, ROWS)
add("Attention", both(L.Attention()), ROWS, ROWS)
add(
    "GroupQueryAttention",
    attention(L.GroupQueryAttention(8, 4, 2, flash_attention=False)),
    ROWS,
    ROWS,
)
add("MultiHeadAttention", attention(L.MultiHeadAttention(4, 8, flash_attention=False)), ROWS, ROWS)
# Shapes
for rank, shape in ((1, ROWS), (2, IMAGE), (3, VOLUME)):
    add(f"Cropping{rank}D", getattr(L, f"Cropping{rank}D")(1), shape)
    add(f"UpSampling{rank}D", getattr(L, f"UpSampling{rank}D")(2), shape)
    add(f"ZeroPadding{rank}D", getattr(L, f"ZeroPadding{rank}D")(1), shape)
add("UpSampling2D-bilinear", L.UpSampling2D(2, interpolation="bilinear"))
add("Flatten", L.Flatten())
add("Permute", L.Permute((3, 1, 2)))
add("RepeatVector", L.RepeatVector(5), (32,))
add("Reshape", L.Reshape((18, -1)))
# Images and other preprocessing
add("Rescaling", L.Rescaling(1 / 255, -0.5))
add("Rescaling-channels", L.Rescaling([0.1] * 16, [0.2] * 16))
for interpolation in ("bilinear", "nearest", "bicubic"):
    add(f"Resizing-{interpolation}", L.Resizing(12, 5, interpolation=interpolation))
add("Resizing", L.Resizing(12, 5, crop_to_aspect_ratio=True))
add("CenterCrop", L.CenterCrop(4, 5))
add("CategoryEncoding", L.CategoryEncoding(9, output_mode="one_hot"), (1,), dtype="int32")
add(
    "CategoryEncoding-multi-hot",
    L.CategoryEncoding(9, output_mode="multi_hot"),
    (4,),
    dtype="int32",
)
add("Discretization", L.Discretization([-0.5, 0.0, 0.7]), ROWS)
add("IntegerLookup", L.IntegerLookup(vocabulary=[3, 1, 4, 5]), (4,), dtype="int32")
add("STFTSpectrogram", L.STFTSpectrogram(frame_length=64, frame_step=32), (256, 1))
add("MelSpectrogram", L.MelSpectrogram(fft_length=64, num_mel_bins=8), SOUND)
# Without effect at inference
for name, layer in {
    "ActivityRegularization": L.ActivityRegularization(0.1),
    "AlphaDropout": L.AlphaDropout(0.2),
    "Dropout": L.Dropout(0.2),
    "GaussianDropout": L.GaussianDropout(0.2),
    "GaussianNoise": L.GaussianNoise(0.2),
    "SpatialDropout1D": L.SpatialDropout1D(0.2),
}.items():
    add(name, lambda x, layer=layer: L.Dense(40)(layer(x)), ROWS)
add("SpatialDropout2D", lambda x: L.Conv2D(24, 1)(L.SpatialDropout2D(0.2)(x)))
add("SpatialDropout3D", lambda x: L.Dense(8)(L.SpatialDropout3D(0.2)(x)), VOLUME)
add("RandomContrast", lambda x: L.Conv2D(24, 1)(L.RandomContrast(0.2)(x)))
add("RandomFlip", lambda x: L.Conv2D(24, 1)(L.RandomFlip()(x)))
add("RandomRotation", lambda x: L.Conv2D(24, 1)(L.RandomRotation(0.2)(x)))
# Recurrent, one operator a step
for cell in ("SimpleRNN", "GRU", "LSTM"):
    add(cell, getattr(L, cell)(40, unroll=True), (4, 32), batch=1)
add("RNN", L.RNN([L.LSTMCell(40), L.GRUCell(24)], unroll=True), (3, 32), batch=1)
add(
    "Bidirectional",
    L.Bidirectional(L.LSTM(40, unroll=True, return_sequences=True)),
    (4, 32),
    batch=1,
)

# Classes of `keras.layers` that no case is named after, and why.
WITHOUT_CASE = {
    **dict.fromkeys(("Layer", "Wrapper", "InputLayer", "InputSpec"), "not an operation"),
    **dict.fromkeys(("JaxLayer", "FlaxLayer", "TorchModuleWrapper", "TFSMLayer"), "of one backend"),
    **dict.fromkeys(
        ("StringLookup", "TextVectorization", "Hashing", "HashedCrossing"), "on strings"
    ),
    **dict.fromkeys(
        ("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"), "part of RNN, LSTM, GRU"
    ),
    **dict.fromkeys(
        ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), "a loop; see the tests of control flow"
    ),
    "MaxNumBoundingBoxes": "on labels",
    "Pipeline": "a list of layers",
}
# Images are changed at random, in training only: one stands for all.
AUGMENTATIONS = """
    AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp
    RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomCrop
    RandomElasticTransform RandomErasing RandomGaussianBlur RandomGrayscale RandomHue
    RandomInvert RandomPerspective RandomPosterization RandomSaturation RandomSharpness
    RandomShear RandomTranslation RandomZoom Solarization
"""


def model_of(case: Case, batch: int | None) -> keras.Model:
    inputs = [
        keras.Input(batch_shape=(batch, *shape), dtype=case.dtype, name=f"x{position}")
        for position, shape in enumerate(case.shapes)
    ]
    return randomized(keras.Model(inputs, case.function(*inputs)))


def data_of(case: Case, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """By name: the converter has the inputs in an order of its own."""
    shapes = {f"x{position}": (count, *shape) for position, shape in enumerate(case.shapes)}
    if case.dtype == "int32":
        return {name: rng.integers(0, 9, x).astype(np.int32) for name, x in shapes.items()}
    return {name: rng.normal(0, 1, x).astype(np.float32) for name, x in shapes.items()}


def make(folder: Path) -> None:
    """Fill `folder`, in processes that may crash."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "integration.layer_files", str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=7200,
        )
        if done.returncode == 0:
            return
        started = sorted(folder.glob("*.started"))
        if not started:
            raise RuntimeError(done.stderr[-2000:])
        for path in started:
            path.rename(path.with_suffix(".txt"))


def main(folder: Path) -> None:
    for name, case in CASES.items():
        if not (folder / f"{name}.npz").exists():
            write(folder, name, case)


def write(folder: Path, name: str, case: Case) -> None:
    import tempfile

    rng = np.random.default_rng(0)
    batch = case.batch
    model = model_of(case, batch)
    examples = data_of(case, batch or BATCH, rng)
    samples = [data_of(case, batch or 1, rng) for _ in range(20)]
    with tempfile.TemporaryDirectory() as saved:
        model.export(saved, format="tf_saved_model", verbose=False)
        plain = b""
        for kind in KINDS:
            target = folder / f"{name}.{kind}"
            reason, started = target.with_name(f"{target.name}.txt"), Path(f"{target}.started")
            if reason.exists():
                continue
            started.write_text(CRASHED, encoding="utf-8")
            try:
                content = convert(saved, kind, samples)
            except Exception as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                reason.write_text(first, encoding="utf-8")
            else:
                if kind == "float32" or content != plain:
                    Path(f"{target}.tflite").write_bytes(content)
                plain = content if kind == "float32" else plain
            started.unlink()
    np.savez_compressed(folder / f"{name}.npz", **examples)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
