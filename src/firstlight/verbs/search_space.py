"""The settings of a recipe that a search may change: by default, or from a TOML file.

```toml
"optimizer.learning_rate" = { low = 1e-4, high = 1e-1, log = true }
"train.batch_size" = [32, 64, 128]
```
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from firstlight.checked import nearest
from firstlight.errors import UserError
from firstlight.plain import read_toml, shown
from firstlight.recipe import Recipe, Setting, setting_key
from firstlight.toml_text import toml_value

EXAMPLE = "{ low = 1e-4, high = 1e-1, log = true } or [32, 64, 128]"
RATE_BELOW, RATE_ABOVE = 10.0, 5.0
"""Factors below and above the recipe's learning rate in the default space."""
DECAYS = (0.0, 1e-5, 1e-4, 1e-3)
"""Weight decays to try if the recipe has none."""
_OPTIONS = ("low", "high", "log")
_DECIDES = {
    "train.seed": "all trials use the same seed, so that only their settings differ",
    "train.validation": "all trials are judged on the same held-out images",
    "train.held_out_fraction": "all trials are judged on the same held-out images",
    "train.replanned": "only a budget sets it",
    "train.start_from": "all trials start the same way",
    "train.start_weights": "all trials start the same way",
}


@dataclass(frozen=True, kw_only=True)
class Range:
    """A numeric setting between two limits."""

    key: str
    low: float
    high: float
    log: bool = False
    """Whether to sample on a log scale."""
    whole: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """The values at both ends, as TOML."""
        return toml_value(self.low), toml_value(self.high)

    @property
    def words(self) -> str:
        """Description for people."""
        return f"{self.low:g} to {self.high:g}{' (log scale)' if self.log else ''}"

    def holds(self, value: Any) -> bool:
        """Whether a recipe's value is in the range."""
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return known and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Options:
    """A setting with several possible values."""

    key: str
    values: tuple[str, ...]
    """The values as TOML."""

    @property
    def ends(self) -> tuple[str, ...]:
        """All values."""
        return self.values

    @property
    def words(self) -> str:
        """Description for people."""
        return ", ".join(self.values)

    def holds(self, value: Any) -> bool:
        """Whether a recipe's value is one of them."""
        return toml_value(value) in self.values


Space = tuple[Range | Options, ...]


def read_space(path: Path, recipe: Recipe, settings: Sequence[str | Setting] = ()) -> Space:
    """Read the space from a TOML file, and try each value on the recipe.

    ``settings`` are fixed by the caller. Raises ``UserError`` if it is not valid.
    """
    try:
        table = read_toml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a TOML file: it is not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    return space_of(table, recipe, settings, source=str(path))


