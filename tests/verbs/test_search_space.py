"""What a search may change: a file's text compared with the space that it means, and refused
files."""

from pathlib import Path

import pytest

from firstlight.errors import UserError
from firstlight.recipe import Recipe, load_recipe
from firstlight.verbs.search_space import (
    Options,
    Range,
    default_space,
    own_values,
    plain_settings,
    read_space,
    space_of,
)

RECIPE = load_recipe("mnist-standard")


def read(tmp_path: Path, text: str, recipe: Recipe = RECIPE) -> object:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return read_space(path, recipe, ["train.epochs=2"])


WANTED = (
    Range(key="optimizer.learning_rate", low=1e-4, high=0.1, log=True),
    Options(key="train.batch_size", values=("32", "64")),
)


@pytest.mark.parametrize(
    "text",
    [
        '"optimizer.learning_rate" = { low = 1e-4, high = 1e-1, log = true }\n'
        '"train.batch_size" = [32, 64]',
        "optimizer.learning_rate = { low = 1e-4, high = 1e-1, log = true }\n"
        "train.batch_size = [32, 64]",
        "[optimizer]\nlearning_rate = { low = 1e-4, high = 1e-1, log = true }\n"
        "[train]\nbatch_size = [32, 64]",
        "[optimizer.learning_rate]\nlow = 1e-4\nhigh = 1e-1\nlog = true\n"
        "[train]\nbatch_size = [32, 64]",
    ],
)
def test_keys_may_be_quoted_dotted_or_below_their_section(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == WANTED


def test_the_recipe_says_whether_a_range_is_of_whole_numbers(tmp_path: Path) -> None:
    text = (
        "train.batch_size = { low = 16, high = 64 }\noptimizer.weight_decay = { low = 0, high = 1 }"
    )
    assert read(tmp_path, text) == (
        Range(key="train.batch_size", low=16, high=64, whole=True),
        Range(key="optimizer.weight_decay", low=0.0, high=1.0),
    )


def test_layers_augmentations_and_whole_lists_are_settings_too(tmp_path: Path) -> None:
    text = (
        '"network.3.filters" = [32, 64]\n"augment.1.degrees" = { low = 0, high = 20 }\n'
        '"train.precision" = ["mixed", "float32"]'
    )
    assert read(tmp_path, text) == (
        Options(key="network.3.filters", values=("32", "64")),
        Range(key="augment.1.degrees", low=0.0, high=20.0),
        Options(key="train.precision", values=('"mixed"', '"float32"')),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no settings"),
        ("a = [", "not valid TOML"),
        ("optimizer.learnin_rate = [1e-3, 1e-2]", "did you mean learning_rate?"),
        ("optimiser.learning_rate = [1e-3, 1e-2]", "did you mean optimizer?"),
        ("train.batch_size = []", "has no values, so there is nothing to choose"),
        ("train.batch_size = [32]", "has 1 value, so there is nothing to choose"),
        ("train.batch_size = [32, 32]", "lists 32 twice"),
        ('train.batch_size = [32, "many"]', "batch_size must be a whole number, not 'many'"),
        ("train.batch_size = 32", "wanted a range or a list"),
        ("train.batch_size = {}", "lacks low"),
        ("train.batch_size = { low = 8 }", "lacks high"),
        ("train.batch_size = { lo = 8, high = 9 }", "has 'lo', which is unknown; did you mean low"),
        ("train.batch_size = { low = 9, high = 9 }", "low must be below high, got 9 and 9"),
        ("train.batch_size = { low = 1.5, high = 9 }", "must be a whole number, not 1.5"),
        ("train.batch_size = { low = true, high = 9 }", "low: wanted a number, got True"),
        ("train.batch_size = { low = nan, high = 9 }", "low: wanted a number, got nan"),
        ("train.label_smoothing = { low = 0, high = 0.2, log = true }", "low must be above 0"),
        ("train.label_smoothing = { low = 0, high = 0.2, log = 1 }", "log: wanted true or false"),
        ("train.label_smoothing = { low = 0, high = 2 }", "label_smoothing must be at most 0.99"),
        ("train.precision = { low = 0, high = 2 }", "precision"),
        ("train.epochs = [2, 3]", "train.epochs is also set to one value"),
        ("train.seed = [2, 3]", "train.seed cannot be searched"),
        ('train.validation = ["held-out", "test"]', "train.validation cannot be searched"),
        (
            "train.start_rate = [0.1, 0.2]",
            "train.start_rate only has an effect with train.start_from",
        ),
        (
            'optimizer.name = ["muon", "adam"]\noptimizer.head_learning_rate = [0.5, 0.7]',
            "adam has no option 'head_learning_rate'",
        ),
        ("augment.3.degrees = [1.0, 2.0]", "no number 3"),
    ],
)
def test_what_is_no_space_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "space.toml"))
    assert message in str(caught.value)


def test_a_missing_file_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: cannot be read: No such file"):
        read_space(tmp_path / "none.toml", RECIPE)


def test_the_default_space_is_of_the_recipes_own_choices() -> None:
    assert default_space(RECIPE, 1000, ["train.label_smoothing=0.1"]) == (
        Range(key="optimizer.learning_rate", low=0.003, high=0.15, log=True),
        Range(key="optimizer.weight_decay", low=2e-7, high=2e-5, log=True),
        Options(key="train.batch_size", values=("62", "125", "250")),
        Range(key="augment.1.degrees", low=2.5, high=20.0),
        Range(key="augment.2.fraction", low=0.0125, high=0.1),
    )


@pytest.mark.parametrize("name", ["mnist-tutorial", "cifar10-quick", "cifar10-best", "mnist-mlp"])
def test_the_default_space_of_named_recipes_holds_what_they_have(name: str) -> None:
    recipe = load_recipe(name)
    space = default_space(recipe, 50_000)
    own = own_values(space, recipe)
    assert own is not None
    assert recipe.with_settings([f"{k}={v}" for k, v in own.items()]) == recipe
    # The recipe accepts every end, one beside the other.
    table = {s.key: [*s.values] if isinstance(s, Options) else {} for s in space}
    for one in space:
        if isinstance(one, Range):
            table[one.key] = {"low": one.low, "high": one.high, "log": one.log}
        else:
            table[one.key] = [plain_settings({"v": v})["v"] for v in one.values]
    assert space_of(table, recipe) == space
