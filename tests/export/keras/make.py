"""Make the ``.keras`` files beside this one with real Keras, in a separate environment.

    .venv-keras/bin/python tests/export/keras/make.py

Small relatives of the tutorial's network, trained for a few epochs on scikit-learn's digits or on
colour noise, each with ``NAME.npz``: uint8 images and Keras's probabilities for them.
``with-lambda.keras`` must be refused.
"""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers

HERE = Path(__file__).parent


def digits_like() -> keras.Model:
    """As in the tutorial: pixels scaled outside, no pool at the end, compiled with Adam."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(10, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(12, activation="relu"),
            layers.Dropout(0.25),
            layers.Dense(10, activation="softmax"),
        ]
    )


def colour() -> keras.Model:
    """Colour, pools everywhere, scaling inside, a custom name for every layer, not square."""
    return keras.Sequential(
        [
            keras.Input((14, 12, 3), name="pictures"),
            layers.Rescaling(1 / 255, name="scale"),
            layers.Conv2D(4, 5, activation="relu", name="first"),
            layers.MaxPooling2D(2, name="half"),
            layers.Conv2D(5, 3, activation="relu", name="second"),
            layers.MaxPooling2D(2, name="quarter"),
            layers.Flatten(name="flat"),
            layers.Dense(7, activation="relu", name="hidden"),
            layers.Dense(3, name="logits"),
            layers.Activation("softmax", name="probabilities"),
        ],
        name="mine",
    )


def main() -> None:
    """Write every file."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    with np.load(HERE / "digits.npz") as file:
        images, labels = file["images"], file["labels"]
    model = digits_like()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images / 255.0, labels, epochs=30, batch_size=32, verbose=0)
    save("digits", model, images[:60], images[:60] / 255.0)

    pictures = rng.integers(0, 256, (20, 14, 12, 3), dtype=np.uint8)
    model = colour()
    save("colour", model, pictures, pictures.astype("float32"))

    keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Lambda(lambda x: x * 2, name="doubled"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    ).save(HERE / "with-lambda.keras")


def save(name: str, model: keras.Model, images: np.ndarray, scaled: np.ndarray) -> None:
    """Save the model and its answers."""
    model.save(HERE / f"{name}.keras")
    np.savez_compressed(
        HERE / f"{name}-answers.npz", images=images, probabilities=model.predict(scaled, verbose=0)
    )


if __name__ == "__main__":
    main()
