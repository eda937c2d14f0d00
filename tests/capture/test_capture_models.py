from __future__ import annotations

import io
from collections import Counter
from contextlib import redirect_stdout
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_octet.capture import capture, count_consumers, iter_nodes, producer, tensor_name
from keras_octet.errors import CaptureError
from tests.capture.support import (
    assert_same,
    captured,
    example,
    functional,
    islands,
    kinds,
    operations,
    run,
    sequential,
)
from tests.models import MODELS, make, randomize

L = keras.layers


class Block(keras.layers.Layer):
    """A residual block with a weight of its own."""

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.filters = filters
        self.conv = L.Conv2D(filters, 3, padding="same", activation="relu")
        self.norm = L.BatchNormalization()
        self.drop = L.Dropout(0.5)

    def build(self, shape: Any) -> None:
        self.conv.build(shape)
        self.norm.build((*shape[:-1], self.filters))
        self.gamma = self.add_weight(shape=(self.filters,), name="gamma", initializer="ones")

    def call(self, x: Any, training: bool = False) -> Any:
        y = self.drop(self.norm(self.conv(x), training=training), training=training)
        return x + self.gamma * y


class Scale(keras.layers.Layer):
    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma", initializer="ones")

    def call(self, x: Any) -> Any:
        return x * self.gamma


class Unusual(keras.layers.Layer):
    """Own weights, and an operation outside the vocabulary."""

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma", initializer="ones")

    def call(self, x: Any) -> Any:
        return ops.sin(x * self.gamma)


class NoConfig(Unusual):
    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("no config")


class Sampling(keras.layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal((2, 4), seed=self.seed_generator)


class Net(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="net")
        self.stem = L.Conv2D(4, 3, padding="same")
        self.block = Block(4)
        self.inner = keras.Sequential([L.GlobalAveragePooling2D(), L.Dense(5, activation="relu")])
        self.head = L.Dense(3)

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.block(self.stem(x), training=training)
        y = self.inner(x)
        return {"logits": self.head(y), "features": y}


@pytest.mark.parametrize("name", MODELS)
def test_typical_models(name: str) -> None:
    model, data, _ = make(name)
    flat = captured(model, data)
    assert not islands(flat)


def test_mobilenet_folds_to_the_end() -> None:
    model = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), weights=None, classes=10, classifier_activation=None
    )
    flat = captured(model, example(model.input, batch=2))
    assert kinds(flat) == Counter(
        Conv2D=35, DepthwiseConv2D=17, ReLU=35, Add=10, GlobalAveragePooling2D=1, Dense=1
    )


APPLICATIONS: dict[str, tuple[int, dict[str, int]]] = {
    # Size, and what remains of normalization, padding and islands.
    "MobileNet": (96, {}),
    "ResNet50": (64, {"ZeroPadding2D": 2}),
    "EfficientNetB0": (64, {}),
    "MobileNetV3Small": (96, {"Rescaling": 1}),
    "DenseNet121": (64, {"Rescaling": 62, "ZeroPadding2D": 2}),
    "InceptionV3": (96, {}),
    "Xception": (96, {}),
    "ConvNeXtTiny": (64, {"LayerNormalization": 23}),
    "NASNetMobile": (64, {"ZeroPadding2D": 8}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name: str) -> None:
    if name == "NASNetMobile" and keras.backend.backend() == "torch":
        pytest.skip("Keras does not build NASNet on PyTorch")
    size, expected = APPLICATIONS[name]
    options = {"dropout_rate": 0.1} if name == "MobileNetV3Small" else {}
    model = getattr(keras.applications, name)(
        input_shape=(size, size, 3),
        weights=None,
        classes=10,
        classifier_activation=None,
        **options,
    )
    flat = captured(model, example(model.input, batch=2), tolerance=1e-4)
    found = kinds(flat)
    watched = {"Rescaling", "ZeroPadding2D", *islands(flat)}
    assert {kind: found[kind] for kind in watched if found[kind]} == expected


def test_structures_and_names_are_kept() -> None:
    a = keras.Input((4,), name="a")
    b = keras.Input((4,), name="b", dtype="int32")
    x = L.Dense(3, name="shared")(a)
    y = ops.cast(b, "float32")
    model = keras.Model(
        {"a": a, "b": b}, {"first": x, "rest": (y, [L.Add()([a, y])])}, name="structured"
    )
    flat = captured(model)
    assert flat.name == "structured"
    assert set(flat.input) == {"a", "b"}
    assert flat.input["b"].dtype == "int32"
    assert tensor_name(flat.input["b"]) == "b"
    assert tensor_name(flat.output["first"]) == "shared"


def test_a_shared_layer_is_separate_layers() -> None:
    shared = L.Dense(4, name="shared")
    model = functional(lambda a, b: shared(shared(a)) + shared(b), (4,), (4,))
    flat = captured(model)
    names = [o.name for o in operations(flat) if isinstance(o, L.Dense)]
    assert names == ["shared", "shared_1", "shared_2"] or sorted(names) == [
        "shared",
        "shared_1",
        "shared_2",
    ]
    assert len({id(o.kernel) for o in operations(flat) if isinstance(o, L.Dense)}) == 3


def test_nested_models_are_inlined() -> None:
    def unit(depth: int) -> keras.Model:
        inputs = keras.Input((6,))
        x = L.Dense(6, activation="relu", name="layer")(inputs)
        if depth:
            x = unit(depth - 1)(x)
        return keras.Model(inputs, x, name=f"unit{depth}")

    inner = unit(2)
    model = functional(lambda x: inner(x) + keras.Sequential([inner, L.Dense(6)])(x), (6,))
    flat = captured(model)
    assert kinds(flat) == Counter(Dense=7, ReLU=6, Add=1)
    assert {"layer", "unit2_unit1_layer"} <= {o.name for o in operations(flat)}


def test_a_nested_model_with_another_size_and_dtype() -> None:
    inner = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(2, 3)])
    model = functional(lambda x: inner(x), (6, 7, 3), dtype="uint8")
    flat = captured(model)
    assert kinds(flat) == Counter(Cast=1, Conv2D=1)


