import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_octet.errors import RecipeError
from keras_octet.observer_specs import (
    MSE,
    OBSERVERS,
    Entropy,
    MinMax,
    MovingAverage,
    Observer,
    Percentile,
)
from keras_octet.recipe import Recipe, Rule, Scheme, recipes

bins = st.integers(16, 4096)
observers = st.one_of(
    st.just(MinMax()),
    st.builds(MovingAverage, momentum=st.floats(0.01, 0.99)),
    st.builds(Percentile, percentile=st.floats(50.5, 100), num_bins=bins),
    st.builds(MSE, num_bins=bins),
    st.builds(Entropy, num_bins=bins),
)
schemes = st.builds(
    Scheme,
    weight_bits=st.integers(2, 8),
    weight_granularity=st.sampled_from(["per_channel", "per_tensor"]),
    weight_rounding=st.sampled_from(["squant", "nearest"]),
    bias_correction=st.booleans(),
    activation_symmetric=st.booleans(),
    observer=observers,
)
patterns = st.text(min_size=1, max_size=8)
rules = st.one_of(
    st.builds(Rule, name=patterns, keep_float=st.just(True)),
    st.builds(Rule, layer_type=patterns, scheme=schemes, observer=st.none() | observers),
    st.builds(Rule, name=patterns, layer_type=patterns, observer=observers),
)
all_recipes = st.builds(
    Recipe,
    scheme=schemes,
    rules=st.lists(rules, max_size=4),
    input_dtype=st.sampled_from(["float32", "int8"]),
    output_dtype=st.sampled_from(["float32", "int8"]),
)


@given(all_recipes)
def test_json_round_trip_is_exact(recipe: Recipe) -> None:
    restored = Recipe.from_json(recipe.to_json())
    assert restored == recipe
    assert hash(restored) == hash(recipe)
    assert Recipe.from_config(recipe.get_config()) == recipe


@given(all_recipes)
def test_the_text_of_a_recipe_is_code_that_makes_it(recipe: Recipe) -> None:
    assert eval(repr(recipe)) == recipe


def test_the_text_has_what_is_not_as_by_default() -> None:
    rule = Rule(name="block_*", observer=MSE(), scheme=Scheme(weight_granularity="per_tensor"))
    text = "Rule(name='block_*', scheme=Scheme(weight_granularity='per_tensor'), observer=MSE())"
    assert str(rule) == text


@given(observers)
def test_observer_config_round_trip(observer: Observer) -> None:
    config = observer.get_config()
    assert config["type"] in OBSERVERS
    assert Observer.from_config(config) == observer


def test_everything_is_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scheme().weight_bits = 4  # type: ignore[misc]
    with pytest.raises(TypeError):
        Percentile(99.0)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scheme(weight_bits=9), r"weight_bits must be an integer from 2 to 8.*9"),
        (lambda: Scheme(weight_bits=True), "weight_bits"),
        (lambda: Scheme(activation_bits=4), r"activation_bits must be 8. Received: 4"),
        (lambda: Scheme(weight_granularity="per_row"), "'per_channel', 'per_tensor'"),
        (lambda: Scheme(weight_granularity=["per_tensor"]), "'per_channel', 'per_tensor'"),
        (lambda: Scheme(weight_rounding="floor"), "'squant', 'nearest'"),
        (lambda: Scheme(bias_correction="yes"), r"bias_correction must be True or False.*'yes'"),
        (lambda: Scheme(activation_symmetric=1), "True or False"),
        (lambda: Scheme(observer="minmax"), r"MinMax\(\).*'minmax'"),
        (lambda: Scheme(observer=MinMax), r"MinMax\(\)"),
        (lambda: MovingAverage(momentum=1.0), "momentum"),
        (lambda: MovingAverage(momentum=0.0), "momentum"),
        (lambda: Percentile(percentile=50), "percentile"),
        (lambda: Percentile(percentile=100.1), "percentile"),
        (lambda: Percentile(percentile="99"), "percentile"),
        (lambda: Percentile(percentile=float("nan")), "percentile"),
        (lambda: MSE(num_bins=2), "MSE.num_bins"),
        (lambda: Entropy(num_bins=20.5), "Entropy.num_bins"),
        (lambda: Rule(keep_float=True), "`name`, `layer_type` or both"),
        (lambda: Rule(name="", keep_float=True), "Rule.name"),
        (lambda: Rule(name="a"), "what it changes"),
        (lambda: Rule(name="a", keep_float=True, observer=MinMax()), "cannot also"),
        (lambda: Rule(name="a", scheme=MinMax()), "Rule.scheme"),
        (lambda: Recipe(rules=("a",)), "tuple of Rule"),
        (lambda: Recipe(rules=Rule(name="a", keep_float=True)), "tuple of Rule"),
        (lambda: Recipe(input_dtype="uint8"), "'float32', 'int8'"),
        (lambda: Recipe(scheme=None), "Recipe.scheme"),
        (lambda: recipes.w8a8(keep_floats=["a"]), "keep_floats.*Valid arguments: keep_float,"),
        (lambda: recipes.w8a8(keep_float=3), "keep_float"),
        (lambda: recipes.w8a8(keep_float=[3]), "Rule.name"),
        (lambda: recipes.w8a8(rules=Rule(name="a", keep_float=True)), "list of Rule"),
        (lambda: recipes.w8a8(output_dtype="int4"), "'float32', 'int8'"),
    ],
)
def test_bad_values_say_what_is_valid(make, message) -> None:
    with pytest.raises(RecipeError, match=message):
        make()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"version": 2}',
        '{"version": 1, "surprise": 0}',
        '{"version": 1, "rules": 3}',
        '{"version": 1, "rules": [3]}',
        '{"version": 1, "rules": [{"name": "a", "keep_float": true, "x": 1}]}',
        '{"version": 1, "scheme": null}',
        '{"version": 1, "scheme": {"observer": {"type": "Median"}}}',
        '{"version": 1, "scheme": {"observer": {"type": ["MSE"]}}}',
        '{"version": 1, "scheme": {"observer": {"type": "MSE", "bins": 4}}}',
    ],
)
def test_bad_json_is_a_recipe_error(text: str) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_json(text)


