"""Find labels that are probably wrong, with networks that were not trained on the picture.

Axes: N images, F features, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firstlight.checked import joined_labels
from firstlight.data.dataset import Dataset
from firstlight.data.findings import Finding, Suspect
from firstlight.data.listing import counted
from firstlight.data.own import Form, load_own
from firstlight.data.split import folds, joined
from firstlight.devices import repeatable
from firstlight.evaluate.calibrate import calibrate
from firstlight.evaluate.label_calibration import USUAL, calibrate_labels, sigmoid
from firstlight.evaluate.predict import probabilities
from firstlight.evaluate.task import task_of
from firstlight.packages import imported
from firstlight.recipe import Recipe
from firstlight.training.linear_head import fit_head
from firstlight.verbs.choose import recipe_for
from firstlight.verbs.cross_validation import train_apart
from firstlight.verbs.feature_view import FeatureView, Float32Array

FOLDS = 4
LEAST = 2 * FOLDS
"""Fewest distinct pictures of a class; classes with fewer are not judged. Of a label, so many must
have it, and so many must not."""
SHOWN = 60
"""Most suspects whose pixels are kept for display."""
Float64Array = npt.NDArray[np.float64]
Told = Callable[[int, int], None]
"""Called with the number of judged pictures and the total."""


@dataclass(frozen=True, kw_only=True)
class LabelCheck:
    """The result of a check of the labels."""

    finding: Finding | None
    """The suspects, most suspicious first; None if there are none."""
    notes: tuple[str, ...]
    """Which classes were not judged and, if there is no finding, the result."""
    thumbnails: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    """The first suspects by name, uint8 H×W×C."""
    likely: dict[str, str] = field(default_factory=dict)
    """The most probable class of each judged picture, by its name; of several labels, those that it
    is judged to have, joined."""


def need_cleanlab() -> None:
    """Raise ``UserError`` if cleanlab cannot be imported."""
    imported("cleanlab.filter", "--labels")


def check_labels(
    path: Path,
    *,
    size: int | None = None,
    recipe: Recipe | None = None,
    told: Told | None = None,
    allow_outside: bool = False,
) -> LabelCheck:
    """Find the user's pictures that may be in the wrong class, with networks trained from scratch.

    Every picture, in the training and test part, is judged by a network that was trained on three
    quarters of the pictures, without this one and its copies. Confident learning (Northcutt, Jiang
    and Chuang 2021), as implemented by cleanlab, decides which probabilities are too low for the
    given class. Of several labels, each is judged by itself. ``recipe`` is by default that of
    ``train``. Raises ``UserError`` without cleanlab, and ``DataError`` as ``load_own`` does.
    """
    need_cleanlab()
    data, _, notes = _judged(joined(load_own(path, Form(size), allow_outside=allow_outside)))
    if len(data.class_names) < 2:
        return LabelCheck(finding=None, notes=notes)
    found_NK = out_of_fold(data, recipe or recipe_for(data), told)
    return _checked(data, found_NK, "Networks that were not trained on them", notes)


def check_labels_by_features(view: FeatureView) -> LabelCheck:
    """Find suspects by features: every picture is judged by a linear head on a pretrained network's
    features, fitted to three quarters of the pictures, without this one and its copies.

    Raises ``UserError`` without cleanlab.
    """
    need_cleanlab()
    data, rows_N, notes = _judged(view.data)
    if len(data.class_names) < 2:
        return LabelCheck(finding=None, notes=notes)
    found_NK, more = out_of_fold_heads(data, view.features_NF[rows_N])
    judges = f"Linear classifiers on the features of {view.backbone}, fitted without them,"
    return _checked(data, found_NK, judges, (*more, *notes))


def _checked(
    data: Dataset, found_NK: Float64Array, judges: str, notes: tuple[str, ...]
) -> LabelCheck:
    """Find the suspects from out-of-fold probabilities; ``judges`` says whose they are."""
    if data.labels_NK is not None:
        return _each_checked(data, data.labels_NK, found_NK, judges, notes)
    found_NK = _sharpened(found_NK, data.labels_N)
    suspects_M = _suspects(data, found_NK)
    agree = f"agree with {100 * (found_NK.argmax(axis=1) == data.labels_N).mean():.1f} %"
    assert data.names is not None, "your own pictures have names"
    classes = [data.class_names[label] for label in found_NK.argmax(axis=1)]
    likely = dict(zip(data.names, classes, strict=True))
    if not len(suspects_M):
        judged = f"labels: {judges[0].lower()}{judges[1:]} {agree} of the labels"
        return LabelCheck(finding=None, notes=(judged, *notes), likely=likely)
    listed = tuple(_suspect(data, found_NK, int(at)) for at in suspects_M)
    finding = Finding(
        kind="doubtful label",
        severe=False,
        text=(
            f"{len(listed):,} of {len(data):,} pictures may be in the wrong class, the most "
            f"suspicious first. {judges} {agree} of the labels. The lower that share, the more "
            "of these labels are correct and the pictures are only hard. Look at each one and "
            "move it if it is wrong. They are not in the list of pictures to leave out: without "
            "its hard pictures, a test looks better than it is"
        ),
        groups=tuple((s.name,) for s in listed),
        suspects=listed,
    )
    shown = {data.names[at]: data.images_NHWC[at] for at in suspects_M[:SHOWN].tolist()}
    return LabelCheck(finding=finding, notes=notes, thumbnails=shown, likely=likely)


def _each_checked(
    data: Dataset,
    labels_NK: npt.NDArray[np.bool_],
    found_NK: Float64Array,
    judges: str,
    notes: tuple[str, ...],
) -> LabelCheck:
    """Find the suspects among several labels of each picture: each label is a question of its own,
    whether the picture has it."""
    assert data.names is not None, "your own pictures have names"
    found_NK = _sharpened_labels(found_NK, labels_NK)
    said_NK = found_NK >= USUAL
    agree = f"agree with {100 * (said_NK == labels_NK).mean():.1f} %"
    listed = sorted(
        (one for k in _judged_labels(data) for one in _doubtful(data, labels_NK, found_NK, k)),
        key=lambda one: one.probability,
    )
    likely = {
        name: joined_labels(data.class_names[k] for k in np.flatnonzero(said_K))
        for name, said_K in zip(data.names, said_NK, strict=True)
    }
    if not listed:
        judged = f"labels: {judges[0].lower()}{judges[1:]} {agree} of all labels, given or not"
        return LabelCheck(finding=None, notes=(judged, *notes), likely=likely)
    pictures = [*dict.fromkeys(one.name for one in listed)]
    finding = Finding(
        kind="doubtful label",
        severe=False,
        text=(
            f"{counted(len(listed), 'label')} of {counted(len(pictures), 'picture')} may be wrong: "
            "given to a picture that does not show it, or missing from one that does. The most "
            f"suspicious come first. {judges} {agree} of all labels, given or not. The lower "
            "that share, the more of these labels are correct and the pictures are only hard. Look "
            "at each one and correct it in your data. They are not in the list of pictures to "
            "leave out: without its hard pictures, a test looks better than it is"
        ),
        groups=tuple((name,) for name in pictures),
        suspects=tuple(listed),
    )
    row = {name: at for at, name in enumerate(data.names)}
    shown = {name: data.images_NHWC[row[name]] for name in pictures[:SHOWN]}
    return LabelCheck(finding=finding, notes=notes, thumbnails=shown, likely=likely)


def _doubtful(
    data: Dataset, labels_NK: npt.NDArray[np.bool_], found_NK: Float64Array, label: int
) -> list[Suspect]:
    """Return the pictures whose label is probably missing, or given wrongly."""
    from cleanlab.filter import find_label_issues

    assert data.names is not None, "your own pictures have names"
    has_N, found_N = labels_NK[:, label], found_NK[:, label]
    suspects_M = find_label_issues(
        has_N.astype(np.int64),
        np.column_stack([1 - found_N, found_N]),
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    words = (f"without {data.class_names[label]}", data.class_names[label])
    return [
        Suspect(
            name=data.names[at],
            given=words[int(has_N[at])],
            suggested=words[1 - int(has_N[at])],
            probability=float(found_N[at] if has_N[at] else 1 - found_N[at]),
        )
        for at in suspects_M
    ]


def out_of_fold(data: Dataset, recipe: Recipe, told: Told | None = None) -> Float64Array:
    """Return probabilities N×K, each from a network trained without the image and its group."""
    task = task_of(data.several)
    fold_N = folds(data, FOLDS)
    recipe = recipe.with_settings(
        ["train.validation=none", "train.patience=0", "train.epoch_share=1.0"]
    )
    found_NK = np.empty((len(data), len(data.class_names)))
    for fold in range(FOLDS):
        held_N = fold_N == fold

        def done(share: float, before: int = fold) -> None:
            if told is not None:
                told(round((before + share) / FOLDS * len(data)), len(data))

        job, trainer = train_apart(data, held_N, recipe, "auto", done)
        with repeatable(job.threads, job.device):
            images_NHWC = data.take(np.flatnonzero(held_N)).images_NHWC
            found_NK[held_N] = probabilities(
                trainer.answering, trainer.preprocess, images_NHWC, job.device, task=task
            )
    return found_NK if data.several else found_NK / found_NK.sum(axis=1, keepdims=True)


def out_of_fold_heads(
    data: Dataset, features_NF: Float32Array
) -> tuple[Float64Array, tuple[str, ...]]:
    """Return probabilities N×K, each from a linear head fitted without the image and its group;
    also the classes that could not be held out, whose labels are assumed to be right."""
    fitted = fit_head(features_NF, data.each_label, data.class_names, folds(data, FOLDS))
    notes = tuple(f"labels: {note}" for note in fitted.notes)
    if data.several:
        return sigmoid(fitted.held_out_NK.astype(np.float64)), notes
    found_NK = fitted.probabilities().astype(np.float64)
    unseen_N = ~np.isfinite(found_NK).all(axis=1)
    found_NK[unseen_N] = np.eye(len(data.class_names))[data.labels_N[unseen_N]]
    result: Float64Array = found_NK / found_NK.sum(axis=1, keepdims=True)
    return result, notes


def _judged(data: Dataset) -> tuple[Dataset, npt.NDArray[np.int64], tuple[str, ...]]:
    """Return the data without classes that have too few pictures, the indices of the rest, and
    notes about what was left out. Pictures with several labels all remain."""
    labels, different = range(len(data.class_names)), _different(data)
    few = [label for label in labels if different[label] < LEAST]
    if not few:
        return data, np.arange(len(data)), ()
    if data.several:
        listed = ", ".join(data.class_names[label] for label in few[:10])
        note = (
            f"labels: not judged, because fewer than {LEAST} different pictures have them or lack "
            f"them: {listed}{', …' if len(few) > 10 else ''}"
        )
        return data, np.arange(len(data)), (note,)
    kept = [label for label in labels if label not in few]
    number_K = np.full(len(labels), -1)
    number_K[kept] = np.arange(len(kept))
    rows_N = np.flatnonzero(number_K[data.labels_N] >= 0)
    part = data.take(rows_N)
    listed = ", ".join(f"{data.class_names[label]} ({different[label]})" for label in few[:10])
    note = (
        f"labels: not judged, because these classes have fewer than {LEAST} different pictures: "
        f"{listed}{', …' if len(few) > 10 else ''}"
    )
    smaller = replace(
        part,
        labels_N=number_K[part.labels_N],
        class_names=tuple(data.class_names[label] for label in kept),
    )
    return smaller, rows_N, (note,)


def _different(data: Dataset) -> list[int]:
    """How many different pictures each class has; of several labels, how many have it or have it
    not, whichever are fewer."""
    assert data.groups_N is not None, "your own pictures have groups"
    counts = []
    for label in range(len(data.class_names)):
        has_N = data.has(label)
        sides = (has_N, ~has_N) if data.several else (has_N,)
        counts.append(min(len(np.unique(data.groups_N[side_N])) for side_N in sides))
    return counts


def _judged_labels(data: Dataset) -> list[int]:
    """The labels that enough pictures have, and have not."""
    return [label for label, count in enumerate(_different(data)) if count >= LEAST]


def _sharpened_labels(found_NK: Float64Array, labels_NK: npt.NDArray[np.bool_]) -> Float64Array:
    """Do ``_sharpened`` for the probabilities of several labels."""
    resolution = np.finfo(np.float32).eps
    exact_NK = found_NK.clip(resolution, 1 - resolution)
    logits_NK = np.log(exact_NK) - np.log1p(-exact_NK)
    calibration = calibrate_labels(logits_NK.astype(np.float32), labels_NK)
    return found_NK if calibration is None else sigmoid(logits_NK / calibration.temperature)


def _sharpened(found_NK: Float64Array, labels_N: npt.NDArray[np.int64]) -> Float64Array:
    """Scale the probabilities to the temperature that suits the labels. Networks trained with label
    smoothing are underconfident, which hides wrong labels."""
    logs_NK = np.log(np.maximum(found_NK, np.finfo(np.float32).tiny))
    calibration = calibrate(logs_NK.astype(np.float32), labels_N)
    if calibration is None:
        return found_NK
    sharp_NK = np.exp(logs_NK / calibration.temperature)
    result: Float64Array = sharp_NK / sharp_NK.sum(axis=1, keepdims=True)
    return result


def _suspects(data: Dataset, found_NK: Float64Array) -> npt.NDArray[np.int64]:
    """Return indices of images whose label is probably wrong, most suspicious first."""
    from cleanlab.filter import find_label_issues

    return np.asarray(
        find_label_issues(
            data.labels_N, found_NK, return_indices_ranked_by="self_confidence", n_jobs=1
        ),
        dtype=np.int64,
    )


def _suspect(data: Dataset, found_NK: Float64Array, at: int) -> Suspect:
    assert data.names is not None, "your own pictures have names"
    given = int(data.labels_N[at])
    return Suspect(
        name=data.names[at],
        given=data.class_names[given],
        suggested=data.class_names[int(found_NK[at].argmax())],
        probability=float(found_NK[at, given]),
    )
