"""Which keys of a recipe are read, given its other choices.

A key is ``section.name``. One that is not in the table is always read.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstlight.recipe import Recipe


@dataclass(frozen=True)
class Need:
    """What another key must be for a key to be read."""

    key: str
    holds: Callable[["Recipe"], bool]
    wanted: str
    """The same in words, as the value would be written."""


def _is(key: str, value: str) -> Need:
    return Need(key, lambda recipe: bool(_value(recipe, key) == value), f'{key}="{value}"')


_WHITENED = _is("model.name", "whitened")
_ADAM, _MUON = _is("optimizer.name", "adam"), _is("optimizer.name", "muon")
_CYCLE = _is("schedule.name", "one-cycle")
_AUGMENTED = Need("augment.enabled", lambda r: r.augment.enabled, "augment.enabled=true")

_WARM = "schedule.warmup_fraction"

NEEDS: dict[str, tuple[Need, ...]] = {
    "model.first_stride": (_WHITENED,),
    "model.first_filters": (_WHITENED,),
    "model.first_bias": (_WHITENED,),
    "model.activation": (_WHITENED,),
    "model.logit_scale": (_WHITENED,),
    "model.views": (_WHITENED,),
    "model.dense": (_is("model.name", "tutorial"),),
    "augment.rotation_degrees": (_AUGMENTED,),
    "augment.shift_fraction": (_AUGMENTED,),
    "augment.flip": (_AUGMENTED,),
    "augment.alternate_flips": (_AUGMENTED,),
    "augment.cutout_pixels": (_AUGMENTED,),
    "augment.mix": (_AUGMENTED,),
    "augment.mix_alpha": (
        _AUGMENTED,
        Need("augment.mix", lambda r: r.augment.mix != "none", 'augment.mix="mixup" or "cutmix"'),
    ),
    "augment.shift_pixels": (_AUGMENTED,),
    "optimizer.betas": (_ADAM,),
    "optimizer.epsilon": (_ADAM,),
    "optimizer.momentum": (_MUON,),
    "optimizer.head_learning_rate": (_MUON,),
    "optimizer.bias_learning_rate": (_MUON,),
    "optimizer.weight_decay": (_MUON,),
    "schedule.warmup_fraction": (_CYCLE,),
    "schedule.start_fraction": (
        _CYCLE,
        Need(_WARM, lambda r: r.schedule.warmup_fraction > 0, f"{_WARM}>0"),
    ),
    "schedule.final_fraction": (
        _CYCLE,
        Need(_WARM, lambda r: r.schedule.warmup_fraction < 1, f"{_WARM}<1"),
    ),
    "train.replanned": (  # a constant rate is the same wherever the end is
        Need(
            "schedule.name",
            lambda r: r.schedule.name != "constant" or r.train.small_share > 0,
            'schedule.name="one-cycle"',
        ),
    ),
    "train.held_out_fraction": (_is("train.validation", "held-out"),),
    "train.start_rate": (
        Need("train.start_from", lambda r: bool(r.train.start_from), "train.start_from=RUN"),
    ),
}


def why_unread(recipe: "Recipe", keys: Iterable[str]) -> str:
    """Why the first of the keys that the recipe does not read is not read; empty where all are."""
    for key in keys:
        for need in NEEDS.get(key, ()):
            if not need.holds(recipe):
                found = _value(recipe, need.key)
                shown = str(found).lower() if isinstance(found, bool) else repr(found)
                return (
                    f"{key} is read with {need.wanted} alone, and {need.key} is {shown} here; "
                    f"set that too, or leave {key} out"
                )
    return ""


def unread_changes(recipe: "Recipe") -> list[str]:
    """Keys that a recipe does not read and that are not as they are by default."""
    changed = [
        f"{section.name}.{spec.name}"
        for section in fields(recipe)
        if is_dataclass(section.default)
        for spec in fields(section.default)
        if _value(recipe, f"{section.name}.{spec.name}") != spec.default
    ]
    return [key for key in changed if why_unread(recipe, [key])]


def _value(recipe: "Recipe", key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(recipe, section), name)