def space_of(
    table: Mapping[str, Any],
    recipe: Recipe,
    settings: Sequence[str | Setting] = (),
    *,
    source: str = "search",
) -> Space:
    """Read the space from a table, like ``read_space``; ``source`` begins every message."""
    leaves = list(_leaves(table, ""))
    if not leaves:
        raise UserError(
            f'{source} has no settings; write, for example, "train.batch_size" = [32, 64]'
        )
    keys = [key for key, _ in leaves]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UserError(f"{source}: {twice} is given twice; leave one out")
    fixed = {setting_key(one) for one in settings}
    found = list[Range | Options]()
    for key, value in leaves:
        if key in _DECIDES:
            raise UserError(f"{source}: {key} cannot be searched: {_DECIDES[key]}; leave it out")
        if key in fixed:
            raise UserError(f"{source}: {key} is also set to one value; leave one out")
        try:
            found.append(_dimension(key, value, recipe))
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
    space = tuple(found)
    _try_out(space, recipe, source)
    return space


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield keys and values, whether written as "a.b" = …, a.b = … or below [a]."""
    for name, value in table.items():
        key = f"{prefix}{name}".strip()
        inside = value.values() if isinstance(value, Mapping) else ()
        deeper = any(isinstance(one, Mapping | list) for one in inside)
        section = isinstance(value, Mapping) and "." not in key
        if section or (deeper and not any(option in value for option in _OPTIONS)):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _dimension(key: str, value: Any, recipe: Recipe) -> Range | Options:
    if isinstance(value, list):
        texts = tuple(toml_value(_as_read(key, one, recipe)) for one in value)
        if len(texts) < 2:
            raise UserError(
                f"{key} has {len(texts) or 'no'} value{'s' if not texts else ''}, so there is "
                "nothing to choose. List two or more, or fix one with --set"
            )
        if twice := next((text for text in texts if texts.count(text) > 1), None):
            raise UserError(f"{key} lists {twice} twice; leave one out")
        return Options(key=key, values=texts)
    if not isinstance(value, Mapping):
        raise UserError(f"{key}: wanted a range or a list, such as {EXAMPLE}, got {shown(value)}")
    for name in value:
        if name not in _OPTIONS:
            hint = nearest(str(name), _OPTIONS, what="a range has")
            raise UserError(f"{key} has {name!r}, which is unknown; {hint}")
    low, high = (_end(key, name, value) for name in ("low", "high"))
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{key}: log: wanted true or false, got {shown(log)}")
    if low >= high:
        raise UserError(f"{key}: low must be below high, got {low:g} and {high:g}")
    if log and low <= 0:
        raise UserError(
            f"{key}: on a log scale low must be above 0, got {low:g}. Raise it, or leave out log"
        )
    ends = [_as_read(key, one, recipe) for one in (low, high)]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in ends):
        raise UserError(f"{key} is not a number: give a list of values, such as [true, false]")
    whole = all(isinstance(one, int) for one in ends)
    return Range(key=key, low=ends[0], high=ends[1], log=log, whole=whole)


def _end(key: str, name: str, value: Mapping[str, Any]) -> float:
    if name not in value:
        raise UserError(f"{key} lacks {name}; write, for example, {EXAMPLE}")
    end = value[name]
    if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
        raise UserError(f"{key}: {name}: wanted a number, got {shown(end)}")
    return end


def _as_read(key: str, value: Any, recipe: Recipe) -> Any:
    """Return the value as the recipe stores it: an integer may become a float.

    A value that the recipe refuses alone is unchanged; ``_try_out`` says what is wrong.
    """
    try:
        return value_in(recipe.with_settings([f"{key}={toml_value(value)}"]), key)
    except (UserError, LookupError, TypeError):
        return value


def value_in(recipe: Recipe, key: str) -> Any:
    """Return a recipe's value by key, as plain values. Raises ``LookupError`` if the key does not
    exist."""
    section, *rest = key.split(".")
    at = recipe.to_table()[section]
    if section == "network" and rest[0].isdecimal():
        at = at["layers"]
    for word in rest:
        if isinstance(at, list):
            at = at[int(word) - 1]
        elif word in at:
            at = at[word]
        else:
            # The main setting of a part follows the part's name; the others are at their default.
            return _choice_in(recipe, section, rest)
    return at


def _choice_in(recipe: Recipe, section: str, rest: Sequence[str]) -> Any:
    parts: Any = recipe.augment if section == "augment" else recipe.network.layers
    part = parts[int(rest[0]) - 1]
    if len(rest) != 2 or not hasattr(part, rest[1]):
        raise LookupError(".".join(rest))
    return getattr(part, rest[1])


def _try_out(space: Space, recipe: Recipe, source: str) -> None:
    """Raise ``UserError`` for a value that the recipe refuses, alone or in combination."""
    first = {one.key: one.ends[0] for one in space}
    for one in space:
        for text in one.ends:
            changed = {**first, one.key: text}
            recipe.with_settings([Setting(f"{k}={v}", source) for k, v in changed.items()])


def default_space(recipe: Recipe, images: int, settings: Sequence[str | Setting] = ()) -> Space:
    """Return the default space of any recipe: learning rate, weight decay, batch size, label
    smoothing, and the strength of its augmentations.

    ``images`` is the number trained on; keys in ``settings`` are fixed.
    """
    fixed = {setting_key(one) for one in settings}
    rate, batch = recipe.optimizer.learning_rate, recipe.train.batch_size
    most = _rule(recipe.optimizer, "learning_rate", "most", math.inf)
    found: list[Range | Options] = [
        Range(
            key="optimizer.learning_rate",
            low=_rounded(rate / RATE_BELOW),
            high=min(most, _rounded(rate * RATE_ABOVE)),
            log=True,
        )
    ]
    decay = getattr(recipe.optimizer, "weight_decay", None)
    if decay == 0:
        values = tuple(map(toml_value, DECAYS))
        found.append(Options(key="optimizer.weight_decay", values=values))
    elif decay is not None:
        high = min(1.0, _rounded(decay * 10))
        found.append(
            Range(key="optimizer.weight_decay", low=_rounded(decay / 10), high=high, log=True)
        )
    least = max(2, recipe.train.shards)
    sizes = sorted({max(least, batch // 2), batch, min(2 * batch, max(images, batch))})
    if len(sizes) > 1:
        found.append(Options(key="train.batch_size", values=tuple(map(str, sizes))))
    smoothing = max(0.3, recipe.train.label_smoothing)
    found.append(Range(key="train.label_smoothing", low=0.0, high=smoothing))
    found += [one for n, part in enumerate(recipe.augment, 1) if (one := _strength(n, part))]
    return tuple(one for one in found if one.key not in fixed)


def _strength(number: int, part: Any) -> Range | None:
    """Return the range of an augmentation's strength: from a quarter of the recipe's to twice as
    much."""
    value = getattr(part, part.main, None) if part.main else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    least = _rule(part, part.main, "least", 0.0)
    most = _rule(part, part.main, "most", math.inf)
    whole = isinstance(value, int)
    low, high = max(least, value / 4), min(most, 2 * value)
    if whole:
        low, high = max(1, math.floor(low)), math.floor(high)
    key = f"augment.{number}.{part.main}"
    return Range(key=key, low=low, high=high, whole=whole) if low < high else None


def _rule(part: Any, name: str, end: str, otherwise: float) -> float:
    """Return the minimum or maximum of a part's setting."""
    (spec,) = (spec for spec in fields(part) if spec.name == name)
    value = spec.metadata.get(end)
    return otherwise if value is None else float(value)


def _rounded(value: float) -> float:
    """Round to three digits, as a person would write it."""
    return float(f"{value:.3g}")


def as_table(space: Space) -> dict[str, Any]:
    """Return the space as plain values, as in a file, for records and comparison."""
    return {
        one.key: list(one.values)
        if isinstance(one, Options)
        else {"low": one.low, "high": one.high, "log": one.log}
        for one in space
    }


def plain_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chosen settings by key, as plain values; the TOML of ``Options`` is parsed."""
    return {
        key: read_toml(f"value = {value}")["value"] if isinstance(value, str) else value
        for key, value in params.items()
    }


def own_values(space: Space, recipe: Recipe) -> dict[str, Any] | None:
    """Return the recipe's own values of the space's settings; None if one lies outside."""
    found = dict[str, Any]()
    for one in space:
        try:
            value = value_in(recipe, one.key)
        except (LookupError, ValueError):
            return None
        if not one.holds(value):
            return None
        found[one.key] = toml_value(value) if isinstance(one, Options) else value
    return found
