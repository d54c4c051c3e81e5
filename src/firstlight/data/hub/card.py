"""What the card of a data set on the hub (its ``README.md``) says about files and columns.

The card begins with YAML between two lines of ``---``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firstlight.hub.library import EXTRA
from firstlight.packages import imported

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says."""

    patterns: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """Configuration to split to file patterns."""
    default: str = ""
    """The configuration that is used by default."""
    features: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Configuration to the features of each column, in the form of a Parquet file's metadata."""


def read_card(content: bytes) -> Card:
    """Read the card of a README. It is empty if there is none or it cannot be read."""
    text = content[:_MOST_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
    if not text.startswith("---\n") or "\n---" not in text[3:]:
        return Card()
    yaml = imported("yaml", "the card of a data set on the hub", EXTRA)
    try:
        return _card(yaml.safe_load(text[4:].partition("\n---")[0]))
    except (yaml.YAMLError, ValueError, RecursionError):
        return Card()


def _card(told: Any) -> Card:
    if not isinstance(told, dict):
        return Card()
    configurations = _dicts(told.get("configs"))
    default = [one for one in configurations if one.get("default") is True]
    patterns = {_name(one): _patterns(one.get("data_files")) for one in configurations}
    return Card(
        patterns={name: splits for name, splits in patterns.items() if splits},
        default=_name(default[0]) if default else "",
        features={
            _name(one): _features(one.get("features")) for one in _dicts(told.get("dataset_info"))
        },
    )


def _dicts(told: Any) -> list[dict[str, Any]]:
    listed = told if isinstance(told, list) else [told]
    return [one for one in listed if isinstance(one, dict)]


def _name(configuration: Mapping[str, Any]) -> str:
    return str(configuration.get("config_name", "default"))


def _patterns(told: Any) -> dict[str, tuple[str, ...]]:
    """Return split to patterns. A single pattern, or a list of them, is the split ``train``."""
    if isinstance(told, dict):
        return {str(split): _texts(paths) for split, paths in told.items()}
    if isinstance(told, list) and all(isinstance(one, dict) for one in told):
        return {str(one.get("split", "train")): _texts(one.get("path")) for one in told}
    texts = _texts(told)
    return {"train": texts} if texts else {}


def _texts(told: Any) -> tuple[str, ...]:
    listed = told if isinstance(told, list) else [told]
    return tuple(one.removeprefix("./") for one in listed if isinstance(one, str))


# Features


def _features(told: Any) -> dict[str, Any]:
    return {str(one["name"]): _feature(one) for one in _dicts(told) if "name" in one}


def _feature(told: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("list", "sequence", "large_list"):
        if key in told:
            inner = told[key]
            inner = inner if isinstance(inner, dict) else {"dtype": inner}
            return {"_type": "List", "feature": _feature(inner)}
    dtype = told.get("dtype")
    if dtype == "image":
        return {"_type": "Image"}
    if isinstance(dtype, dict) and isinstance(dtype.get("class_label"), dict):
        return {"_type": "ClassLabel", "names": _names(dtype["class_label"].get("names"))}
    return {"_type": "Value", "dtype": str(dtype)}


def _names(told: Any) -> list[str] | None:
    """Return the names in the order of their numbers."""
    if isinstance(told, list):
        return [str(one) for one in told]
    if not isinstance(told, dict):
        return None
    try:
        numbered = {int(number): str(name) for number, name in told.items()}
    except (TypeError, ValueError):
        return None
    names = [numbered.get(at) for at in range(len(numbered))]
    return None if None in names else [one for one in names if one is not None]
