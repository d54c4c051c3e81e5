"""What training on an accelerator comes to, on a pretended one: no GPU is needed.

It shows which operations are asked for, and in what order. It cannot show how long they take.
"""

import subprocess
import time
import weakref
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.kit import striped, whitened_net
from tests.pretend_device import Device, Event, pretended
from torch import Generator

from firstlight.augment import AUGMENTATIONS, Rotate, Shift
from firstlight.augment.affine import random_affine
from firstlight.augment.mixing import Mix
from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.stored import StoredImages
from firstlight.devices import repeatable
from firstlight.explain.attribution import grad_cam, integrated_gradients, occlusion
from firstlight.layers import Attention as AttentionChoice
from firstlight.layers import Whiten
from firstlight.model import run_model
from firstlight.models import attention
from firstlight.models.modules import Resize
from firstlight.models.whitening import Whitening
from firstlight.optimizers import OPTIMIZERS
from firstlight.progress import Silent
from firstlight.runs.record import environment
from firstlight.training.loop import Trainer
from firstlight.training.position import StepRecord
from firstlight.verbs.bench import measure, step_gflop
from firstlight.verbs.evaluate import evaluate
from firstlight.verbs.fit import fit
from firstlight.verbs.job import Job
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest

NAMES = ["cuda", "mps"]
RECIPES = {
    "cifar10-quick": (32, 32, 3),
    "cifar10-tutorial-augmented": (32, 32, 3),
    "cifar10-tutorial-dropout": (32, 32, 3),
    "cifar10-resnet20": (32, 32, 3),
    "cifar10-mobile": (32, 32, 3),
    "digits-tutorial": (8, 8, 1),
    "fashion_mnist-mlp": (28, 28, 1),
    "mnist-best": (28, 28, 1),
    "mnist-lenet5": (28, 28, 1),
}
"""Named recipes, of which each has a part that none before it has; the others differ in numbers."""
MIXED = tuple(kind for kind in AUGMENTATIONS.values() if issubclass(kind, Mix))


def noise(shape: tuple[int, int, int], count: int = 20) -> TrainTest:
    rng = np.random.default_rng(0)
    parts = [
        Dataset(
            name=f"noise/{name}",
            images_NHWC=rng.integers(0, 256, (count, *shape), dtype=np.uint8),
            labels_N=np.arange(count) % 10,
            class_names=tuple("0123456789"),
        )
        for name in ("train", "test")
    ]
    return TrainTest(*parts)


def job(recipe: str, data: TrainTest, device: str, *settings: str) -> Job:
    request = DataRequest(name="noise", data=data, quiet=True)
    return plan(request, Asked(recipe=recipe, device=device, settings=settings))


def trained(chosen: Job) -> Trainer:
    with repeatable(1, chosen.device):
        trainer = chosen.trainer()
        for _ in trainer.run():
            pass
    return trainer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_named_recipes_train_on_an_accelerator(recipe: str, name: str) -> None:
    data = noise(RECIPES[recipe])
    with pretended(name) as on:
        trainer = trained(job(recipe, data, name, "train.batch_size=8", "train.epochs=1"))
        weights = list(trainer.model.parameters())
        assert {weight.device.type for weight in weights} == {name}
        assert all(bool(weight.isfinite().all()) for weight in weights)
    assert len(on.of_kind("launch")) > trainer.steps


@pytest.mark.parametrize("kind", MIXED)
def test_images_are_mixed_on_an_accelerator(kind: type[Mix]) -> None:
    with pretended("mps"):
        mixes = f"augment=[{{ {kind.kind} = 1.0 }}]"
        trainer = trained(job("digits-tutorial", noise((8, 8, 1)), "mps", mixes, "train.epochs=1"))
        assert isinstance(trainer.recipe.mix, kind)
        assert all(bool(weight.isfinite().all()) for weight in trainer.model.parameters())


