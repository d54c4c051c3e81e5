"""Optimizers compared with PyTorch's, Muon with its definition, and the weights that each
updates."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, nn
from torch.nn.functional import linear

from firstlight.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Muon, Optimizer, RMSprop, rules
from firstlight.optimizers.rules import Group, MuonRule, orthogonalised
from firstlight.training import optimizers
from firstlight.training.optimizers import Optimizers


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_singular_vectors_are_kept_and_singular_values_brought_near_one(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(*shape, generator=Generator().manual_seed(0), dtype=torch.float64)

    result = orthogonalised(matrix[None], steps=5)[0]

    u, _, vh = np.linalg.svd(matrix.numpy(), full_matrices=False)
    middle = u.T @ result.numpy() @ vh.T
    # The published coefficients leave singular values within about 0.7 to 1.2.
    assert np.abs(middle - np.diag(np.diag(middle))).max() < 1e-9
    assert np.diag(middle).min() > 0.6 and np.diag(middle).max() < 1.3


def test_two_steps_of_muon_equal_its_definition_written_out() -> None:
    rng = Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, 2, 2, generator=rng, dtype=torch.float64))
    gradients = [torch.randn(4, 3, 2, 2, generator=rng, dtype=torch.float64) for _ in range(2)]
    muon = MuonRule([Group(weights=[weight], rate=0.2)], momentum=0.6)

    expected, momentum = weight.detach().numpy().copy(), np.zeros((4, 3, 2, 2))
    for gradient in gradients:
        weight.grad = gradient
        muon.step(0.5)
        momentum = 0.6 * momentum + gradient.numpy()
        ahead = (gradient.numpy() + 0.6 * momentum).reshape(4, 12)
        u, s, vh = np.linalg.svd(ahead, full_matrices=False)
        s = s / (np.sqrt((s**2).sum()) + 1e-7)
        for _ in range(3):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        expected *= np.sqrt(4) / np.linalg.norm(expected)
        expected -= 0.1 * ((u * s) @ vh).reshape(4, 3, 2, 2)

    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-9)


def test_matrix_products_in_bfloat16_leave_weights_and_momentum_as_precise_as_they_were() -> None:
    rng = Generator().manual_seed(0)
    first = torch.randn(16, 8, 3, 3, generator=rng)
    weights = [nn.Parameter(first.clone()) for _ in range(2)]
    gradient = torch.randn(first.shape, generator=rng)
    for weight, precision in zip(weights, (None, torch.bfloat16), strict=True):
        weight.grad = gradient
        muon = MuonRule([Group(weights=[weight], rate=0.2)], momentum=0.6, precision=precision)
        muon.step(1.0)
        assert torch.equal(muon.kept[weight]["momentum"], gradient)
    whole, lower = (weight.detach() for weight in weights)
    assert lower.dtype == torch.float32
    resting = first * 4 / first.norm()
    error = (lower - whole).norm() / (whole - resting).norm()
    assert 0 < error < 2**-6  # 2⁻⁸ is bfloat16's own error, and there are three iterations


def test_filters_moved_at_once_move_as_they_do_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on an accelerator, where a kernel launch costs more than the work: of any shape, wide
    matrices apart from tall ones."""

    def moved(together: bool) -> list[torch.Tensor]:
        rng = Generator().manual_seed(0)
        shapes = [(6, 3, 2, 2), (4, 6, 3, 3), (9, 1, 2, 2), (6, 3, 2, 2), (8, 1, 1, 1)]
        weights = [nn.Parameter(torch.randn(s, generator=rng, dtype=torch.float64)) for s in shapes]
        muon = MuonRule([Group(weights=weights, rate=0.2)], momentum=0.6)
        if together:
            groups = [[weights[0], weights[1], weights[3]], [weights[2], weights[4]]]
            monkeypatch.setattr(rules, "_together", lambda _: groups)
        for _ in range(2):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=rng, dtype=torch.float64)
            muon.step(0.5)
        return [weight.detach() for weight in weights]

    for one, other in zip(moved(together=False), moved(together=True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)  # sums in another order


@pytest.mark.parametrize(
    ("shapes", "groups"),
    [
        ([(6, 3, 2, 2), (4, 6, 3, 3), (6, 3, 2, 2)], [3]),  # 972 numbers for 360
        ([(6, 3, 2, 2), (9, 1, 2, 2), (6, 3, 2, 2)], [2, 1]),  # 6×12 and 9×4
        ([(2, 2, 1, 1), (90, 90, 1, 1), (2, 2, 1, 1), (2, 2, 1, 1), (2, 2, 1, 1)], [4, 1]),
    ],
)
def test_on_an_accelerator_filters_move_together_unless_padding_is_most_of_the_work(
    shapes: list[tuple[int, ...]], groups: list[int]
) -> None:
    weights = [torch.empty(shape, device="meta") for shape in shapes]
    assert [len(part) for part in rules._together(weights)] == groups


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3, bias=False)  # batch norm would remove its bias
    model = nn.Sequential(convolution, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    model[1].weight.requires_grad = False
    return model


def test_a_layer_that_is_not_trained_is_a_layer_among_the_rates() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    shares = optimizers._shares(model, 0.01)
    rates = {id(p): share for share, parameters in shares.items() for p in parameters}
    assert rates[id(model[1].weight)] == pytest.approx(0.1)
    assert rates[id(model[2].weight)] == 1.0
    assert id(model[0].weight) not in rates


def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(16, 2, bias=False)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trained_weight_moves_and_no_other(name: str) -> None:
    model = network()
    moving = Optimizers(OPTIMIZERS[name](), model, batch_size=8)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    images = torch.randn(8, 3, 4, 4, generator=Generator().manual_seed(1))

    for _ in range(2):
        moving.zero_grad()
        (model(images)[:, 0] ** 3).mean().backward()
        moving.step(0.5)

    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in model.named_parameters() if p.requires_grad}


