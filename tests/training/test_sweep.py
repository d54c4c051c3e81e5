"""The learning-rate sweep: the images that it trains on."""

from tests.training.test_loop import GROWING, recipe, trainer

from firstlight.training.sweep import sweep


def test_a_sweep_sees_whole_images_alone() -> None:
    run = trainer(recipe(*GROWING, "train.epochs=10"))
    shapes: set[tuple[int, ...]] = set()
    run.model.register_forward_pre_hook(lambda _, inputs: shapes.add(tuple(inputs[0].shape[2:])))
    sweep(run, 20)
    assert shapes == {(10, 12)}