def test_a_run_is_evaluated_and_explained_on_apples_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, settings = striped(), [*whitened_net(8, 8), "train.batch_size=15", "train.epochs=9"]
    request = DataRequest(name="noise", data=data, quiet=True)
    asked = Asked(recipe="digits-tutorial", device="mps", settings=settings)
    image_HWC = data.test.images_NHWC[0]
    with pretended("mps"):
        folder = fit(plan(request, asked), Silent(), out=Path("run"))
        there = evaluate(folder, device="mps", data=data)
        opened = run_model(folder, "mps")
        model, preprocess = opened.saved.model, opened.preprocess
        values_HW = integrated_gradients(model, preprocess, image_HWC, 0).values_HW
        assert grad_cam(model, preprocess, image_HWC, 0).values_HW.shape == image_HWC.shape[:2]
        assert occlusion(model, preprocess, image_HWC, 0).values_HW.shape == image_HWC.shape[:2]
    here = run_model(folder, "cpu")
    assert evaluate(folder, device="cpu", data=data).accuracy == there.accuracy
    wanted = integrated_gradients(here.saved.model, here.preprocess, image_HWC, 0).values_HW
    np.testing.assert_allclose(values_HW, wanted, atol=1e-5)


def test_a_whitening_stem_has_the_same_filters_on_every_device() -> None:
    maps_NCHW = torch.rand(30, 3, 12, 12, generator=Generator().manual_seed(0))
    found = []
    for name in ("cpu", *NAMES):
        with pretended("cuda" if name == "cpu" else name):
            stem = Whitening(Whiten(24), (12, 12, 3)).to(name)
            stem.initialize_from(maps_NCHW.to(name))
            found.append(stem.weight.detach().cpu())
    assert found[0].abs().sum() > 0
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_without_padding_by_the_edge_images_are_moved_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before PyTorch 2.13, Apple's GPUs could not repeat the edge themselves."""
    images_NCHW = torch.rand(20, 3, 12, 16, generator=Generator().manual_seed(2))
    moves = [Rotate(180.0), Shift(0.9)]
    wanted = random_affine(images_NCHW, moves, Generator().manual_seed(0))
    monkeypatch.setattr("firstlight.augment.affine.CLAMPS", "cpu")
    found = random_affine(images_NCHW, moves, Generator().manual_seed(0))
    # Places are rounded in float32: of 16 pixels, to some millionths.
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def steps(chosen: Job, on: Device) -> tuple[Trainer, list[list[Event]]]:
    """Train, reading every four steps, and return what each step asked the device for."""
    found = []
    with repeatable(1, chosen.device):
        trainer = chosen.trainer()
        assert trainer.read_every == 20
        trainer.read_every = 4
        for event in trainer.run():
            if isinstance(event, StepRecord):
                found.append(list(on.events))
            on.events.clear()
    return trainer, found


CHANGED = (
    "{ rotate = 10 }, { crop = 2 }, { flip = 'random' }, { cutout = 3 }, { brightness = 0.1 }, "
    "{ contrast = 0.1 }, { noise = 0.1 }, { blur = 0.5 }, { erase = 0.5 }"
)
LOOPS = {
    "muon and an average": (*whitened_net(8, 8), "train.average_decay=0.9"),
    "half of the images": (*whitened_net(8, 8), "train.epoch_share=0.5"),
    "every augmentation": (f"augment=[{CHANGED}]",),
    "an alternating flip": ("augment=[{ flip = 'alternate' }, { crop = 2 }]",),
    "resized images": (
        'network.layers=[{ resize = 12 }, { conv = 4, kernel = 3, activation = "relu" }, '
        '{ flatten = true }, { dense = "classes" }]',
    ),
    "mixed precision": (*whitened_net(8, 8), "train.precision=mixed"),
    "mixup": ("augment=[{ mixup = 1.0 }]",),
    "dropout": (whitened_net(8, 8, pool_last=False, dropout=0.4)[0],),
    "cutmix, clipped gradients": ("augment=[{ cutmix = 1.0 }]", "train.clip_norm=0.1"),
    "in shards": (*whitened_net(8, 8), "train.shards=2"),
    "balanced classes, in parts": ("train.class_weights=balanced", "train.micro_batch_size=3"),
    **{name: (f"optimizer.name={name}",) for name in OPTIMIZERS},
}


