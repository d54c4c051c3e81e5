"""What training on an accelerator comes to, on a pretended one: no GPU is needed.

It shows which operations are asked for, and in what order. It cannot show how long they take.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.kit import striped, whitened_net
from tests.pretend_device import pretended
from torch import Generator

from firstlight.augment import AUGMENTATIONS, Rotate, Shift
from firstlight.augment.affine import random_affine
from firstlight.augment.mixing import Mix
from firstlight.data.dataset import Dataset, TrainTest
from firstlight.devices import repeatable
from firstlight.explain.attribution import grad_cam, integrated_gradients, occlusion
from firstlight.layers import Whiten
from firstlight.model import run_model
from firstlight.models.whitening import Whitening
from firstlight.progress import Silent
from firstlight.training.loop import Trainer
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
        trained(job("digits-tutorial", noise((8, 8, 1)), "mps", mixes, "train.epochs=1"))


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