def test_the_last_layer_follows_sgd_for_the_summed_loss() -> None:
    """Compared with torch's SGD on the sum over the batch, as in the published recipe."""
    ours, theirs = head(), head()
    choice = Muon(head_learning_rate=0.01, weight_decay=1e-3)
    moving = Optimizers(choice, ours, batch_size=8)
    reference = torch.optim.SGD(
        [theirs.weight], lr=0.01, weight_decay=1e-3 * 8 / 0.01, momentum=0.85, nesterov=True
    )
    features = torch.randn(8, 16, generator=Generator().manual_seed(1))

    for _ in range(3):
        moving.zero_grad()
        reference.zero_grad()
        linear(features, ours.weight).pow(2).sum(1).mean().backward()
        linear(features, theirs.weight).pow(2).sum(1).sum().backward()
        moving.step(1.0)
        reference.step()

    torch.testing.assert_close(ours.weight, theirs.weight)


THEIRS = [
    (Adam(0.02), torch.optim.Adam, {"eps": 1e-7, "fused": True}),
    (
        Adam(0.02, betas=(0.8, 0.95), epsilon=1e-3, weight_decay=0.1),
        torch.optim.Adam,
        {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "fused": True},
    ),
    (AdamW(0.02), torch.optim.AdamW, {"fused": True}),  # all defaults are PyTorch's
    (
        AdamW(0.02, betas=(0.8, 0.95), epsilon=1e-3, weight_decay=0.3),
        torch.optim.AdamW,
        {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3, "fused": True},
    ),
    (SGD(0.02, momentum=0.0), torch.optim.SGD, {"fused": True}),
    (SGD(0.02, momentum=0.7), torch.optim.SGD, {"momentum": 0.7, "fused": True}),
    (
        SGD(0.02, momentum=0.7, nesterov=True, weight_decay=0.1),
        torch.optim.SGD,
        {"momentum": 0.7, "nesterov": True, "weight_decay": 0.1, "fused": True},
    ),
    (
        SGD(0.02, momentum=0.0, weight_decay=0.1),
        torch.optim.SGD,
        {"weight_decay": 0.1, "fused": True},
    ),
    (RMSprop(0.02), torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-7}),
    (
        RMSprop(0.02, decay=0.7, momentum=0.6, epsilon=1e-3, weight_decay=0.1),
        torch.optim.RMSprop,
        {"alpha": 0.7, "momentum": 0.6, "eps": 1e-3, "weight_decay": 0.1},
    ),
]