def test_subclassed_models_and_composite_layers_are_expanded() -> None:
    model = Net()
    data = example(keras.KerasTensor((None, 8, 8, 3)))
    model(data)
    flat = captured(model, data)
    assert not islands(flat)
    assert kinds(flat)["Dense"] == 2
    assert {"stem", "conv"} & {o.name for o in operations(flat)} or kinds(flat)["Conv2D"] == 2
    assert kinds(flat)["Conv2D"] == 2


def test_a_composite_layer_in_a_functional_model() -> None:
    flat = captured(sequential((6, 6, 4), Block(4, name="block"), L.Flatten(), L.Dense(2)))
    assert kinds(flat)["Conv2D"] == 1
    assert not islands(flat)


def test_a_subclassed_model_with_several_arguments() -> None:
    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, left: Any, right: Any) -> Any:
            return self.dense(left) + right

    model = Two()
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 5)).astype("f"), rng.normal(size=(2, 3)).astype("f")
    model(left, right)
    expected = np.asarray(ops.convert_to_numpy(model(left, right)))
    with pytest.raises(CaptureError, match="with every argument"):
        capture(model)
    assert_same(expected, run(capture(model, inputs=[left, right]), [left, right]))
    by_name = {"left": left, "right": right}
    assert_same(expected, run(capture(model, inputs=by_name), by_name))


def test_a_subclassed_model_with_a_dict_of_inputs() -> None:
    class Dict(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs["x"]) * inputs["y"]

    model = Dict()
    data = {"x": np.ones((2, 5), "f"), "y": np.full((2, 3), 2.0, "f")}
    model(data)
    flat = captured(model, data)
    assert set(flat.input) == {"x", "y"}


def test_the_inputs_of_a_subclassed_model_can_be_given() -> None:
    class Tokens(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = L.Embedding(10, 4)
            self.head = L.Dense(2)

        def call(self, tokens: Any) -> Any:
            return self.head(self.embedding(tokens))

    model = Tokens()
    data = np.arange(6, dtype="int32").reshape(2, 3)
    model(data)
    flat = captured(model, data, inputs=keras.KerasTensor((None, 3), "int32", name="tokens"))
    assert flat.inputs[0].dtype == "int32"
    assert islands(flat) == ["Embedding"]


def test_an_unbuilt_model_is_refused() -> None:
    with pytest.raises(CaptureError, match="is not built"):
        capture(Net())
    with pytest.raises(CaptureError, match="is not built"):
        capture(keras.Sequential([L.Dense(2)]))


def test_something_else_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"Expected a keras\.Model"):
        capture(L.Dense(2))  # type: ignore[arg-type]


def test_a_call_that_cannot_be_traced_is_refused() -> None:
    class Numpy(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, x: Any) -> Any:
            y = self.dense(x)
            return y if float(ops.sum(ops.convert_to_numpy(y))) > 0 else -y

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], 2)

    model = Numpy()
    model.dense.build((None, 3))
    model.built = True
    before = len(model.dense._inbound_nodes)
    with pytest.raises(CaptureError, match="could not be traced"):
        capture(model, inputs=np.ones((1, 3), "f"))
    assert len(model.dense._inbound_nodes) == before


