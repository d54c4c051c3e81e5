"""Slow work with the same result for the same arguments, done once per test session."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from inspect import isfunction
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from firstlight.pixels import Preprocess
from firstlight.runs.checkpoint import SavedModel

MOST_PIXELS = 5_000_000


def once(
    work: Callable[..., Any],
    given: Callable[[Any], Any],
    key: Callable[..., Any] = lambda *values, **named: (values, named),
) -> Callable[..., Any]:
    """Wrap ``work`` so that it runs once for each value of ``key`` of its arguments. Each caller
    gets ``given`` of the result; results with a key of None are not kept."""
    made: dict[bytes, Any] = {}

    def again(*values: Any, **named: Any) -> Any:
        known = key(*values, **named)
        if known is None:
            return work(*values, **named)
        name = pickle.dumps(known)
        if name not in made:
            made[name] = work(*values, **named)
        return given(made[name])

    return again


def each_once(module: ModuleType) -> SimpleNamespace:
    """Return the module's names, with functions that draw once for the same arguments."""
    return SimpleNamespace(
        **{
            name: once(value, with_png)
            if isfunction(value) and value.__module__ == module.__name__
            else value
            for name, value in vars(module).items()
        }
    )


def with_png(picture: Any) -> Any:
    """Return the figure, whose file is made once."""
    if "png" not in vars(picture):
        png = picture.png()
        picture.png = lambda: png
    return picture


def of_network(saved: SavedModel, *opset: int) -> Any:
    """Return everything that the graph of a network depends on; None if it is the user's own
    code."""
    if saved.architecture.network.code is not None:
        return None
    weights = {name: value.numpy().tobytes() for name, value in saved.model.state_dict().items()}
    return saved.architecture, saved.preprocess, saved.temperature, weights, opset


def of_fit(preprocess: Preprocess, *opset: int) -> Any:
    """Return everything that the graph before a network depends on: all but the pixels' scale."""
    zero, one = (0.0,) * preprocess.channels, (1.0,) * preprocess.channels
    return replace(preprocess, mean=zero, std=one), opset


def of_pictures(images_NHWC: Any) -> Any:
    """Return what tells pictures apart; None if they are many."""
    if np.prod(images_NHWC.shape) > MOST_PIXELS:
        return None
    pixels = np.ascontiguousarray(images_NHWC[:])
    return images_NHWC.shape, blake2b(pixels.tobytes()).digest()
