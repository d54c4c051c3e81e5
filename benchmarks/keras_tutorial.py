"""The classic tutorial in Keras, one run: python keras_tutorial.py DATA.npz mnist|cifar10 SEED.

It runs in its own environment and prints one JSON line. The arrays come from the file, so that both
sides use the same pixels.
"""

import json
import os
import random
import resource
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def network(name: str) -> keras.Model:
    relu = {"activation": "relu"}
    if name == "mnist":
        body = [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, **relu),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, **relu),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, **relu),
        ]
    else:
        body = [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, **relu),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, **relu),
            layers.MaxPooling2D(2),
            layers.Conv2D(128, 3, **relu),
            layers.Flatten(),
            layers.Dense(128, **relu),
        ]
    return keras.Sequential([*body, layers.Dense(10, activation="softmax")])


def main(path: str, name: str, seed: int, epochs: int) -> None:
    # Python's generator seeds the weights. TensorFlow's own seed is left unset on purpose: with it
    # (keras.utils.set_random_seed), fit uses the same order of images in every epoch, while the
    # tutorial, which sets no seed, reshuffles.
    random.seed(seed)
    with np.load(path, allow_pickle=False) as file:
        train_images = file["train_images"].astype("float32") / 255
        test_images = file["test_images"].astype("float32") / 255
        train_labels, test_labels = file["train_labels"], file["test_labels"]
    model = network(name)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    started = time.perf_counter()
    history = model.fit(
        train_images,
        train_labels,
        epochs=epochs,
        batch_size=32,
        validation_data=(test_images, test_labels),
        verbose=0,
    )
    print(
        json.dumps(
            {
                "fit_seconds": time.perf_counter() - started,
                "parameters": model.count_params(),
                "test_accuracy_by_epoch": history.history["val_accuracy"],
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
