"""What a recipe does to a batch. Axes: B images, C channels, H height, W width."""

import torch
from torch import Generator, Tensor

from firstlight.augment.affine import random_affine
from firstlight.augment.cutout import cutout
from firstlight.augment.shift import shift_and_mirror
from firstlight.recipe import AugmentChoice


def augment(
    pixels_BCHW: Tensor, choice: AugmentChoice, first_flip_B: Tensor, epoch: int, rng: Generator
) -> Tensor:
    """The images of a batch, each changed at random as the choice says; ``epoch`` is from 0.

    ``first_flip_B`` (bool) tells which images ``alternate_flips`` mirrors in even epochs.
    """
    if not choice.enabled:
        return pixels_BCHW
    if choice.rotation_degrees > 0 or choice.shift_fraction > 0:
        pixels_BCHW = random_affine(pixels_BCHW, choice, rng)
    elif choice.shift_pixels > 0 or choice.flip:
        mirrored_B = torch.zeros_like(first_flip_B)
        if choice.flip and choice.alternate_flips:
            mirrored_B = first_flip_B ^ bool(epoch % 2)
        elif choice.flip:
            coins_B = torch.rand(len(pixels_BCHW), generator=rng, device=pixels_BCHW.device)
            mirrored_B = coins_B < 0.5
        pixels_BCHW = shift_and_mirror(pixels_BCHW, choice.shift_pixels, mirrored_B, rng)
    if choice.cutout_pixels > 0:
        pixels_BCHW = cutout(pixels_BCHW, choice.cutout_pixels, rng)
    return pixels_BCHW
