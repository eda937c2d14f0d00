"""What `--data` reads: images, tables, functions and arrays, and what it says of wrong ones."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import typer.testing
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

import keras_octet as ko
from keras_octet_cli.app import app
from keras_octet_cli.data import DataOptions, open_source
from keras_octet_cli.data.sampling import BATCH_SIZE, spread
from keras_octet_cli.options import parse_factor, parse_numbers, parse_size, source_of

NUM = 150
DIGITS = load_digits()
PIXELS = (DIGITS.images[:NUM] * 15).astype(np.uint8)
LABELS = DIGITS.target[:NUM]
SCALE = "--rescale", "1/240"


def octet(*arguments: str) -> Any:
    return typer.testing.CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def input_tensor(*shape: int | None, dtype: str = "float32", name: str = "image") -> Any:
    return keras.KerasTensor((None, *shape), dtype=dtype, name=name)


def load(text: str, *inputs: Any, with_labels: bool = False, **options: Any) -> Any:
    source = open_source(text, DataOptions(**options))
    return source.load(inputs or [input_tensor(8, 8, 1)], with_labels=with_labels)


def joined(batches: Any) -> Any:
    """All batches of a stream as one; their number is what the stream says."""
    parts = list(batches)
    assert len(parts) == len(batches)
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as images, CSV, Parquet, arrays and code, and a model with its quantized form."""
    folder = tmp_path_factory.mktemp("digits")
    for index, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        path = folder / "images" / f"digit_{label}" / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    columns = {f"pixel_{i}": PIXELS.reshape(NUM, 64)[:, i] / 240 for i in range(64)}
    columns["digit"] = LABELS
    table = pyarrow.table(columns)
    pyarrow.csv.write_csv(table, folder / "digits.csv")
    pyarrow.parquet.write_table(table, folder / "digits.parquet", row_group_size=40)
    x = (PIXELS / 240).astype("float32")[..., None]
    np.savez(folder / "digits.npz", x=x, y=LABELS)
    (folder / "my_digits.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    data = np.load('digits.npz')\n"
        "    for start in range(0, 150, 50):\n"
        "        yield data['x'][start : start + 50], data['y'][start : start + 50]\n"
        "def broken():\n"
        "    yield np.zeros((1, 8, 8, 1))\n"
        "    raise KeyError('no more')\n"
        "array = np.load('digits.npz')['x']\n"
    )
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1), name="image")
    z = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(z))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, LABELS, epochs=8, verbose=0)
    model.save(folder / "model.keras")
    ko.quantize(model, x).save(folder / "int8.keras")
    return folder


