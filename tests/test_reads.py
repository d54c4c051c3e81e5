"""Every key of every named recipe does something, or is refused when it is set.

The oracle is training itself: a few steps on tiny images, whose records, weights and answers must
differ where a key is taken.
"""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.kit import Command, striped

import firstlight as fl
from firstlight.reads import NEEDS, unread_changes
from firstlight.recipe import Recipe, load_recipe, parse_recipe, recipe_names
from firstlight.verbs.fit import prepare

KEYS = [
    f"{section.name}.{spec.name}"
    for section in fields(Recipe)
    if is_dataclass(section.default)
    for spec in fields(section.default)
]
OTHER = {
    "model.name": ("tutorial", "whitened"),
    "model.widths": ("[5, 4]", "[4, 5]"),
    "model.first_kernel": ("2", "3"),
    "model.first_stride": ("1", "2"),
    "model.first_filters": ("6", "8"),
    "model.first_bias": ("true", "false"),
    "model.activation": ("relu", "gelu"),
    "model.pool_last": ("true", "false"),
    "model.dense": ("9", "8"),
    "model.dropout": ("0.5", "0.1"),
    "model.logit_scale": ("0.5", "0.4"),
    "model.views": ("shift", "mirror"),
    "augment.enabled": ("true", "false"),
    "augment.rotation_degrees": ("20.0", "30.0"),
    "augment.shift_fraction": ("0.2", "0.3"),
    "augment.flip": ("true", "false"),
    "augment.alternate_flips": ("true", "false"),
    "augment.cutout_pixels": ("3", "4"),
    "augment.mix": ("mixup", "cutmix"),
    "augment.mix_alpha": ("0.5", "0.4"),
    "augment.shift_pixels": ("3", "1"),
    "optimizer.name": ("adam", "muon"),
    "optimizer.learning_rate": ("0.02", "0.01"),
    "optimizer.betas": ("[0.5, 0.9]", "[0.4, 0.9]"),
    "optimizer.epsilon": ("0.01", "0.02"),
    "optimizer.momentum": ("0.3", "0.2"),
    "optimizer.head_learning_rate": ("0.2", "0.3"),
    "optimizer.bias_learning_rate": ("0.02", "0.03"),
    "optimizer.weight_decay": ("0.01", "0.02"),
    "schedule.name": ("constant", "one-cycle"),
    "schedule.warmup_fraction": ("0.5", "0.6"),
    "schedule.start_fraction": ("0.3", "0.4"),
    "schedule.final_fraction": ("0.3", "0.4"),
    "train.epochs": ("1.5", "1.6"),
    "train.replanned": ("[[0.5, 3.0]]", "[[0.6, 3.0]]"),
    "train.epoch_share": ("0.6", "0.7"),
    "train.small_share": ("0.3", "0.6"),
    "train.batch_size": ("7", "8"),
    "train.micro_batch_size": ("4", "5"),
    "train.validation": ("none", "held-out"),
    "train.held_out_fraction": ("0.3", "0.4"),
    "train.patience": ("1", "2"),
    "train.average_decay": ("0.5", "0.4"),
    "train.precision": ("mixed", "float32"),
    "train.label_smoothing": ("0.3", "0.4"),
    "train.class_weights": ("balanced", "none"),
    "train.seed": ("1", "2"),
}
"""Two values of each key, of which a recipe has one at most."""
ELSEWHERE = {"train.start_from", "train.start_rate"}
"""Need a trained run; ``tests/verbs/test_start.py`` has them."""


def tiny() -> fl.TrainTest:
    """40 images of 12 × 12, three of four of one class."""
    parts = []
    for part in striped(40, 12):
        order_N = np.argsort(part.labels_N, kind="stable")[:26]
        parts.append(part.take(order_N.astype(np.int64)))
    return fl.TrainTest(*parts)


DATA = tiny()


def small(recipe: Recipe) -> Recipe:
    """The same choices, of a network that trains in milliseconds."""
    model = replace(recipe.model, widths=(4, 4), dense=8, first_filters=8, first_stride=1)
    kernel = min(recipe.model.first_kernel, 3)
    train = replace(recipe.train, epochs=2.0, batch_size=10, patience=0)
    return replace(recipe, model=replace(model, first_kernel=kernel), train=train)


def bits(recipe: Recipe) -> bytes:
    """What a training leaves: losses, weights, and the answers to the test images."""
    torch.set_num_threads(1)
    trainer = prepare(recipe, DATA, "cpu")
    for _ in trainer.run():
        pass
    told = [(r.train_loss, r.validation_loss, r.steps) for r in trainer.records]
    weights = [w.numpy().tobytes() for w in trainer.answering.state_dict().values()]
    with torch.inference_mode():
        pixels = trainer.preprocess(torch.from_numpy(DATA.test.images_NHWC))
        answers = trainer.answering.eval()(pixels).numpy().tobytes()
    left: bytes = repr(told).encode() + b"".join(weights) + answers
    return left


