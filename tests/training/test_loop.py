"""The training loop, compared with the update written out, and with itself after an
interruption."""

import math
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from tests.kit import tutorial_net, whitened_net
from torch import Generator, Tensor, nn

from firstlight.augment import AUGMENTATIONS, Augmentation, Crop, Cutout
from firstlight.errors import UserError
from firstlight.models.catalog import Architecture
from firstlight.optimizers import rules
from firstlight.pixels import Preprocess
from firstlight.recipe import Recipe
from firstlight.training.loop import Trainer
from firstlight.training.portion import Portion
from firstlight.training.position import EpochRecord, StepRecord

SHAPE = (10, 12, 3)
CLASSES = 4
PREPROCESS = Preprocess(height=10, width=12, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def portion(n: int, seed: int = 0, device: str = "cpu") -> Portion:
    rng = Generator().manual_seed(seed)
    return Portion(
        images_NHWC=torch.randint(0, 256, (n, *SHAPE), generator=rng, dtype=torch.uint8).to(device),
        targets=torch.randint(0, CLASSES, (n,), generator=rng).to(device),
        rows_M=torch.arange(n, device=device),
    )


def recipe(*settings: str) -> Recipe:
    base = [tutorial_net(6, 8, pool_last=False, dense=16), "train.batch_size=8"]
    return Recipe(name="test").with_settings([*base, *settings])


def trainer(
    chosen: Recipe, n: int = 43, validation: Portion | None = None, device: str = "cpu"
) -> Trainer:
    architecture = Architecture(network=chosen.network, image_shape=SHAPE, classes=CLASSES)
    model = architecture.build(Generator().manual_seed(chosen.train.seed))
    data = portion(n, device=device)
    return Trainer(chosen, model.to(device), PREPROCESS, data, validation)


def weights(run: Trainer) -> dict[str, Tensor]:
    networks = {"model": run.model, "answering": run.answering}
    return {
        f"{name}.{k}": v.clone() for name, m in networks.items() for k, v in m.state_dict().items()
    }


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one)


RICH = (
    "augment=[{ rotate = 10 }, { shift = 0.1 }, { flip = 'random' }]",
    tutorial_net(6, 8, pool_last=False, dense=16, dropout=0.4),
    "schedule.name=one-cycle",
    "train.epochs=3",
)

FAST = (
    *whitened_net(8, 8, pool_last=False),
    "augment=[{ crop = 1 }, { flip = 'alternate' }, { cutout = 3 }, { cutmix = 1 }]",
    *("optimizer.name=muon", "optimizer.learning_rate=0.1", "schedule.name=one-cycle"),
    *("train.epochs=2.5", "train.label_smoothing=0.1", "train.average_decay=0.9"),
    "train.precision=mixed",
)


ANY_SIZE = whitened_net(8, 8)
GROWING = (*FAST, *ANY_SIZE, "train.small_share=0.4")
"""Six of fifteen steps use smaller images."""


