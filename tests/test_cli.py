"""The `octet` command: arguments, outputs, errors, interruption."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import typer.testing

import keras_octet as ko
import keras_octet_cli.demo
import keras_octet_cli.demo_data
from keras_octet_cli.app import app
from keras_octet_cli.backend import choose_backend
from keras_octet_cli.console import byte_size, comparison
from keras_octet_cli.data import DataOptions, arrays
from keras_octet_cli.quantize import build_recipe

QUANTIZE = ["quantize", "model.keras", "--data", "data.npz"]


def octet(*arguments: str) -> Any:
    return typer.testing.CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    program = "from keras_octet_cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a float model and calibration data."""
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((6, 6, 2), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Flatten()(x)
    outputs = keras.layers.Dense(3, name="head")(x)
    keras.Model(inputs, outputs).save("model.keras")
    np.savez("data.npz", x=samples(), y=np.zeros(32))
    return tmp_path


def samples() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(32, 6, 6, 2)).astype("float32")


def test_help_needs_no_keras() -> None:
    program = """
import sys, keras_octet_cli
try:
    keras_octet_cli.main()
finally:
    assert not {"keras", "numpy", "keras_octet"} & set(sys.modules), sorted(sys.modules)
"""
    command = [sys.executable, "-c", program, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "quantize" in done.stdout
    assert "demo" in done.stdout


def test_version() -> None:
    if not list(importlib.metadata.distributions(name="keras-octet")):
        pytest.skip("the package is on the path, not installed")
    assert octet("--version").output.strip() == ko.__version__


def test_quantize_writes_a_model_that_loads(folder: Path) -> None:
    done = octet(*QUANTIZE, "-o", "out.keras")
    assert done.exit_code == 0, done.output
    assert "conv" in done.stdout
    assert "0 left in float" in done.stdout
    assert "Wrote out.keras" in done.stdout
    received = keras.saving.load_model("out.keras").predict(samples(), verbose=0)
    expected = ko.quantize(keras.saving.load_model("model.keras"), samples())
    np.testing.assert_array_equal(received, expected.predict(samples(), verbose=0))
    # Nothing else is left behind, and the file is readable as any new file is.
    assert sorted(path.name for path in folder.iterdir()) == [
        "data.npz",
        "model.keras",
        "out.keras",
    ]
    assert (folder / "out.keras").stat().st_mode == (folder / "data.npz").stat().st_mode


def test_quantize_to_tflite_with_options_and_json(folder: Path) -> None:
    done = octet(
        *[
            *QUANTIZE,
            "-o",
            "out.tflite",
            "--json",
            "--keep-float",
            "head",
            "--keep-float",
            "nosuch",
        ],
        *["--observer", "percentile", "--input-dtype", "int8"],
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    status = {row["name"]: row["status"] for row in result["layers"]}
    assert (status["conv"], status["head"]) == ("int8", "float")
    assert len(result["unmatched_rules"]) == 1
    assert "nosuch" in result["unmatched_rules"][0]
    assert result["bytes_before"] == (folder / "model.keras").stat().st_size
    assert result["bytes_after"] == (folder / "out.tflite").stat().st_size

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter("out.tflite")
    assert interpreter.get_input_details()[0]["dtype"] == np.int8
    assert interpreter.get_output_details()[0]["dtype"] == np.float32


def test_a_rule_without_a_match_is_a_warning(folder: Path) -> None:
    done = octet(*QUANTIZE, "-o", "out.keras", "--keep-float", "nosuch")
    assert done.exit_code == 0
    assert "warning" in done.stdout
    assert "nosuch" in done.stdout


def test_quiet_prints_nothing(folder: Path) -> None:
    """Nor do the backend and LiteRT, which write past Python: hence a process of its own."""
    done = start(*QUANTIZE, "-o", "out.keras", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "out.keras").exists()


def test_options_go_on_top_of_a_recipe(folder: Path) -> None:
    recipe = ko.recipes.w8a8(keep_float="head", weight_granularity="per_tensor")
    path = folder / "recipe.json"
    path.write_text(recipe.to_json())
    assert build_recipe(path) == recipe
    built = build_recipe(path, keep_float=["conv"], observer="mse", output_dtype="int8")
    assert [rule.name for rule in built.rules] == ["conv", "head"]
    assert built.scheme == ko.Scheme(weight_granularity="per_tensor", observer=ko.MSE())
    assert (built.input_dtype, built.output_dtype) == ("float32", "int8")


def test_every_observer_has_a_name_on_the_command_line() -> None:
    from keras_octet.observer_specs import OBSERVERS
    from keras_octet_cli.app import ObserverName

    found = {type(build_recipe(None, observer=name).scheme.observer) for name in ObserverName}
    assert found == set(OBSERVERS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quantize", "gone.keras", "--data", "data.npz"], "gone.keras: no such file"),
        (["quantize", "model.keras", "--data", "gone.npz"], "gone.npz: no such file"),
        ([*QUANTIZE, "--recipe", "gone.json"], "gone.json: no such file"),
        (["quantize", "data.npz", "--data", "data.npz"], "must end in .keras or .h5"),
        (["quantize", "broken.keras", "--data", "data.npz"], "could not load a model"),
        (["quantize", "model.keras", "--data", "broken.npz"], "not a NumPy file"),
        (["quantize", "model.keras", "--data", "objects.npy"], "not a NumPy file"),
        (["quantize", "model.keras", "--data", "shape.npy"], "(32, 7)"),
        ([*QUANTIZE, "--recipe", "broken.keras"], "not valid JSON"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    folder: Path, arguments: list[str], message: str
) -> None:
    for name in ("broken.keras", "broken.npz"):
        (folder / name).write_bytes(b"neither of them")
    np.save("objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save("shape.npy", np.zeros((32, 7), "float32"))
    done = octet(*arguments, "-o", "out.keras")
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (folder / "out.keras").exists()


def test_a_missing_folder_is_found_before_the_work(folder: Path) -> None:
    done = octet("quantize", "gone.keras", "--data", "data.npz", "-o", "nowhere/out.keras")
    assert done.exit_code == 1
    assert done.stderr == "error: nowhere: no such folder\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["quantize", "model.keras", "--data", "data.npz"],
        ["quantize", "model.keras", "-o", "out.keras"],
        [*QUANTIZE, "-o", "out.h5"],
        [*QUANTIZE, "-o", "model.keras"],
        [*QUANTIZE, "-o", "out.keras", "--observer", "median"],
        [*QUANTIZE, "-o", "out.keras", "--input-dtype", "uint8"],
        ["quantize", "model.keras", "--data", "data.txt", "-o", "out.keras"],
        ["shrink", "model.keras"],
    ],
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str]) -> None:
    assert octet(*arguments).exit_code == 2
    assert not (folder / "out.keras").exists()


def test_interruption_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "out.keras").write_bytes(b"what was there")

    def save_half(self: Any, path: Path, **kwargs: Any) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", save_half)
    done = octet(*QUANTIZE, "-o", "out.keras")
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted\n"
    assert (folder / "out.keras").read_bytes() == b"what was there"
    assert len(list(folder.iterdir())) == 3


