"""Measure how well a pretrained network's last layer, or its features, detect unknown classes.

    python benchmarks/unknown_features.py

Six of CIFAR-10's classes are known, with 100 training images each; a seed draws classes and images.
A last layer is fitted to the features of ``efficientnet_lite0``, as ``train --from
efficientnet_lite0 --epochs 0`` does. Five scores are then compared on test images of these classes,
of the other four, and of MNIST:

- the calibrated probability of the best class, which ``predict`` uses;
- energy: the logarithm of the summed exponentials of the logits (Liu et al. 2020);
- neighbors: minus the distance to the k-th nearest training image, by features of length one (Sun
  et al. 2022). k is the square root of the training images of a class;
- Mahalanobis: minus the distance to the nearest class mean under one covariance for all classes
  (Lee et al. 2018), which is shrunk as in Ledoit and Wolf (2004), because there are fewer images
  than features;
- either: the smaller of two ranks, that of the probability and that of neighbors, among held-out
  training images. So an image is unknown by one or by the other.

For each score, it reports the area under the ROC curve, and the share of foreign images that still
get an answer if 95 % of the right answers are kept (FPR95). A network's wrong answers also count as
a kind of foreign images, because withholding them is the other purpose of "unknown". The features
are computed once. Axes: N images, M training images, K classes, F features.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

import firstlight as fl
from firstlight.backbones.weights import fetch_backbone, open_backbone
from firstlight.data.dataset import Dataset, UInt8Array
from firstlight.evaluate.calibrate import COVERAGE, calibrate
from firstlight.files import write_whole
from firstlight.runs.record import environment
from firstlight.threads import usable_threads
from firstlight.training.extraction import extract
from firstlight.training.linear_head import FOLDS, fit_head

RESULT = Path(__file__).resolve().parent / "results" / "unknown-features-cpu.json"
BACKBONE = "efficientnet_lite0"
SEEDS = 5
KNOWN, A_CLASS = 6, 100
POOL, TESTED, FAR = 200, 200, 1000
"""Number of images with features: per class of CIFAR-10 for training and for testing; of MNIST."""
Float32Array = npt.NDArray[np.float32]


def first_of_each(of: Dataset, count: int) -> npt.NDArray[np.int64]:
    """Return the indices of the first ``count`` images of each class, class by class."""
    return np.concatenate(
        [np.flatnonzero(of.labels_N == k)[:count] for k in range(len(of.class_names))]
    )


class Features:
    """The backbone's features of all images that any seed may use."""

    def __init__(self) -> None:
        fetch_backbone(BACKBONE, quiet=True)
        self._saved = open_backbone(BACKBONE)
        train, test = fl.load("cifar10")
        train_M, test_N = first_of_each(train, POOL), first_of_each(test, TESTED)
        self.train_labels_M, self.test_labels_N = train.labels_N[train_M], test.labels_N[test_N]
        self.train_MF = self._of(train.images_NHWC[train_M])
        self.test_NF = self._of(test.images_NHWC[test_N])
        self.far_NF = self._of(fl.load("mnist").test.images_NHWC[:FAR])

    def _of(self, images_NHWC: UInt8Array) -> Float32Array:
        side = self._saved.preprocess.width
        found = []
        for part in np.array_split(images_NHWC, max(1, len(images_NHWC) // 250)):
            pixels = [Image.fromarray(image.squeeze()).convert("RGB") for image in part]
            large = [
                np.asarray(one.resize((side, side), Image.Resampling.LANCZOS)) for one in pixels
            ]
            found.append(extract(self._saved.model, self._saved.preprocess, np.stack(large))[0])
        return np.concatenate(found)


def measure(features: Features, seed: int) -> dict[str, Any]:
    """Return one seed's figures."""
    rng = np.random.default_rng(seed)
    known = np.sort(rng.permutation(10)[:KNOWN])
    rows_M = np.concatenate(
        [rng.permutation(np.flatnonzero(features.train_labels_M == k))[:A_CLASS] for k in known]
    )
    train_MF = features.train_MF[rows_M]
    labels_M = np.searchsorted(known, features.train_labels_M[rows_M])
    fold_M = np.empty(len(rows_M), np.int64)
    for k in range(KNOWN):
        mine = np.flatnonzero(labels_M == k)
        fold_M[mine] = np.arange(len(mine)) % FOLDS
    fitted = fit_head(train_MF, labels_M, [str(k) for k in known], fold_M, None)
    calibration = calibrate(fitted.held_out_NK, labels_M)
    assert calibration is not None
    trained = Trained(train_MF, labels_M, fold_M, fitted.held_out_NK, calibration.temperature)
    scores = trained.scores()

    is_known_N = np.isin(features.test_labels_N, known)
    logits_NK = fitted.head.scores(features.test_NF)
    truth_N = np.searchsorted(known, features.test_labels_N[is_known_N])
    right_N = logits_NK[is_known_N].argmax(axis=1) == truth_N
    far_NK = fitted.head.scores(features.far_NF)
    kinds: dict[str, dict[str, Any]] = {}
    for name, score in scores.items():
        all_N = score(features.test_NF, logits_NK)
        own_N, near_N = all_N[is_known_N], all_N[~is_known_N]
        bound = float(np.quantile(own_N[right_N], 1 - COVERAGE, method="lower"))
        for kind, ordinary_N, foreign_N in (
            ("other classes of CIFAR-10", own_N, near_N),
            ("MNIST", own_N, score(features.far_NF, far_NK)),
            ("its own wrong answers", own_N[right_N], own_N[~right_N]),
        ):
            of = kinds.setdefault(kind, {"images": len(foreign_N), "auroc": {}, "fpr95": {}})
            of["auroc"][name] = auroc(ordinary_N, foreign_N)
            of["fpr95"][name] = float((foreign_N >= bound).mean())
    return {
        "seed": seed,
        "known": known.tolist(),
        "test_images": len(right_N),
        "test_accuracy": float(right_N.mean()),
        "kinds": kinds,
    }


Values = npt.NDArray[np.floating[Any]]
Score = Callable[[Float32Array, Float32Array], Values]
"""Takes features N×F and logits N×K, and returns N values, larger for more ordinary images."""


@dataclass(frozen=True, eq=False)
class Trained:
    """The training data, and the head's scores of each image by a head fitted without it."""

    features_MF: Float32Array
    labels_M: npt.NDArray[np.int64]
    fold_M: npt.NDArray[np.int64]
    held_out_MK: Float32Array
    temperature: float

    def scores(self) -> dict[str, Score]:
        """The scores to compare; for neighbors also with other numbers of them."""
        k = max(1, round(A_CLASS**0.5))
        return {
            "probability": self._probability,
            "energy": lambda _, logits_NK: np.logaddexp.reduce(logits_NK, axis=1),
            "neighbors": self._neighbors(k),
            "mahalanobis": self._mahalanobis(),
            "either": self._either(k),
            **{f"neighbors, k = {one}": self._neighbors(one) for one in (1, 5, 20, 50)},
        }

    def _probability(self, _: Float32Array, logits_NK: Float32Array) -> Values:
        found: Values = softmax(logits_NK / self.temperature).max(axis=1)
        return found

    def _neighbors(self, k: int) -> Score:
        known_MF = unit(self.features_MF)
        # With length one, cosine and distance give the same order.
        return lambda found_NF, _: np.sort(unit(found_NF) @ known_MF.T, axis=1)[:, -k]

    def _mahalanobis(self) -> Score:
        train_MF, labels_M = self.features_MF, self.labels_M
        means_KF = np.stack([train_MF[labels_M == c].mean(axis=0) for c in range(KNOWN)])
        shrunk = LedoitWolf(assume_centered=True).fit(train_MF - means_KF[labels_M])

        def score(found_NF: Float32Array, _: Float32Array) -> Values:
            apart = [found_NF - mean_F for mean_F in means_KF]
            squares = [(one @ shrunk.precision_ * one).sum(axis=1) for one in apart]
            found: Values = -np.min(squares, axis=0)
            return found

        return score

    def _either(self, k: int) -> Score:
        known_MF = unit(self.features_MF)
        alike_MM = known_MF @ known_MF.T
        alike_MM[self.fold_M[:, None] == self.fold_M] = -1  # as if the fold were not trained on
        left_out = (
            self._probability(known_MF, self.held_out_MK),
            np.sort(alike_MM, axis=1)[:, -k],
        )
        parts = (self._probability, self._neighbors(k))

        def score(found_NF: Float32Array, logits_NK: Float32Array) -> Values:
            ranks = [
                rank(part(found_NF, logits_NK), of)
                for part, of in zip(parts, left_out, strict=True)
            ]
            found: Values = np.minimum(*ranks)
            return found

        return score


def rank(values_N: Values, among_M: Values) -> Values:
    """Return the rank, 0 to 1, among other values; below 0 for those smaller than all of them."""
    ordered_M = np.sort(among_M)
    shares_M = np.arange(len(ordered_M)) / len(ordered_M)
    below_N = np.minimum(0, values_N - ordered_M[0])
    found: Values = np.interp(values_N, ordered_M, shares_M) + below_N
    return found


def unit(rows_NF: Float32Array) -> Float32Array:
    """Scale rows to length one."""
    found: Float32Array = rows_NF / np.linalg.norm(rows_NF, axis=1, keepdims=True)
    return found


def softmax(logits_NK: Float32Array) -> Float32Array:
    """Return probabilities."""
    raised = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    found: Float32Array = raised / raised.sum(axis=1, keepdims=True)
    return found


def auroc(ordinary_N: Values, foreign_N: Values) -> float:
    """Return how often an ordinary image has a larger score than a foreign one; ties count half."""
    is_ordinary = np.repeat([True, False], [len(ordinary_N), len(foreign_N)])
    return float(roc_auc_score(is_ordinary, np.concatenate([ordinary_N, foreign_N])))


def main() -> None:
    argparse.ArgumentParser(description="Foreign images by a backbone's features.").parse_args()
    features = Features()
    runs = [measure(features, seed) for seed in range(SEEDS)]
    whole = {
        "command": "python benchmarks/unknown_features.py",
        "environment": environment("cpu", usable_threads()),
        "backbone": BACKBONE,
        "known_classes": KNOWN,
        "images_a_class": A_CLASS,
        "runs": runs,
    }
    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")
    for run in runs:
        print(f"seed {run['seed']}: {run['test_accuracy']:.4f}", *run["kinds"].items(), sep="\n  ")


if __name__ == "__main__":
    main()
