"""Which keys of a recipe are used, given its other settings.

A part of a recipe has only its own keys. A key of another optimizer or layer is refused as unknown.
The table here lists keys that exist but have no effect in combination with some other setting. A
key is ``section.name``. One that is not in the table is always used.
"""

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstlight.recipe import Recipe


@dataclass(frozen=True)
class Need:
    """The condition on another key for a key to be used."""

    key: str
    holds: Callable[["Recipe"], bool]
    wanted: str
    """The condition in words, as one would write the value."""


def _warmup(recipe: "Recipe") -> float:
    return float(getattr(recipe.schedule, "warmup_fraction", 0.5))


_WARM = "schedule.warmup_fraction"

NEEDS: dict[str, Need] = {
    "schedule.start_fraction": Need(_WARM, lambda r: _warmup(r) > 0, f"{_WARM}>0"),
    "schedule.final_fraction": Need(_WARM, lambda r: _warmup(r) < 1, f"{_WARM}<1"),
    "train.replanned": Need(  # a constant rate does not depend on the end
        "schedule.name",
        lambda r: r.schedule.kind != "constant" or r.train.small_share > 0,
        'schedule.name="one-cycle"',
    ),
    "train.held_out_fraction": Need(
        "train.validation",
        lambda r: r.train.validation == "held-out",
        'train.validation="held-out"',
    ),
    "network.pixels": Need(  # the starting network has its own preprocessing
        "train.start_from", lambda r: not r.train.start_from, 'train.start_from=""'
    ),
    **{
        f"train.{key}": Need(
            "train.start_from", lambda r: bool(r.train.start_from), "train.start_from=RUN"
        )
        for key in ("start_rate", "start_head", "start_norm")
    },
}


FITTED_READS = frozenset(
    {
        *("train.epochs", "train.validation", "train.held_out_fraction", "train.class_weights"),
        *("train.start_from", "train.start_head", "train.start_weights"),
    }
)
"""Keys that a run of no epochs uses, apart from its network: its last layer is fitted, and no
training step follows."""
_OF_TRAINING = ("init", "start", "share", "momentum")
"""Settings of layers that only training uses: initial weights, dropout, and the running statistics
of batch norm."""


def fits_alone(recipe: "Recipe") -> bool:
    """Whether the last layer is fitted and nothing is trained."""
    return recipe.train.start_head == "linear" and recipe.train.epochs == 0


def idle(recipe: "Recipe", keys: Iterable[str]) -> list[str]:
    """Return the keys that have no effect because nothing is trained."""
    if not fits_alone(recipe):
        return []
    return [
        key
        for key in keys
        if key not in FITTED_READS
        and not (key.startswith("network") and key.rpartition(".")[2] not in _OF_TRAINING)
    ]


def why_unread(recipe: "Recipe", keys: Iterable[str]) -> str:
    """Say why the recipe does not use the first of the keys that it ignores; empty if it uses
    all."""
    for key in keys:
        need = NEEDS.get(key)
        if need is not None and not need.holds(recipe):
            return (
                f"{key} only has an effect with {need.wanted}, but {need.key} is "
                f"{_value(recipe, need.key)!r}. Set that too, or leave {key} out"
            )
    return ""


def unread_changes(recipe: "Recipe") -> list[str]:
    """Return keys that the recipe does not use although they differ from the default."""
    return [key for key in _changes(recipe, ("schedule", "train")) if why_unread(recipe, [key])]


def idle_changes(recipe: "Recipe") -> list[str]:
    """Return keys that differ from the default but have no effect because nothing is trained."""
    augment = ["augment"] if recipe.augment else []
    return idle(recipe, [*augment, *_changes(recipe, ("optimizer", "schedule", "train"))])


def _changes(recipe: "Recipe", sections: Iterable[str]) -> list[str]:
    return [
        f"{section}.{spec.name}"
        for section in sections
        for spec in fields(getattr(recipe, section))
        if spec.default is MISSING or getattr(getattr(recipe, section), spec.name) != spec.default
    ]


def _value(recipe: "Recipe", key: str) -> Any:
    section, _, name = key.partition(".")
    part = getattr(recipe, section)
    return part.kind if name == "name" else getattr(part, name)
