import keras
import ml_dtypes
import numpy as np
import pytest

from keras_octet.calibrate.datasets import iter_batches, open_dataset, open_labelled
from keras_octet.errors import CalibrationError

N = 10
X = np.arange(N * 12, dtype=np.float32).reshape(N, 2, 3, 2)
Y = np.arange(N)
TOKENS = np.arange(N * 5, dtype=np.int64).reshape(N, 5)


def one_input() -> keras.Model:
    image = keras.Input((2, 3, 2), name="image")
    return keras.Model(image, keras.layers.Flatten()(image))


def two_inputs(structure=list) -> keras.Model:
    image = keras.Input((2, 3, 2), name="image")
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    inputs = {
        list: [image, tokens],
        tuple: (image, tokens),
        dict: {"pixels": image, "words": tokens},
        "nested": {"deep": {"b": image}, "a": tokens},
    }[structure]
    return keras.Model(inputs, [keras.layers.Flatten()(image), keras.layers.Flatten()(tokens)])


def joined(dataset, model: keras.Model) -> list[np.ndarray]:
    batches = list(iter_batches(dataset, model, batch_size=4))
    for batch in batches:
        for array, tensor in zip(batch, model.inputs, strict=True):
            assert type(array) is np.ndarray
            assert array.dtype == tensor.dtype
            assert array.flags.c_contiguous
    return [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]


def batched(*arrays: np.ndarray, size: int = 3):
    for start in range(0, N, size):
        yield tuple(array[start : start + size] for array in arrays)


class Sequence(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int):
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


class Frame:
    """Rows, but no dtype: as a data frame of pandas."""

    shape = X.shape

    def __array__(self, dtype=None, copy=None):
        return X

    def __len__(self) -> int:
        return N

    def __getitem__(self, rows):
        return X[rows]


ONE_INPUT = {
    "array": lambda: X,
    "array of another dtype": lambda: X.astype(np.float64),
    "integers": lambda: X.astype(np.uint8),
    "bfloat16": lambda: X.astype(ml_dtypes.bfloat16),
    "layout": lambda: np.asfortranarray(X),
    "backend tensor": lambda: keras.ops.convert_to_tensor(X),
    "data frame": Frame,
    "labels": lambda: (X, Y),
    "labels and weights": lambda: (X, Y, np.ones(N)),
    "labels of the inputs' shape": lambda: (X, X + 1000),
    "nested labels": lambda: (X, {"a": Y, "b": [Y, Y]}),
    "one in a tuple": lambda: (X,),
    "one in a list": lambda: [X],
    "by name": lambda: {"image": X, "label": Y},
    "list of two batches": lambda: [X[:5], X[5:]],
    "list of labelled batches": lambda: [(X[:5], Y[:5]), (X[5:], Y[5:])],
    "TFLite generator": lambda: lambda: ([X[i : i + 1]] for i in range(N)),
    "TFLite generator of dicts": lambda: lambda: ({"image": X[i : i + 1]} for i in range(N)),
    "function that returns an array": lambda: lambda: X,
    "generator": lambda: (batch for (batch,) in batched(X)),
    "iterator with labels": lambda: batched(X, Y),
    "iterator of lists with labels": lambda: map(list, batched(X, Y)),
    "iterator with weights": lambda: batched(X, Y, Y),
    "batches without samples": lambda: [X[:0], X[:5], X[:0], X[5:]],
    "backend tensors": lambda: (keras.ops.convert_to_tensor(b) for (b,) in batched(X)),
    "PyDataset": Sequence,
}


@pytest.mark.parametrize("kind", ONE_INPUT)
def test_datasets_for_one_input(kind) -> None:
    expected = X
    if kind == "bfloat16":
        expected = X.astype(ml_dtypes.bfloat16).astype(np.float32)
    (received,) = joined(ONE_INPUT[kind](), one_input())
    np.testing.assert_array_equal(received, expected)


