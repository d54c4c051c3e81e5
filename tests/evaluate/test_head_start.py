"""Where features end and the head of a network begins."""

from threading import Thread

import torch
from torch import Generator, Tensor, nn

from firstlight import layers
from firstlight.evaluate.features import features, head_start
from firstlight.layers.network import Network
from firstlight.models.catalog import Architecture
from firstlight.models.network import head


def built(*parts: layers.Layer) -> torch.nn.Module:
    network = Network(layers=(layers.Flatten(), *parts, layers.Dense("classes")))
    shape = Architecture(network=network, image_shape=(2, 2, 1), classes=3)
    return shape.build(Generator().manual_seed(1)).eval()


def test_the_features_are_what_a_square_root_before_the_last_layer_is_given() -> None:
    pixels_NCHW = torch.tensor([[-1.0, 0.0, 2.0, 9.0]]).reshape(1, 1, 2, 2)
    for root in (layers.SquareRoot(), layers.Repeat(1, (layers.SquareRoot(),))):
        found_NF = features(built(root), pixels_NCHW)
        assert torch.equal(found_NF, pixels_NCHW.flatten(1))


def test_a_square_root_inside_a_branch_is_part_of_the_features() -> None:
    ways = ((layers.Dense(2),), (layers.SquareRoot(epsilon=0.25),))
    model = built(layers.Branches(ways))
    pixels_NCHW = torch.tensor([[0.0, 0.0, 2.0, 6.0]]).reshape(1, 1, 2, 2)
    assert head_start(model) is model.get_submodule(head(model))
    found_NF = features(model, pixels_NCHW)
    assert found_NF.shape == (1, 6)
    assert torch.equal(found_NF[0, 2:], torch.tensor([0.5, 0.5, 1.5, 2.5]))


def test_another_thread_gets_scores_from_the_same_model_meanwhile() -> None:
    model = built(layers.Dense(5))
    pixels_NCHW = torch.rand(3, 1, 2, 2)
    wanted_NK, found = model(pixels_NCHW), list[Tensor]()
    asked = list[Thread]()

    def ask(*_: object) -> None:
        """Let another thread pass the images while this one is in the middle of its pass."""
        if not asked:
            asked.append(Thread(target=lambda: found.append(model(pixels_NCHW))))
            asked[0].start()
            asked[0].join()

    first = next(one for one in model.modules() if isinstance(one, nn.Linear))
    first.register_forward_pre_hook(ask)
    assert features(model, pixels_NCHW).shape == (3, 5)
    assert torch.equal(found[0], wanted_NK)
    assert torch.equal(model(pixels_NCHW), wanted_NK)  # and nothing stays behind
