"""scikit-learn's logistic regression on the same features: python sklearn_side.py SET SEED.

As its documentation has it: a StandardScaler, and LogisticRegression with a longer limit of
iterations. The images are resized as firstlight resizes them. It prints one JSON line.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from firstlight.backbones import backbone_named
from firstlight.backbones.weights import open_backbone
from firstlight.data.own import Form, load_own
from firstlight.training.extraction import extract


def main(data: str, seed: int) -> None:
    started, before = time.perf_counter(), time.process_time()
    name = "efficientnet_lite0"
    saved, shape = open_backbone(name), backbone_named(name).image_shape
    train, test = load_own(Path(data), Form(shape=shape))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed))
    model.fit(extract(saved.model, saved.preprocess, train.images_NHWC)[0], train.labels_N)
    seconds, used = time.perf_counter() - started, time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    test_NF = extract(saved.model, saved.preprocess, test.images_NHWC)[0]
    print(
        json.dumps(
            {
                "fit_seconds": seconds,
                "processor_seconds": used,
                "peak_memory_mb": memory,
                "test_accuracy": float(np.mean(model.predict(test_NF) == test.labels_N)),
                "versions": {"scikit-learn": sklearn.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
