"""Draw the figures of docs/ideas.md: ``docs/pictures/idea-NAME.png``.

    python tools/draw_ideas.py                 # train all runs and draw: minutes on one core
    python tools/draw_ideas.py --runs FOLDER   # keep the runs, and train only missing ones

Needs MNIST and CIFAR-10. The results of the runs are saved in ``benchmarks/results/ideas.json``,
from which ``benchmarks/tables.py`` makes the page's table. On one machine the figures have the same
bytes every time.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

import firstlight as fl
from firstlight.devices import repeatable
from firstlight.files import write_whole
from firstlight.report.picture import SavedFigure
from firstlight.runs.record import processor_name
from ideas import curves, digit
from ideas.runs import DIGITS, IMAGES, Ran, train_all

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
RESULT = ROOT / "benchmarks" / "results" / "ideas.json"


def pictures(runs: Mapping[str, Ran]) -> dict[str, SavedFigure]:
    """Return each figure by name, in the order of the page."""
    mnist, cifar10 = fl.load("mnist"), fl.load("cifar10")
    inside = digit.Inside(runs[DIGITS].folder, mnist)
    return {
        "convolution": digit.convolution(inside),
        "pooling": digit.pooling(inside),
        "activation": digit.activation(inside),
        "softmax": digit.softmax(inside),
        "loss": digit.loss(inside),
        "gradient": digit.gradient(inside),
        "overfitting": curves.overfitting(runs),
        "augmentation": curves.augmentation(runs, cifar10),
        "dropout": curves.dropout(runs),
        "batch-norm": curves.batch_norm(runs),
        "learning-rate": curves.learning_rate(runs),
        "schedule": curves.schedule(),
        "calibration": curves.calibration(runs, cifar10),
    }


def result(runs: Mapping[str, Ran]) -> str:
    """Return the results of the runs, as JSON."""
    whole = {
        "command": "python tools/draw_ideas.py",
        "processor": processor_name(),
        "torch": torch.__version__,
        "images": IMAGES,
        "runs": [
            {
                "name": name,
                "epochs": len(ran.epochs),
                "processor_seconds": ran.processor_seconds,
                "training_loss": ran.training_losses[-1],
                "validation_loss": ran.validation_losses[-1],
                "validation_accuracy": ran.epochs[-1]["validation_accuracy"],
                "best_epoch": ran.best,
                "best_validation_loss": min(ran.validation_losses),
            }
            for name, ran in runs.items()
        ],
    }
    return json.dumps(whole, indent=1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where the runs are kept")
    kept: Path | None = parser.parse_args().runs
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch, repeatable(1, "cpu"):
        runs = train_all(kept or Path(scratch))
        for name, picture in pictures(runs).items():
            write_whole(PICTURES / f"idea-{name}.png", picture.png())
        write_whole(RESULT, result(runs).encode())


if __name__ == "__main__":
    main()
