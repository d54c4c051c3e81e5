"""Sections of a run's page with figures of its data and training.

Axes: N images, H height, W width, C channels, O filters.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Generator, nn

from firstlight.augment.augmentation import Seen
from firstlight.augment.batch import augment
from firstlight.data.dataset import Dataset
from firstlight.evaluate.metrics import MANY_CLASSES
from firstlight.evaluate.task import task_in
from firstlight.pixels import Preprocess
from firstlight.recipe import Recipe
from firstlight.report import charts, images
from firstlight.report.page import Section, Shown
from firstlight.report.picture import SavedFigure
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_epochs
from firstlight.training.randomness import reseed

EXACT_MATCH = " Exact match: the share of images whose labels are all right."
VIEWS = 11
SAMPLED = 40
"""Most classes whose images are shown."""


class Drawing:
    """Sections of one run's page; each figure is also written under ``figures/``."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.sections: list[Section] = []

    def add(self, title: str, text: str, *pictures: tuple[str, SavedFigure, str]) -> None:
        """Add a section; each figure is (file stem, figure, alternative text)."""
        shown = []
        for stem, picture, alt in pictures:
            png = picture.png()
            self._folder.write(f"figures/{stem}.png", png)
            shown.append(Shown(png=png, alt=alt))
        self.sections.append(Section(title=title, text=text, pictures=shown))


def draw_training(
    drawing: Drawing, folder: RunFolder, described: dict[str, Any], *, trained: bool
) -> None:
    """``trained`` is whether it was trained here, and not imported."""
    epochs = read_epochs(folder) if (folder.path / "epochs.csv").is_file() else []
    if not epochs:
        text = "The network was imported with its weights. How it was trained is not known."
        if trained:
            text = (
                "The run's epochs.csv is missing or empty, so its training progress cannot be "
                "shown."
            )
        drawing.sections.append(Section(title="Training", text=text))
        return
    watched = described["validated_on"]
    validated = None
    if watched is not None:
        validated = "test" if watched["name"].endswith("/test") else "held out"
        validated = f"{validated} ({watched['images']:,} images)"
    last = epochs[-1]
    several = task_in(described).several
    accuracy = "exact match" if several else "accuracy"
    if len(epochs) == 1:
        shares = [f"{100 * (last['train_accuracy'] or 0):.2f} % of the images trained on"]
        if last["validation_accuracy"] is not None:
            shares.append(f"{100 * last['validation_accuracy']:.2f} % of those {validated}")
        text = f"Training lasted one epoch or less. It ended with {' and '.join(shares)} correct."
        drawing.sections.append(Section(title="Training", text=text))
        return
    drawing.add(
        "Training",
        "Where the two curves move apart, the network starts to overfit: it memorizes its "
        f"training images. Training {accuracy} is measured during the epoch, with augmentation and "
        "dropout on, and with hard images more often if the recipe says so. So it may be lower "
        f"than the other.{EXACT_MATCH if several else ''}",
        (
            "training_curves",
            charts.training_curves(epochs, validated, accuracy),
            f"Loss and {accuracy} over {len(epochs)} epochs; final training loss "
            f"{last['train_loss']:.3f}",
        ),
    )


def draw_data(drawing: Drawing, train: Dataset, recipe: Recipe, preprocess: Preprocess) -> None:
    many = len(train.class_names) > MANY_CLASSES
    names = train.class_names[:SAMPLED] if many else train.class_names
    by_class = [train.images_NHWC[np.flatnonzero(train.has(k))[:10]] for k in range(len(names))]
    drawing.add(
        "Training images",
        f"The first training images {'with each label' if train.several else 'of each class'}"
        + (f", for the first {len(names)} of {len(train.class_names):,} classes." if many else "."),
        (
            "class_samples",
            images.class_samples(by_class, names),
            f"Training images of the classes {', '.join(names)}",
        ),
    )
    if not recipe.augment or not recipe.train.epochs:
        return
    original_1HWC = train.images_NHWC[:1]
    channels = original_1HWC.shape[3]
    plain = replace(preprocess, mean=(0.0,) * channels, std=(1.0,) * channels)
    views_NCHW = augment(
        plain(torch.from_numpy(original_1HWC).expand(VIEWS, -1, -1, -1)),
        recipe.augment,
        Seen(torch.arange(VIEWS) % 2 == 1, plain.mean, plain.std),
        reseed(Generator(), recipe.train.seed, "augment", 0),
    )
    what = ", ".join(step.words() for step in recipe.augment)
    drawing.add(
        "Augmentation",
        f"Each time an image is used in training, it is {what}.",
        (
            "augmentation",
            images.augmentation_views(original_1HWC[0], views_NCHW.permute(0, 2, 3, 1).numpy()),
            f"One training image and {VIEWS} views of it, {what}",
        ),
    )


def draw_filters(drawing: Drawing, model: nn.Module) -> None:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.in_channels not in (1, 3):
        return
    filters_OCHW = first.weight.detach().cpu().contiguous().numpy()
    kind = (
        "Blue weights are negative, red ones positive. A filter responds where the image is "
        "bright under red and dark under blue."
        if first.in_channels == 1
        else "Each filter is shown as a small colour image, scaled to its own range."
    )
    drawing.add(
        "First-layer filters",
        f"The {len(filters_OCHW)} filters that the first layer applies to the image. {kind}",
        (
            "filters",
            images.first_layer_filters(filters_OCHW),
            f"{len(filters_OCHW)} filters of {first.kernel_size[0]}×{first.kernel_size[1]} pixels",
        ),
    )
