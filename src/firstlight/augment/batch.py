"""Apply a recipe's augmentations to a batch. Axes: B images, C channels, H height, W width."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Generator, Tensor

from firstlight.augment.affine import random_affine
from firstlight.augment.augmentation import Augmentation, Seen
from firstlight.augment.geometry import Crop, Flip, Geometric
from firstlight.augment.mixing import Mix
from firstlight.augment.shift import shift_and_mirror


def augment(
    pixels_BCHW: Tensor, steps: Sequence[Augmentation], seen: Seen, rng: Generator
) -> Tensor:
    """Return the images of a batch, each changed at random, in the order of the list; without
    mixes.

    Consecutive geometric changes are combined: in one resampling if one of them rotates, shifts,
    scales or shears, otherwise in one look-up of whole pixels.
    """
    for moves, group in groupby(steps, key=lambda one: isinstance(one, Geometric | Flip | Crop)):
        chosen = [one for one in group if not isinstance(one, Mix)]
        if not moves:
            for one in chosen:
                pixels_BCHW = one.apply(pixels_BCHW, seen, rng)
        else:
            for together in _runs(chosen):
                pixels_BCHW = _moved(pixels_BCHW, together, seen, rng)
    return pixels_BCHW


def _runs(moves: Sequence[Augmentation]) -> list[list[Augmentation]]:
    """Group changes that can be combined: resampled ones with random flips, or a crop with one
    flip."""
    runs: list[list[Augmentation]] = []
    for one in moves:
        last = runs[-1] if runs else []
        if not last or not _together([*last, one]):
            runs.append([one])
        else:
            last.append(one)
    return runs


def _together(moves: Sequence[Augmentation]) -> bool:
    kinds = [type(one) for one in moves]
    if len(set(kinds)) < len(kinds):
        return False
    if any(isinstance(one, Geometric) for one in moves):
        alternate = any(isinstance(one, Flip) and one.how == "alternate" for one in moves)
        return Crop not in kinds and not alternate
    return kinds == [Crop, Flip]


def _moved(
    pixels_BCHW: Tensor, moves: Sequence[Augmentation], seen: Seen, rng: Generator
) -> Tensor:
    if any(isinstance(one, Geometric) for one in moves):
        return random_affine(pixels_BCHW, moves, rng)
    mirrored_B, pixels = torch.zeros_like(seen.mirrored_B), 0
    for one in moves:
        if isinstance(one, Crop):
            pixels = one.pixels
        elif isinstance(one, Flip) and one.how == "alternate":
            mirrored_B = seen.mirrored_B
        else:
            coins_B = torch.rand(len(pixels_BCHW), generator=rng, device=pixels_BCHW.device)
            mirrored_B = coins_B < 0.5
    return shift_and_mirror(pixels_BCHW, pixels, mirrored_B, rng)
