import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_octet.calibrate.batching import micro_batches


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    size=st.integers(1, 6),
    always_pad=st.booleans(),
)
def test_every_sample_comes_once_and_in_order(sizes, size, always_pad) -> None:
    total = sum(sizes)
    samples = np.arange(total * 2).reshape(total, 2)
    starts = np.cumsum([0, *sizes])
    batches = [[samples[a:b], -samples[a:b, 0]] for a, b in itertools.pairwise(starts)]
    received = list(micro_batches(iter(batches), lambda arrays: size, always_pad=always_pad))
    counted = [batch.arrays[0][: batch.num_samples] for batch in received]
    np.testing.assert_array_equal(np.concatenate(counted), samples)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for batch in received:
        np.testing.assert_array_equal(batch.arrays[1], -batch.arrays[0][:, 0])
        numbers = batch.arrays[0][: batch.num_samples, 0] // 2
        assert batch.batches == (owner[numbers[0]], owner[numbers[-1]])
        padding = batch.arrays[0][batch.num_samples :]
        assert (padding == batch.arrays[0][batch.num_samples - 1]).all()
    lengths = [len(batch.arrays[0]) for batch in received]
    if always_pad or total >= size:
        assert set(lengths) == {size}
    else:
        assert lengths == [total]


def test_samples_of_another_shape_start_a_new_micro_batch() -> None:
    wide, narrow = np.zeros((5, 4)), np.zeros((3, 2))
    received = list(micro_batches([[wide], [narrow], [wide]], lambda arrays: arrays[0].shape[1]))
    assert [batch.arrays[0].shape for batch in received] == [
        (4, 4),
        (4, 4),
        (2, 2),
        (2, 2),
        (4, 4),
        (4, 4),
    ]
    assert [batch.num_samples for batch in received] == [4, 1, 2, 1, 4, 1]
    assert [batch.batches[0] for batch in received] == [0, 0, 1, 1, 2, 2]


def test_batches_are_taken_one_at_a_time() -> None:
    taken = []

    def batches():
        for index in range(5):
            taken.append(index)
            yield [np.zeros((4, 1))]

    stream = micro_batches(batches(), lambda arrays: 2)
    next(stream)
    assert taken == [0]
