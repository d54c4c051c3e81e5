"""Differences of recipes: setting by setting, and for lists of layers and augmentations an aligned
diff, so that one extra layer does not make all later ones look changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from typing import Any

from firstlight.parts import Part, plain_value
from firstlight.recipe import Recipe
from firstlight.toml_text import toml_value

NOTHING = "–"
"""Shown where a recipe lacks a setting, layer or augmentation."""
MOST_UNLIKE = 40
"""Lines of layers. If more than this differ, and more than agree, the networks are unrelated, and
one line says so."""
_Row = list[Part | None]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A setting, layer or augmentation that is not the same in all recipes."""

    choice: str
    """Its key, such as ``train.epochs`` or ``network.3``; ``network.3 / 4`` if its position
    differs."""
    values: tuple[str, ...]
    """Its value in each recipe, as TOML; ``NOTHING`` if there is none."""
    short: tuple[str, ...]
    """Short values for a table: a block shows its own settings and its number of layers."""


def differences(recipes: Sequence[Recipe]) -> list[Difference]:
    """Return the differences of two or more recipes, in the order of a recipe file. Names and
    descriptions do not count."""
    tables = [recipe.to_table() for recipe in recipes]
    found: list[Difference] = []
    for section in ("network", "augment", "optimizer", "schedule", "train"):
        if section == "augment":
            found += _of_lists("augment", [recipe.augment for recipe in recipes])
            continue
        found += _of_tables(section, [table[section] for table in tables])
        if section == "network":
            found += _of_lists("network", [recipe.network.layers for recipe in recipes])
    return found


def _of_tables(label: str, tables: Sequence[Mapping[str, Any]]) -> list[Difference]:
    keys = dict.fromkeys(key for table in tables for key in table if key != "layers")
    rows = {
        key: tuple(toml_value(table[key]) if key in table else NOTHING for table in tables)
        for key in keys
    }
    return [
        Difference(choice=f"{label}.{key}", values=values, short=values)
        for key, values in rows.items()
        if len(set(values)) > 1
    ]


def _of_lists(label: str, lists: Sequence[Sequence[Part]]) -> list[Difference]:
    """Return the differences of lists of parts, numbered from 1."""
    found: list[Difference] = []
    counts = [0] * len(lists)
    rows = aligned(lists)
    unlike = sum(len(set(row)) > 1 for row in rows)
    if unlike > MOST_UNLIKE and 2 * unlike > len(rows):
        return [
            Difference(
                choice=f"{label}.layers",
                values=tuple(f"[{', '.join(map(_line, parts))}]" for parts in lists),
                short=tuple(f"a list of {len(parts)} layers" for parts in lists),
            )
        ]
    for row in rows:
        counts = [count + (part is not None) for count, part in zip(counts, row, strict=True)]
        if len(set(row)) == 1:
            continue
        there = [count for count, part in zip(counts, row, strict=True) if part is not None]
        key = f"{label}.{' / '.join(map(str, dict.fromkeys(there)))}"
        found += _inside(key, row) or [
            Difference(
                choice=key,
                values=tuple(NOTHING if one is None else _line(one) for one in row),
                short=tuple(NOTHING if one is None else _short(one) for one in row),
            )
        ]
    return found


def _inside(key: str, row: _Row) -> list[Difference]:
    """Return the differences inside parts of one kind that contain lists; empty if they contain
    none."""
    parts = [part for part in row if part is not None]
    if len(parts) < len(row) or len({type(part) for part in parts}) > 1:
        return []
    held = {spec.name: [_lists(getattr(p, spec.name)) for p in parts] for spec in fields(parts[0])}
    held = {name: lists for name, lists in held.items() if any(lists)}
    if not held or any(len({len(one) for one in lists}) > 1 for lists in held.values()):
        return []
    plain = [
        {spec.name: plain_value(getattr(part, spec.name)) for spec in fields(part)}
        for part in parts
    ]
    found = _of_tables(key, [{n: v for n, v in p.items() if n not in held} for p in plain])
    for lists in held.values():
        several = len(lists[0]) > 1
        for number, ones in enumerate(zip(*lists, strict=True), start=1):
            found += _of_lists(f"{key}.{number}" if several else key, ones)
    return found


def _lists(value: Any) -> list[tuple[Part, ...]]:
    """Return the lists of parts in a setting: one, several or none."""
    if not isinstance(value, tuple):
        return []
    if value and all(isinstance(one, Part) for one in value):
        return [value]
    if value and all(isinstance(one, tuple) for one in value):
        held = [one for one in value if all(isinstance(part, Part) for part in one)]
        return held if len(held) == len(value) else []
    return []


def aligned(lists: Sequence[Sequence[Part]]) -> list[_Row]:
    """Align the lists, one row per position; ``None`` where a list has no part there.

    Equal parts are aligned first, then parts of the same kind between them.
    """
    rows: list[_Row] = [[part] for part in lists[0]]
    for width, more in enumerate(lists[1:], start=1):
        last = [next(part for part in reversed(row) if part is not None) for row in rows]
        rows = [
            [
                *(rows[left] if left is not None else [None] * width),
                None if right is None else more[right],
            ]
            for left, right in _pairs(last, more)
        ]
    return rows


_Pair = tuple[int | None, int | None]


def _pairs(left: Sequence[Part], right: Sequence[Part]) -> list[_Pair]:
    """Return pairs of indices of aligned parts in two lists."""
    pairs: list[_Pair] = []
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs += zip(range(a, b), range(c, d), strict=True)
            continue
        kinds = ([part.kind for part in left[a:b]], [part.kind for part in right[c:d]])
        for same, e, f, g, h in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
            if same == "equal":
                pairs += zip(range(a + e, a + f), range(c + g, c + h), strict=True)
            else:
                pairs += [(at, None) for at in range(a + e, a + f)]
                pairs += [(None, at) for at in range(c + g, c + h)]
    return pairs


def _line(part: Part) -> str:
    """Format a part as one line of TOML."""
    return " ".join(toml_value(plain_value(part)).split())


def _short(part: Part) -> str:
    """Format a part as one line of TOML, with the number of layers in place of lists."""
    texts = {key: toml_value(value) for key, value in part.to_table().items()}
    for spec in fields(part):
        count = sum(map(_count, _held(part, spec.name)))
        if count:
            key = part.kind if spec.name == part.main else spec.name
            texts[key] = f"[{count} layer{'s' * (count > 1)}]"
    return f"{{ {', '.join(f'{key} = {text}' for key, text in texts.items())} }}"


def _count(part: Part) -> int:
    """Count the layers in a part, at any depth; 1 if it contains none."""
    return sum(_count(one) for spec in fields(part) for one in _held(part, spec.name)) or 1


def _held(part: Part, name: str) -> list[Part]:
    """Return the parts in the lists of a setting; empty for any other value."""
    return [one for held in _lists(getattr(part, name)) for one in held]