def test_a_layer_with_own_weights_is_an_island_unless_all_of_it_is_canonical() -> None:
    flat = captured(sequential((4,), Unusual(name="unusual"), Scale(), L.Dense(3)))
    assert islands(flat) == ["Unusual"]
    assert kinds(flat) == Counter(Unusual=1, Dense=1)


def test_a_layer_without_config_shares_its_variables() -> None:
    layer = NoConfig()
    flat = captured(sequential((4,), L.Dense(4), layer))
    island = operations(flat)[-1]
    assert island is not layer
    assert island.gamma is layer.gamma


def test_islands_are_copies() -> None:
    layer = L.LayerNormalization()
    flat = captured(sequential((4,), layer, L.Dense(2)))
    island = operations(flat)[0]
    assert type(island) is L.LayerNormalization
    assert island.gamma is not layer.gamma


def test_random_numbers_are_not_frozen() -> None:
    model = functional(lambda x: Sampling()(x), (4,), batch_size=2)
    flat = capture(model)
    assert islands(flat) == ["Sampling"]
    x = np.zeros((2, 4), "f")
    first, second = (np.asarray(ops.convert_to_numpy(flat(x))) for _ in range(2))
    assert np.any(first != second)


def test_float_islands_of_the_usual_kinds() -> None:
    tokens = keras.Input((7,), dtype="int32")
    x = L.Embedding(5, 8, mask_zero=True)(tokens)
    x = L.LayerNormalization()(x)
    x = L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    x = L.SimpleRNN(4)(L.BatchNormalization()(x))
    model = keras.Model(tokens, L.Dense(2)(x))
    found = islands(captured(model))
    assert [name for name in found if name != "NotEqual"] == [
        "Embedding",
        "LayerNormalization",
        "MultiHeadAttention",
        "SimpleRNN",
    ]


def test_a_mask_is_not_ignored() -> None:
    tokens = keras.Input((7,), dtype="int32")
    x = L.Embedding(5, 8, mask_zero=True)(tokens)
    model = keras.Model(tokens, L.GlobalAveragePooling1D()(x))
    assert islands(captured(model)) == ["Embedding", "NotEqual", "GlobalAveragePooling1D"]
    inner = keras.Sequential([keras.Input((None, 8)), L.ReLU(), L.GlobalAveragePooling1D()])
    model = keras.Model(tokens, inner(x))
    assert "GlobalAveragePooling1D" in islands(captured(model))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_other_precisions_become_float32(policy: str) -> None:
    inputs = keras.Input((8, 8, 3), dtype="float16" if policy == "float16" else "float32")
    x = L.Conv2D(4, 3, activation="relu", dtype=policy)(inputs)
    x = L.BatchNormalization(dtype=policy)(x)
    x = L.LayerNormalization(dtype=policy)(x)
    x = ops.cast(x * 2, "float16")
    outputs = L.Dense(3, dtype=policy)(L.Flatten(dtype=policy)(x))
    model = randomize(keras.Model(inputs, outputs))
    flat = captured(model, example(keras.KerasTensor((None, 8, 8, 3))), tolerance=0.05)
    assert flat.inputs[0].dtype == flat.outputs[0].dtype == "float32"
    assert all(v.dtype == "float32" for v in flat.variables)


def test_under_a_global_policy_and_data_format() -> None:
    model = sequential((8, 8, 3), L.Conv2D(4, 3), L.MaxPooling2D(), L.ReLU())
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_image_data_format("channels_first")
    try:
        captured(model)
        scaled = functional(lambda x: ops.tanh(x * np.asarray([1.0, 2.0, 3.0], "f")), (4, 4, 3))
        with pytest.raises(CaptureError, match="image_data_format"):
            capture(scaled)
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")


def test_dynamic_sizes_and_fixed_batch() -> None:
    model = sequential((None, None, 3), L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU())
    flat = captured(model)
    assert flat.inputs[0].shape == (None, None, None, 3)
    fixed = functional(lambda x: L.Dense(2)(L.Flatten()(x)), (4, 2), batch_size=2)
    assert captured(fixed).inputs[0].shape == (2, 4, 2)


def test_a_model_in_which_everything_vanishes() -> None:
    flat = captured(sequential((4,), L.Dropout(0.5)))
    assert flat.output_shape == (None, 4)