def test_parts_of_a_batch_have_the_loss_of_the_whole_with_weights_and_mixed_images() -> None:
    """Class weights, and mixed images; without batch norm nothing else differs."""
    settings = (
        *("train.class_weights=balanced", "train.batch_size=20", "train.epochs=1"),
        "augment=[{ rotate = 10 }, { shift = 0.1 }, { cutmix = 1 }]",
    )
    losses = [
        [
            event.train_loss
            for event in trainer(recipe(*settings, f"train.micro_batch_size={n}")).run()
            if isinstance(event, EpochRecord)
        ]
        for n in (0, 7)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_no_part_of_a_batch_is_too_small_for_batch_norm() -> None:
    """Three parts of four would leave the thirteenth image alone."""
    run = trainer(recipe(*FAST, "train.micro_batch_size=4", "train.batch_size=13"), n=39)
    sizes: list[int] = []
    run.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    for _ in run.run():
        pass
    assert set(sizes) == {3, 4}


@pytest.mark.parametrize("at_once", [0, 10])
def test_a_clipped_run_is_pytorchs_own_loop(at_once: int) -> None:
    """With whole batches or parts: the gradient of the whole batch is clipped."""
    chosen = recipe(
        *("optimizer.name=sgd", "optimizer.learning_rate=1.0", "train.batch_size=43"),
        *("train.epochs=4", "train.clip_norm=0.05", f"train.micro_batch_size={at_once}"),
    )
    run, plain = trainer(chosen), trainer(chosen)
    for _ in run.run():
        pass
    model, every = plain.model.train(), torch.arange(43)
    sgd = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    norms = []
    for _ in range(4):
        sgd.zero_grad()
        scores = model(PREPROCESS(plain.train_data.images(every)))
        nn.functional.cross_entropy(scores, plain.train_data.labels(every)).backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.05)))
        sgd.step()
    assert min(norms) > 0.05, "every step is clipped"
    for one, other in zip(run.model.parameters(), model.parameters(), strict=True):
        # 1e-6: sums over the images in another order.
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_every_augmentation_is_trained_with_in_bfloat16(
    kind: type[Augmentation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstlight.training.loop.computes_in_bfloat16", lambda _: True)
    step: Augmentation = kind(3) if kind in (Crop, Cutout) else kind()
    chosen = recipe("train.precision=mixed", "train.epochs=1", "network.pixels=standardize")
    run = trainer(replace(chosen, augment=(step,)))
    records = [r for r in run.run() if isinstance(r, EpochRecord)]
    assert run.mixed and math.isfinite(records[-1].train_loss)


def test_a_batch_is_learnt_by_heart_and_the_loss_starts_near_log_k() -> None:
    run = trainer(recipe("train.epochs=150", "optimizer.learning_rate=0.01"), n=8)
    records = [r for r in run.run() if isinstance(r, EpochRecord)]
    # Random pixels through random weights: logits of a few tenths, so log K within 30 %.
    assert records[0].train_loss == pytest.approx(math.log(CLASSES), rel=0.3)
    assert records[-1].train_accuracy == 1.0
    assert records[-1].train_loss < 0.01


@pytest.mark.parametrize("at_once", [0, 10, 42, 43])
def test_two_steps_equal_adam_written_out(at_once: int) -> None:
    """However many images pass through the network at once."""
    chosen = recipe(
        *("train.batch_size=43", "train.epochs=2", "optimizer.epsilon=1e-3"),
        f"train.micro_batch_size={at_once}",
    )
    run, plain = trainer(chosen), trainer(chosen)
    for _ in run.run():
        pass
    values = {k: p.detach().double() for k, p in plain.model.named_parameters()}
    first = {k: torch.zeros_like(v) for k, v in values.items()}
    second = {k: torch.zeros_like(v) for k, v in values.items()}
    data = portion(43)
    for t in (1, 2):
        named = dict(plain.model.named_parameters())
        with torch.no_grad():
            for k, p in named.items():
                p.copy_(values[k])
        plain.model.zero_grad()
        logits = plain.model(data.images(torch.arange(43)).permute(0, 3, 1, 2) / 255)
        torch.nn.functional.cross_entropy(logits, data.targets).backward()
        for k, p in named.items():
            assert p.grad is not None
            g = p.grad.double()
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g * g
            m, v = first[k] / (1 - 0.9**t), second[k] / (1 - 0.999**t)
            values[k] = values[k] - 1e-3 * m / (v.sqrt() + 1e-3)
    for k, value in run.model.state_dict().items():
        # 2e-6: float32 weights of order one, summed in another order of images.
        assert torch.allclose(value.double(), values[k], atol=2e-6), k


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    ends = []
    for seed in (5, 5, 6):
        run = trainer(recipe(*RICH, f"train.seed={seed}"))
        for _ in run.run():
            pass
        ends.append(weights(run))
    assert equal(ends[0], ends[1])
    assert not equal(ends[0], ends[2])


@pytest.mark.parametrize(
    ("settings", "stop_after"),
    [(RICH, step) for step in (1, 5, 6, 7, 11, 17)]
    + [(FAST, step) for step in (1, 6, 8, 15)]
    + [((*RICH, "train.epoch_share=0.6"), step) for step in (1, 3, 4, 6, 7, 9)]  # of 4 per epoch
    + [(GROWING, step) for step in (1, 5, 6, 8)],
)
def test_a_run_stopped_after_any_step_and_restored_ends_with_the_same_bits(
    settings: tuple[str, ...], stop_after: int
) -> None:
    whole = trainer(recipe(*settings), validation=portion(9, seed=1))
    for _ in whole.run():
        pass
    stopped = trainer(recipe(*settings), validation=portion(9, seed=1))
    for event in stopped.run():
        if isinstance(event, StepRecord) and event.step == stop_after:
            break
    tensors, values = stopped.state()
    saved = {k: v.clone() for k, v in tensors.items()}
    resumed = trainer(recipe(*settings, "train.seed=0"), validation=portion(9, seed=1))
    resumed.restore(saved, values)
    for _ in resumed.run():
        pass
    assert equal(weights(whole), weights(resumed))
    ours, theirs = (
        [replace(r, train_seconds=0.0) for r in run.records] for run in (whole, resumed)
    )
    assert ours == theirs


def test_the_last_epoch_may_be_a_part_of_one() -> None:
    run = trainer(recipe(*FAST))
    events = list(run.run())
    records = [r for r in events if isinstance(r, EpochRecord)]
    steps = [r for r in events if isinstance(r, StepRecord)]

    assert (run.epochs, run.total) == (3, 43 + 43 + 3 * 8)
    assert [r.steps for r in records] == [6, 12, 15]
    assert steps[-1].seen == 24
    assert run.seen == run.total
    assert records[-1].train_loss == pytest.approx(steps[-1].loss)
    assert records[-1].learning_rate == 0.0, "the schedule has come to its end"


PATIENT = (*RICH, "train.epochs=60", "train.patience=2", "optimizer.learning_rate=0.02")


def test_patience_stops_after_the_best_epoch_and_keeps_its_weights() -> None:
    held = portion(9, seed=1)  # random labels: nothing generalizes
    run = trainer(recipe(*PATIENT), validation=held)
    at_epoch = []
    for event in run.run():
        if isinstance(event, EpochRecord):
            at_epoch.append({k: v.clone() for k, v in run.model.state_dict().items()})
    losses = [r.validation_loss for r in run.records]
    best = losses.index(min(losses))  # type: ignore[type-var]

    assert len(losses) == best + 1 + 2 < 60
    assert run.kept == run.records[best]
    assert equal(at_epoch[best], dict(run.model.state_dict()))
    assert not equal(at_epoch[-1], at_epoch[best])


def test_patience_begins_when_the_images_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def ever_worse(_: Trainer, part: Portion, low_precision: bool = False) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        return torch.tensor([[0.0, calls]]).repeat(len(part), 1), torch.zeros(len(part)).long()

    monkeypatch.setattr(Trainer, "predict", ever_worse)
    for share, epochs in ((0.0, 1 + 2), (0.5, 6 + 2), (0.45, 6 + 2)):
        settings = (*ANY_SIZE, f"train.small_share={share}", "train.patience=2")
        run = trainer(recipe(*FAST, *settings, "train.epochs=12"), validation=portion(9, seed=1))
        for _ in run.run():
            pass
        assert len(run.records) == epochs
        assert run.kept == run.records[0]


@pytest.mark.parametrize("after", [1, 2])
def test_a_patient_run_resumed_near_its_end_keeps_the_same_weights(after: int) -> None:
    whole = trainer(recipe(*PATIENT), validation=portion(9, seed=1))
    for _ in whole.run():
        pass
    stopped = trainer(recipe(*PATIENT), validation=portion(9, seed=1))
    for event in stopped.run():
        if isinstance(event, EpochRecord) and event.epoch == whole.kept.epoch + after:
            break
    tensors, values = stopped.state()
    resumed = trainer(recipe(*PATIENT), validation=portion(9, seed=1))
    resumed.restore({k: v.clone() for k, v in tensors.items()}, values)
    for _ in resumed.run():
        pass
    assert equal(weights(whole), weights(resumed))
    assert len(resumed.records) == len(whole.records)


@pytest.mark.parametrize("patience", [0, 2])
def test_the_answers_of_the_kept_weights_are_not_computed_twice(
    patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    plain_predict = Trainer.predict

    def noting(self: Trainer, part: Portion, low_precision: bool = False) -> tuple[Tensor, Tensor]:
        looks.append(len(part))
        return plain_predict(self, part, low_precision)

    monkeypatch.setattr(Trainer, "predict", noting)
    held = portion(9, seed=1)
    run = trainer(recipe(*PATIENT, f"train.patience={patience}"), validation=held)
    for _ in run.run():
        pass
    found = run.validation_predictions()
    assert looks == [9] * len(run.records)
    assert found is not None
    for ours, anew in zip(found, run.predict(held), strict=True):
        assert torch.equal(ours, anew)


def test_only_the_answers_that_are_kept_are_float32_where_training_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("firstlight.training.loop.computes_in_bfloat16", lambda _: True)
    held = portion(9, seed=1)
    settings = ("train.precision=mixed", "train.epochs=3")
    run = trainer(recipe(*settings), validation=held)
    lower: list[bool] = []

    def look(model: nn.Module, _: object) -> None:
        if not model.training:
            lower.append(torch.is_autocast_enabled("cpu"))

    run.model.register_forward_pre_hook(look)
    for _ in run.run():
        pass
    found = run.validation_predictions()
    assert lower == [True, True, False]

    assert found is not None
    assert torch.equal(found[0], run.predict(held)[0])

    # Patience compares the losses of all epochs, so they have the same precision.
    lower.clear()
    patient = trainer(recipe(*PATIENT, "train.precision=mixed"), validation=held)
    patient.model.register_forward_pre_hook(look)
    for _ in patient.run():
        pass
    found = patient.validation_predictions()
    assert found is not None
    assert patient.kept.epoch < len(patient.records)
    assert lower == len(patient.records) * [False]
    loss = torch.nn.functional.cross_entropy(*found).item()
    assert loss == patient.kept.validation_loss


def test_where_training_is_mixed_muon_multiplies_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds: set[torch.dtype] = set()
    plain = rules.orthogonalised

    def noting(matrices_BRC: Tensor) -> Tensor:
        kinds.add(matrices_BRC.dtype)
        return plain(matrices_BRC)

    monkeypatch.setattr(rules, "orthogonalised", noting)
    for able, kind in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(
            "firstlight.training.loop.computes_in_bfloat16", lambda _, able=able: able
        )
        kinds.clear()
        next(trainer(recipe(*FAST)).run())
        assert kinds == {kind}


@pytest.mark.parametrize("trained", [False, True])
def test_a_stems_bias_moves_where_the_recipe_says_so(trained: bool) -> None:
    run = trainer(recipe(*FAST, *whitened_net(8, 8, bias=trained)))
    next(run.run())
    assert bool(run.model.get_parameter("whiten1.bias").abs().sum() > 0) == trained


def test_work_counts_an_image_of_three_quarters_of_the_sides_as_nine_sixteenths() -> None:
    run = trainer(recipe(*GROWING, "train.epochs=2"), n=40)  # 32 of 80 images are smaller
    assert [run.work(seen) for seen in (0, 16, 32, 40, 80)] == [0, 9, 18, 26, 66]


def test_the_first_steps_see_smaller_images_and_answers_see_whole_ones() -> None:
    settings = ("train.average_decay=0", "train.epochs=2")
    run = trainer(recipe(*GROWING, *settings), n=40, validation=portion(9, seed=1))
    seen: list[tuple[bool, tuple[int, ...]]] = []
    run.model.register_forward_pre_hook(
        lambda model, inputs: seen.append((model.training, tuple(inputs[0].shape[2:])))
    )
    for _ in run.run():
        pass
    assert [shape for training, shape in seen if training] == 4 * [(8, 9)] + 6 * [(10, 12)]
    assert {shape for training, shape in seen if not training} == {(10, 12)}


def test_every_image_is_seen_once_an_epoch_in_an_order_that_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = trainer(recipe("train.epochs=2"), n=21)
    seen: list[list[int]] = []
    plain_step = Trainer._step

    def noting(self: Trainer, chosen: Tensor) -> None:
        seen.append(chosen.tolist())
        plain_step(self, chosen)

    monkeypatch.setattr(Trainer, "_step", noting)
    for _ in run.run():
        pass
    assert [len(batch) for batch in seen] == [8, 8, 5, 8, 8, 5]
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(21))
    assert first != second


def test_records_are_what_a_plain_pass_measures() -> None:
    held = portion(9, seed=1)
    run = trainer(recipe("train.epochs=1"), validation=held)
    (record,) = [r for r in run.run() if isinstance(r, EpochRecord)]
    run.model.eval()
    with torch.no_grad():
        logits = run.model(held.images(torch.arange(9)).permute(0, 3, 1, 2) / 255)
    loss = torch.nn.functional.cross_entropy(logits, held.targets).item()
    right = (logits.argmax(1) == held.targets).double().mean().item()
    assert record.validation_loss == pytest.approx(loss, rel=1e-5)
    assert record.validation_accuracy == pytest.approx(right)
    assert (record.epoch, record.steps) == (1, 6)


def test_a_loss_that_is_not_finite_stops_with_the_step_the_rate_and_what_to_try() -> None:
    run = trainer(recipe("optimizer.learning_rate=1"))
    with torch.no_grad():
        next(run.model.parameters())[0] = float("nan")
    with pytest.raises(UserError) as caught:
        for _ in run.run():
            pass
    text = str(caught.value)
    assert "step 1" in text and "learning rate 1" in text
    assert "--set optimizer.learning_rate=0.1" in text


def test_a_state_of_another_network_is_refused() -> None:
    run = trainer(recipe())
    tensors, values = run.state()
    broken: dict[str, Any] = dict(values)
    del broken["records"]
    for t, v in (({}, values), (tensors, broken)):
        with pytest.raises(ValueError, match="does not belong to this run"):
            trainer(recipe()).restore(t, v)


def test_reading_the_losses_seldom_changes_no_record_and_no_weight() -> None:
    often, seldom = (trainer(recipe(*FAST), validation=portion(9, seed=1)) for _ in range(2))
    seldom.read_every = 4  # of 6 steps per epoch, as on an accelerator
    for run in (often, seldom):
        for _ in run.run():
            pass
    ours, theirs = ([replace(r, train_seconds=0.0) for r in run.records] for run in (often, seldom))
    assert ours == theirs
    assert equal(weights(often), weights(seldom))


def test_a_state_saved_between_two_readings_loses_nothing() -> None:
    whole, stopped, resumed = (trainer(recipe(*FAST)) for _ in range(3))
    for run in (whole, stopped, resumed):
        run.read_every = 4
    for _ in whole.run():
        pass
    for event in stopped.run():
        if isinstance(event, StepRecord) and event.step == 9:
            break
    resumed.restore(*stopped.state())
    for _ in resumed.run():
        pass
    assert [r.train_loss for r in resumed.records] == [r.train_loss for r in whole.records]


def test_a_loss_read_late_still_names_its_step() -> None:
    run = trainer(recipe(*FAST))
    run.read_every = 4
    with pytest.raises(UserError, match="the loss became nan at step 2 "):
        for event in run.run():
            if isinstance(event, StepRecord) and event.step == 1:
                with torch.no_grad():
                    next(p for p in run.model.parameters() if p.requires_grad)[0] = float("nan")


def test_an_epoch_may_be_of_a_share_of_the_images() -> None:
    run = trainer(recipe(*RICH, "train.epochs=6", "train.epoch_share=0.25"), n=40)
    seen: list[set[int]] = []
    plain_step = run._step

    def noting(chosen: Tensor) -> None:
        if run._at.batch == 0:
            seen.append(set())
        seen[-1] |= set(chosen.tolist())
        plain_step(chosen)

    run._step = noting  # type: ignore[assignment,method-assign]
    records = [event for event in run.run() if isinstance(event, EpochRecord)]
    assert [len(images) for images in seen] == [10] * 6
    assert [r.steps for r in records] == [2, 4, 6, 8, 10, 12]
    assert run.total == run.seen == 60


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epoch": 100}, "counts do not match"),
        ({"batch": 10**6}, "counts do not match"),
        ({"step": "x"}, "counts do not match"),
        ({"epoch": -5, "step": -30}, "counts do not match"),
        ({"records": []}, "past the end of the run"),
    ],
)
def test_a_state_that_cannot_be_is_refused(change: dict[str, Any], reason: str) -> None:
    stopped = trainer(recipe(*RICH))
    for event in stopped.run():
        if isinstance(event, StepRecord) and event.step == 8:
            break
    tensors, values = stopped.state()
    with pytest.raises(ValueError, match=f"does not belong to this run: .*{reason}"):
        trainer(recipe(*RICH)).restore(tensors, {**values, **change})
    bare = {k: v for k, v in tensors.items() if not k.startswith("optimizer.")}
    with pytest.raises(ValueError, match="it has no optimizer state"):
        trainer(recipe(*RICH)).restore(bare, values)


def test_balanced_classes_count_the_same_in_the_loss() -> None:
    labels = torch.tensor([0] * 6 + [1] * 2 + [3])
    part = Portion(
        images_NHWC=torch.zeros(9, *SHAPE, dtype=torch.uint8),
        targets=labels,
        rows_M=torch.arange(9),
    )
    weights_K = part.class_weights()
    # By hand: 9 images over 3 existing classes, so 3 per class, shared among its images.
    assert torch.allclose(weights_K, torch.tensor([0.5, 1.5, 0.0, 3.0]))
    assert weights_K[labels].mean().item() == pytest.approx(1)


def test_an_image_left_alone_joins_the_batch_before_it() -> None:
    run = trainer(recipe(*FAST), n=41)  # five batches of 8, and one image
    steps = [r for r in run.run() if isinstance(r, StepRecord)]

    assert [r.seen for r in steps[:5]] == [8, 16, 24, 32, 41]
    assert run.total == run.seen == steps[-1].seen + 2 * 41