def test_calibration_arrays_by_input_name(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"

    def load(*names: str) -> Any:
        inputs = [keras.KerasTensor((None,), name=name) for name in names]
        return arrays.load(str(path), DataOptions(), inputs, False)

    np.savez(path, a=np.zeros(2), b=np.ones(2), x=np.full(2, 7))
    assert set(load("a", "b")) == {"a", "b", "x"}
    assert load("image")[0] == 7
    np.savez(path, anything=np.full(3, 5))
    assert load("image")[0] == 5


def test_a_backend_that_does_not_start_is_one_line() -> None:
    done = start("quantize", "m.keras", "--data", "d.npz", "-o", "o.keras", KERAS_BACKEND="abacus")
    assert done.returncode == 1
    assert "error: Keras could not start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("configured", "installed", "chosen"),
    [
        (None, {"tensorflow", "jax"}, "tensorflow"),
        (None, {"torch"}, "torch"),
        ("jax", {"tensorflow", "jax"}, "jax"),
        ("tensorflow", {"torch"}, "torch"),
        (None, set(), None),
    ],
)
def test_choice_of_backend(
    configured: str | None,
    installed: set[str],
    chosen: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object() if name in installed else None
    )
    if configured:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": configured}))
    assert choose_backend() == chosen
    assert os.environ["KERAS_BACKEND"] == (chosen or "")


def test_a_named_backend_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "anything")
    assert choose_backend() == "anything"


def test_sizes_and_comparisons_in_words() -> None:
    assert [byte_size(n) for n in (999, 12_345, 6_789_000)] == ["999 B", "12.3 kB", "6.8 MB"]
    assert comparison(8, 2, less="smaller", more="larger") == "4.0x smaller"
    assert comparison(2, 3, less="faster", more="slower") == "1.5x slower"
    assert comparison(0, 3, less="faster", more="slower") == ""


