"""Every named recipe: the same seed gives the same bits, also after an interruption."""

import pytest
import torch
from torch import Generator, Tensor

from firstlight.data.catalog import CATALOG
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.recipe import load_recipe, recipe_names
from firstlight.training.loop import Trainer
from firstlight.training.portion import Portion
from firstlight.training.position import StepRecord

IMAGES = 20


def _trainer(name: str) -> Trainer:
    recipe = load_recipe(name).with_settings(["train.batch_size=8", "train.epochs=3"])
    shape = next(entry.image_shape for data, entry in CATALOG.items() if name.startswith(data))
    height, width, channels = shape
    rng = Generator().manual_seed(0)
    portion = Portion(
        images_NHWC=torch.randint(0, 256, (IMAGES, *shape), generator=rng, dtype=torch.uint8),
        targets=torch.randint(0, 10, (IMAGES,), generator=rng),
        rows_M=torch.arange(IMAGES),
    )
    architecture = Architecture(network=recipe.network, image_shape=shape, classes=10)
    preprocess = Preprocess(
        height=height, width=width, channels=channels, mean=(0.5,) * channels, std=(0.2,) * channels
    )
    model = architecture.build(Generator().manual_seed(recipe.train.seed))
    return Trainer(recipe, model, preprocess, portion, None)


def _finish(run: Trainer) -> dict[str, Tensor]:
    for _ in run.run():
        pass
    return dict(run.answering.state_dict())


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_resumes_to_the_bit(name: str) -> None:
    run, resumed = _trainer(name), _trainer(name)
    for event in run.run():
        if isinstance(event, StepRecord) and event.step == 5:  # of 9 or 6, inside an epoch
            resumed.restore(*run.state())
    whole, again = run.answering.state_dict(), _finish(resumed)

    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    start = _trainer(name).model.state_dict()
    assert not all(torch.equal(whole[k], start[k]) for k in whole)
