"""Recipes with every part: to TOML and back, and ``repr`` evaluated again."""

from dataclasses import MISSING, fields
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import firstlight as fl
from firstlight import augment, layers, optimizers, schedules
from firstlight.augment import AUGMENTATIONS
from firstlight.augment.mixing import Mix
from firstlight.errors import UserError
from firstlight.layers import LAYERS, Branches, Conv, Dense, Layer, Repeat, Residual
from firstlight.layers.network import Network
from firstlight.optimizers import OPTIMIZERS
from firstlight.parts import Part, part_of, plain_value
from firstlight.recipe import Recipe, TrainChoice, parse_recipe
from firstlight.schedules import SCHEDULES
from firstlight.toml_text import toml_value

BLOCKS = (Residual, Branches, Repeat)
NAMES: dict[str, Any] = {
    **{
        name: getattr(module, name)
        for module in (layers, augment, optimizers, schedules)
        for name in dir(module)
    },
    "Network": Network,
    "Recipe": Recipe,
    "TrainChoice": TrainChoice,
}


def values(hint: Any, rule: Any) -> st.SearchStrategy[Any]:
    """Return the possible values of a setting, by its type and rule."""
    if get_origin(hint) is tuple:
        items = get_args(hint)
        one = values(items[0], rule)
        if items[-1] is Ellipsis:
            return st.lists(one, min_size=1, max_size=3, unique=True).map(sorted)
        return st.tuples(*(one for _ in items))
    if "names" in rule:
        return st.sampled_from(rule["names"])
    if hint is bool:
        return st.booleans()
    low, high = rule.get("least", 0), rule.get("most", 9)
    if hint is int:
        return st.integers(int(low), int(min(high, low + 20)))
    return st.floats(low, high, exclude_min=rule.get("above", False))


def made(kind: type[Part], **choices: Any) -> Any:
    try:
        return kind(**choices)
    except UserError:  # two settings that exclude each other
        return None


def of_kind(kind: type[Part]) -> st.SearchStrategy[Any]:
    """Return values of a part, with some settings at their defaults."""
    hints = get_type_hints(kind)
    choices: dict[str, Any] = {}
    for spec in fields(kind):
        one = values(hints[spec.name], spec.metadata)
        if kind is Dense and spec.name == "units":
            one = st.integers(1, 65536)
        choices[spec.name] = (
            one if spec.default is MISSING else st.one_of(st.just(spec.default), one)
        )
    return st.builds(lambda **some: made(kind, **some), **choices).filter(lambda v: v is not None)


def lists_of(one: st.SearchStrategy[Layer], least: int = 1) -> st.SearchStrategy[Any]:
    return st.lists(one, min_size=least, max_size=3)


PLAIN = st.one_of([of_kind(kind) for kind in LAYERS.values() if kind not in BLOCKS])
LAYER = st.recursive(
    PLAIN,
    lambda one: st.one_of(
        st.builds(Residual, lists_of(one), activation=st.sampled_from(["relu", "none", "gelu"])),
        st.builds(
            Branches,
            st.lists(lists_of(one, 0), min_size=2, max_size=3),
            join=st.sampled_from(["add", "concatenate"]),
        ),
        st.builds(Repeat, st.integers(1, 4), layers=lists_of(one)),
    ),
    max_leaves=8,
)
NETWORK = st.builds(
    lambda some, **more: Network(layers=(*some, Dense("classes")), **more),
    st.lists(LAYER, max_size=4),
    pixels=st.sampled_from(["scale", "standardize"]),
    views=st.sampled_from(["one", "shift", "mirror", "mirror-and-shift"]),
)
STEPS = st.lists(
    st.one_of([of_kind(kind) for kind in AUGMENTATIONS.values() if not issubclass(kind, Mix)]),
    max_size=4,
)
MIXES = st.one_of(
    st.just([]),
    st.one_of([of_kind(k) for k in AUGMENTATIONS.values() if issubclass(k, Mix)]).map(
        lambda m: [m]
    ),
)
RECIPE = st.builds(
    lambda network, steps, mix, optimizer, schedule, epochs: Recipe(
        name="made",
        network=network,
        augment=(*steps, *mix),
        optimizer=optimizer,
        schedule=schedule,
        train=TrainChoice(epochs=epochs),
    ),
    NETWORK,
    STEPS,
    MIXES,
    st.one_of([of_kind(kind) for kind in OPTIMIZERS.values()]),
    st.one_of([of_kind(kind) for kind in SCHEDULES.values()]),
    st.floats(0.01, 1000),
)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(recipe=RECIPE)
def test_a_recipe_comes_back_from_toml_and_from_what_python_prints(recipe: Recipe) -> None:
    text = recipe.to_toml()
    again = parse_recipe(text, source="again")
    assert again == recipe
    assert again.to_toml() == text
    assert eval(repr(recipe), NAMES) == recipe
    for part in (*recipe.network.layers, *recipe.augment):
        assert eval(repr(part), NAMES) == part


@settings(max_examples=50, deadline=None, derandomize=True)
@given(layer=LAYER)
def test_a_layer_comes_back_from_its_table_and_from_its_line_of_toml(layer: Layer) -> None:
    assert part_of(plain_value(layer), LAYERS, label="layer 1") == layer
    both = f'[{toml_value(plain_value(layer))}, {{ dense = "classes" }}]'
    line = f'name = "x"\n[network]\nlayers = {both}'
    assert parse_recipe(line, source="x").network.layers == (layer, Dense("classes"))


def test_lists_and_tuples_are_the_same_block() -> None:
    conv = Conv(4, padding="same")
    for block in (
        (Residual([conv]), Residual((conv,))),  # type: ignore[arg-type]
        (Branches([[conv], []]), Branches(((conv,), ()))),  # type: ignore[arg-type]
        (Repeat(2, layers=[conv]), Repeat(2, layers=(conv,))),  # type: ignore[arg-type]
    ):
        assert block[0] == block[1] and hash(block[0]) == hash(block[1])
    network = fl.Network(layers=[conv, layers.Flatten(), Dense("classes")])  # type: ignore[arg-type]
    assert network == eval(repr(network), NAMES)


def test_numbers_stand_in_one_line_and_layers_one_below_the_other() -> None:
    assert toml_value([[15.0, 60.0], [1.5, 2.0]]) == "[[15.0, 60.0], [1.5, 2.0]]"
    assert toml_value([{"conv": 4}, {"dense": 2}]) == "[\n  { conv = 4 },\n  { dense = 2 },\n]"