@pytest.mark.parametrize("settings", LOOPS.values(), ids=LOOPS)
def test_nothing_waits_for_the_device_between_two_readings(settings: tuple[str, ...]) -> None:
    data = noise((8, 8, 1), count=40)
    with pretended("cuda", bfloat16=True) as on:
        chosen = job(
            "digits-tutorial", data, "cuda", "train.batch_size=4", "train.epochs=1.6", *settings
        )
        trainer, found = steps(chosen, on)
        assert trainer.mixed == ("train.precision=mixed" in settings)
    per_epoch = trainer.steps_per_epoch
    ends = {
        per_epoch,
        trainer.steps,
        *range(4, per_epoch, 4),
        *range(per_epoch + 4, trainer.steps, 4),
    }
    for number, events in enumerate(found[1:], start=2):
        waits = [event.place.split()[-1] for event in events if event.kind == "wait"]
        if number == per_epoch + 1:  # an epoch's order is drawn by the processor
            waits = [place for place in waits if place != "order"]
        assert waits == ["_read"] * (number in ends), number
    whole = trainer.steps - (trainer.images_per_epoch % 4 != 0) * trainer.steps // per_epoch
    assert trainer.replayed_steps == (0 if trainer.recipe.mix or trainer.shards else whole)


def test_steps_of_both_image_sizes_are_replayed() -> None:
    data = noise((12, 12, 1), count=40)
    settings = (*whitened_net(8, 8), "train.batch_size=4", "train.epochs=2")
    with pretended("cuda") as on:
        small = "train.small_share=0.5"
        chosen = job("digits-tutorial", data, "cuda", *settings, small, "train.validation=none")
        trainer, _ = steps(chosen, on)
    assert trainer.small_steps == 10
    assert trainer.replayed_steps == trainer.steps == 20


