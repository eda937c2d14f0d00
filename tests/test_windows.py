from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keras_octet.windows import output_length, same_padding

windows = {
    "length": st.integers(1, 40),
    "kernel": st.integers(1, 7),
    "stride": st.integers(1, 4),
    "dilation": st.integers(1, 3),
}


@given(**windows)
def test_same_padding_makes_room_for_the_windows_of_same(
    length: int, kernel: int, stride: int, dilation: int
) -> None:
    padding = same_padding(length, kernel, stride, dilation)
    assert padding is not None
    before, after = padding
    assert 0 <= after - before <= 1
    padded = length + before + after
    assert output_length(padded, kernel, stride, "valid", dilation) == output_length(
        length, kernel, stride, "same", dilation
    )


def test_unknown_lengths() -> None:
    assert output_length(None, 3, 2, "same") is None
    assert same_padding(None, 3, 2) is None
    assert same_padding(None, 3, 1, 2) == same_padding(17, 3, 1, 2) == (2, 2)
