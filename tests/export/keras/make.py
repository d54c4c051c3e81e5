"""Make the .keras files of this folder with Keras itself: python make.py, where Keras is installed.

Each is a small network of the tutorial's kind for images of 8×8 pixels, with random weights, saved
together with what Keras answers for a few images of numbers 0 to 255.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

HERE = Path(__file__).resolve().parent
IMAGES = (np.arange(5 * 8 * 8).reshape(5, 8, 8, 1) * 37 % 256).astype("uint8")


def sequential() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def functional() -> keras.Model:
    """Scaled within, three convolutions, the activations as layers, logits at the end."""
    image = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.RandomRotation(0.1)(x)
    for filters, kernel in ((4, 3), (5, 3)):
        x = layers.Conv2D(filters, kernel)(x)
        x = layers.Activation("relu")(x)
        if filters == 4:
            x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.ReLU()(layers.Dense(7)(x))
    return keras.Model(image, layers.Dense(10)(x))


def with_lambda() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Lambda(lambda x: x / 255),
            layers.Conv2D(2, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(2, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def with_batch_norm() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(2, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def main() -> None:
    if len(sys.argv) > 1:  # what Keras makes of a file of firstlight's
        model = keras.models.load_model(sys.argv[1])
        print(json.dumps(model.predict(IMAGES.astype("float32"), verbose=0).tolist()))
        return
    answers = {"keras": keras.__version__}
    for build in (sequential, functional, with_lambda, with_batch_norm):
        keras.utils.set_random_seed(3)
        model = build()
        model.save(HERE / f"{build.__name__}.keras")
        inputs = IMAGES / np.float32(255) if build is sequential else IMAGES.astype("float32")
        if build in (sequential, functional):
            answers[build.__name__] = model.predict(inputs, verbose=0).tolist()
    (HERE / "answers.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
