"""scikit-learn, one run: python sklearn_side.py FOLDER; prints one JSON line.

PCA and HOG, each followed by an SVM with a Gaussian kernel, whose parameters are chosen by
three-fold cross-validation on the training images. The same cross-validation chooses the better of
the two. Axes: N images, H height, W width.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sklearn
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

FloatArray = npt.NDArray[np.float64]
BINS = 9


def read(folder: Path) -> tuple[FloatArray, npt.NDArray[np.str_]]:
    """Return pixels from 0 to 1, and the class of each picture."""
    files = sorted(folder.glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(file), dtype=np.float64) / 255 for file in files])
    return images, np.array([file.parent.name for file in files])


def hog(images: FloatArray) -> FloatArray:
    """Return histograms of oriented gradients (Dalal & Triggs 2005): nine directions in cells of an
    eighth of the side, 2×2 cells per block, each block of length 1."""
    grey_NHW = images if images.ndim == 3 else images.mean(axis=3)
    down, right = np.gradient(grey_NHW, axis=(1, 2))
    strength = np.hypot(down, right)
    direction = (np.arctan2(down, right) % np.pi) / np.pi * BINS
    lower = np.floor(direction).astype(int) % BINS
    share = direction - np.floor(direction)
    count, height, width = grey_NHW.shape
    cells = min(8, height // 2)
    rows = np.minimum(np.arange(height) * cells // height, cells - 1)
    columns = np.minimum(np.arange(width) * cells // width, cells - 1)
    found = np.zeros((count, cells, cells, BINS))
    number = np.arange(count)[:, None, None]
    place = (number, rows[None, :, None], columns[None, None, :])
    np.add.at(found, (*place, lower), strength * (1 - share))
    np.add.at(found, (*place, (lower + 1) % BINS), strength * share)
    blocks = np.concatenate(
        [found[:, :-1, :-1], found[:, :-1, 1:], found[:, 1:, :-1], found[:, 1:, 1:]], axis=3
    )
    blocks /= np.linalg.norm(blocks, axis=3, keepdims=True) + 1e-3
    return blocks.reshape(count, -1)


def flat(images: FloatArray) -> FloatArray:
    """Pixels in one row."""
    return images.reshape(len(images), -1)


def main(root: Path) -> None:
    images, labels = read(root / "train")
    started = time.perf_counter()
    grid = {"svc__C": [1, 3, 10, 30], "svc__gamma": ["scale", 0.003, 0.01, 0.03, 0.1]}
    searches = {}
    for name, steps in {
        "PCA": [FunctionTransformer(flat), PCA(0.95)],
        "HOG": [FunctionTransformer(hog)],
    }.items():
        search = GridSearchCV(make_pipeline(*steps, SVC()), grid, cv=3, n_jobs=-1)
        searches[name] = search.fit(images, labels)
    seconds = time.perf_counter() - started
    test_images, test_labels = read(root / "test")
    best = max(searches, key=lambda name: float(searches[name].best_score_))
    scores = {name: search.score(test_images, test_labels) for name, search in searches.items()}
    print(
        json.dumps(
            {
                "fit_seconds": seconds,
                "test_accuracy": scores[best],
                "chosen": f"{best} and SVM",
                "both": scores,
                "parameters": {name: search.best_params_ for name, search in searches.items()},
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "versions": {"scikit-learn": sklearn.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
