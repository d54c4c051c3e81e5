"""Compare firstlight's defaults, scikit-learn, and Keras in the same time, on three small sets.

    python benchmarks/small_sets/run.py --seeds 3

The sets are written as PNG files into their own folders: scikit-learn's digits, CIFAR-10 with 100
images per class, MNIST with 2,000 down to 20 images per class. Each side is a process that gets
that folder: ``firstlight train PATH`` without options; the better of two scikit-learn pipelines
(PCA or HOG, then an SVM), each with its parameters chosen by cross-validation on the training
images; and the network and augmentation of Keras's example "Image classification from scratch",
trained for as long as firstlight took. The result file is rewritten after each run, and runs
already in it are not repeated.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import firstlight as fl
from firstlight.data.dataset import Dataset
from firstlight.runs.record import processor_name

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tutorial_vs_keras import keras_python, timed  # noqa: E402

RESULT = HERE.parent / "results" / "small_sets.json"
SETS = ("digits", "cifar10-100-a-class", "mnist-uneven")
SIDES = ("firstlight", "scikit-learn", "keras")


def training_part(name: str, train: Dataset) -> Dataset:
    """Return the training images of a small set; drawn once, the same for every seed."""
    if name == "digits":
        return train
    rng = np.random.default_rng(0)
    counts = [100] * 10 if name.startswith("cifar10") else [int(2000 * 0.6**k) for k in range(10)]
    numbers = [
        rng.permutation(np.flatnonzero(train.labels_N == label))[:count]
        for label, count in enumerate(counts)
    ]
    return train.take(np.concatenate(numbers))


def write_set(name: str, root: Path) -> None:
    """Write ``root/{train,test}/CLASS/*.png``; the test part is the whole published one."""
    train, test = fl.load(name.partition("-")[0])
    for part, data in (("train", training_part(name, train)), ("test", test)):
        for number, (image_HWC, label) in enumerate(
            zip(data.images_NHWC, data.labels_N, strict=True)
        ):
            folder = root / part / data.class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image_HWC.squeeze()).save(
                folder / f"{number:05d}.png", compress_level=1
            )


def command(side: str, root: Path, name: str, seed: int, seconds: float) -> list[str]:
    """Return the command of one side."""
    if side == "firstlight":
        return [sys.executable, str(HERE / "firstlight_side.py"), str(root), str(seed)]
    if side == "scikit-learn":
        return [sys.executable, str(HERE / "sklearn_side.py"), str(root)]
    flip = "flip" if name.startswith("cifar10") else "no-flip"
    script = str(HERE / "keras_side.py")
    return [str(keras_python()), script, str(root), str(seed), str(seconds), flip]


def main() -> None:
    parser = argparse.ArgumentParser(description="Three small sets, three sides.")
    parser.add_argument("--seeds", type=int, default=3, help="runs of firstlight and Keras")
    options = parser.parse_args()
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    whole |= {
        "command": f"python benchmarks/small_sets/run.py --seeds {options.seeds}",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    for name in SETS:
        with tempfile.TemporaryDirectory() as folder:
            # Do not use an earlier run's cache.
            os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
            root = Path(folder) / name
            write_set(name, root)
            for seed in range(options.seeds):
                for side in SIDES:
                    if side == "scikit-learn" and seed > 0:
                        continue  # it is deterministic
                    key = {"data": name, "side": side, "seed": seed}
                    if any(key.items() <= run.items() for run in whole["runs"]):
                        continue
                    allowed = next(
                        (
                            run["fit_seconds"]
                            for run in whole["runs"]
                            if {**key, "side": "firstlight"}.items() <= run.items()
                        ),
                        0.0,
                    )
                    figures = timed(command(side, root, name, seed, allowed))
                    whole["runs"].append({**key, **figures})
                    RESULT.write_text(json.dumps(whole, indent=2) + "\n")
                    print(
                        f"{name} seed {seed} {side}: {figures['test_accuracy']:.4f}, "
                        f"{figures['fit_seconds']:.1f} s",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
