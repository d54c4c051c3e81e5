"""Differences of recipes: the right lines, determined by hand, and no others."""

from pathlib import Path

import pytest
from tests.kit import Command

from firstlight import augment as au
from firstlight import layers as la
from firstlight.differences import NOTHING, differences
from firstlight.layers.network import Network
from firstlight.optimizers import SGD
from firstlight.recipe import Recipe, parse_recipe

CONV, POOL = la.Conv(8, activation="relu"), la.MaxPool(2)
END = (la.Flatten(), la.Dense("classes"))


def recipe(*layers: la.Layer, steps: tuple[au.Augmentation, ...] = ()) -> Recipe:
    return Recipe(name="one", network=Network(layers=(*layers, *END)), augment=steps)


def found(*recipes: Recipe) -> list[tuple[str, ...]]:
    return [(one.choice, *one.values) for one in differences(recipes)]


def test_equal_recipes_differ_in_nothing_whatever_they_are_called() -> None:
    one = recipe(CONV)
    other = Recipe(name="two", description="said otherwise", network=one.network)

    assert found(one, other) == []


def test_one_more_layer_is_one_line_and_the_later_ones_none() -> None:
    norm = la.BatchNorm()
    assert found(recipe(CONV, POOL, CONV), recipe(CONV, norm, POOL, CONV)) == [
        ("network.2", NOTHING, "{ batch-norm = true }")
    ]
    assert found(recipe(CONV, norm, POOL), recipe(CONV, POOL)) == [
        ("network.2", "{ batch-norm = true }", NOTHING)
    ]


def test_a_changed_layer_stands_beside_what_it_was_with_both_numbers() -> None:
    wide = la.Conv(16, activation="relu")

    assert found(recipe(CONV, POOL, CONV), recipe(la.BatchNorm(), CONV, POOL, wide)) == [
        ("network.1", NOTHING, "{ batch-norm = true }"),
        (
            "network.3 / 4",
            '{ conv = 8, activation = "relu" }',
            '{ conv = 16, activation = "relu" }',
        ),
    ]


def test_a_layer_of_another_kind_is_one_that_went_and_one_that_came() -> None:
    assert found(recipe(CONV, POOL), recipe(CONV, la.AveragePool(2))) == [
        ("network.2", "{ max-pool = 2 }", NOTHING),
        ("network.2", NOTHING, "{ average-pool = 2 }"),
    ]


def test_layers_inside_blocks_branches_and_repeats_are_compared_one_by_one() -> None:
    same = la.Conv(1, padding="same")
    branch = la.Conv(8, activation="relu")
    one = recipe(
        la.Repeat(2, (la.Residual((same,)),)), la.Branches(((branch,), (branch, la.BatchNorm())))
    )
    other = recipe(
        la.Repeat(3, (la.Residual((same, la.BatchNorm()), activation="none"),)),
        la.Branches(((branch,), (branch,))),
    )

    assert found(one, other) == [
        ("network.1.times", "2", "3"),
        ("network.1.1.activation", '"relu"', '"none"'),
        ("network.1.1.2", NOTHING, "{ batch-norm = true }"),
        ("network.2.2.2", "{ batch-norm = true }", NOTHING),
    ]


def test_augmentations_and_plain_choices_are_compared_too() -> None:
    one = recipe(CONV, steps=(au.Rotate(10), au.Shift(0.1)))
    other = recipe(CONV, steps=(au.Shift(0.1),)).with_parts(optimizer=SGD(0.1))

    lines = {line[0]: line[1:] for line in found(one, other)}
    assert lines["augment.1"] == ("{ rotate = 10.0 }", NOTHING)
    assert lines["optimizer.name"] == ('"adam"', '"sgd"')
    assert lines["optimizer.epsilon"][1] == NOTHING, "SGD has none"
    assert not any(key.startswith(("augment.2", "network", "train")) for key in lines)


def test_of_three_recipes_each_has_its_column() -> None:
    three = [recipe(CONV, POOL), recipe(CONV), recipe(CONV, POOL, la.Dropout(0.1))]

    assert found(*three) == [
        ("network.2", "{ max-pool = 2 }", NOTHING, "{ max-pool = 2 }"),
        ("network.3", NOTHING, NOTHING, "{ dropout = 0.1 }"),
    ]