TWO_INPUTS = {
    "tuple": lambda: (X, TOKENS),
    "list": lambda: [X, TOKENS],
    "labels": lambda: ((X, TOKENS), Y),
    "labels in a list structure": lambda: ([X, TOKENS], Y, Y),
    "by name": lambda: {"tokens": TOKENS, "image": X, "label": Y},
    "by name, with labels": lambda: ({"tokens": TOKENS, "image": X}, Y),
    "iterator": lambda: batched(X, TOKENS),
    "iterator with labels": lambda: ((batch, 0) for batch in batched(X, TOKENS)),
    "list of two batches": lambda: [(X[:5], TOKENS[:5]), (X[5:], TOKENS[5:])],
    "TFLite generator": lambda: lambda: map(list, batched(X, TOKENS, size=1)),
}


@pytest.mark.parametrize("structure", [list, tuple])
@pytest.mark.parametrize("kind", TWO_INPUTS)
def test_datasets_for_two_inputs(kind, structure) -> None:
    received = joined(TWO_INPUTS[kind](), two_inputs(structure))
    np.testing.assert_array_equal(received[0], X)
    np.testing.assert_array_equal(received[1], TOKENS)


@pytest.mark.parametrize(
    ("structure", "make"),
    [
        (dict, lambda: {"words": TOKENS, "pixels": X}),
        (dict, lambda: {"words": TOKENS, "pixels": X, "label": Y}),
        (dict, lambda: ({"words": TOKENS, "pixels": X}, Y)),
        (dict, lambda: {"tokens": TOKENS, "image": X}),
        (dict, lambda: ({"words": t, "pixels": x} for x, t in batched(X, TOKENS))),
        ("nested", lambda: {"a": TOKENS, "deep": {"b": X}}),
        ("nested", lambda: ({"a": t, "deep": {"b": x}} for x, t in batched(X, TOKENS))),
    ],
)
def test_dict_structures(structure, make) -> None:
    model = two_inputs(structure)
    received = dict(zip((t.name for t in model.inputs), joined(make(), model), strict=True))
    np.testing.assert_array_equal(received["image"], X)
    np.testing.assert_array_equal(received["tokens"], TOKENS)


def test_a_missing_or_extra_last_axis_of_one_is_accepted_as_predict_does() -> None:
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, keras.layers.Flatten()(image))
    assert joined(np.zeros((N, 4, 4)), model)[0].shape == (N, 4, 4, 1)
    row = keras.Input((4,))
    model = keras.Model(row, keras.layers.Dense(1)(row))
    assert joined(np.zeros((N, 4, 1)), model)[0].shape == (N, 4)


def test_float16_inputs_stay_exact_and_unknown_sizes_match_any() -> None:
    image = keras.Input((None, None, 2))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    np.testing.assert_array_equal(joined(X.astype(np.float16), model)[0], X)


def test_arrays_are_cut_lazily() -> None:
    class Counting(Frame):
        cut = 0

        def __getitem__(self, rows):
            type(self).cut += 1
            return X[rows]

    batches = iter_batches(Counting(), one_input(), batch_size=2)
    next(batches)
    assert Counting.cut == 1


def test_a_one_shot_iterator_is_consumed_once() -> None:
    iterator = iter([X[:5], X[5:]])
    joined(iterator, one_input())
    assert next(iterator, None) is None
    with pytest.raises(CalibrationError, match="only once"):
        joined(iterator, one_input())


@pytest.mark.parametrize(
    ("make", "number"),
    [(lambda: X, 3), (lambda: [X, X, X], 3), (Sequence, 5), (lambda: iter([X]), None)],
)
def test_the_number_of_batches_is_known_where_it_can_be(make, number) -> None:
    assert open_dataset(make(), one_input(), batch_size=4).num_batches == number


