"""A plain nn.Sequential becomes a list of layers with the same answers.

The oracle is PyTorch's own module.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.kit import striped
from torch import Generator, Tensor, nn

import firstlight as fl
from firstlight.errors import RunInterruptedError
from firstlight.models.as_layers import as_layers
from firstlight.verbs import fit

SHAPE = (12, 10, 3)
CLASSIC = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1),
    nn.ReLU(inplace=True),
    nn.MaxPool2d(2),
    nn.Sequential(nn.Conv2d(8, 6, (3, 3), bias=False), nn.BatchNorm2d(6), nn.SiLU()),
    nn.Dropout2d(0.1),
    nn.AvgPool2d(2),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Linear(12, 7),
    nn.GELU(),
    nn.LayerNorm(7),
    nn.Linear(7, 4),
)
SEQUENTIALS = {
    "classic": CLASSIC,
    "flat": nn.Sequential(nn.Flatten(), nn.Linear(360, 4, bias=False)),
    "global": nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, dilation=1),
        nn.GroupNorm(2, 8),
        nn.ELU(),
        nn.Conv2d(8, 8, 3, padding="same", groups=4),
        nn.LeakyReLU(0.2),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 2, padding=1),
        nn.Hardswish(),
        nn.MaxPool2d(3, 1, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(8),
        nn.Sigmoid(),
        nn.Identity(),
        nn.Linear(8, 4),
    ),
    "maximum": nn.Sequential(
        nn.Conv2d(3, 6, 2, dilation=2), nn.Tanh(), nn.AdaptiveMaxPool2d((1, 1)),
        nn.Flatten(), nn.Linear(6, 4),
    ),
}  # fmt: skip


def noise(count: int = 9) -> Tensor:
    return torch.rand((count, 3, 12, 10), generator=Generator().manual_seed(1))


def used(module: nn.Sequential) -> nn.Sequential:
    """Give the module running statistics and weights that differ from a new one's."""
    module.train()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.rand(parameter.shape))
        module(noise())
    return module.eval()


@pytest.mark.parametrize("module", SEQUENTIALS.values(), ids=SEQUENTIALS)
def test_the_list_answers_and_learns_as_the_module(module: nn.Sequential) -> None:
    found = as_layers(used(module), SHAPE, 4)
    assert found.why == "" and found.model is not None
    with torch.no_grad():
        assert torch.allclose(found.model.eval()(noise()), module(noise()), atol=1e-5)
    numbers = [sum(p.numel() for p in one.parameters()) for one in (found.model, module)]
    assert numbers[0] == numbers[1]


UNLIKE: dict[str, Callable[[], nn.Module]] = {
    "Conv2d.* pads by 2": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=2), nn.Flatten(), nn.Linear(4 * 14 * 12, 4)
    ),
    "reflect": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(480, 4)
    ),
    "not square": lambda: nn.Sequential(
        nn.Conv2d(3, 4, (1, 3)), nn.Flatten(), nn.Linear(4 * 12 * 8, 4)
    ),
    "no layer for Softplus": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(360, 4), nn.Softplus(), nn.Linear(4, 4)
    ),
    "does not end with Linear": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(360, 4), nn.LogSoftmax(1)
    ),
    "BatchNorm1d is between": lambda: nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(360), nn.Linear(360, 4)
    ),
    "Linear is not an nn.Sequential": lambda: nn.Linear(3, 4),
    "is not trained": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(360, 5).requires_grad_(False), nn.Linear(5, 4)
    ),
    "no layer for ELU": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(360, 5), nn.ELU(0.3), nn.Linear(5, 4)
    ),
}


@pytest.mark.parametrize(("why", "make"), UNLIKE.items(), ids=UNLIKE)
def test_what_has_no_layer_is_told(why: str, make: Callable[[], nn.Module]) -> None:
    found = as_layers(make(), SHAPE, 4)
    assert found.model is None and not found.layers
    assert re.search(why, found.why), found.why


def test_a_module_in_it_twice_has_one_weight_and_no_list() -> None:
    inner = nn.Linear(5, 5)
    twice = nn.Sequential(nn.Flatten(), nn.Linear(360, 5), inner, nn.ReLU(), inner, nn.Linear(5, 4))
    assert "twice" in as_layers(twice, SHAPE, 4).why


DATA = striped(60, 8)


def plain(image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(image_shape[2], 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(96, classes),
    )


def test_a_function_of_plain_layers_needs_no_code_afterwards(tmp_path: Path) -> None:
    given: dict[str, Any] = {"network": plain, "epochs": 3, "quiet": True}
    runs = [fl.train(DATA, out=tmp_path / str(i), **given) for i in range(2)]
    assert runs[0].recipe.network.code is None and len(runs[0].recipe.network.layers) == 6
    weights = [(run.path / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]
    assert not (runs[0].path / "network.py").exists()
    assert fl.open_run(runs[0].path, DATA).evaluate().accuracy == runs[0].evaluate().accuracy
    with pytest.raises(fl.UserError, match="needs no code"):
        fl.open_run(runs[0].path, network=plain)


def test_a_trained_module_is_taken_over_with_its_weights(tmp_path: Path) -> None:
    """The learning rate is almost zero, so the run has the answers of the given module."""
    torch.manual_seed(3)
    module = plain((8, 8, 1), 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    run = fl.train(
        DATA, network=module, epochs=1, learning_rate=1e-12, out=tmp_path / "run", quiet=True
    )
    images = DATA.test.images_NHWC
    with torch.no_grad():
        pixels = torch.tensor(images.transpose(0, 3, 1, 2).tolist()).float() / 255
        best = module.eval()(pixels).argmax(1)
    names = DATA.test.class_names
    assert [p.best for p in run.predict(images)] == [names[int(k)] for k in best]
    assert all(torch.equal(one, before[name]) for name, one in module.state_dict().items())
    kept = load_file(run.path / "model.safetensors")
    assert torch.allclose(kept["conv1.weight"], before["0.weight"], atol=1e-6)
    with pytest.raises(fl.UserError, match="started from the weights of a module"):
        fl.train(DATA, run.path / "recipe.toml", out=tmp_path / "no", quiet=True)
    again = fl.train(
        DATA, run.path / "recipe.toml", network=module, out=tmp_path / "again", quiet=True
    )
    assert (again.path / "model.safetensors").read_bytes() == (
        run.path / "model.safetensors"
    ).read_bytes()
    fresh = ['train.start_weights=""']
    fl.train(DATA, run.path / "recipe.toml", settings=fresh, out=tmp_path / "fresh", quiet=True)


@pytest.mark.parametrize("state", [True, False])
def test_it_is_resumed_from_the_weights_it_came_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: bool
) -> None:
    module = plain((8, 8, 1), 2)
    given: dict[str, Any] = {"network": module, "epochs": 3, "quiet": True}
    whole = fl.train(DATA, out=tmp_path / "whole", **given)
    steps = 0

    def stopping(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt

    if state:
        monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("firstlight.progress.Silent.step", stopping)
        with pytest.raises(RunInterruptedError):
            fl.train(DATA, out=tmp_path / "part", **given)
    resumed = fl.resume(tmp_path / "part", DATA, quiet=True)
    weights = [(run.path / "model.safetensors").read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]


def test_an_instance_that_is_no_list_is_refused_with_what_to_do(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(64, 2)

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.out(images.flatten(1))
            return scores

    with pytest.raises(fl.UserError, match="Pass the function or class that makes it"):
        fl.train(DATA, network=Own(), out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