def test_what_a_recorded_step_reads_of_the_first_size_outlives_steps_of_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A recorded step reads the same addresses in each replay."""
    made, computed = list[weakref.ref[torch.Tensor]](), Resize._weights

    def noted(self: Resize, maps_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = computed(self, maps_NCHW)
        made.extend(map(weakref.ref, weights))
        return weights

    monkeypatch.setattr(Resize, "_weights", noted)
    layers = (
        "network.layers=[{ resize = 10 }, { conv = 4 }, { global-max-pool = true }, "
        '{ dense = "classes" }]'
    )
    settings = ("train.batch_size=4", "train.epochs=2", "train.small_share=0.5")
    with pretended("cuda") as on:
        chosen = job("digits-tutorial", noise((12, 12, 1)), "cuda", layers, *settings)
        trainer, _ = steps(chosen, on)
        in_training = [one for one in made if one() is not None]
    assert 0 < trainer.small_steps < (trainer.replayed_steps or 0)
    assert len(in_training) == 4  # rows and columns, of two sizes


@pytest.mark.parametrize(("name", "training"), [*product(("cpu", "cuda"), (False, True))])
def test_gradients_of_attention_are_summed_in_one_order_on_cuda(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faster kernels of CUDA do not."""
    fast = list[tuple[bool, bool, bool]]()
    plain = torch.nn.functional.scaled_dot_product_attention

    def noted(*given: Any) -> torch.Tensor:
        cuda = torch.backends.cuda
        fast.append(
            (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
        )
        return plain(*given)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", noted)
    with pretended("cuda"):
        layer = attention.Attention(AttentionChoice(heads=2), (5, 8), Generator()).to(name)
        layer.train(training)
        layer(torch.rand(3, 5, 8).to(name))
    assert fast == [(False,) * 3 if name == "cuda" and training else (True,) * 3]


def test_a_step_of_a_whitened_network_is_few_launches() -> None:
    """Each costs the processor some microseconds: the fewer, the sooner a GPU is the slower one."""
    small = (
        *("train.batch_size=4", "train.epochs=1", "train.validation=none"),
        *("train.small_share=0", "train.epoch_share=1"),
    )
    with pretended("cuda") as on:
        trainer, found = steps(job("cifar10-standard", noise((32, 32, 3)), "cuda", *small), on)
    assert trainer.replayed_steps == trainer.steps == len(found)
    launches = [len([one for one in events if one.kind == "launch"]) for events in found[1:]]
    assert max(launches[:-1]) <= 12
    assert launches[-1] <= 24  # an epoch's last step also measures the layers


@pytest.mark.parametrize("name", NAMES)
def test_pictures_on_the_disk_are_read_ahead_and_train_to_the_same_bits(
    name: str, tmp_path: Path
) -> None:
    data = noise((8, 8, 1), count=40)
    images = data.train.images_NHWC
    assert isinstance(images, np.ndarray)
    (tmp_path / "pixels").write_bytes(images.tobytes())
    on_disk: Any = StoredImages(tmp_path / "pixels", (40, 8, 8, 1))
    stored = replace(data.train, images_NHWC=on_disk)
    settings = ("train.batch_size=4", "train.epochs=2", "train.validation=none")
    ended = []
    for part in (data.train, stored):
        with pretended(name) as on:
            chosen = job("digits-tutorial", TrainTest(part, data.test), name, *settings)
            trainer, found = steps(chosen, on)
            ended.append([weight.cpu() for weight in trainer.model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ended, strict=True))
    for number, events in enumerate(found[1:], start=2):
        waits = [event.place.split()[-1] for event in events if event.kind == "wait"]
        if name == "mps":  # it has no pinned memory to copy from
            assert set(waits) <= {"take", "_read", "order", "ahead"}
        elif number == 11:  # the first of an epoch
            assert waits == ["order", "ahead"]
        else:
            assert waits == ["_read"] * (number in (4, 8, 10, 14, 18, 20))


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_on_a_device_train_to_the_bits_of_shards_on_the_cpu(shards: int) -> None:
    settings = ("train.batch_size=12", "train.epochs=2", f"train.shards={shards}")
    with pretended("cuda"):
        there = trained(job("digits-tutorial", noise((8, 8, 1)), "cuda", *settings))
        found = [weight.cpu() for weight in there.model.parameters()]
    here = trained(job("digits-tutorial", noise((8, 8, 1)), "cpu", *settings))
    assert all(torch.equal(a, b) for a, b in zip(found, here.model.parameters(), strict=True))


def test_a_bench_on_a_gpu_says_what_was_replayed_and_what_memory_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, partial(asked.append, name))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3_000_000)
    monkeypatch.setattr("firstlight.verbs.bench.GPU_PRODUCT", 16)
    monkeypatch.setattr("firstlight.verbs.bench.step_gflop", lambda _: 1.0)
    data = striped(40)
    settings = ("train.batch_size=8", "train.epochs=2", "train.validation=none")
    request = DataRequest(name="stripes", data=data, quiet=True)
    found = {}
    for device in ("cuda", "cpu"):
        asking = Asked(recipe="digits-tutorial", device=device, settings=settings)
        with pretended("cuda"):
            found[device] = measure(request, asking, time.time())
    assert asked == ["empty_cache", "reset_peak_memory_stats"]
    assert found["cuda"]["replayed_steps"] == 10
    assert found["cuda"]["cold_start_seconds"] > 0
    assert found["cuda"]["device_memory_mb"] == 3
    on_gpu_alone = {"replayed_steps", "cold_start_seconds", "device_memory_mb"}
    assert not found["cpu"].keys() & on_gpu_alone


def test_the_environment_of_a_gpu_has_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    told = subprocess.CompletedProcess([], 0, stdout="550.54.15\n")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: told)
    monkeypatch.setattr("torch.version.cuda", "12.8")
    monkeypatch.setattr("torch.backends.cudnn.version", lambda: 91002)
    with pretended("cuda"):
        there = environment("cuda", 1)
    wanted = {"cuda": "12.8", "cudnn": 91002, "driver": "550.54.15", "float32": "ieee"}
    assert there == there | wanted
    assert not environment("cpu", 1).keys() & wanted.keys()


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.TimeoutExpired("it", 30)])
def test_without_nvidias_program_the_driver_is_unknown(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("subprocess.run", fail)
    with pretended("cuda"):
        assert environment("cuda", 1)["driver"] is None


def test_the_work_of_a_step_is_counted_once_on_a_device_that_records() -> None:
    found = []
    for device in ("cuda", "cpu"):
        with pretended("cuda"):
            found.append(step_gflop(job("digits-tutorial", noise((8, 8, 1)), device)))
    assert found[0] == found[1] > 0
