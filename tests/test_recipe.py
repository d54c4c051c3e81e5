"""Recipes: read back as written, and refused by name when wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from firstlight.errors import UserError
from firstlight.recipe import Recipe, TrainChoice, load_recipe, parse_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_named_recipe_is_named_like_its_file_and_survives_toml(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert parse_recipe(recipe.to_toml(), source="again") == recipe


def test_the_tutorial_recipes_hold_the_tutorials_numbers() -> None:
    mnist, cifar = load_recipe("mnist-tutorial"), load_recipe("cifar10-tutorial")
    assert (mnist.train.epochs, cifar.train.epochs) == (5, 10)
    assert (mnist.model.widths, mnist.model.dense) == ((32, 64), 64)
    assert (cifar.model.widths, cifar.model.dense) == ((32, 64, 128), 128)
    for recipe in (mnist, cifar):
        assert recipe.optimizer.learning_rate == 1e-3
        assert recipe.optimizer.betas == (0.9, 0.999)
        assert recipe.optimizer.epsilon == 1e-7
        assert recipe.train.batch_size == 32
        assert recipe.train.validation == "test"
        assert recipe.schedule.name == "constant"
        assert not recipe.augment.enabled
        assert recipe.model.dropout == 0.0


def test_each_tip_is_one_setting_away_from_the_tutorial() -> None:
    plain = load_recipe("cifar10-tutorial")
    augmented = plain.with_settings(["augment.enabled=true"])
    dropout = plain.with_settings(["model.dropout=0.5"])
    assert augmented.augment == load_recipe("cifar10-tutorial-augmented").augment
    assert dropout.model == load_recipe("cifar10-tutorial-dropout").model
    assert augmented.augment.flip
    assert (augmented.augment.rotation_degrees, augmented.augment.shift_fraction) == (10.0, 0.1)


def test_digit_recipes_never_mirror() -> None:
    for name in ("mnist-tutorial", "mnist-quick", "digits-tutorial"):
        assert not load_recipe(name).augment.flip


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("train.epoch=3", "unknown key train.epoch; did you mean train.epochs?"),
        ("train.xyz=3", "unknown key train.xyz; the keys are train.epochs, "),
        ("train.lr=3", "unknown key train.lr; did you mean optimizer.learning_rate?"),
        ("optimizer.batch=3", "unknown key optimizer.batch; did you mean train.batch_size?"),
        ("train.dropout=0.5", "unknown key train.dropout; did you mean model.dropout?"),
        ("train.Weight-Decay=0", "did you mean optimizer.weight_decay?"),
        ("train.name=x", "did you mean model.name or optimizer.name or schedule.name?"),
        (
            "lr=3",
            "wants section.key=value, such as train.epochs=3, and got 'lr=3'; did you mean op",
        ),
        ("train.epochs=0", "train.epochs must be above 0, not 0"),
        (
            "train.micro_batch_size=2",
            "micro_batch_size must be 0, for the whole batch, or at least 3",
        ),
        ("train.batch_size=1.5", "train.batch_size must be a whole number, not 1.5"),
        ("train.epochs=many", "train.epochs must be a number, not 'many'"),
        ("train.validation=tets", "did you mean test?"),
        ("model.dropout=1", "model.dropout must be at most 0.95, not 1.0"),
        ("model.widths=[]", "model.widths must be a list"),
        ("model.widths=[0]", "model.widths must be at least 1, not 0"),
        ("optimizer.betas=[0.9]", "optimizer.betas must be a list of 2 numbers"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate must be a number"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate must be above 0"),
        ("augment.enabled=1", "augment.enabled must be true or false, not 1"),
        ("trian.epochs=1", "no section 'trian'; did you mean train?"),
        ("epochs", "wants section.key=value"),
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
        ('name = "x"\n[schedule]\npeek = 1\n', "unknown key schedule.peek"),
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
    with pytest.raises(UserError, match="dropout must be at most"):
        replace(Recipe(name="x").model, dropout=1)


@pytest.mark.parametrize("name", ["", "../x", "/tmp/x", "a/b", ".hidden", "x" * 200])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name must be letters, digits"):
        parse_recipe(f'name = "{name}"', source="mine.toml")


def test_settings_that_would_be_ignored_are_refused() -> None:
    quick = load_recipe("cifar10-quick")
    with pytest.raises(UserError, match=r"--set: augment\.shift_pixels needs rotation_degrees=0"):
        quick.with_settings(["augment.rotation_degrees=5"])
    with pytest.raises(UserError, match=r"augment\.alternate_flips needs flip=true"):
        quick.with_settings(["augment.flip=false"])
    with pytest.raises(UserError, match=r"train\.patience needs validation=\"held-out\""):
        load_recipe("mnist-tutorial").with_settings(["train.patience=2"])
    with pytest.raises(UserError, match=r"train\.epoch_share below 1 needs augment\.mix=\"none\""):
        load_recipe("cifar10-standard").with_settings(["augment.mix=mixup"])
    with pytest.raises(UserError, match=r"train\.small_share needs model\.name=\"whitened\""):
        load_recipe("mnist-best").with_settings(["train.small_share=0.5"])  # pool_last is false
    with pytest.raises(UserError, match=r"train\.small_share needs model\.name=\"whitened\""):
        load_recipe("mnist-tutorial").with_settings(["train.small_share=0.5"])


def test_settings_that_need_one_another_may_come_in_any_order() -> None:
    settings = ["augment.shift_pixels=2", "augment.rotation_degrees=0", "augment.shift_fraction=0"]
    settings.append("augment.enabled=true")
    for order in (settings, settings[::-1]):
        assert Recipe(name="any").with_settings(order).augment.shift_pixels == 2


def test_a_file_from_windows_notepad_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'\xef\xbb\xbfname = "mine"\n')
    assert load_recipe(tmp_path / "mine.toml").name == "mine"


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 3000])
def test_absurd_values_are_refused_in_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError):
        Recipe(name="any").with_settings([f"train.seed={text}"])
    with pytest.raises(UserError, match="not valid TOML"):
        parse_recipe(f'name = "x"\n[train]\nseed = {text}\n', source="x.toml")