@pytest.mark.parametrize(("choice", "kind", "choices"), THEIRS, ids=[repr(t[0]) for t in THEIRS])
def test_optimizers_are_pytorchs_bit_for_bit(
    choice: Optimizer, kind: Any, choices: dict[str, Any]
) -> None:
    ours, theirs = network(), network()
    moving = Optimizers(choice, ours, batch_size=8)
    reference = kind([p for p in theirs.parameters() if p.requires_grad], lr=0.0, **choices)
    images = torch.randn(8, 3, 4, 4, generator=Generator().manual_seed(1))

    for factor in (0.5, 1.0, 0.0, 0.25):
        moving.zero_grad()
        reference.zero_grad()
        for model in (ours, theirs):
            (model(images)[:, 0] ** 3).mean().backward()
        moving.step(factor)
        for group in reference.param_groups:
            group["lr"] = choice.learning_rate * factor
        reference.step()

    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_gradients_are_clipped_by_their_norm_as_one_vector() -> None:
    for most, clipped in ((1e3, False), (0.01, True)):
        ours, theirs = network(), network()
        moving = Optimizers(SGD(0.1, momentum=0.0), ours, batch_size=8)
        images = torch.randn(8, 3, 4, 4, generator=Generator().manual_seed(1))
        for model in (ours, theirs):
            model(images).pow(2).mean().backward()
        moving.clip(most)
        trained = [p for p in ours.parameters() if p.grad is not None]
        norm = torch.cat([p.grad.flatten() for p in trained if p.grad is not None]).norm()
        assert (float(norm) == pytest.approx(most, rel=1e-3)) == clipped
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), most)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None and other.grad is not None:
                assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_was_kept_goes_on_where_it_was_left(name: str) -> None:
    def trained(model: nn.Module, moving: Optimizers, steps: range) -> None:
        for step in steps:
            moving.zero_grad()
            images = torch.randn(8, 3, 4, 4, generator=Generator().manual_seed(step))
            model(images)[:, 0].sigmoid().mean().backward()
            moving.step(1.0)

    choice = OPTIMIZERS[name](0.02)
    whole, first = network(), network()
    trained(whole, Optimizers(choice, whole, batch_size=8), range(4))
    moving = Optimizers(choice, first, batch_size=8)
    trained(first, moving, range(2))

    second = network()
    second.load_state_dict(first.state_dict())
    again = Optimizers(choice, second, batch_size=8)
    again.restore(moving.state())
    trained(second, again, range(2, 4))

    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "name", ["0.99.momentum", "7.0.momentum", "0.0.mass", "0.0", "0.0.momentum"]
)
def test_what_was_kept_of_other_weights_is_refused(name: str) -> None:
    moving = Optimizers(Muon(), network(), batch_size=8)
    with pytest.raises(ValueError, match="optimizer state"):
        moving.restore({name: torch.zeros(2, 2)})


def test_a_part_of_what_was_kept_is_refused() -> None:
    model = network()
    moving = Optimizers(Adam(), model, batch_size=8)
    model(torch.randn(8, 3, 4, 4)).sum().backward()
    moving.step(1.0)
    state = {name: value for name, value in moving.state().items() if name != "0.1.exp_avg_sq"}
    with pytest.raises(ValueError, match=r"0\.1\.exp_avg_sq: missing"):
        moving.restore(state)