@pytest.fixture
def _few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's fallback data, cut short, as if there were no file and no network."""
    demo, data = keras_octet_cli.demo, keras_octet_cli.demo_data
    monkeypatch.setattr(data, "DEBIAN_FOLDER", Path("nowhere"))
    monkeypatch.setattr(data, "keras_home", lambda: Path("nowhere"))
    monkeypatch.setattr(data, "_network_answers", lambda: False)
    monkeypatch.setattr(demo, "MINIMUM_STEPS", 60)
    monkeypatch.setattr(demo, "NUM_LATENCY_CALLS", 3)


@pytest.mark.usefixtures("_few_digits")
def test_demo_on_digits_keeps_its_models(tmp_path: Path) -> None:
    done = octet("demo", "--output", str(tmp_path / "models"), "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["data"] == "scikit-learn digits"
    assert "neither" in result["source"]
    images = keras_octet_cli.demo_data.load_images()
    float_model, int8_model = (
        keras.saving.load_model(tmp_path / "models" / name)
        for name in ("float.keras", "int8.keras")
    )
    for model, key in ((float_model, "float"), (int8_model, "int8")):
        classes = model.predict(images.test_images, verbose=0).argmax(-1)
        assert result[key]["accuracy"] == pytest.approx((classes == images.test_labels).mean())
        assert result[key]["accuracy"] > 0.5
    assert result["int8"]["accuracy"] > result["float"]["accuracy"] - 0.05
    assert result["agreement"] > 0.9
    for name, size in (
        ("float.keras", result["float"]["keras_bytes"]),
        ("int8.keras", result["int8"]["keras_bytes"]),
        ("int8.tflite", result["int8"]["tflite_bytes"]),
    ):
        assert (tmp_path / "models" / name).stat().st_size == size


def test_fashion_mnist_is_read_from_idx_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    data = keras_octet_cli.demo_data
    pixels = np.arange(2 * 28 * 28, dtype=np.uint8)
    for name in data.FASHION_MNIST_FILES:
        if "images" in name:
            content = b"\0\0\x08\x03" + np.array([2, 28, 28], ">i4").tobytes() + pixels.tobytes()
        else:
            content = b"\0\0\x08\x01" + np.array([2], ">i4").tobytes() + b"\x03\x04"
        (tmp_path / name).write_bytes(gzip.compress(content))
    monkeypatch.setattr(data, "keras_home", lambda: tmp_path / "empty")
    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path)
    images = data.load_images()
    assert images.name == "Fashion-MNIST"
    assert images.train_images.shape == (2, 28, 28, 1)
    np.testing.assert_array_equal(images.test_images.ravel(), pixels)
    assert images.test_labels.tolist() == [3, 4]


def test_interruption_waits_for_imports() -> None:
    """In a process of its own: a worker of pytest-xdist may end at the signal."""
    program = """if True:
        import signal
        from keras_octet_cli.backend import interruption_deferred
        try:
            with interruption_deferred():
                signal.raise_signal(signal.SIGINT)
                print("the rest of the block")
            print("what follows it")
        except KeyboardInterrupt:
            print("interrupted")
        """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["the rest of the block", "interrupted"], done.stderr


