"""Mixed images compared with the papers' formulas, and the shares with SciPy's distribution."""

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from firstlight.augment import CutMix, MixUp
from firstlight.augment.mix import mix, symmetric_beta
from firstlight.augment.mixing import Mix

IMAGES_NCHW = torch.rand(16, 3, 10, 14, generator=Generator().manual_seed(0))


def mixed_by(choice: Mix | None, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    rng = Generator().manual_seed(seed)
    return mix(IMAGES_NCHW, choice, rng, rng)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    rng = Generator().manual_seed(3)
    shares = [symmetric_beta(alpha, rng) for _ in range(4000)]

    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_mixup_is_the_weighted_mean_of_two_images() -> None:
    mixed, other_N, share = mixed_by(MixUp(0.5), 1)

    assert sorted(other_N.tolist()) == list(range(16))
    assert 0 < share < 1
    expected = share * IMAGES_NCHW + (1 - share) * IMAGES_NCHW[other_N]
    torch.testing.assert_close(mixed, expected)


def test_cutmix_takes_one_rectangle_and_its_area_is_the_others_share() -> None:
    before = IMAGES_NCHW.clone()
    for seed in range(30):
        mixed, other_N, share = mixed_by(CutMix(), seed)
        moved = other_N != torch.arange(16)
        taken = (mixed != IMAGES_NCHW)[moved]
        assert (taken == taken[:1, :1]).all(), "the same rectangle in every image and channel"
        rows, columns = taken[0, 0].any(1).sum().item(), taken[0, 0].any(0).sum().item()
        assert taken[0, 0].sum().item() == rows * columns
        assert share == pytest.approx(1 - rows * columns / 140)
        assert torch.equal(mixed[moved][taken], IMAGES_NCHW[other_N][moved][taken])
    assert torch.equal(IMAGES_NCHW, before)


def test_nothing_is_mixed_unless_the_recipe_says_so() -> None:
    mixed, _, share = mixed_by(None)
    assert mixed is IMAGES_NCHW
    assert share == 1