def test_an_unused_input_and_a_repeated_output() -> None:
    def function(a: Any, b: Any) -> Any:
        y = L.Dense(3)(a)
        return y, L.Dropout(0.1)(y)

    flat = captured(functional(function, (4,), (5,)))
    assert len(flat.inputs) == 2


def test_inference_overrides_training() -> None:
    model = functional(lambda x: L.BatchNormalization()(x, training=True), (4,))
    assert kinds(captured(model)) == {"Rescaling": 1}


def _record(model: keras.Model) -> list[Any]:
    summary = io.StringIO()
    with redirect_stdout(summary):
        model.summary(print_fn=lambda line: summary.write(line))
    record: list[Any] = [summary.getvalue()]
    for layer in model._flatten_layers():
        record.append((layer.name, layer.built, layer._called, layer.path))
        record.append([id(node) for node in layer._inbound_nodes])
        record.append([id(node) for node in layer._outbound_nodes])
        record.append(sorted(layer.__dict__))
    record += [
        (v.path, v.dtype, np.asarray(ops.convert_to_numpy(v)).tobytes()) for v in model.variables
    ]
    return record


def test_the_callers_model_is_not_changed() -> None:
    inputs = keras.Input((8, 8, 3))
    x = Block(3)(inputs)
    inner = keras.Sequential([L.Conv2D(4, 3), L.BatchNormalization(), Unusual(), NoConfig()])
    x = L.Dropout(0.3)(inner(x))
    x = L.Dense(2, activation=L.LeakyReLU(0.2))(L.LayerNormalization()(x))
    model = keras.Model(inputs, x)
    tensors = [id(layer.output) for layer in model.layers]
    data = example(model.input)
    expected = run(randomize(model), data)
    before = _record(model)
    flat = capture(model)
    flat(data)
    assert _record(model) == before
    assert [id(layer.output) for layer in model.layers] == tensors
    assert_same(run(model, data), expected, 0.0)
    theirs = {id(layer) for layer in model._flatten_layers()}
    assert not theirs & {id(layer) for layer in flat._flatten_layers()}


def test_a_subclassed_model_is_not_changed() -> None:
    model = Net()
    data = example(keras.KerasTensor((None, 8, 8, 3)))
    model(data)
    expected = run(model, data)
    before = _record(model)
    for _ in range(2):
        capture(model)
    assert _record(model) == before
    assert_same(run(model, data), expected, 0.0)


def test_a_failure_names_the_layer() -> None:
    model = sequential((4,), L.PReLU(name="guilty"))
    model.layers[0].__dict__["shared_axes"] = 7  # Damaged.
    with pytest.raises(CaptureError, match="PReLU 'guilty' could not be captured"):
        capture(model)


@pytest.mark.parametrize("follower", [L.BatchNormalization, L.ReLU, L.LayerNormalization])
def test_weights_are_copies(follower: Any) -> None:
    model = sequential((4,), L.Dense(3), follower())
    flat = capture(model)
    before = run(flat, np.ones((1, 4), "f"))
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape))
    assert_same(before, run(flat, np.ones((1, 4), "f")), 0.0)


def test_capturing_twice_gives_the_same() -> None:
    model, data, _ = make("convolutional")
    flat = capture(model)
    again = capture(flat)
    assert kinds(again) == kinds(flat)
    assert_same(run(flat, data), run(again, data))


def test_a_flat_model_can_be_saved(tmp_path: Any) -> None:
    model, data, _ = make("u_net")
    flat = capture(model)
    flat.save(tmp_path / "flat.keras")
    assert_same(run(flat, data), run(keras.saving.load_model(tmp_path / "flat.keras"), data), 0.0)


def test_nodes_come_in_order_and_tensors_have_names() -> None:
    model = functional(lambda x: L.Add(name="sum")([ops.split(x, 2, axis=-1)[1], x[:, :2]]), (4,))
    flat = capture(model)
    seen = {id(tensor) for tensor in flat.inputs}
    for node in iter_nodes(flat):
        assert all(id(tensor) in seen for tensor in node.input_tensors)
        assert all(producer(tensor) is node for tensor in node.outputs)
        seen |= {id(tensor) for tensor in node.outputs}
    assert tensor_name(flat.outputs[0]) == "sum"
    assert count_consumers(flat)[id(flat.inputs[0])] == 2
    cell = L.LSTM(3, return_state=True, name="cell")
    recurrent = functional(lambda x: cell(x), (4, 2))
    assert [tensor_name(t) for t in recurrent.outputs] == ["cell", "cell:1", "cell:2"]
    with pytest.raises(CaptureError, match="Expected a functional model"):
        list(iter_nodes(Net()))
