"""Recipes: read back as written, and refused by name if they are wrong."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from firstlight.augment import Flip, Rotate, Shift
from firstlight.errors import UserError
from firstlight.layers import (
    BatchNorm,
    Branches,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Repeat,
    Residual,
)
from firstlight.layers.network import Network
from firstlight.optimizers import SGD, Adam
from firstlight.recipe import Recipe, TrainChoice, load_recipe, parse_recipe, recipe_names
from firstlight.schedules import Constant


@pytest.mark.parametrize("name", recipe_names())
def test_every_named_recipe_is_named_like_its_file_and_survives_toml(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert parse_recipe(recipe.to_toml(), source="again") == recipe


def test_the_tutorial_recipes_hold_the_tutorials_numbers() -> None:
    mnist, cifar = load_recipe("mnist-tutorial"), load_recipe("cifar10-tutorial")
    assert (mnist.train.epochs, cifar.train.epochs) == (5, 10)
    assert mnist.network.layers == (
        *(Conv(32, activation="relu"), MaxPool(2), Conv(64, activation="relu"), MaxPool(2)),
        *(Flatten(), Dense(64, activation="relu"), Dense("classes")),
    )
    assert cifar.network.layers == (
        *(Conv(32, activation="relu"), MaxPool(2), Conv(64, activation="relu"), MaxPool(2)),
        *(Conv(128, activation="relu"), Flatten(), Dense(128, activation="relu")),
        Dense("classes"),
    )
    for recipe in (mnist, cifar):
        assert recipe.optimizer == Adam(1e-3, betas=(0.9, 0.999), epsilon=1e-7)
        assert recipe.train.batch_size == 32
        assert recipe.train.validation == "test"
        assert recipe.schedule == Constant()
        assert recipe.augment == ()


def test_each_tip_of_the_tutorial_changes_one_thing() -> None:
    plain, augmented, dropout = (
        load_recipe(f"cifar10-tutorial{tip}") for tip in ("", "-augmented", "-dropout")
    )
    assert augmented.augment == (Rotate(10.0), Shift(0.1), Flip())
    assert replace(augmented, augment=(), name="x", description="") == replace(
        plain, name="x", description=""
    )
    *first, last = plain.network.layers
    assert dropout.network.layers == (*first, Dropout(0.5), last)


def test_digit_recipes_never_mirror() -> None:
    for name in recipe_names():
        if "mnist-" in name.replace("fashion_mnist", "") or name.startswith("digits"):
            assert not any(isinstance(step, Flip) for step in load_recipe(name).augment)


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("train.epoch=3", "unknown key train.epoch; did you mean train.epochs?"),
        ("train.xyz=3", "unknown key train.xyz; the keys are train.epochs, "),
        ("train.lr=3", "unknown key train.lr; did you mean optimizer.learning_rate?"),
        (
            "optimizer.batch=3",
            "optimizer: adam has no option 'batch'; did you mean train.batch_size?",
        ),
        ("train.Weight-Decay=0", "did you mean optimizer.weight_decay?"),
        ("train.name=x", "unknown key train.name; the keys are train.epochs, "),
        (
            "lr=3",
            "wanted section.key=value, such as train.epochs=3, got 'lr=3'; did you mean op",
        ),
        ("train.epochs=0", "train.epochs must be above 0, not 0"),
        (
            "train.micro_batch_size=2",
            "micro_batch_size must be 0 (the whole batch) or at least 3",
        ),
        ("train.batch_size=1.5", "train.batch_size must be a whole number, not 1.5"),
        ("train.epochs=many", "train.epochs must be a number, not 'many'"),
        ("train.validation=tets", "did you mean test?"),
        ("model.dropout=1", "no section 'model'; the network is now a list of layers"),
        ("network.1.filters=0", "layer 1 (conv): filters must be at least 1, not 0"),
        ("network.1.kernal=5", "layer 1 (conv): conv has no option 'kernal'; did you mean kernel?"),
        ("network.99.filters=8", "no number 99; the list has 7: network.1 (conv), network.2 (max"),
        (f"network.{'9' * 5000}.filters=8", "the list has 7: network.1 (conv)"),
        ("network.1.2.filters=8", "network.1 is conv, which has no inner layers. Write one"),
        ("network.1=8", "wanted a number and one option, such as network.1.…, or the wh"),
        ("network.layers=[]", "network.layers must be a list of layers"),
        (
            "network.layers=[{ convolution = 3 }]",
            "layer 1 has convolution, but no word that says what it is; the words are conv, dense",
        ),
        ("network.layers=[{ conv = 8, dense = 3 }]", "has both conv and dense"),
        ("network.layers=[{ flatten = 3 }]", "flatten takes no value"),
        (
            "network.layers=[{ flatten = true }]",
            'network.layers must end with dense = "classes"',
        ),
        ("network.views=both", "network.views cannot be 'both'"),
        ("optimizer.betas=[0.9]", "optimizer.betas must be a list of 2 numbers"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate must be a number"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate must be above 0"),
        ("optimizer.momentum=0.9", "optimizer: adam has no option 'momentum'; it has learning"),
        ("optimizer.name=lion", "optimizer: wanted a known name, got name = 'lion'"),
        ("schedule.warmup_fraction=0.1", "schedule: constant has no option 'warmup_fraction'"),
        (
            "augment=[{ rotat = 1 }]",
            "augment 1 has rotat, but no word that says what it is; did you mean rotate",
        ),
        ("augment=[{ mixup = 1 }, { rotate = 5 }]", "as the last augmentation"),
        ("augment.1.degrees=5", "no number 1; the list has none"),
        ("trian.epochs=1", "no section 'trian'; did you mean train?"),
        ("epochs", "wanted section.key=value"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, wanted: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe(name="x").with_settings([setting])
    assert wanted in str(caught.value)


def test_later_settings_win_and_leave_the_rest() -> None:
    recipe = Recipe(name="x").with_settings(["train.epochs=2", "train.epochs=7", "train.seed=3"])
    assert (recipe.train.epochs, recipe.train.seed, recipe.train.batch_size) == (7, 3, 32)


def test_a_recipe_file_is_read_and_its_mistakes_name_the_file(tmp_path: Path) -> None:
    good = tmp_path / "mine.toml"
    good.write_text('name = "mine"\n[train]\nepochs = 2\n')
    assert load_recipe(good).train.epochs == 2
    bad = tmp_path / "bad.toml"
    for text, wanted in [
        ("name = ", "not valid TOML"),
        ("[train]\nepochs = 2\n", "a recipe needs a name"),
        ('name = "x"\ntrain = 3\n', "train must be a table"),
        (
            'name = "x"\n[schedule]\npeek = 1\n',
            "schedule: wanted a known name, got no",
        ),
    ]:
        bad.write_text(text)
        with pytest.raises(UserError) as caught:
            load_recipe(bad)
        assert str(caught.value).startswith(str(bad))
        assert wanted in str(caught.value)


def test_a_name_that_is_no_recipe_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean mnist-tutorial"):
        load_recipe("mnist-tutorail")
    with pytest.raises(UserError, match="did you mean mnist-quick"):
        load_recipe("mnist-quik.toml")


def test_impossible_values_are_refused_also_from_python() -> None:
    with pytest.raises(UserError, match="epochs must be above 0, not 0"):
        TrainChoice(epochs=0)
    with pytest.raises(UserError, match="share must be at most"):
        Dropout(1)


@pytest.mark.parametrize("name", ["", "../x", "/tmp/x", "a/b", ".hidden", "x" * 200])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name must be letters, digits"):
        parse_recipe(f'name = "{name}"', source="mine.toml")


def test_settings_that_would_be_ignored_are_refused() -> None:
    with pytest.raises(UserError, match=r"train\.patience needs validation=\"held-out\""):
        load_recipe("mnist-tutorial").with_settings(["train.patience=2"])
    with pytest.raises(UserError, match=r"train\.epoch_share below 1 does not work with mixup and"):
        load_recipe("cifar10-quick").with_settings(
            ["augment=[{ mixup = 1 }]", "train.epoch_share=0.5"]
        )
    for name in ("mnist-best", "mnist-tutorial"):  # both flatten
        with pytest.raises(UserError, match=r"train\.small_share needs a list of layers that"):
            load_recipe(name).with_settings(["train.small_share=0.5"])
    with pytest.raises(
        UserError, match=r"schedule\.start_fraction only has an effect with schedule\.warmup_"
    ):
        load_recipe("mnist-quick").with_settings(["schedule.start_fraction=0.5"])


def test_a_setting_changes_a_layer_or_an_augmentation_by_its_number() -> None:
    recipe = load_recipe("cifar10-tutorial-augmented")
    changed = recipe.with_settings(["network.3.filters=8", "augment.1.degrees=5"])
    assert changed.network.layers[2] == Conv(8, activation="relu")
    assert changed.augment == (Rotate(5.0), Shift(0.1), Flip())
    assert replace(changed, network=recipe.network, augment=recipe.augment) == recipe


def test_a_setting_changes_a_layer_within_others() -> None:
    block = Residual((Conv(8, padding="same", bias=False), BatchNorm()))
    layers = (
        Repeat(3, layers=(block,)),
        Branches(((), (Conv(4), Conv(4)))),
        Flatten(),
        Dense("classes"),
    )
    recipe = Recipe(name="x", network=Network(layers=layers))

    changed = recipe.with_settings(
        [
            *("network.1.times=2", "network.1.1.activation=gelu", "network.1.1.2.momentum=0.5"),
            *("network.1.1.1.kernel=5", "network.2.2.1.filters=6", "network.2.join=add"),
        ]
    )

    first, second, *_ = changed.network.layers
    inner = (Conv(8, kernel=5, padding="same", bias=False), BatchNorm(momentum=0.5))
    assert first == Repeat(2, layers=(Residual(inner, activation="gelu"),))
    assert second == Branches(((), (Conv(6), Conv(4))), join="add")
    assert recipe.network.layers == layers
    for setting, wanted in (
        ("network.1.2.filters=3", "no number 2; the list has 1: network.1.1 (residual); repeated"),
        ("network.1.1.1.kernal=3", "layer 1.1.1 (conv): conv has no option 'kernal'; did you mean"),
        ("network.1.1.1.1.kernel=3", "network.1.1.1 is conv, which has no inner layers"),
        ("network.2.1.1.filters=3", "no number 1; the list has none"),
        (
            "network.2.2.filters=3",
            "wanted a number and one option, such as network.2.2.1.",
        ),
        (
            "network.2.3.1.filters=3",
            "the list has 2: network.2.1 (a branch), network.2.2 (a branch)",
        ),
    ):
        with pytest.raises(UserError, match=re.escape(wanted)):
            recipe.with_settings([setting])


def test_another_optimizer_begins_with_its_own_defaults() -> None:
    recipe = Recipe(name="x").with_settings(["optimizer.name=sgd", "optimizer.momentum=0.5"])
    assert recipe.optimizer == SGD(0.01, momentum=0.5)


def test_a_file_from_windows_notepad_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'\xef\xbb\xbfname = "mine"\n')
    assert load_recipe(tmp_path / "mine.toml").name == "mine"


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 3000])
def test_absurd_values_are_refused_in_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError):
        Recipe(name="any").with_settings([f"train.seed={text}"])
    with pytest.raises(UserError, match="not valid TOML"):
        parse_recipe(f'name = "x"\n[train]\nseed = {text}\n', source="x.toml")
