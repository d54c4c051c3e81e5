"""Preprocessing, compared with arithmetic by hand."""

import pytest
import torch

from firstlight.pixels import Preprocess


def make(channels: int = 3, mean: float = 0.0, std: float = 1.0) -> Preprocess:
    return Preprocess(
        height=2, width=4, channels=channels, mean=(mean,) * channels, std=(std,) * channels
    )


def test_pixels_are_divided_by_255_and_channels_come_first() -> None:
    images_NHWC = torch.arange(5 * 2 * 4 * 3, dtype=torch.uint8).reshape(5, 2, 4, 3)
    pixels_NCHW = make()(images_NHWC)
    assert pixels_NCHW.shape == (5, 3, 2, 4)
    assert pixels_NCHW.dtype == torch.float32
    assert pixels_NCHW[4, 2, 1, 3].item() == pytest.approx(119 / 255, abs=1e-7)
    assert pixels_NCHW[1, 0, 0, 1].item() == pytest.approx(27 / 255, abs=1e-7)


def test_mean_and_std_are_applied_per_channel() -> None:
    preprocess = Preprocess(
        height=1, width=1, channels=3, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0)
    )
    pixels = preprocess(torch.tensor([[[[255, 0, 255]]]], dtype=torch.uint8))
    assert pixels.flatten().tolist() == [1.0, -1.0, 0.5]


def test_the_images_given_are_left_as_they_were() -> None:
    images = torch.full((3, 2, 4, 1), 7, dtype=torch.uint8)
    make(channels=1, mean=0.5)(images)
    assert (images == 7).all()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 2, 4, 1),
        torch.zeros(3, 4, 2, 1, dtype=torch.uint8),
        torch.zeros(3, 2, 4, 3, dtype=torch.uint8),
        torch.zeros(2, 4, 1, dtype=torch.uint8),
    ],
)
def test_another_dtype_or_shape_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="wanted uint8 images N×2×4×1"):
        make(channels=1)(images)


def test_it_survives_json() -> None:
    preprocess = make(mean=0.125, std=0.5)
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
    with pytest.raises(ValueError, match="not saved preprocessing"):
        Preprocess.from_json({"height": 3})


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 1, 3), (3, 2, 1, 0)])
def test_images_that_lie_in_another_order_in_memory_give_the_same_pixels(
    order: tuple[int, ...],
) -> None:
    """Layouts of other programs' arrays: channels first, columns first, or everything reversed."""
    preprocess = Preprocess(
        height=2, width=4, channels=3, mean=(0.5, 0.25, 0.1), std=(0.5, 0.25, 2.0)
    )
    images_NHWC = torch.arange(5 * 2 * 4 * 3, dtype=torch.uint8).reshape(5, 2, 4, 3)
    back = [order.index(axis) for axis in range(4)]
    turned = images_NHWC.permute(order).contiguous().permute(back)
    assert turned.equal(images_NHWC)

    wanted = images_NHWC.double() / 255 - torch.tensor([0.5, 0.25, 0.1])
    wanted /= torch.tensor([0.5, 0.25, 2.0])
    torch.testing.assert_close(preprocess(turned), wanted.permute(0, 3, 1, 2).float())
    assert preprocess(turned).is_contiguous(memory_format=torch.channels_last)