def test_every_layer_and_augmentation_can_be_compared() -> None:
    """Including those without settings, and long lists."""
    many: list[la.Layer] = [CONV, la.BatchNorm()] * 100
    assert found(recipe(*many), recipe(*many, POOL)) == [
        ("network.201", NOTHING, "{ max-pool = 2 }")
    ]


@pytest.mark.parametrize("name", ["mnist-quick", "cifar10-tutorial-dropout"])
def test_a_shown_recipe_is_a_file_that_reads_back_with_its_comments(
    command: Command, name: str, tmp_path: Path
) -> None:
    shown = command("recipe", "show", name)
    assert shown.code == 0 and shown.err == ""
    mine = tmp_path / "mine.toml"
    mine.write_text(shown.out)

    again = command("recipe", "show", mine)
    assert parse_recipe(again.out, source="") == parse_recipe(shown.out, source="")
    told = command("recipe", "compare", name, mine)
    assert told.code == 0 and "the same settings" in told.out
    if name == "mnist-quick":
        assert "#" in shown.out


def test_a_run_s_recipe_is_shown_in_today_s_form_and_compared(
    command: Command, tmp_path: Path
) -> None:
    """The models in the box contain recipes of format 1."""
    shown = command("recipe", "show", "mnist").out
    assert "format = 2" in shown and "layers = [" in shown
    (run := tmp_path / "run").mkdir()
    (run / "recipe.toml").write_text(shown)
    assert command("recipe", "show", run).out == shown
    assert "the same settings" in command("recipe", "compare", "mnist", run).out
    assert "network.1" in command("recipe", "compare", "mnist-quick", "mnist").out


@pytest.mark.parametrize("where", ["mnist-quik", "a" * 5000, "nul\0", "", "."])
def test_what_is_no_recipe_is_told(command: Command, where: str, tmp_path: Path) -> None:
    done = command("recipe", "show", where)
    assert done.code == 2 and done.out == "" and "Traceback" not in done.err
    assert done.err.count("\n") == 1


def test_the_list_has_every_named_recipe(command: Command) -> None:
    names = [
        path.stem for path in (Path(__file__).parents[1] / "src/firstlight/recipes").glob("*.toml")
    ]
    shown = command("recipe", "list").out
    assert names and all(name in shown for name in names)


def test_in_a_table_a_block_is_its_own_choices_and_the_number_of_its_layers() -> None:
    block = la.Residual((CONV, la.Conv(8, padding="same")), activation="none")
    (only,) = differences([recipe(la.Repeat(3, (block,))), recipe()])
    assert only.short == ("{ repeat = 3, layers = [2 layers] }", NOTHING)
    assert "conv = 8" in only.values[0]

    two = la.Branches(((CONV,), (CONV, POOL)), join="add")
    (only,) = differences([recipe(), recipe(two)])
    assert only.short == (NOTHING, '{ branches = [3 layers], join = "add" }')


def test_recipes_of_deep_networks_are_compared_in_lines_that_can_be_read(command: Command) -> None:
    shown = command("recipe", "compare", "mnist-quick", "cifar10-resnet20")

    assert "{ repeat = 3, layers = [5 layers] }" in shown.out
    assert max(map(len, shown.out.splitlines())) < 160


def test_networks_that_are_two_of_their_own_are_one_line() -> None:
    many = [layer for n in range(21) for layer in (la.Conv(8 + n), la.BatchNorm())]
    (only,) = differences([recipe(*many), recipe(la.Dense(4))])
    assert only.choice == "network.layers"
    assert only.short == ("a list of 44 layers", "a list of 3 layers")
    assert only.values[1] == '[{ dense = 4 }, { flatten = true }, { dense = "classes" }]'
    # One norm among many is still one line.
    assert found(recipe(*many), recipe(*many[:-1])) == [
        ("network.42", "{ batch-norm = true }", NOTHING)
    ]
