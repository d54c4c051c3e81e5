"""Every setting of every part has an effect, or is refused when it is set.

The oracle is training itself: a few steps on tiny images, whose records, weights and answers must
differ if a setting is changed.
"""

from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.kit import Command, striped

import firstlight as fl
from firstlight import augment, layers
from firstlight.augment import AUGMENTATIONS, Augmentation
from firstlight.layers import LAYERS, Layer
from firstlight.layers.network import Network
from firstlight.optimizers import OPTIMIZERS
from firstlight.parts import Part
from firstlight.reads import NEEDS, unread_changes
from firstlight.recipe import Recipe, TrainChoice, load_recipe, parse_recipe, recipe_names
from firstlight.schedules import SCHEDULES, OneCycle, Schedule
from firstlight.verbs.plan import plan_on

END: tuple[Layer, ...] = (layers.Flatten(), layers.Dense("classes"))
CONV = layers.Conv(4, padding="same", activation="relu")
LAYER_CHOICES: dict[type[Layer], tuple[Layer, dict[str, Any]]] = {
    layers.Conv: (
        layers.Conv(4, kernel=3),
        {
            "filters": 6,
            "kernel": 2,
            "stride": 2,
            "padding": "same",
            "dilation": 2,
            "groups": 2,
            "depthwise": True,
            "bias": False,
            "activation": "relu",
            "init": "he",
        },
    ),
    layers.Dense: (
        layers.Dense(6),
        {"units": 7, "bias": False, "activation": "tanh", "init": "orthogonal"},
    ),
    layers.Flatten: (layers.Flatten(), {}),
    layers.MaxPool: (layers.MaxPool(5), {"size": 3, "stride": 1, "padding": "same"}),
    layers.AveragePool: (layers.AveragePool(5), {"size": 3, "stride": 1, "padding": "same"}),
    layers.GlobalMaxPool: (layers.GlobalMaxPool(), {}),
    layers.GlobalAveragePool: (layers.GlobalAveragePool(), {}),
    layers.BatchNorm: (
        layers.BatchNorm(),
        {"momentum": 0.3, "epsilon": 0.1, "scale": False},
    ),
    layers.GroupNorm: (layers.GroupNorm(2), {"groups": 1, "epsilon": 0.1}),
    layers.LayerNorm: (layers.LayerNorm(), {"epsilon": 0.1}),
    layers.Dropout: (layers.Dropout(0.5), {"share": 0.2}),
    layers.SpatialDropout: (layers.SpatialDropout(0.5), {"share": 0.2}),
    layers.Activation: (layers.Activation("leaky-relu"), {"name": "tanh", "slope": 0.3}),
    layers.Rescale: (layers.Rescale(0.5), {"factor": 2.0, "offset": 1.0}),
    layers.LayerScale: (layers.LayerScale(0.1), {"start": 0.2}),
    layers.SquareRoot: (layers.SquareRoot(), {"epsilon": 0.1}),
    layers.SqueezeExcite: (layers.SqueezeExcite(2), {"reduction": 4, "activation": "tanh"}),
    layers.Tokens: (layers.Tokens(), {}),
    layers.Attention: (layers.Attention(2), {"heads": 4}),
    layers.ClassToken: (layers.ClassToken(), {}),
    layers.Resize: (layers.Resize(12), {"side": 9, "channels": 3}),
    layers.Whiten: (
        layers.Whiten(8, kernel=2),
        {"filters": 6, "kernel": 3, "stride": 2, "bias": True},
    ),
    layers.Residual: (
        layers.Residual([layers.BatchNorm()]),  # type: ignore[arg-type]
        {"layers": (layers.Conv(4, padding="same"),), "activation": "none"},
    ),
    layers.Branches: (
        layers.Branches([[layers.BatchNorm()], []]),  # type: ignore[arg-type]
        {"branches": ((), (CONV,)), "join": "add"},
    ),
    layers.Repeat: (
        layers.Repeat(2, layers=(CONV,)),
        {"times": 3, "layers": (layers.BatchNorm(),)},
    ),
}
AUGMENT_CHOICES: dict[type[Augmentation], dict[str, Any]] = {
    augment.Rotate: {"degrees": 20.0},
    augment.Shift: {"fraction": 0.3},
    augment.Scale: {"fraction": 0.3},
    augment.Shear: {"degrees": 20.0},
    augment.Flip: {"how": "alternate"},
    augment.Crop: {"pixels": 1},
    augment.Cutout: {"pixels": 3},
    augment.Erase: {"share": 0.9, "least": 0.2, "most": 0.6},
    augment.Brightness: {"fraction": 0.5},
    augment.Contrast: {"fraction": 0.5},
    augment.Noise: {"deviation": 0.2},
    augment.Blur: {"sigma": 2.0},
    augment.MixUp: {"alpha": 0.4},
    augment.CutMix: {"alpha": 0.4},
}
OPTIMIZER_CHOICES: dict[str, dict[str, Any]] = {
    "adam": {"learning_rate": 0.01, "betas": (0.5, 0.9), "epsilon": 0.01, "weight_decay": 0.1},
    "adamw": {"learning_rate": 0.01, "betas": (0.5, 0.9), "epsilon": 0.01, "weight_decay": 0.1},
    "sgd": {"learning_rate": 0.02, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
    "rmsprop": {
        "learning_rate": 0.01,
        "decay": 0.5,
        "momentum": 0.5,
        "epsilon": 0.01,
        "weight_decay": 0.1,
    },
    "muon": {
        "learning_rate": 0.1,
        "momentum": 0.3,
        "head_learning_rate": 0.2,
        "bias_learning_rate": 0.02,
        "weight_decay": 0.01,
    },
}
SCHEDULE_CHOICES: dict[str, dict[str, Any]] = {
    "constant": {},
    "one-cycle": {"warmup_fraction": 0.5, "start_fraction": 0.3, "final_fraction": 0.3},
    "cosine": {"warmup_fraction": 0.5, "start_fraction": 0.3, "final_fraction": 0.3},
    "steps": {"at": (0.2, 0.4), "factor_each": 0.5},
}
TRAIN_CHOICES: dict[str, Any] = {
    "epochs": 1.5,
    "replanned": ((0.5, 3.0),),
    "epoch_share": 0.6,
    "small_share": 0.3,
    "batch_size": 7,
    "micro_batch_size": 4,
    "shards": 2,
    "clip_norm": 0.01,
    "validation": "none",
    "held_out_fraction": 0.3,
    "patience": 1,
    "average_decay": 0.5,
    "precision": "mixed",
    "label_smoothing": 0.3,
    "class_weights": "balanced",
    "seed": 1,
}
ELSEWHERE = {"start_from", "start_rate", "start_head", "start_norm", "start_weights"}
"""These need a trained run or a module: see ``tests/verbs/test_start.py`` and
``tests/models/test_as_layers.py``."""


def tiny() -> fl.TrainTest:
    """Return 40 images of 12 × 12, three out of four in one class."""
    parts = []
    for part in striped(40, 12):
        order_N = np.argsort(part.labels_N, kind="stable")[:26]
        parts.append(part.take(order_N.astype(np.int64)))
    return fl.TrainTest(*parts)


DATA = tiny()


def of(*some: Layer, **choices: Any) -> Recipe:
    """Return a recipe that trains in milliseconds."""
    network = Network(layers=some, pixels="standardize")
    train = TrainChoice(epochs=2.0, batch_size=10)
    schedule = choices.pop("schedule", OneCycle())
    return Recipe(name="tiny", network=network, train=train, schedule=schedule, **choices)


PLAIN = of(CONV, layers.MaxPool(2), layers.GlobalMaxPool(), layers.Dense("classes"))


def bits(recipe: Recipe) -> bytes:
    """Return the result of a training: losses, weights, and the answers to the test images."""
    torch.set_num_threads(1)
    trainer = plan_on(DATA, recipe, "cpu").trainer()
    for _ in trainer.run():
        pass
    told = [(r.train_loss, r.validation_loss, r.steps) for r in trainer.records]
    weights = [w.numpy().tobytes() for w in trainer.answering.state_dict().values()]
    with torch.inference_mode():
        pixels = trainer.preprocess(torch.from_numpy(DATA.test.images_NHWC))
        answers = trainer.answering.eval()(pixels).numpy().tobytes()
    left: bytes = repr(told).encode() + b"".join(weights) + answers
    return left


def names(kind: type[Any]) -> set[str]:
    return {spec.name for spec in fields(kind)}


@pytest.mark.parametrize("kind", LAYERS.values(), ids=LAYERS)
def test_every_choice_of_every_layer_changes_the_bits(kind: type[Layer]) -> None:
    layer, others = LAYER_CHOICES[kind]
    assert set(others) == names(kind)

    def around(one: Layer) -> Recipe:
        if isinstance(one, layers.Whiten | layers.Resize):
            return of(one, *END)
        if isinstance(one, layers.Tokens):
            return of(CONV, one, *END)
        if isinstance(one, layers.Attention):
            return of(CONV, layers.Tokens(), one, *END)
        if isinstance(one, layers.ClassToken):
            return of(CONV, layers.Tokens(), one, layers.Dense("classes"))
        if isinstance(one, layers.Dense):
            return of(CONV, layers.Flatten(), one, layers.Dense("classes"))
        if len(one.output((12, 12, 4))) == 1:
            return of(CONV, one, layers.Dense("classes"))
        before = replace(CONV, activation="none") if isinstance(one, layers.Activation) else CONV
        return of(before, one, *END)

    before = bits(around(layer))
    for name, value in others.items():
        assert bits(around(replace(layer, **{name: value}))) != before, name


@pytest.mark.parametrize("kind", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_every_choice_of_every_augmentation_changes_the_bits(kind: type[Augmentation]) -> None:
    others = AUGMENT_CHOICES[kind]
    assert set(others) == names(kind)
    before = bits(replace(PLAIN, augment=(kind(),)))
    assert before != bits(PLAIN)
    for name, value in others.items():
        assert bits(replace(PLAIN, augment=(replace(kind(), **{name: value}),))) != before, name


def test_the_order_of_augmentations_counts() -> None:
    steps = (augment.Cutout(4), augment.Rotate(40.0))
    assert bits(replace(PLAIN, augment=steps)) != bits(replace(PLAIN, augment=steps[::-1]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_choice_of_every_optimizer_changes_the_bits(name: str) -> None:
    kind, others = OPTIMIZERS[name], OPTIMIZER_CHOICES[name]
    assert set(others) == names(kind)
    before = bits(replace(PLAIN, optimizer=kind()))
    for key, value in others.items():
        changed = replace(PLAIN, optimizer=replace(kind(), **{key: value}))
        assert bits(changed) != before, key


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_choice_of_every_schedule_changes_the_bits(name: str) -> None:
    kind: type[Schedule] = SCHEDULES[name]
    assert set(SCHEDULE_CHOICES[name]) == names(kind)
    before = bits(replace(PLAIN, schedule=kind()))
    for key, value in SCHEDULE_CHOICES[name].items():
        changed = replace(PLAIN, schedule=replace(kind(), **{key: value}))
        assert bits(changed) != before, key


def test_every_choice_of_the_training_changes_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firstlight.training.loop.computes_in_bfloat16", lambda _: True)
    assert set(TRAIN_CHOICES) | ELSEWHERE == names(TrainChoice)
    for key, value in TRAIN_CHOICES.items():
        base = PLAIN
        if key == "patience":  # it ends a training whose loss stops improving
            base = PLAIN.with_settings(["train.epochs=12", "optimizer.learning_rate=1.0"])
        changed = replace(base, train=replace(base.train, **{key: value}))
        assert bits(changed) != bits(base), key


def test_every_choice_of_the_network_changes_the_bits() -> None:
    for setting in ("network.pixels=scale", "network.views=mirror", "network.views=shift"):
        assert bits(PLAIN.with_settings([setting])) != bits(PLAIN), setting
    # Own code is another network: see tests/verbs/test_own_code.py.
    assert names(Network) == {"layers", "pixels", "views", "code"}


@pytest.mark.parametrize("name", recipe_names())
def test_the_keys_of_named_recipes_are_read_or_refused(name: str) -> None:
    """Keys of a part that another setting of the recipe makes useless."""
    recipe = load_recipe(name)
    for key, need in NEEDS.items():
        section, _, choice = key.partition(".")
        if choice not in names(type(getattr(recipe, section))) or need.holds(recipe):
            continue
        others = {"replanned": "[[0.01, 99.0]]", "start_head": "linear", "start_norm": "kept"}
        value = others.get(choice, "0.3")
        with pytest.raises(fl.UserError, match=f"{key} only has an effect with|says that after"):
            recipe.with_settings([f"{key}={value}"])


@pytest.mark.parametrize(
    ("recipe", "setting", "wanted"),
    [
        ("cifar10-quick", "optimizer.betas=[0.5, 0.9]", "muon has no option 'betas'"),
        ("cifar10-quick", "optimizer.epsilon=1e-7", "muon has no option 'epsilon'"),
        ("mnist-tutorial", "optimizer.momentum=0.6", "adam has no option 'momentum'"),
        ("mnist-tutorial", "augment.1.degrees=20", "no number 1; the list has none"),
        ("cifar10-quick", "augment.1.alpha=0.3", "crop has no option 'alpha'"),
        (
            "cifar10-quick",
            "schedule.start_fraction=0.3",
            "only has an effect with schedule.warmup_fraction>0",
        ),
        ("mnist-tutorial", "schedule.warmup_fraction=0.3", "constant has no option 'warmup_fr"),
        ("mnist-quick", "network.1.init=he", "whiten has no option 'init'"),
        (
            "mnist-tutorial",
            "train.held_out_fraction=0.3",
            'only has an effect with train.validation="held-out"',
        ),
        ("mnist-tutorial", "train.start_rate=0.5", "with train.start_from=RUN"),
    ],
)
def test_a_key_that_is_not_read_is_refused_at_once(
    command: Command, recipe: str, setting: str, wanted: str
) -> None:
    done = command("train", "digits", "--recipe", recipe, "--set", setting)
    assert (done.code, wanted in done.err) == (2, True), done.err
    assert not Path("runs").exists()
    with pytest.raises(fl.UserError, match=r"fl[.]train"):
        fl.train(DATA, recipe, settings=[setting], quiet=True)
    with pytest.raises(fl.UserError):
        fl.FirstlightClassifier(recipe, settings=[setting]).fit(
            DATA.train.images_NHWC, DATA.train.labels_N
        )


def test_what_is_needed_may_be_set_beside_it_in_any_order() -> None:
    settings = ["train.held_out_fraction=0.3", "train.validation=held-out"]
    for order in (settings, settings[::-1]):
        assert load_recipe("mnist-tutorial").with_settings(order).train.held_out_fraction == 0.3


def test_files_that_carry_keys_which_are_not_read_still_open() -> None:
    """Every run folder's recipe has all keys."""
    for name in recipe_names():
        recipe = load_recipe(name)
        assert parse_recipe(recipe.to_toml(), source="recipe.toml") == recipe
        assert unread_changes(recipe) == []


def test_a_recipe_file_is_told_what_has_no_effect(command: Command) -> None:
    text = load_recipe("digits-tutorial").with_settings(["train.epochs=1"]).to_toml()
    Path("mine.toml").write_text(text.replace("start_rate = 0.1", "start_rate = 0.5"))
    Path("plain.toml").write_text(text)
    told = command("train", "digits", "--recipe", "mine.toml", "--quiet")
    assert told.code == 0
    assert "mine.toml: these have no effect: train.start_rate only has" in told.err
    assert command("train", "digits", "--recipe", "plain.toml", "--quiet").err == ""


def test_what_something_else_decides_is_refused(command: Command) -> None:
    done = command("bench", "digits", "--set", "train.seed=3")
    assert (done.code, "bench uses the seeds 0, 1, 2" in done.err) == (2, True)
    pixels, labels = DATA.train.images_NHWC, DATA.train.labels_N
    for setting, why in (
        ("train.seed=3", "the estimator's seed sets it"),
        ("train.validation=test", "only with train.patience"),
    ):
        with pytest.raises(fl.UserError, match=why):
            fl.FirstlightClassifier(settings=[setting]).fit(pixels, labels)


def test_defaults_and_choices_of_a_part_are_all_told_of() -> None:
    """Each setting has a rule or a check, and a default, except a part's content."""
    kinds: list[type[Part]] = [*LAYERS.values(), *AUGMENTATIONS.values(), *OPTIMIZERS.values()]
    needed = {
        (kind.__name__, spec.name)
        for kind in kinds
        for spec in fields(kind)
        if spec.default is MISSING
    }
    assert needed == {("Dense", "units"), ("Residual", "layers"), ("Branches", "branches")}
