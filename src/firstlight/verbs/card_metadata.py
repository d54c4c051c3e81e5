"""The metadata at the head of a model card, as the Hugging Face hub reads it: YAML between two
lines of ``---``.

Its form: https://huggingface.co/docs/hub/model-cards, with results as ``model-index``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from firstlight.plain import write_json
from firstlight.untrusted import json_safe

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,60}")
# Words that YAML 1.1 reads as text whatever stands around them; all others are quoted.
_PLAIN = re.compile(r"[A-Za-z][\w-]*(?:[./][\w-]+)*", re.ASCII)
_NOT_TEXT = {"y", "n", "yes", "no", "true", "false", "on", "off", "null"}


def is_license(word: str) -> bool:
    """Whether a word has the form of the hub's words for licences, such as ``cc-by-4.0``."""
    return _LICENSE.fullmatch(word) is not None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model reached on its test set."""

    data: str
    """The data set's name, for people."""
    data_id: str
    """Its name on the hub, or another."""
    configuration: str = ""
    revision: str = ""
    accuracy: float
    """0 to 1."""
    log_loss: float
    """Nats."""

    def plain(self, name: str) -> dict[str, Any]:
        """As the hub's ``model-index`` has it."""
        data = {
            "name": self.data,
            "type": self.data_id,
            "config": self.configuration,
            "split": "test",
            "revision": self.revision,
        }
        figures = [
            {"type": "accuracy", "name": "Test accuracy", "value": round(self.accuracy, 6)},
            {"type": "log_loss", "name": "Test log loss", "value": round(self.log_loss, 6)},
        ]
        result = {
            "task": {"type": "image-classification", "name": "Image classification"},
            "dataset": {key: value for key, value in data.items() if value},
            "metrics": figures,
        }
        return {"name": name, "results": [result]}


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the hub is told of a model."""

    name: str
    license: str | None = None
    data_set: str = ""
    """``OWNER/NAME`` on the hub, where it is there."""
    base_model: str = ""
    """``OWNER/NAME`` of the weights that training started from."""
    measured: Measured | None = None

    def plain(self) -> dict[str, Any]:
        """Plain values; what is not known is left out."""
        measured = self.measured
        values = {
            "library_name": "firstlight",
            "pipeline_tag": "image-classification",
            "license": self.license,
            "tags": ["firstlight", "image-classification"],
            "datasets": [self.data_set] if self.data_set else None,
            "base_model": self.base_model or None,
            "metrics": None if measured is None else ["accuracy"],
            "model-index": None if measured is None else [measured.plain(self.name)],
        }
        return {key: value for key, value in values.items() if value is not None}

    def text(self) -> str:
        """YAML with a line of ``---`` before and after it."""
        return "\n".join(["---", *_lines(self.plain()), "---", ""])


def _lines(values: Any, indent: str = "") -> Iterator[str]:
    """A mapping or a list in YAML's block form."""
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
    """A number or a text. JSON's quoted texts are YAML's too."""
    if not isinstance(value, str):
        return write_json(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json_safe(write_json(value))