def test_missing_keys_have_defaults() -> None:
    assert Recipe.from_json('{"version": 1}') == Recipe()
    assert json.loads(Recipe().to_json())["version"] == 1


def test_first_matching_rule_wins() -> None:
    low = Scheme(weight_bits=4, weight_granularity="per_tensor")
    recipe = Recipe(
        rules=(
            Rule(name="conv_1", layer_type="Dense", keep_float=True),
            Rule(name="conv_1", observer=MSE()),
            Rule(name="conv_*", scheme=low, observer=Entropy()),
            Rule(layer_type="Conv2D", keep_float=True),
        )
    )
    assert recipe.scheme_for([("conv_1", "Conv2D")]) == Scheme(observer=MSE())
    assert recipe.scheme_for([("conv_2", "Conv2D")]) == dataclasses.replace(low, observer=Entropy())
    assert recipe.scheme_for([("stem", "Conv2D")]) is None
    assert recipe.scheme_for([("stem", "Dense")]) == Scheme()
    assert recipe.scheme_for([("CONV_2", "Dense")]) == Scheme()


def test_a_float_operation_is_observed_as_the_recipe_says() -> None:
    recipe = recipes.w8a8(keep_float="a", observer=MSE(), rules=[Rule(name="b", observer=MinMax())])
    assert recipe.observer_for([("a", "Dense")]) == MSE()
    assert recipe.observer_for([("b", "Dense")]) == MinMax()


def test_unmatched_rules_are_reported() -> None:
    recipe = recipes.w8a8(keep_float=["conv_*", "conv_1", "predictions"], keep_float_types="GRU")
    unmatched = recipe.unmatched(iter([[("conv_1", "Conv2D")], [("head", "Dense")]]))
    assert [(rule.name, rule.layer_type) for rule in unmatched] == [
        ("predictions", None),
        (None, "GRU"),
    ]


def test_w8a8_passes_its_arguments_on() -> None:
    assert recipes.w8a8() == Recipe()
    recipe = recipes.w8a8(
        keep_float="a",
        rules=[Rule(name="b", observer=MSE())],
        weight_granularity="per_tensor",
        activation_symmetric=True,
        observer=Percentile(percentile=99.9),
        input_dtype="int8",
        output_dtype="int8",
    )
    assert recipe == Recipe(
        scheme=Scheme(
            weight_granularity="per_tensor",
            activation_symmetric=True,
            observer=Percentile(percentile=99.9),
        ),
        rules=(Rule(name="a", keep_float=True), Rule(name="b", observer=MSE())),
        input_dtype="int8",
        output_dtype="int8",
    )
