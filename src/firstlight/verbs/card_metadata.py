"""The metadata at the head of a model card, for the Hugging Face hub: YAML between two lines
``---``.

Format: https://huggingface.co/docs/hub/model-cards, with results as ``model-index``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from firstlight.plain import write_json
from firstlight.untrusted import json_safe

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,60}")
# Words that YAML 1.1 always reads as text; all others are quoted.
_PLAIN = re.compile(r"[A-Za-z][\w-]*(?:[./][\w-]+)*", re.ASCII)
_NOT_TEXT = {"y", "n", "yes", "no", "true", "false", "on", "off", "null"}


def is_license(word: str) -> bool:
    """Whether a word has the form of the hub's licence identifiers, such as ``cc-by-4.0``."""
    return _LICENSE.fullmatch(word) is not None


class Figure(NamedTuple):
    """One result."""

    kind: str
    """The hub's identifier of the metric."""
    name: str
    value: float


HUBS_METRICS = ("accuracy", "f1")
"""Metrics that the hub has pages of."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model's results on its test set."""

    data: str
    """Display name of the data set."""
    data_id: str
    """Its name on the hub, or another identifier."""
    configuration: str = ""
    revision: str = ""
    figures: tuple[Figure, ...]

    @property
    def metrics(self) -> list[str]:
        """The identifiers of its figures that the hub knows."""
        return [one.kind for one in self.figures if one.kind in HUBS_METRICS]

    def plain(self, name: str) -> dict[str, Any]:
        """Return plain values for the hub's ``model-index``."""
        data = {
            "name": self.data,
            "type": self.data_id,
            "config": self.configuration,
            "split": "test",
            "revision": self.revision,
        }
        figures = [
            {"type": one.kind, "name": one.name, "value": round(one.value, 6)}
            for one in self.figures
        ]
        result = {
            "task": {"type": "image-classification", "name": "Image classification"},
            "dataset": {key: value for key, value in data.items() if value},
            "metrics": figures,
        }
        return {"name": name, "results": [result]}


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A model's metadata for the hub."""

    name: str
    license: str | None = None
    data_set: str = ""
    """``OWNER/NAME`` on the hub, if it is there."""
    base_model: str = ""
    """``OWNER/NAME`` of the weights that training started from."""
    measured: Measured | None = None

    def plain(self) -> dict[str, Any]:
        """Return plain values, leaving out what is unknown."""
        measured = self.measured
        values = {
            "library_name": "firstlight",
            "pipeline_tag": "image-classification",
            "license": self.license,
            "tags": ["firstlight", "image-classification"],
            "datasets": [self.data_set] if self.data_set else None,
            "base_model": self.base_model or None,
            "metrics": None if measured is None else measured.metrics,
            "model-index": None if measured is None else [measured.plain(self.name)],
        }
        return {key: value for key, value in values.items() if value is not None}

    def text(self) -> str:
        """Return YAML between two lines ``---``."""
        return "\n".join(["---", *_lines(self.plain()), "---", ""])


def _lines(values: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of a mapping or list in YAML's block style."""
    items = values.items() if isinstance(values, dict) else ((None, one) for one in values)
    for key, value in items:
        head = f"{indent}- " if key is None else f"{indent}{key}:"
        if isinstance(value, list):
            yield head
            yield from _lines(value, indent)
        elif isinstance(value, dict) and key is None:
            first, *rest = _lines(value, f"{indent}  ")
            yield head + first.lstrip()
            yield from rest
        elif isinstance(value, dict):
            yield head
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{head} {_scalar(value)}" if key is not None else f"{head}{_scalar(value)}"


def _scalar(value: Any) -> str:
    """Format a number or a text. JSON's quoted texts are valid YAML."""
    if not isinstance(value, str):
        return write_json(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json_safe(write_json(value))