def changed(recipe: Recipe, key: str) -> tuple[Recipe, Recipe] | str:
    """The recipe that a training of the key is compared with, and the one with the key set to
    another value; or why that is refused."""
    section, name = key.split(".")
    now = getattr(getattr(recipe, section), name)
    for text in OTHER[key]:
        try:
            then = recipe.with_settings([f"{key}={text}"])
        except fl.UserError as error:
            return str(error)
        if getattr(getattr(then, section), name) == now:
            continue
        if key == "train.patience":  # it ends a training whose loss gets no better
            high = ["train.epochs=12", "optimizer.learning_rate=1.0"]
            return recipe.with_settings(high), then.with_settings(high)
        return recipe, then
    raise AssertionError(f"{key}: no other value")


@pytest.mark.parametrize("name", recipe_names())
def test_every_key_changes_the_bits_or_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstlight.training.loop.computes_in_bfloat16", lambda _: True)
    recipe = small(load_recipe(name))
    plain = bits(recipe)
    silent, refused = [], []
    for key in KEYS:
        if key in ELSEWHERE:
            continue
        found = changed(recipe, key)
        if isinstance(found, str):
            assert key in found or key.split(".")[1] in found, found
            refused.append(key)
            continue
        before = plain if found[0] == recipe else bits(found[0])
        if bits(found[1]) == before:
            silent.append(key)
    assert silent == []
    assert len(refused) < 30  # the others were trained


def test_the_table_names_keys_that_there_are() -> None:
    named = {*NEEDS, *(need.key for needs in NEEDS.values() for need in needs)}
    assert named <= set(KEYS)
    assert set(OTHER) | ELSEWHERE == set(KEYS)


@pytest.mark.parametrize(
    ("recipe", "setting", "wanted"),
    [
        ("cifar10-quick", "optimizer.betas=[0.5, 0.9]", 'optimizer.name="adam" alone'),
        ("cifar10-quick", "optimizer.epsilon=1e-7", "optimizer.name is 'muon' here"),
        ("mnist-tutorial", "optimizer.momentum=0.6", 'optimizer.name="muon" alone'),
        ("mnist-tutorial", "augment.rotation_degrees=20", "augment.enabled is false here"),
        ("cifar10-quick", "augment.mix_alpha=0.3", 'augment.mix="mixup" or "cutmix"'),
        ("cifar10-quick", "schedule.start_fraction=0.3", "schedule.warmup_fraction>0 alone"),
        ("mnist-tutorial", "model.views=mirror", 'model.name="whitened" alone'),
        ("mnist-quick", "model.dense=10", 'model.name="tutorial" alone'),
        ("mnist-tutorial", "train.held_out_fraction=0.3", 'train.validation="held-out" alone'),
        ("mnist-tutorial", "train.start_rate=0.5", "train.start_from=RUN alone"),
    ],
)
def test_a_key_that_is_not_read_is_refused_at_once(
    command: Command, recipe: str, setting: str, wanted: str
) -> None:
    key = setting.split("=", 1)[0]
    done = command("train", "digits", "--recipe", recipe, "--set", setting)
    assert done.code == 2
    assert f"--set: {key} is read with " in done.err and wanted in done.err
    assert f"or leave {key} out" in done.err
    assert not Path("runs").exists()
    with pytest.raises(fl.UserError, match=f"fl.train: {key} is read with"):
        fl.train(DATA, recipe, settings=[setting], quiet=True)
    with pytest.raises(fl.UserError, match=f"{key} is read with"):
        fl.FirstlightClassifier(recipe, settings=[setting]).fit(
            DATA.train.images_NHWC, DATA.train.labels_N
        )


def test_what_is_needed_may_be_set_beside_it_in_any_order() -> None:
    settings = ["model.views=mirror", "model.name=whitened", "model.widths=[4, 4]"]
    for order in (settings, settings[::-1]):
        assert load_recipe("mnist-tutorial").with_settings(order).model.views == "mirror"


def test_files_that_carry_keys_which_are_not_read_still_open() -> None:
    """Every run folder's recipe holds all keys."""
    for name in recipe_names():
        recipe = load_recipe(name)
        assert parse_recipe(recipe.to_toml(), source="recipe.toml") == recipe
    assert unread_changes(load_recipe("cifar10-tutorial")) == ["augment.flip"]
    assert unread_changes(load_recipe("cifar10-tutorial-augmented")) == []


def test_a_recipe_file_is_told_what_has_no_effect(command: Command) -> None:
    text = load_recipe("digits-tutorial").with_settings(["train.epochs=1"]).to_toml()
    Path("mine.toml").write_text(text.replace("momentum = 0.6", "momentum = 0.9"))
    Path("plain.toml").write_text(text)
    told = command("train", "digits", "--recipe", "mine.toml", "--quiet")
    assert told.code == 0
    assert "mine.toml: without effect: optimizer.momentum is read with" in told.err
    assert command("train", "digits", "--recipe", "plain.toml", "--quiet").err == ""


def test_what_something_else_decides_is_refused(command: Command) -> None:
    done = command("bench", "digits", "--set", "train.seed=3")
    assert (done.code, "bench takes the seeds from 0 on" in done.err) == (2, True)
    pixels, labels = DATA.train.images_NHWC, DATA.train.labels_N
    for setting, why in (
        ("train.seed=3", "the estimator's seed decides it"),
        ("train.validation=test", "with train.patience alone"),
    ):
        with pytest.raises(fl.UserError, match=why):
            fl.FirstlightClassifier(settings=[setting]).fit(pixels, labels)