def bad_batch(**changes):
    """Good batches, then a bad one, number 2."""

    def generator():
        yield X[:2]
        yield X[2:4]
        bad = X[4:6].astype(changes.get("dtype", np.float32))
        if "value" in changes:
            bad[1, 0, 0, 0] = changes["value"]
        yield changes.get("function", lambda array: array)(bad)

    return generator


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, r"must be an array.*Received: None"),
        (lambda: "data.npz", r"Received: 'data.npz'"),
        (lambda: 3, r"Received: 3"),
        (lambda: np.float32(3), "must be an array"),
        (lambda: dict, "must be an array"),
        (lambda: keras.layers.Flatten(), "must be an array"),
        (list, "empty"),
        (lambda: X[:0], "empty"),
        (lambda: iter(()), "empty"),
        (lambda: [X[:0], X[:0]], "empty"),
        (lambda: lambda: iter(()), "empty"),
        (lambda: lambda batch: [X], "must take no arguments"),
        (lambda: lambda: None, "Received: None"),
        (lambda: X[0], r"Batch 0.*'image'.*\(batch, 2, 3, 2\).*\(2, 3, 2\).*x\[None\]"),
        (lambda: lambda: ([x] for x in X), r"Batch 0.*'image'.*add a batch axis"),
        (lambda: X.transpose(0, 3, 1, 2), "another order"),
        (lambda: X.reshape(N, 12), r"Received: \(4, 12\)|Received: \(10, 12\)"),
        (lambda: {"picture": X}, r"image: float32.*'picture': float32\(10, 2, 3, 2\)"),
        (lambda: [[1.0, 2.0], [3.0, 4.0]], "numpy.asarray"),
        (lambda: np.full((2, 2, 3, 2), "a"), "Received dtype: <U1"),
        (lambda: X.astype(object), "Received dtype: object"),
        (lambda: X.astype(complex), "Received dtype: complex128"),
        (lambda: np.full(X.shape, 1e300), "overflow float32"),
        (bad_batch(value=np.nan), r"Batch 2.*'image'.*NaN.*sample 1"),
        (bad_batch(value=-np.inf), r"Batch 2.*'image'.*infinite.*sample 1"),
        (bad_batch(function=lambda bad: bad[..., :1]), r"Batch 2.*'image'.*shape"),
        (bad_batch(function=lambda bad: {"a": bad}), r"Batch 2.*structure"),
        (bad_batch(function=lambda bad: "text"), r"Batch 2.*'text'"),
        (bad_batch(dtype=object), r"Batch 2.*'image'.*dtype: object"),
        (lambda: [keras.KerasTensor((2, 2, 3, 2))], "Batch 0.*class KerasTensor"),
    ],
)
def test_unusable_datasets_are_explained(make, message) -> None:
    dataset = make() if make.__name__ != "generator" else make
    with pytest.raises(CalibrationError, match=message):
        list(iter_batches(dataset, one_input(), batch_size=4))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ((X, TOKENS[:3]), r"'image': 10, 'tokens': 3"),
        ([(X[:3], TOKENS[:2])], r"Batch 0.*'image': 3, 'tokens': 2"),
        ((X, TOKENS + 0.5), r"Batch 0.*'tokens'.*whole numbers"),
        ((X, TOKENS + 2**40), r"Batch 0.*'tokens'.*do not fit.*int32"),
        (X, r"image: float32.*tokens: int32"),
        ((X, TOKENS, Y), r"Batch 0.*structure"),
    ],
)
def test_unusable_datasets_for_two_inputs(dataset, message) -> None:
    with pytest.raises(CalibrationError, match=message):
        list(iter_batches(dataset, two_inputs(), batch_size=4))


def test_whole_numbers_in_floats_become_integer_inputs() -> None:
    received = joined((X, TOKENS.astype(np.float64)), two_inputs())
    np.testing.assert_array_equal(received[1], TOKENS)


def test_an_error_in_the_users_function_passes() -> None:
    def broken():
        raise TypeError("mine")

    def generator():
        yield [X]
        raise KeyError("mine")

    for function, error in ((broken, TypeError), (generator, KeyError)):
        with pytest.raises(error, match="mine"):
            list(iter_batches(function, one_input()))


def test_a_py_dataset_without_an_end_is_refused() -> None:
    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index: int):
            return X

    with pytest.raises(CalibrationError, match="num_batches"):
        iter_batches(Endless(), one_input())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")
