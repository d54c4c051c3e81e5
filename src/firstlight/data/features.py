"""Find the columns of a table with pictures and classes: by the features that Hugging Face's
``datasets`` records (as JSON), else by the column names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from firstlight.data.listing import class_name
from firstlight.data.several_labels import ONE_EACH
from firstlight.errors import DataError

IMAGES = ("image", "img", "jpg", "png", "picture", "photo")
LABELS = ("label", "labels", "cls", "class", "target", "y", "fine_label")
"""The names of such columns, the likeliest first."""


class PictureColumns(NamedTuple):
    """The columns that were found."""

    image: str
    label: str | None
    class_names: tuple[str, ...]
    """What the numbers mean; empty if that is unknown."""


def picture_columns(
    names: Sequence[str], features: Mapping[str, Any], where: str, *, lists: bool = False
) -> PictureColumns:
    """Find the columns of pictures and classes among these. Raises ``DataError``, whose message
    begins with ``where``, if there is no column of pictures, if two are possible, or if a picture
    has several classes and ``lists`` of them cannot be read."""
    kinds = {one: _kind(features.get(one)) for one in names}
    images = [one for one in names if kinds[one] == "Image"]
    images = images or [one for one in IMAGES if one in names]
    if not images:
        raise DataError(
            f"{where}: wanted a column image, as datasets writes it, got {', '.join(names)}"
        )
    if len(images) > 1 and "image" not in images:
        raise DataError(f"{where}: wanted one column of images, got {' and '.join(images)}")
    label = _label(names, features, kinds, where, lists=lists)
    told = _inner(features.get(label)) if label is not None else None
    class_names = told.get("names") if isinstance(told, dict) else None
    if class_names is not None and not (
        isinstance(class_names, list) and all(isinstance(one, str) for one in class_names)
    ):
        raise DataError(f"{where}: the class names of column {label} are not a list of names")
    image = "image" if "image" in images else images[0]
    return PictureColumns(image, label, tuple(map(class_name, class_names or ())))


def _label(
    names: Sequence[str],
    features: Mapping[str, Any],
    kinds: Mapping[str, str],
    where: str,
    *,
    lists: bool,
) -> str | None:
    labels = [one for one in LABELS if one in names]
    classes = [one for one in names if kinds[one] == "ClassLabel"]
    if not labels and len(classes) > 1:
        raise DataError(
            f"{where}: the columns {' and '.join(classes)} each hold classes. Rename the right "
            "one to label"
        )
    chosen = next(iter(labels or classes), None)
    held = [one for one in names if kinds[one] == "list" and _holds_classes(features[one])]
    several = chosen if kinds.get(chosen or "") == "list" else None
    if several is None and chosen is None and held:
        several = held[0]
    if several is not None and lists:
        return several
    if several is not None:
        raise DataError(f"{where}: the column {several} holds lists of labels. {ONE_EACH}")
    return chosen


def _kind(feature: Any) -> str:
    """Return ``Image``, ``ClassLabel``, ``Value`` and so on; ``list`` for several of one kind."""
    if isinstance(feature, list):  # as datasets before 4 wrote it
        return "list"
    kind = str(feature.get("_type", "")) if isinstance(feature, dict) else ""
    return "list" if kind in ("List", "LargeList", "Sequence") else kind


def _holds_classes(feature: Any) -> bool:
    return _kind(_inner(feature)) == "ClassLabel"


def _inner(feature: Any) -> Any:
    """Return the feature of a list's items; other features unchanged."""
    inner = feature[0] if isinstance(feature, list) and feature else feature
    return inner.get("feature", inner) if isinstance(inner, dict) else inner