@pytest.fixture
def folder(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(files)
    return files


SOURCES = {
    "images": ["images", *SCALE],
    "csv": ["digits.csv", "--label-column", "digit"],
    "parquet": ["digits.parquet", "--label-column", "digit"],
    "function": ["my_digits:batches"],
    "arrays": ["digits.npz"],
}


@pytest.mark.parametrize("arguments", SOURCES.values(), ids=list(SOURCES))
def test_every_source_calibrates_alike(folder: Path, tmp_path: Path, arguments: list[str]) -> None:
    out = tmp_path / "out.keras"
    done = octet("quantize", "model.keras", "-o", str(out), "--data", *arguments, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["data"] == arguments[0]
    model, expected = (keras.saving.load_model(p) for p in (out, "int8.keras"))
    x = np.load("digits.npz")["x"]
    received = model.predict(x, verbose=0)
    # Means of channels depend on how samples are grouped, in the last bits.
    np.testing.assert_allclose(received, expected.predict(x, verbose=0), atol=0.01)


@pytest.mark.parametrize("arguments", SOURCES.values(), ids=list(SOURCES))
def test_every_source_has_labels_for_validation(folder: Path, arguments: list[str]) -> None:
    done = octet(
        *["validate", "model.keras", "int8.keras", "--data", *arguments],
        *["--json", "--no-latency", "--layer-samples", "0"],
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["num_samples"] == NUM
    scores = {row["name"]: row["before"] for row in result["metrics"]}
    model = keras.saving.load_model("model.keras")
    classes = model.predict(np.load("digits.npz")["x"], verbose=0).argmax(1)
    assert scores["top-1 accuracy"] == pytest.approx((classes == LABELS).mean(), abs=0.01)
    assert scores["top-1 accuracy"] > 0.6


def test_images_are_read_as_the_model_wants_them(folder: Path) -> None:
    images, labels = joined(load("images", with_labels=True))
    order = np.argsort(LABELS, kind="stable")
    np.testing.assert_array_equal(images[..., 0], PIXELS[order])
    np.testing.assert_array_equal(labels, LABELS[order])
    color = joined(load("images", input_tensor(12, 10, 3)))
    assert color.shape == (NUM, 12, 10, 3)
    np.testing.assert_array_equal(color[..., 0], color[..., 2])
    np.testing.assert_array_equal(
        joined(load("images", input_tensor(3, 12, 10))), np.moveaxis(color, -1, 1)
    )
    sized = load("images", input_tensor(None, None, 3), image_size=(12, 10))
    np.testing.assert_array_equal(joined(sized), color)
    prepared = load("images", input_tensor(12, 10, 3), rescale=1 / 255, mean=(0.5,), std=(1, 2, 4))
    np.testing.assert_allclose(
        joined(prepared), (color / 255 - 0.5) / np.array([1, 2, 4]), atol=1e-6
    )


@pytest.mark.parametrize("name", ["mobilenet_v2", "keras.applications.resnet50"])
def test_images_prepared_as_for_an_application(tmp_path: Path, name: str) -> None:
    """Photographs, and what Keras's own functions make of them."""
    for index, photograph in enumerate(load_sample_images().images):
        Image.fromarray(photograph).save(tmp_path / f"{index}.png")
    (tmp_path / "notes.txt").write_text("no image")
    received = joined(load(str(tmp_path), input_tensor(96, 64, 3), preprocess=name))
    function = getattr(keras.applications, name.rpartition(".")[2]).preprocess_input
    for index, image in enumerate(received):
        pixels = keras.utils.load_img(
            tmp_path / f"{index}.png", target_size=(96, 64), interpolation="bilinear"
        )
        np.testing.assert_array_equal(image, function(keras.utils.img_to_array(pixels)))


@pytest.mark.parametrize("text", ["digits.csv", "digits.parquet"])
def test_columns_go_to_inputs(folder: Path, text: str) -> None:
    arrays, labels = joined(load(text, with_labels=True, label_column="digit"))
    np.testing.assert_array_equal(arrays["image"][..., 0], PIXELS / 240)
    assert labels.dtype.kind == "i"
    np.testing.assert_array_equal(labels, LABELS)
    few = joined(load(text, input_tensor(2, name="any"), column=("pixel_4", "pixel_2")))
    np.testing.assert_array_equal(few["any"], PIXELS.reshape(NUM, 64)[:, [4, 2]] / 240)
    named = [input_tensor(64, name="pixel"), input_tensor(1, dtype="int32", name="digit")]
    both = joined(load(text, *named))
    np.testing.assert_array_equal(both["pixel"], PIXELS.reshape(NUM, 64) / 240)
    np.testing.assert_array_equal(both["digit"][:, 0], LABELS)


def test_a_column_of_lists_is_an_input(tmp_path: Path) -> None:
    values = np.arange(300.0).reshape(100, 3)
    nested = [[[v] for v in row] for row in values]
    table = pyarrow.table(
        {
            "plain": values.tolist(),
            "fixed": pyarrow.FixedSizeListArray.from_arrays(values.ravel(), 3),
            "nested": nested,
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    names = ["plain", "fixed", "nested"]
    arrays = joined(load(str(tmp_path / "t.parquet"), *(input_tensor(3, name=n) for n in names)))
    for name in names:
        np.testing.assert_array_equal(arrays[name], values)


def test_limits_spread_over_all_samples() -> None:
    chosen = spread(1000, 10, 3)
    assert (chosen // 100).tolist() == list(range(10))
    np.testing.assert_array_equal(chosen, spread(1000, 10, 3))
    assert (chosen != spread(1000, 10, 4)).any()
    assert spread(10, 10, 0) is None


@pytest.mark.parametrize("arguments", ["images", "digits.csv", "digits.parquet", "digits.npz"])
def test_a_limit_takes_the_same_samples_of_every_source(folder: Path, arguments: str) -> None:
    options: dict[str, Any] = {"limit": 100, "seed": 5}
    if arguments.endswith(("csv", "parquet")):
        options["label_column"] = "digit"
    found = load(arguments, with_labels=True, **options)
    samples, labels = found if isinstance(found, tuple) else joined(found)
    everything = np.sort(LABELS) if arguments == "images" else LABELS
    np.testing.assert_array_equal(labels, everything[spread(NUM, 100, 5)])
    assert {len(x) for x in keras.tree.flatten(samples)} == {100}


def test_files_are_read_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        keras.utils, "load_img", lambda path, **_: opened.append(path) or np.zeros((8, 8))
    )
    stream = iter(load("images"))
    assert not opened
    next(stream)
    assert len(opened) == BATCH_SIZE


def test_a_function_may_be_data(folder: Path) -> None:
    np.testing.assert_array_equal(load("my_digits:array"), np.load("digits.npz")["x"])


@pytest.fixture
def wrong(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that are wrong in one way each, beside links to the right ones; the current folder."""
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text").mkdir()
    Path("text/a.png").write_text("no image")
    png = Path("images/digit_0/000.png").read_bytes()
    Path("cut").mkdir()
    Path("cut/a.png").write_bytes(png[: len(png) // 2])
    Path("bomb").mkdir()
    # The header claims 60000 x 60000 pixels.
    header = b"IHDR" + struct.pack(">II", 60000, 60000) + png[24:29]
    checked = header + struct.pack(">I", zlib.crc32(header))
    Path("bomb/a.png").write_bytes(png[:12] + checked + png[33:])
    Path("mixed/a").mkdir(parents=True)
    for path in ("mixed/a/x.png", "mixed/y.png"):
        Path(path).write_bytes(png)
    for number in range(12):
        Path(f"twelve/{number:02}").mkdir(parents=True)
        Path(f"twelve/{number:02}/x.png").write_bytes(png)
    lines = Path("digits.csv").read_text().splitlines()
    for name, row in (
        ("text", lines[7].replace("0,", "zero,", 1)),
        ("gap", lines[7].replace("0,", ",", 1)),
        ("nan", lines[7].replace("0,", "NaN,", 1)),
        ("short", "1,2,3"),
        ("name", ",".join([*lines[7].split(",")[:-1], '"seven"'])),
    ):
        Path(f"{name}.csv").write_text("\n".join([*lines[:7], row, *lines[8:]]) + "\n")
    Path("nothing.csv").write_text("")
    Path("headless.csv").write_text("1,2,3\n4,5,6\n")
    Path("rowless.csv").write_text(lines[0] + "\n")
    Path("twice.csv").write_text("a,a\n1,2\n")
    Path("bytes.csv").write_bytes(bytes(range(256)))
    Path("bytes.parquet").write_bytes(b"PAR1 but no table PAR1")
    pyarrow.parquet.write_table(pyarrow.table({"image": [[1.0] * 64, [1.0] * 63]}), "lists.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"image": ["a", "b"]}), "strings.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"image": [[1.0] * 9] * 4}), "nine.parquet")
    x = np.load("digits.npz")["x"]
    np.savez("uneven.npz", x=x, y=LABELS[:-1])
    np.save("words.npy", np.array(["one", "two"]))
    np.savez_compressed("damaged.npz", x=x)
    content = bytearray(Path("damaged.npz").read_bytes())
    content[100:400] = bytes(300)
    Path("damaged.npz").write_bytes(content)
    x[3] = np.nan
    np.save("nan.npy", x)
    twice = pyarrow.table([[1.0], [2.0]], names=["a", "a"])
    pyarrow.parquet.write_table(twice, "twice.parquet")
    hollow = pyarrow.array([[], []], pyarrow.list_(pyarrow.list_(pyarrow.float64())))
    pyarrow.parquet.write_table(pyarrow.table({"image": hollow}), "hollow.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "empty has no images. Expected files that end in"),
        (["text"], "a.png is not an image that Pillow can read"),
        (["cut"], "a.png is not an image that Pillow can read"),
        (["bomb"], "a.png is not an image that Pillow can read: Image size (3600000000 pixels)"),
        (["mixed"], "images in subdirectories and others beside them, such as y.png"),
        (["twelve"], "twelve has 12 subdirectories"),
        (["images", "--image-size", "9"], "takes images of 8x8 pixels"),
        (["images", "--preprocess", "mobilenet_v9"], "mobilenet_v2"),
        (["images", "--preprocess", "mobilenet_v2"], "images with 3 channels"),
        (["images", "--mean", "1,2"], "--mean needs 1 or 1 numbers"),
        (["images", "--std", "0"], "--std must not be 0"),
        (["nodirectory"], "nodirectory: no such file or directory"),
        (["gone.csv"], "gone.csv: no such file or directory"),
        (["digits.csv"], "has 65 columns for the input 'image' of shape (8, 8, 1)"),
        (["digits.csv", "--label-column", "number"], "digits.csv has no column 'number'. Columns:"),
        (["digits.csv", "--column", "pixle_*"], "digits.csv has no column 'pixle_*'. Columns:"),
        (["text.csv", "--label-column", "digit"], "invalid value 'zero'"),
        (["gap.csv", "--label-column", "digit"], "gap.csv, row 8, column 'pixel_0': the value is"),
        (["nan.csv", "--label-column", "digit"], "nan.csv, row 8, column 'pixel_0': the value is"),
        (["short.csv", "--label-column", "digit"], "Expected 65 columns, got 3"),
        (["name.csv", "--label-column", "digit"], "column 'digit' is of type string"),
        (["nothing.csv"], "nothing.csv is not a table that pyarrow can read: Empty CSV"),
        (["headless.csv"], "headless.csv has numbers in its first line"),
        (["rowless.csv", "--label-column", "digit"], "rowless.csv has no rows"),
        (["twice.csv"], "twice.csv has more than one column 'a'"),
        (["bytes.csv"], "bytes.csv is not a table that pyarrow can read"),
        (["bytes.parquet"], "bytes.parquet is not a table that pyarrow can read"),
        (["lists.parquet"], "column 'image' has lists of 63 and of 64 values"),
        (["strings.parquet"], "column 'image' is of type string"),
        (["nine.parquet"], "column 'image' has 9 values in a row"),
        (["twice.parquet"], "twice.parquet has more than one column 'a'"),
        (["hollow.parquet"], "column 'image' has empty lists"),
        (["damaged.npz"], "damaged.npz is not a NumPy file of plain arrays"),
        (["uneven.npz"], "labels for"),
        (["uneven.npz", "--limit", "9"], "Received: 149 and 150"),
        (["words.npy"], "the data"),
        (["nan.npy"], "NaN or infinite values, first in sample 3"),
        (["my_digits:nothing"], "my_digits:nothing raised AttributeError: module 'my_digits'"),
        (["no_such:function"], "no_such:function raised ModuleNotFoundError"),
        (["my_digits:broken"], "my_digits:broken raised KeyError: 'no more' ("),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_data_is_one_line_and_exit_code_1(
    wrong: Path, arguments: list[str], message: str
) -> None:
    done = octet(
        *["validate", "model.keras", "int8.keras", "--data", *arguments],
        *["--no-latency", "--layer-samples", "0", "--report", "out.json"],
    )
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not Path("out.json").exists()


def test_a_numpy_file_is_what_it_holds(folder: Path, tmp_path: Path) -> None:
    x = np.load("digits.npz")["x"]
    shutil.copy("digits.npz", tmp_path / "archive.npy")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, x)
    for name in ("archive.npy", "array.npz"):
        np.testing.assert_array_equal(load(str(tmp_path / name)), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.txt"], "data.txt must end in .npy"),
        (["digits.csv", "--image-size", "8"], "--image-size is for directories of images"),
        (["images", "--label-column", "digit"], "--label-column is for tables, not for images"),
        (["my_digits:batches", "--limit", "8"], "--limit is for NumPy files and tables and dir"),
        (["images", "--labels", "y.npy"], "--labels is for NumPy files"),
        (["images", "--preprocess", "vgg16", "--mean", "1"], "leave out --mean"),
        (["images", "--rescale", "x"], "--rescale: 'x' is no number"),
        (["images", "--image-size", "1x2x3"], "--image-size: '1x2x3' is no size"),
        (["digits.csv", "--limit", "0"], "'--limit'"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(
    wrong: Path, arguments: list[str], message: str
) -> None:
    done = octet("validate", "model.keras", "int8.keras", "--data", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stderr.endswith("See: octet validate --help\n")


def test_fewer_classes_than_outputs_are_a_warning(wrong: Path) -> None:
    for number in range(4, 12):
        (wrong / f"twelve/{number:02}/x.png").unlink()
    done = octet(
        *["validate", "model.keras", "int8.keras", "--data", "twelve"],
        *["--no-latency", "--layer-samples", "0"],
    )
    assert done.exit_code == 0, done.output
    assert "warning: twelve has 4 classes and the model 10: 00 counts as class 0" in done.stdout


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for text in ("images", "digits.csv"):
        with pytest.raises(ko.MissingDependencyError, match=r"pip install 'keras-octet\[data\]'"):
            load(text)


def test_numbers_and_sizes() -> None:
    assert parse_size("224") == (224, 224)
    assert parse_size("192x256") == (192, 256)
    assert parse_factor("1/255") == 1 / 255
    assert parse_numbers("0.5, 1/4") == (0.5, 0.25)
    for text in ("", "1/0", "nan", "a"):
        with pytest.raises(ValueError, match="is no number"):
            parse_factor(text)
    source = source_of("d.csv", column=["a", "b"], limit=None)
    assert source.options == DataOptions(column=("a", "b"))