def test_ctrl_c_ends_the_process() -> None:
    program = """
import signal
import keras_octet_cli.demo

keras_octet_cli.demo.run = lambda *args, **kwargs: signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
keras_octet_cli.main()
"""
    command = [sys.executable, "-c", program, "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130
    assert done.stderr.endswith("error: interrupted\n")
    assert "Traceback" not in done.stderr


# Runs the command in a process that stops in the middle of writing and says so.
STOPS_HALF_WAY = """
import signal, sys, time
from pathlib import Path
import zipfile

def stop():
    open("ready", "w").close()
    time.sleep(120)

def write_half(path, data):
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    stop()

def write_one_entry(self, *arguments, **options):
    original(self, *arguments, **options)
    self.fp.flush()
    stop()

original = zipfile.ZipFile.writestr
if sys.argv[1] == "writing":
    Path.write_bytes, zipfile.ZipFile.writestr = write_half, write_one_entry
del sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
from keras_octet_cli import main
main()
"""


@pytest.mark.parametrize(
    ("when", "arguments", "target"),
    [
        (
            "calibrating",
            ["quantize", "model.keras", "--data", "endless:batches", "-o"],
            "out.keras",
        ),
        ("writing", ["quantize", "model.keras", "--data", "data.npz", "-o"], "out.keras"),
        ("writing", ["quantize", "model.keras", "--data", "data.npz", "-o"], "out.tflite"),
        ("writing", ["convert", "model.keras"], "out.keras"),
        ("writing", ["convert", "model.keras"], "out.tflite"),
        ("writing", ["convert", "float.tflite"], "out.keras"),
    ],
)
def test_ctrl_c_leaves_no_half_written_file(
    folder: Path, when: str, arguments: list[str], target: str
) -> None:
    (folder / "endless.py").write_text(
        "import pathlib\n"
        "import numpy as np\n"
        "def batches():\n"
        "    while True:\n"
        "        yield np.zeros((8, 6, 6, 2), 'float32')\n"
        "        pathlib.Path('ready').touch()\n"
    )
    ko.export(keras.saving.load_model("model.keras"), "float.tflite")
    (folder / target).write_bytes(b"what was there")
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS_HALF_WAY, when, *arguments, target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    end = time.monotonic() + 120
    while not (folder / "ready").exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    before = {path.name for path in folder.iterdir()}
    if when == "writing":
        assert any(name.startswith(".") for name in before), before
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output == ""
    assert errors.endswith("error: interrupted\n")
    assert (folder / target).read_bytes() == b"what was there"
    left = {path.name for path in folder.iterdir()}
    assert left == {"data.npz", "endless.py", "float.tflite", "model.keras", "ready", target}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """What Typer's scripts ask the command when Tab is pressed, without importing Keras."""
    program = """
import sys, keras_octet_cli
try:
    keras_octet_cli.main()
finally:
    assert not {"keras", "numpy", "keras_octet"} & set(sys.modules)
"""

    def complete(line: str) -> str:
        words = line.split(" ")
        environment = {
            "_OCTET_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line.replace(" ", "\n"),
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        done = subprocess.run(
            # Typer takes the command's name from this.
            [sys.executable, "-c", f"import sys; sys.argv[0] = 'octet'\n{program}"],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | environment,
        )
        assert "Error" not in done.stderr, done.stderr
        return done.stdout

    commands = complete("octet ")
    assert all(name in commands for name in ("quantize", "validate", "bench", "inspect"))
    assert "quantize" not in complete("octet v")
    assert "--image-size" in complete("octet quantize --im")
    assert "litert" in complete("octet bench --engine l")


def test_colours_are_for_terminals_only() -> None:
    """Into a pipe there are none; on a terminal NO_COLOR turns them off."""
    assert "\x1b[" not in start("quantize").stderr
    assert "\x1b[" not in start("--help").stdout
    colours = {"TERM": "xterm-256color", "FORCE_COLOR": "1"}
    assert "\x1b[1;31merror:" in start("quantize", **colours).stderr
    assert "\x1b[1;31m" not in start("quantize", **colours, NO_COLOR="1").stderr
    assert "\x1b[3" not in start("--help", **colours, NO_COLOR="1").stdout


def test_convert_for_xnnpack(folder: Path) -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="hard_silu")])
    x = np.random.default_rng(0).normal(0, 2, (64, 8)).astype("float32")
    ko.quantize(model, x).export("q.tflite")
    done = octet("convert", "q.tflite", "faster.tflite", "--for-xnnpack")
    assert done.exit_code == 0, done.output
    assert len(ko.inspect("faster.tflite").operations) == len(ko.inspect("q.tflite").operations) + 4
    expected, received = (ko.load_model(x) for x in ("q.tflite", "faster.tflite"))
    np.testing.assert_array_equal(received.predict(x, verbose=0), expected.predict(x, verbose=0))
    done = octet("convert", "q.tflite", "q.keras", "--for-xnnpack")
    assert done.exit_code == 2
    assert "Only a .tflite file is written for XNNPACK. Received TARGET 'q.keras'." in done.output


@pytest.mark.parametrize("name", ["quantize", "validate", "convert", "inspect", "bench", "demo"])
def test_help_fits_a_terminal_and_has_examples(name: str) -> None:
    done = typer.testing.CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80
    text, _, examples = done.output.partition("Examples")
    assert f"octet {name} " in examples
    assert "--json" in text
    assert "--quiet" in text
    assert "<bool>" not in text
    # None is broken in two by the width.
    assert all(
        line.strip().startswith(("octet ", "-")) or not line.strip()
        for line in examples.splitlines()
    )


def test_a_reader_that_goes_away_is_no_traceback(folder: Path) -> None:
    program = "from keras_octet_cli import main; main()"
    arguments = " ".join(["inspect", "model.keras"])
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{program}" {arguments} | true'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
