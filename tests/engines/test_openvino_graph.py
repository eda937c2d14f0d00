"""OpenVINO's graphs are rewritten where they may be, and then give what they gave."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from keras_octet.engines.openvino_graph import in_int8_form

openvino = pytest.importorskip("openvino")

IN_FLOAT32 = {"LP_TRANSFORMS_MODE": "NO", "INFERENCE_PRECISION_HINT": "f32"}
MULTIPLIED = {"GroupConvolution": -1, "Convert": -1}
STEPS = ([1, 1], [0, 0], [0, 0], [1, 1])  # strides, pads, dilations


class Graph:
    """Of float32 values of shape `(1, channels, 4, 4)` and roundings to 256 values."""

    def __init__(self, channels=1):
        self.opset = openvino.opset8
        self.x = self.opset.parameter([1, channels, 4, 4], np.float32)

    def rounded(self, y, low=-1, high=1, to=None, levels=256):
        ends = [np.float32(v) for v in (low, high, *(to or (low, high)))]
        return self.opset.fake_quantize(y, *ends, levels)

    def joined(self, *arrays):
        return self.opset.concat(list(arrays), 1)

    def padded(self, y, value=0, begin=(0, 0, 1, 1), mode="constant"):
        value = np.float32(value) if np.isscalar(value) else value
        begin = np.array(begin) if isinstance(begin, tuple) else begin
        return self.opset.pad(y, begin, np.array([0, 0, 0, 2]), mode, value)

    def convolved(
        self,
        y,
        size=1,
        strides=1,
        pad=0,
        auto_pad="explicit",
        groups=None,
        outputs=2,
        bias=True,
        bits="i8",
    ):
        opset, channels = self.opset, y.get_output_shape(0)[1]
        rng = np.random.default_rng(0)
        shape = (3, channels) if groups is None else (groups, outputs, channels // groups)
        integers = rng.integers(*(-8, 8) if bits == "i4" else (-127, 128), (*shape, size, size))
        integers = opset.constant(integers.astype(np.int8), getattr(openvino.Type, bits))
        scales = rng.uniform(0.001, 0.01, (*shape[:-1], *[1] * 3)).astype(np.float32)
        weights = opset.multiply(opset.convert(integers, "f32"), opset.constant(scales))
        kind = opset.convolution if groups is None else opset.group_convolution
        y = kind(y, weights, [strides] * 2, [pad] * 2, [pad] * 2, [1, 1], auto_pad)
        values = rng.normal(size=(1, y.get_output_shape(0)[1], 1, 1)).astype(np.float32)
        return opset.add(y, opset.constant(values)) if bias else y

    def rescaled(
        self, y, scale=0.5, steps_off=0.0, outputs=1, size=1, strides=1, pad=0, shape=None
    ):
        opset = self.opset
        weights = np.full((4, outputs, 1, size, size), 127, np.int8)
        scales = np.broadcast_to(np.float32(scale) / 127, (4,)).reshape(4, 1, 1, 1, 1)
        scales = np.tile(scales, (1, outputs, 1, 1, 1))
        weights = opset.multiply(opset.convert(opset.constant(weights), "f32"), scales)
        y = opset.group_convolution(y, weights, [strides] * 2, [pad] * 2, [pad] * 2, [1, 1])
        bias = np.broadcast_to(0.3 + np.array(steps_off) * 2 / 255, (4,)).astype(np.float32)
        shape = shape or (1, 4 * outputs, 1, 1)
        return opset.add(y, np.resize(bias, shape))

    def model(self, results):
        # Of the nodes that it needs: others may read the same.
        return openvino.Model(list(results), [self.x]).clone()

    def rewritten(self, *results, like=()):
        """The model after its rewrites; the outputs are those of `like`, or what they were."""
        data = np.random.default_rng(0).normal(size=self.x.get_output_shape(0)).astype(np.float32)
        core = openvino.Core()

        def run(model):
            compiled = core.compile_model(model.clone(), "CPU", IN_FLOAT32)
            return [y.copy() for y in compiled([data]).values()]

        expected = run(self.model(like or results))
        model = self.model(results)
        in_int8_form(openvino, model)
        for a, b in zip(expected, run(model), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
        return model

    def kinds(self, *results, like=()):
        """How many there are of each kind of operation."""
        nodes = self.rewritten(*results, like=like).get_ordered_ops()
        return Counter(x.get_type_name() for x in nodes)

    def roundings(self, *results):
        return self.kinds(*results)["FakeQuantize"]

    def changed(self, *results, like=()):
        """Which kinds of operations there are more or fewer of afterwards."""
        before = Counter(x.get_type_name() for x in self.model(results).get_ops())
        after = self.kinds(*results, like=like)
        changes = {x: after[x] - before[x] for x in before | after if x != "Constant"}
        return {x: change for x, change in changes.items() if change}

    def lows(self, *results):
        """Where the grids of the roundings begin, in their order."""
        nodes = self.rewritten(*results).get_ordered_ops()
        return [
            round(x.input_value(3).get_node().data.item(), 3)
            for x in nodes
            if x.get_type_name() == "FakeQuantize"
        ]


def test_rounding_the_same_again_is_taken_out():
    g = Graph()
    x, opset = g.rounded(g.x), g.opset
    assert g.roundings(g.rounded(x)) == 1
    assert g.roundings(g.rounded(g.joined(x, x))) == 1
    assert g.roundings(g.rounded(g.joined(x, g.rounded(opset.relu(g.x))))) == 2
    pool = opset.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2])
    assert g.roundings(g.rounded(pool.output(0))) == 1
    turned = opset.transpose(x, np.array([0, 2, 3, 1]))
    assert g.roundings(g.rounded(turned)) == 1
    assert g.roundings(g.rounded(opset.reshape(turned, np.array([4, 4]), False))) == 1
    assert g.roundings(g.rounded(g.joined(g.rounded(turned), turned))) == 1
    sliced = opset.strided_slice(
        x, np.zeros(4, int), np.full(4, 2), np.ones(4, int), [0] * 4, [0] * 4
    )
    assert g.roundings(g.rounded(sliced)) == 1
    squeezed = opset.squeeze(x, np.array([0]))
    assert g.roundings(g.rounded(squeezed)) == 1
    assert g.roundings(g.rounded(opset.unsqueeze(squeezed, np.array([0])))) == 1
    for mode, value in (("constant", -1), ("constant", 1), ("edge", 0.1), ("reflect", 0.1)):
        assert g.roundings(g.rounded(g.padded(x, value, mode=mode))) == 1
    # What is taken out may be an output, and beside it what it rounded.
    assert g.roundings(turned, g.rounded(turned)) == 1
    # From integers to the grid, moved, and rounded to the grid.
    integers = g.rounded(g.x, -128, 127, to=(-1, 1))
    assert g.roundings(g.rounded(g.joined(integers, integers))) == 1


def test_rounding_that_changes_values_stays():
    g = Graph()
    x, opset = g.rounded(g.x), g.opset
    assert g.roundings(g.rounded(g.joined(x, x), -1, 2)) == 2
    assert g.roundings(g.rounded(g.joined(x, x), levels=16)) == 2
    assert g.roundings(g.rounded(g.joined(x, x), to=(-2, 2))) == 2
    assert g.roundings(g.rounded(g.joined(x, g.x))) == 2
    assert g.roundings(g.rounded(g.joined(x, g.rounded(g.x, -1, 2.1)))) == 3
    for value in (0, 0.1, 1 + 2 / 255, -1 - 2 / 255, np.inf, opset.reduce_mean(x, np.arange(4))):
        assert g.roundings(g.rounded(g.padded(x, value))) == 2  # with no value of the grid
    assert g.roundings(g.rounded(g.padded(g.x, 1))) == 1
    constant = opset.constant(np.full((1, 1, 4, 4), 5, np.float32))
    assert g.roundings(g.rounded(g.joined(x, constant))) == 2
    assert g.roundings(g.rounded(opset.relu(x))) == 2
    scaled = g.rounded(g.x, to=(-3, 3))
    assert g.roundings(g.rounded(g.joined(scaled, scaled), to=(-3, 3))) == 2
    each = np.linspace(1, 2, 4, dtype=np.float32)
    channels = opset.fake_quantize(x, -each, each, -each, each, 256)
    again = opset.fake_quantize(g.joined(channels, channels), -each, each, -each, each, 256)
    assert g.roundings(again) == 3


def test_what_is_only_rescaled_is_rounded_once():
    g = Graph(channels=4)
    opset = g.opset

    x = g.rounded(g.x, -2, 2)
    one_less = dict.fromkeys(["FakeQuantize", "Convert", "Multiply", "GroupConvolution", "Add"], -1)
    for steps_off in (-0.49, 0, 0.49, [0, 0.49, -0.49, 0]):
        assert g.changed(g.rounded(g.rescaled(x, steps_off=steps_off), -0.7, 1.3)) == one_less
    assert g.changed(g.rounded(g.rescaled(x), -0.7, 1.3, to=(1, 4))) == one_less
    steps = g.rounded(g.x, -2, 2, to=(-128, 127))
    in_steps = g.rescaled(steps, scale=2 / 255, steps_off=128 - 0.3 * 255 / 2)
    assert g.changed(g.rounded(in_steps, 0, 2)) == one_less
    y = g.rescaled(x)
    coarse = g.rounded(g.x, -2, 2, levels=16)
    fine = {"levels": 2**16}
    for multiplied in (
        g.rounded(g.rescaled(x, steps_off=-0.51), -0.7, 1.3),
        g.rounded(g.rescaled(x, steps_off=0.4995), -0.7, 1.3),
        g.rounded(g.rescaled(x, steps_off=[0, 0.51, 0, 0]), -0.7, 1.3),
        g.rounded(g.rescaled(x, scale=0.51), -0.7, 1.3),
        g.rounded(g.rescaled(x, scale=[0.5, 0.5, 0.51, 0.5]), -0.7, 1.3),
        g.rounded(y, -0.7, 1),
        g.rounded(y, -0.7, 1.3, levels=16),
        g.rounded(g.rescaled(coarse), -0.7, 1.3),
        g.rounded(g.rescaled(coarse), -0.7, -0.7 + 255 * 2 / 15),
        g.rounded(g.rescaled(g.rounded(g.x, -2, 2, **fine)), -0.7, 1.3, **fine),
        *(
            g.rounded(g.rescaled(x, shape=i), -0.7, 1.3)
            for i in ((1, 1, 1, 4), (1, 4), (2, 4, 1, 1))
        ),
        g.rounded(g.rescaled(opset.relu(g.x)), -0.7, 1.3),
        g.rounded(g.rescaled(opset.add(g.x, np.float32(1))), -0.7, 1.3),
        opset.relu(y),
        opset.add(g.rounded(y, -0.7, 1.3), opset.relu(x)),
        opset.add(g.rounded(y, -0.7, 1.3), opset.relu(y)),
    ):
        assert g.changed(multiplied) == MULTIPLIED
    for unchanged in (
        g.rounded(g.convolved(x, groups=4, bias=False), -1, 1),
        g.rounded(g.rescaled(x, strides=2), -0.7, 1.3),
        g.rounded(g.rescaled(x, pad=1), -0.7, 1.3),
        g.rounded(g.rescaled(x, outputs=2), -0.7, 1.3),
        g.rounded(g.rescaled(x, size=2, steps_off=0.3), -0.7, 1.3),
    ):
        assert g.changed(unchanged) == {}


def test_hard_swish_of_what_is_not_rounded():
    g = Graph(channels=4)
    opset = g.opset
    total = g.convolved(opset.multiply(g.x, np.float32(4)))

    def activated(y):
        return g.rounded(opset.hswish(y), -0.4, 3)

    for rounded in (
        g.rounded(total, -3.5, 3.5),
        g.rounded(total, -0.1, 0.1),  # whatever its ends
        g.rounded(total, -3.5, 3.5, levels=2**16),
    ):
        assert g.changed(activated(rounded), like=[activated(total)]) == {"FakeQuantize": -1}
        assert g.changed(opset.hswish(rounded), like=[opset.hswish(total)]) == {"FakeQuantize": -1}
    rounded = g.rounded(total, -3.5, 3.5)
    for unchanged in (
        activated(g.rounded(total, -3.5, 3.5, to=(-3, 4))),  # it scales too
        activated(opset.relu(rounded)),
        opset.relu(rounded),
        opset.add(activated(rounded), rounded),  # another reads it
    ):
        assert g.changed(unchanged) == {}
    assert g.changed(activated(rounded), rounded) == {}
    for ends in ((-np.inf, np.inf), (-4, -4)):  # which OpenVINO does not run
        y = activated(g.rounded(total, *ends))
        model = openvino.Model([y], [g.x]).clone()
        in_int8_form(openvino, model)
        assert [x.get_type_name() for x in model.get_ops()].count("FakeQuantize") == 2


def test_pools_pad_where_nothing_is_less():
    g = Graph()
    opset = g.opset
    relu, clamp = opset.relu(g.x), opset.clamp(g.x, 0.0, 0.5)

    def pads(x, value=0.0, kernel=3, own=0, to="floor", again=None, **padding):
        y = g.padded(x, value, **padding)
        y = g.rounded(y, *again) if again else y
        y = opset.max_pool(y, [2, 2], [1, 1], [own] * 2, [own] * 2, [kernel] * 2, to).output(0)
        return g.kinds(opset.relu(y))["Pad"]

    grid = (-1, 127 / 128)  # 0 is of it
    for activation in (relu, clamp):
        assert pads(g.rounded(activation, *grid)) == 0
        assert pads(g.rounded(activation, 0, 1)) == 0
        assert pads(g.rounded(activation, 0, 1), again=(0, 1)) == 0
    rounded = g.rounded(relu, *grid)
    assert pads(rounded, again=(0, 1)) == 1
    assert pads(g.rounded(g.x, *grid)) == 1  # of which some are negative
    assert pads(g.rounded(opset.clamp(g.x, -0.5, 0.5), *grid)) == 1
    assert pads(relu) == 1
    assert pads(opset.negative(rounded)) == 1
    assert pads(rounded, value=0.5) == 1
    assert pads(rounded, mode="reflect") == 1
    assert pads(rounded, begin=(0, 1, 1, 1)) == 1
    assert pads(rounded, begin=(0, 0, 2, 0), kernel=2) == 1  # windows of padding only
    computed = opset.add(np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1]))
    assert pads(rounded, begin=computed) == 1
    assert pads(rounded, own=1) == 1
    assert pads(rounded, to="ceil") == 1
    assert pads(g.rounded(relu, -1, 1.1)) == 1  # 0 is rounded to less
    assert pads(g.rounded(relu, 0, 1, to=grid)) == 1  # and here to -1


def test_pools_do_not_pad_after_a_rounding_that_rescales():
    """What was 0 there is less now."""
    g = Graph(channels=4)
    opset = g.opset
    y = g.rounded(opset.relu(g.x), 0, 255 / 64)
    y = g.rescaled(y, steps_off=-1.3 * 255 / 2)  # by 1 less
    grid = (-1, 127 / 128)
    y = g.rounded(g.padded(g.rounded(y, *grid)), *grid)
    y = opset.max_pool(y, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3]).output(0)
    kinds = g.kinds(opset.relu(y))
    assert (kinds["FakeQuantize"], kinds["Pad"]) == (1, 1)


def test_one_weight_a_channel_multiplies():
    g = Graph(channels=4)
    x = g.rounded(g.x)
    depthwise = {"groups": 4, "outputs": 1}
    for y in (x, g.x):
        for bias in (True, False):
            assert g.changed(g.convolved(y, **depthwise, bias=bias)) == MULTIPLIED
    assert g.changed(g.convolved(x, **depthwise, auto_pad="same_upper")) == MULTIPLIED
    for y in (
        g.convolved(x, **depthwise, size=2),
        g.convolved(x, **depthwise, strides=2),
        g.convolved(x, **depthwise, pad=1),
        g.convolved(x, **depthwise, bits="i4"),
        g.convolved(x, groups=4),
        g.convolved(x, groups=2),
        g.convolved(x),
    ):
        assert g.changed(y) == {}


def test_zero_points_go_where_readers_make_up_for_them():
    g = Graph(channels=4)
    opset = g.opset
    x = g.rounded(g.x, -1.2, 1)
    assert g.lows(g.convolved(x)) == [0]
    assert g.lows(g.convolved(x, size=3, strides=2)) == [0]
    assert g.lows(g.convolved(x, strides=2, auto_pad="same_upper")) == [0]
    assert g.lows(g.convolved(x, groups=2)) == [0]
    assert g.lows(g.convolved(x), g.convolved(x, size=3)) == [0]
    assert g.lows(g.rounded(g.convolved(x), -3, 2)) == [0, -3]
    assert g.lows(g.convolved(g.rounded(opset.relu(x), 0, 2))) == [-1.2, 0]
    # Moved, joined with another that begins there, averaged; added, to itself too.
    more = g.rounded(opset.relu(g.x), -1.2, 2)
    assert g.lows(g.convolved(g.joined(x, opset.transpose(more, np.array([0, 1, 3, 2]))))) == [0, 0]
    mean = opset.reduce_mean(x, np.array([2, 3]), True)
    assert g.lows(g.rounded(mean)) == [0, -1]
    inner = opset.avg_pool(x, [1, 1], [1, 1], [1, 1], [2, 2], True)
    assert g.lows(g.convolved(inner)) == [0]
    assert g.lows(g.rounded(opset.add(x, x))) == [0, -1]
    other = g.rounded(g.x, -0.7, 2)
    assert g.lows(g.rounded(opset.add(x, other))) == [0, 0, -1]
    assert g.lows(g.convolved(x), g.rounded(opset.add(x, other))) == [0, 0, -1]


def test_zero_points_stay_where_a_reader_does_not():
    g = Graph(channels=4)
    opset = g.opset
    x = g.rounded(g.x, -1.2, 1)
    ones = np.ones((3, 4, 1, 1), np.float32)
    in_float = opset.multiply(opset.constant(ones), opset.constant(ones))
    for y in (
        x,
        opset.relu(x),
        opset.multiply(x, opset.relu(g.x)),
        opset.relu(opset.add(x, g.x)),
        g.convolved(x, size=3, pad=1),
        g.convolved(x, size=3, auto_pad="same_upper"),
        g.convolved(x, groups=2, size=3, pad=1),
        g.convolved(x, bias=False),
        g.convolved(x, bits="i4"),
        g.convolved(x, groups=2, bits="i4"),
        opset.add(opset.convolution(x, opset.relu(ones), *STEPS), opset.constant(ones[:1, :3])),
        opset.add(opset.convolution(x, in_float, *STEPS), opset.constant(ones[:1, :3])),
        g.convolved(g.joined(x, opset.relu(g.x))),
        g.convolved(opset.avg_pool(x, [1, 1], [1, 1], [1, 1], [2, 2], False)),
    ):
        assert g.lows(y) == [-1.2]
        assert g.lows(g.convolved(x), y) == [-1.2]
    assert sorted(g.lows(g.convolved(g.joined(x, g.rounded(g.x, -1.1, 1))))) == [-1.2, -1.1]
    assert g.lows(g.convolved(g.rounded(g.x, -1.2, 1, levels=16))) == [-1.2]