class TestTensorFlow:
    def test_datasets(self) -> None:
        import tensorflow as tf

        for arrays in (X, (X, Y), (X, Y, Y), {"image": X, "label": Y}):
            dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(3)
            assert open_dataset(dataset, one_input()).num_batches == 4
            np.testing.assert_array_equal(joined(dataset, one_input())[0], X)
        dataset = tf.data.Dataset.from_tensor_slices(((X, TOKENS), Y)).batch(3)
        np.testing.assert_array_equal(joined(dataset, two_inputs())[1], TOKENS)
        numpy_iterator = tf.data.Dataset.from_tensor_slices(X).batch(3).as_numpy_iterator()
        np.testing.assert_array_equal(joined(numpy_iterator, one_input())[0], X)

    def test_unusable_datasets(self) -> None:
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensor_slices(X)
        with pytest.raises(CalibrationError, match="add a batch axis"):
            list(iter_batches(dataset, one_input()))
        with pytest.raises(CalibrationError, match=r"take\(8\)"):
            iter_batches(dataset.batch(3).repeat(), one_input())
        with pytest.raises(CalibrationError, match="dtype: object"):
            list(iter_batches([tf.constant([[[["a", "b"]] * 3] * 2])], one_input()))
        with pytest.raises(CalibrationError, match="dense"):
            list(iter_batches([tf.ragged.constant([[1.0], [2.0, 3.0]])], one_input()))


class TestTorch:
    def test_datasets(self) -> None:
        torch = pytest.importorskip("torch")
        from torch.utils.data import DataLoader, TensorDataset

        for arrays in ((X,), (X, Y), (X, Y, Y)):
            dataset = TensorDataset(*map(torch.as_tensor, arrays))
            loader = DataLoader(dataset, batch_size=3)
            assert open_dataset(loader, one_input()).num_batches == 4
            np.testing.assert_array_equal(joined(loader, one_input())[0], X)
        tensors = map(torch.as_tensor, (X, TOKENS))
        loader = DataLoader(TensorDataset(*tensors), batch_size=3)
        np.testing.assert_array_equal(joined(loader, two_inputs())[1], TOKENS)
        with pytest.raises(CalibrationError, match="add a batch axis"):
            list(iter_batches(TensorDataset(torch.as_tensor(X)), one_input()))

    def test_tensors(self) -> None:
        torch = pytest.importorskip("torch")
        tensor = torch.as_tensor(X)
        for variant in (tensor, tensor.double(), tensor.bfloat16(), tensor.requires_grad_()):
            (received,) = joined(variant, one_input())
            np.testing.assert_allclose(received, X, rtol=1e-2)


LABELS = np.arange(10)


@pytest.mark.parametrize(
    "dataset",
    [
        (X, LABELS),
        [(X[i : i + 4], LABELS[i : i + 4]) for i in range(0, 10, 4)],
        lambda: ((X[i : i + 4], LABELS[i : i + 4]) for i in range(0, 10, 4)),
    ],
    ids=["arrays", "batches", "function"],
)
def test_labels_stay_with_their_samples(dataset) -> None:
    batches = list(open_labelled(dataset, one_input(), batch_size=4).iterator)
    assert [batch.labels.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    np.testing.assert_array_equal(np.concatenate([batch.arrays[0] for batch in batches]), X)
    assert all(batch.sample_weight is None for batch in batches)


def test_labels_and_weights_of_several_outputs_are_cut_alike() -> None:
    labels = {"a": LABELS, "b": LABELS[:, None] + 100}
    (batch, *_) = open_labelled((X, labels, LABELS / 10), one_input(), batch_size=3).iterator
    assert batch.labels["a"].tolist() == [0, 1, 2]
    assert batch.labels["b"].tolist() == [[100], [101], [102]]
    assert batch.sample_weight.tolist() == [0.0, 0.1, 0.2]


def test_data_without_labels_have_none() -> None:
    assert all(batch.labels is None for batch in open_labelled(X, one_input()).iterator)
