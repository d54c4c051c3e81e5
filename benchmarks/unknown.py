"""Measure how well ``unknown`` tells foreign images from ordinary ones, by three scores.

    python benchmarks/unknown.py

Each run trains the set's quick recipe with another seed, then scores the whole test set and 2,000
images of each foreign kind (``foreign_images.py``) in three ways. None of them was trained for
this: the calibrated probability of the best class, which ``predict`` uses; the logarithm of the
summed exponentials of the logits (minus the energy of W. Liu et al.: Energy-based
Out-of-distribution Detection, NeurIPS 2020); and the cosine similarity of the features before the
last layer to those of the 50th nearest training image (Y. Sun et al.: Out-of-Distribution Detection
with Deep Nearest Neighbors, ICML 2022). For each score, it reports the area under the ROC curve,
the share below a threshold that 95 % of the held-out images reach, and the accuracy on the test
images at or above it. The result file is rewritten after each run, and runs already in it are not
repeated. Axes: N images, K classes, F features.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

import firstlight as fl
from firstlight.data.dataset import TrainTest, UInt8Array
from firstlight.data.split import hold_out
from firstlight.devices import repeatable
from firstlight.evaluate.calibrate import COVERAGE, Calibration
from firstlight.evaluate.predict import batch_size, logits
from firstlight.explain.neighbours import features
from firstlight.files import write_whole
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import environment
from firstlight.threads import usable_threads
from foreign_images import foreign

RESULT = Path(__file__).resolve().parent / "results" / "unknown-cpu.json"
SEEDS = {"mnist": 5, "cifar10": 3}
FOREIGN_IMAGES = 2000
NEIGHBOURS = 50
DEVICE = "cpu"
Scores = dict[str, npt.NDArray[np.float32]]
"""Maps the name of a score to its values N; larger for more ordinary images."""


def batches(images_NHWC: UInt8Array) -> Iterator[UInt8Array]:
    """Yield the images in batches of a forward pass, in order."""
    size = batch_size(torch.device(DEVICE))
    return (images_NHWC[start : start + size] for start in range(0, len(images_NHWC), size))


def features_of(saved: SavedModel, images_NHWC: UInt8Array) -> Tensor:
    """Return features float32 N×F of length one."""
    parts = [features(saved.model, saved.preprocess, batch) for batch in batches(images_NHWC)]
    return torch.cat(parts)


def scores(saved: SavedModel, known_MF: Tensor, images_NHWC: UInt8Array) -> tuple[Scores, Tensor]:
    """Return all three scores of the images, and their logits N×K; ``known_MF`` are the features of
    the training images."""
    tensors = (torch.from_numpy(np.ascontiguousarray(batch)) for batch in batches(images_NHWC))
    logits_NK = logits(saved.model, saved.preprocess, tensors)
    found_NF = features_of(saved, images_NHWC)
    nearest_N = torch.cat(
        [(part @ known_MF.T).topk(NEIGHBOURS, dim=1).values[:, -1] for part in found_NF.split(500)]
    )
    found = {
        "probability": (logits_NK / saved.temperature).softmax(dim=1).amax(dim=1),
        "energy": logits_NK.logsumexp(dim=1),
        "neighbours": nearest_N,
    }
    return {name: score_N.numpy() for name, score_N in found.items()}, logits_NK


def measure(name: str, data: TrainTest, seed: int, others: dict[str, UInt8Array]) -> dict[str, Any]:
    """Return one run's figures."""
    with tempfile.TemporaryDirectory() as root:
        run = fl.train(data, f"{name}-quick", seed=seed, out=Path(root) / "run", quiet=True)
        recipe, saved = run.recipe, load_model(RunFolder(run.path), DEVICE)
    assert isinstance(saved.calibration, Calibration), "the quick recipes hold images out"
    train, test = data
    kept_N, held_N = hold_out(train, recipe.train.held_out_fraction)
    with repeatable(usable_threads(), DEVICE), torch.inference_mode():
        known_MF = features_of(saved, train.images_NHWC[kept_N])
        held, _ = scores(saved, known_MF, train.images_NHWC[held_N])
        ordinary, logits_NK = scores(saved, known_MF, test.images_NHWC)
        strange = {kind: scores(saved, known_MF, images)[0] for kind, images in others.items()}
    thresholds = {
        score: float(np.quantile(held[score], 1 - COVERAGE, method="lower")) for score in held
    }
    thresholds["probability"] = saved.calibration.threshold
    right_N = logits_NK.argmax(dim=1).numpy() == test.labels_N

    def unknown(of: Scores) -> dict[str, float]:
        return {score: float((of[score] < thresholds[score]).mean()) for score in of}

    return {
        "data": name,
        "recipe": recipe.name,
        "seed": seed,
        "test_accuracy": float(right_N.mean()),
        "held_out_images": len(held_N),
        "temperature": saved.temperature,
        "thresholds": thresholds,
        "ordinary": {
            "images": len(test),
            "unknown": unknown(ordinary),
            "accuracy_of_the_others": {
                score: float(right_N[ordinary[score] >= thresholds[score]].mean())
                for score in ordinary
            },
        },
        "foreign": {
            kind: {
                "images": len(others[kind]),
                "auroc": {score: auroc(ordinary[score], of[score]) for score in of},
                "unknown": unknown(of),
            }
            for kind, of in strange.items()
        },
    }


def auroc(ordinary_N: npt.NDArray[np.float32], foreign_N: npt.NDArray[np.float32]) -> float:
    """Return how often an ordinary image has a larger score than a foreign one; ties count half."""
    is_ordinary = np.repeat([True, False], [len(ordinary_N), len(foreign_N)])
    return float(roc_auc_score(is_ordinary, np.concatenate([ordinary_N, foreign_N])))


def main() -> None:
    parser = argparse.ArgumentParser(description="Foreign images against ordinary ones.")
    parser.add_argument("--sets", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    names: list[str] = parser.parse_args().sets
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    whole |= {
        "command": "python benchmarks/unknown.py",
        "environment": environment(DEVICE, usable_threads()),
        "foreign_images": FOREIGN_IMAGES,
        "seeds": SEEDS,
        "neighbours": NEIGHBOURS,
    }
    for name in names:
        data, others = fl.load(name), foreign(name, FOREIGN_IMAGES)
        for seed in range(SEEDS[name]):
            if any((run["data"], run["seed"]) == (name, seed) for run in whole["runs"]):
                continue
            figures = measure(name, data, seed, others)
            whole["runs"].append(figures)
            write_whole(RESULT, json.dumps(whole, indent=2) + "\n")
            areas = (f"{kind} {of['auroc']}" for kind, of in figures["foreign"].items())
            print(f"{name} seed {seed}: {figures['test_accuracy']:.4f}", *areas, sep="\n  ")


if __name__ == "__main__":
    main()
