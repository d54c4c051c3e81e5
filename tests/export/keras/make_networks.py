"""Make networks other than the tutorial's with real Keras, in a separate environment.

    .venv-keras/bin/python tests/export/keras/make_networks.py

Each has random weights and statistics, so that no layer is the identity, and ``NAME-answers.npz``:
uint8 images and Keras's probabilities for them. Together they use every layer that can be read.
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers

HERE = Path(__file__).parent
IMAGES = 12
_DATE = (1980, 1, 1, 0, 0, 0)


def residual() -> keras.Model:
    """Residual blocks as in ResNet: the same shape, another shape, another shape with a bias."""

    def block(x: keras.KerasTensor, filters: int, stride: int, bias: bool) -> keras.KerasTensor:
        y = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
        y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(y)
        y = layers.ReLU()(y)
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        y = layers.BatchNormalization()(y)
        if y.shape != x.shape:
            x = layers.Conv2D(filters, 1, strides=stride, use_bias=bias)(x)
            x = layers.BatchNormalization(
                momentum=0.9 if not bias else 0.99, epsilon=1e-3 if bias else 1e-5
            )(x)
        return layers.Activation("relu")(layers.Add()([y, x]))

    pixels = keras.Input((13, 10, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = block(x, 4, 1, bias=False)
    x = block(x, 6, 2, bias=False)
    x = block(x, 8, 2, bias=True)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, layers.Dense(5, activation="softmax")(x))


def separable() -> keras.Model:
    """Depthwise and separable convolutions as in MobileNet; pixels standardized inside; no softmax
    at the end."""
    normalise = layers.Normalization()
    normalise.adapt(np.random.default_rng(1).integers(0, 200, (8, 12, 12, 3)).astype("float32"))
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            normalise,
            layers.ZeroPadding2D(((0, 1), (0, 1))),
            layers.Conv2D(4, 3, strides=2, activation="silu"),
            layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, use_bias=False),
            layers.GroupNormalization(3),
            layers.LeakyReLU(),
            layers.SpatialDropout2D(0.1),
            layers.DepthwiseConv2D(2, strides=2, padding="same", depth_multiplier=2),
            layers.Activation("leaky_relu"),
            layers.ZeroPadding2D(1),
            layers.SeparableConv2D(8, 3, use_bias=False),
            layers.GlobalMaxPooling2D(),
            layers.Dense(4),
        ]
    )


def branches() -> keras.Model:
    """Parallel branches as in Inception, one inside another, with every kind of pool."""
    pixels = keras.Input((11, 9, 1), name="drawing")
    x = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="elu")(x)
    short = layers.Conv2D(2, 1, activation="gelu")(x)
    long = layers.Conv2D(4, 3, padding="same", groups=2)(x)
    inner = [layers.Conv2D(2, 3, padding="same")(long), layers.ReLU()(long)]
    long = layers.Concatenate()(inner)
    mean = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    most = layers.Conv2D(2, 1)(layers.MaxPooling2D(3, strides=1, padding="same")(x))
    x = layers.Concatenate()([short, long, mean, most])
    x = layers.LayerNormalization()(x)
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(6, activation="sigmoid")(x)
    x = layers.Dense(3)(x)
    return keras.Model(pixels, layers.Softmax()(x))


def plain() -> keras.Model:
    """A list: strides on odd sides, dilation, norms of features, layers without bias or scale."""
    return keras.Sequential(
        [
            keras.Input((15, 14, 1)),
            layers.Conv2D(4, 4, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(scale=False, center=False),
            layers.Activation("tanh"),
            layers.Conv2D(5, 3, dilation_rate=2, padding="same", activation="relu"),
            layers.MaxPooling2D(3, strides=2, padding="same"),
            layers.Rescaling(0.5, offset=0.1),
            layers.Dense(4, activation="relu"),
            layers.Conv2D(4, 2),
            layers.AveragePooling2D(2, strides=1),
            layers.Flatten(),
            layers.Dense(7, use_bias=False),
            layers.BatchNormalization(),
            layers.ELU(),
            layers.Dropout(0.3),
            layers.Dense(6, activation="linear"),
            layers.LayerNormalization(scale=False),
            layers.Dense(6, activation="softmax"),
        ]
    )


def dense_blocks() -> keras.Model:
    """Concatenation with the input, as in DenseNet; a sum of three; the operator ``+``."""
    pixels = keras.Input((10, 10, 3))
    x = layers.Conv2D(4, 3)(pixels)
    for _ in range(2):
        y = layers.BatchNormalization()(x)
        y = layers.Conv2D(3, 3, padding="same", activation="relu")(y)
        x = layers.Concatenate(axis=-1)([x, y])
    ways = [layers.Conv2D(5, side, padding="same")(x) for side in (1, 2, 3)]
    x = layers.Add()(ways)
    x = x + layers.Conv2D(5, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Add()([x, layers.Dense(5, activation="relu")(x)])
    return keras.Model(pixels, layers.Dense(10, activation="softmax")(x))


def two_classes() -> keras.Model:
    """One unit with a sigmoid, and pixels scaled after a pool."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype="uint8"),
            layers.MaxPooling2D(2),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(1),
            layers.Activation("sigmoid"),
        ]
    )


def without_dense() -> keras.Model:
    """Scores without a dense layer, as in "Network in network"; channels standardized inside; an
    activation as a layer."""
    return keras.Sequential(
        [
            keras.Input((9, 9, 3)),
            layers.Rescaling([1 / 255, 1 / 200, 1 / 100]),
            layers.Conv2D(4, 3, activation=layers.LeakyReLU(negative_slope=0.4)),
            layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0]),
            layers.Conv2D(3, 1, activation=layers.ReLU()),
            layers.GlobalAveragePooling2D(),
            layers.Activation("softmax"),
        ]
    )


NETWORKS: tuple[tuple[Callable[[], keras.Model], float], ...] = (
    (residual, 1.0),
    (separable, 1.0),
    (branches, 1.0),
    (plain, 1 / 255),
    (dense_blocks, 1 / 255),
    (two_classes, 1.0),
    (without_dense, 1.0),
)
"""Each network with the factor for its input pixels."""


def main() -> None:
    """Write every file."""
    for make, factor in NETWORKS:
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model, rng = make(), np.random.default_rng(0)
        for weight in model.weights:
            if "seed" in weight.path or "normalization/count" in weight.path:
                continue
            if len(weight.shape) > 1:
                fan = float(np.prod(weight.shape[:-1]))
                weight.assign(rng.normal(0, (2 / fan) ** 0.5, weight.shape))
            elif not weight.path.startswith("normalization/"):
                weight.assign(weight.numpy() + rng.uniform(-0.3, 0.3, weight.shape))
        shape = (IMAGES, *model.input_shape[1:])
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        given = model.predict(images.astype("float32") * factor, verbose=0)
        if given.shape[1] == 1:
            given = np.concatenate([1 - given, given], axis=1)
        if make is separable:
            given = np.asarray(keras.ops.softmax(given))
        save(make.__name__.replace("_", "-"), model, images, given)


def save(name: str, model: keras.Model, images: np.ndarray, probabilities: np.ndarray) -> None:
    """Save the model, with compressed members, and its answers."""
    path = HERE / f"{name}.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member, _DATE), content, zipfile.ZIP_DEFLATED, 9)
    np.savez_compressed(HERE / f"{name}-answers.npz", images=images, probabilities=probabilities)


if __name__ == "__main__":
    main()
