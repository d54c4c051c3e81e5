"""A training job for the tests that kill it: python training_job.py RUN; starts or resumes.

It uses MNIST-sized images of seeded noise with a bright bar that shows the class. A state is saved
after every step, so that a kill often comes during a write.
"""

import sys
from pathlib import Path

import numpy as np

import firstlight as fl
from firstlight.verbs import fit


def bars(count: int, seed: int) -> fl.Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 80, (count, 28, 28, 1), dtype=np.uint8)
    for i, label in enumerate(labels):
        images[i, 2 * label + 4 : 2 * label + 6] += 150
    names = tuple("0123456789")
    return fl.Dataset(name="bars/part", images_NHWC=images, labels_N=labels, class_names=names)


def main(run: Path) -> None:
    fit.CHECKPOINT_SECONDS = 0.0
    data = fl.TrainTest(bars(600, 1), bars(100, 2))
    if not (run / "recipe.toml").exists():
        settings = [
            "augment=[{ rotate = 10 }, { shift = 0.1 }]",
            "network.layers=[{ conv = 8, activation = 'relu' }, { max-pool = 2 },"
            " { flatten = true }, { dropout = 0.3 }, { dense = 'classes' }]",
            "train.validation=held-out",
        ]
        fl.train(data, "mnist-tutorial", settings=settings, epochs=6, seed=3, out=run, quiet=True)
    elif not (run / "summary.json").exists():
        fl.resume(run, data, quiet=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
