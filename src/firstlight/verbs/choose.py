"""Choose a recipe for a data set if none is given, and say why.

Axes: N images, H height, W width, C channels.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from firstlight.augment import Augmentation, Crop, Flip, Rotate, Scale, Shift
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset
from firstlight.data.entry import Entry
from firstlight.data.split import hold_out
from firstlight.devices import choose_device
from firstlight.layers import Whiten
from firstlight.layers.network import Network
from firstlight.layers.networks import whitened
from firstlight.optimizers import AdamW, Muon
from firstlight.recipe import Recipe, TrainChoice, load_recipe, recipe_names
from firstlight.schedules import OneCycle
from firstlight.verbs.run_data import DataRequest

# Images that a run sees in total if the set is small: enough for a small network to converge.
SEEN = 120_000
MOST_EPOCHS, LEAST_EPOCHS = 100, 4
# Above this ratio of the largest to the smallest class, the loss weights classes.
UNEVEN = 3.0
# Fewer images cannot tell which epoch is better.
LEAST_HELD_OUT = 10
# With fewer, the held-out images cannot tell whether fine-tuning helped: with 100 images of
# CIFAR-10, test accuracy fell by 5 points.
LEAST_TUNED = 500
# Fine-tuning a pretrained network: its learning rate, its most epochs, and the most images it sees
# by default, because each takes a processor a tenth of a second.
TUNING_RATE, TUNING_EPOCHS, TUNING_SEEN = 3e-4, 4.0, 2000


def default_recipe(request: DataRequest, device: str) -> Recipe:
    """Return the default recipe.

    For a named set it is ``quick`` on a CPU and ``standard`` on a GPU, or else its tutorial, or
    else ``standard`` of a similar set. For other images, a recipe is made for them.
    """
    if request.name in CATALOG:
        level = "quick" if choose_device(device) == "cpu" else "standard"
        for name in (f"{request.name}-{level}", f"{request.name}-tutorial"):
            if name in recipe_names():
                return load_recipe(name)
        if CATALOG[request.name].recipes:
            return _recipe_like(CATALOG[request.name])
    return recipe_for(request.load().train)


def _recipe_like(entry: Entry) -> Recipe:
    """Return a similar set's recipe for a set without its own: ``standard``, because a quick recipe
    is only as long as its own set needs."""
    name = f"{entry.recipes}-standard"
    recipe = replace(
        load_recipe(name),
        name=f"{entry.name}-standard",
        description=f"{name} on {entry.name}, where its accuracy has not been measured",
    )
    if entry.mirrored:
        return recipe
    views = {"mirror": "one", "mirror-and-shift": "shift"}.get(
        recipe.network.views, recipe.network.views
    )
    return replace(
        recipe,
        description=(
            f"{name} on {entry.name}, without mirroring; its accuracy has not been measured there"
        ),
        network=replace(recipe.network, views=views),
        augment=tuple(step for step in recipe.augment if not isinstance(step, Flip)),
    )


def recipe_for(train: Dataset, network: str = "") -> Recipe:
    """Return a whitened network with augmentation and a length that suit the images.

    ``network`` describes a network that takes its place. The recipe's description explains the
    choices in one paragraph.
    """
    height, width, channels = train.image_shape
    count, side = len(train), min(height, width)
    drawn = looks_drawn(train)
    uneven = _unevenness(train)
    if side > 40 or (drawn and side >= 20):
        first = "a stem of 4×4 filters with stride 2"
        kernel, stride = 4, 2
    else:
        first, kernel, stride = "a stem of 2×2 filters", 2, 1
    if side > 80:
        stride, first = 4, "a stem of 4×4 filters with stride 4"
    maps = (side - kernel) // stride + 1
    widths = [32, 64, 128] if maps >= 15 else [64, 128] if maps >= 4 else [64]
    epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, round(SEEN / count)))
    batch = min(400, max(32, 32 * round(count / 1600)))
    stem = Whiten(min(24, 2 * channels * kernel**2), kernel=kernel, stride=stride)
    layers = whitened(tuple(widths), stem=stem, scale=0.02 if drawn else 0.008)
    steps: tuple[Augmentation, ...]
    if drawn:
        steps, views = (Rotate(15.0), Shift(0.1)), "one"
        changed = "rotated by up to 15° and shifted by up to a tenth, not mirrored"
        what = "drawings or writing on a plain background"
    else:
        shift = max(1, side // 16)
        steps, views = (Crop(shift), Flip("alternate")), "mirror"
        changed = f"mirrored, and shifted by up to {shift} pixel{'' if shift == 1 else 's'}"
        what = "photographs"
    network = network or (
        f"a whitened network of widths {', '.join(map(str, widths))} with {first}"
    )
    kind = "grey" if channels == 1 else "colour"
    weights = (
        f", and a class-weighted loss, because the largest class has {uneven:.0f} times as many "
        "images as the smallest"
        if uneven > UNEVEN
        else ""
    )
    description = (
        f"Made for {count:,} {kind} images of {width} × {height} pixels {_of_what(train)} "
        f"that look like {what}: {network}; images {changed}; {epochs} epochs in batches of "
        f"{batch}, unless you set others{weights}."
    )
    return Recipe(
        name="own",
        description=description,
        network=Network(layers=layers, pixels="standardize", views=views),
        augment=steps,
        optimizer=Muon(0.12 if drawn else 0.24),
        schedule=OneCycle(warmup_fraction=0.0),
        train=TrainChoice(
            epochs=epochs,
            batch_size=batch,
            # It would tell of a rare label that one image in ten has it.
            label_smoothing=0.0 if train.several else 0.2,
            precision="mixed",
            class_weights="balanced" if uneven > UNEVEN else "none",
        ),
    )


def tuning_epochs(count: int) -> float:
    """Return the usual number of epochs for fine-tuning on ``count`` images."""
    return min(TUNING_EPOCHS, round(TUNING_SEEN / count, 2))


def transfer_recipe(train: Dataset, start: str) -> Recipe:
    """Return a recipe for transfer learning: first fit the last layer, then fine-tune the whole
    network. ``start`` is a backbone, or a run that has its layers.

    With too few images to hold some out, only the last layer is fitted; its penalty and calibration
    come from cross-validation.
    """
    count = len(train)
    drawn, few = looks_drawn(train), not _can_hold_out(train)
    steps: tuple[Augmentation, ...] = (Rotate(15.0), Shift(0.1))
    if not drawn:
        steps = (Shift(0.1), Scale(0.1), Flip("random"))
    uneven = _unevenness(train) > UNEVEN
    epochs = tuning_epochs(count) if count >= LEAST_TUNED else 0.0
    words = [
        f"Made for {count:,} images {_of_what(train)}: {Path(start).name}, pretrained on "
        "other pictures. Its last layer is fitted to the features of these images"
    ]
    if few:
        words.append(". There are too few to hold some out, so it is judged by cross-validation")
    else:
        words.append("; an epoch of fine-tuning is then kept only if it lowers the held-out loss")
    if _is_grey(train):
        words.append(". The images are grey: its red, green and blue channels get the same values")
    return Recipe(
        name="own",
        description=f"{''.join(words)}.",
        network=Network(views="one" if drawn else "mirror"),
        augment=() if few else steps,
        optimizer=AdamW(TUNING_RATE),
        schedule=OneCycle(warmup_fraction=0.2),
        train=TrainChoice(
            epochs=epochs,
            batch_size=32,
            validation="none" if few else "held-out",
            patience=0 if few else int(TUNING_EPOCHS),
            precision="mixed",
            start_from=start,
            start_head="linear",
            start_norm="kept",
            class_weights="balanced" if uneven else "none",
        ),
    )


def _of_what(train: Dataset) -> str:
    count = len(train.class_names)
    return f"with any of {count} labels" if train.several else f"in {count} classes"


def _can_hold_out(train: Dataset) -> bool:
    """Whether there are enough images to hold some out."""
    try:
        _, held_N = hold_out(train, TrainChoice().held_out_fraction)
    except ValueError:
        return False
    return len(held_N) >= LEAST_HELD_OUT


def _is_grey(train: Dataset) -> bool:
    """Whether the images have one channel, or three equal ones."""
    if train.image_shape[2] == 1:
        return True
    some_NHWC = train.some(100)
    return bool((some_NHWC == some_NHWC[..., :1]).all())


def _unevenness(train: Dataset) -> float:
    """Return the ratio of the largest class to the smallest. Of several labels, each is weighed
    against its absence, not against the others."""
    if train.several:
        return 1.0
    per_class = np.bincount(train.labels_N, minlength=len(train.class_names))
    return float(per_class.max() / max(1, per_class.min()))


def looks_drawn(train: Dataset) -> bool:
    """Whether almost all images are grey and mostly of one level, especially at their edge: digits,
    letters, drawings."""
    if not _is_grey(train):
        return False
    some_NHW = train.some(500)[..., 0].astype(np.float32)
    edges_NE = np.concatenate(
        [some_NHW[:, 0], some_NHW[:, -1], some_NHW[:, :, 0], some_NHW[:, :, -1]], axis=1
    )
    ground_N = np.median(edges_NE, axis=1)
    edge_N = (np.abs(edges_NE - ground_N[:, None]) < 32).mean(axis=1)
    all_N = (np.abs(some_NHW - ground_N[:, None, None]) < 32).mean(axis=(1, 2))
    return bool(((edge_N > 0.6) & (all_N > 0.35)).mean() > 0.8)
