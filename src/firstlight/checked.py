"""Value classes that validate their fields: types, number ranges and allowed words."""

import difflib
import functools
import math
from abc import ABCMeta
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import MISSING, field, fields
from numbers import Integral, Real
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from firstlight.errors import DataError, UserError
from firstlight.plain import shown


def number(
    default: Any, *, least: float | None = None, most: float | None = None, above: bool = False
) -> Any:
    """A number, or each number of a list, in [least, most], or in (least, most] with ``above``."""
    return field(default=default, metadata={"least": least, "most": most, "above": above})


def choice(default: str, *names: str) -> Any:
    """A field whose value is one of the names."""
    return field(default=default, metadata={"names": names})


def typed(value: Any, hint: Any, *, label: str) -> Any:
    """Return the value as the field's type. An integer is accepted for a float; nothing else is
    converted."""
    if get_origin(hint) is tuple:
        items = get_args(hint)
        wanted = len(items) if items[-1] is not Ellipsis else None
        if get_origin(items[0]) is tuple:
            if not isinstance(value, list | tuple):
                raise UserError(
                    f"{label} must be a list of lists, such as [[1, 2]], not {shown(value)}"
                )
            return tuple(typed(v, items[0], label=label) for v in value)
        if not isinstance(value, list | tuple) or not value or wanted not in (None, len(value)):
            count = "" if wanted is None else f"{wanted} "
            raise UserError(
                f"{label} must be a list of {count}numbers, "
                f"such as [{', '.join(['1'] * (wanted or 2))}], not {shown(value)}"
            )
        return tuple(typed(v, items[0], label=label) for v in value)
    assert not isinstance(hint, UnionType), "recipe fields are plain types"
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if isinstance(value, list | tuple) and hint is not str:
        one = plain[hint].replace("a ", "one ", 1)
        raise UserError(f"{label} must be {one}, used for every direction, not {shown(value)}")
    if hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)  # also NumPy's
    if hint is float and isinstance(value, Real) and not isinstance(value, int):
        value = float(value)
    fits = isinstance(value, hint) and not (hint is not bool and isinstance(value, bool))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 1 << 53 else math.inf
    if not fits or (hint is float and not math.isfinite(value)):
        raise UserError(f"{label} must be {plain[hint]}, not {shown(value)}")
    return value


def _check(value: Any, rule: Mapping[str, Any], *, label: str) -> None:
    if "names" in rule and not (isinstance(value, str) and value in rule["names"]):
        raise UserError(f"{label} cannot be {shown(value)}; {nearest(str(value), rule['names'])}")
    if "least" not in rule:
        return
    for one in value if isinstance(value, tuple) else (value,):
        low, high, above = rule["least"], rule["most"], rule["above"]
        if low is not None and (one < low or (above and one == low)):
            word = "above" if above else "at least"
            raise UserError(f"{label} must be {word} {low:g}, not {shown(one)}")
        if high is not None and one > high:
            raise UserError(f"{label} must be at most {high:g}, not {shown(one)}")


def nearest(word: str, names: Sequence[str], *, what: str = "choose from", prefix: str = "") -> str:
    """List all names, each after ``prefix``, beginning with the one most similar to ``word``."""
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word[:100].lower(), lower, n=1)
    hint = f"did you mean {prefix}{lower[close[0]]}? " if close else ""
    return f"{hint}{what} {', '.join(f'{prefix}{name}' for name in names)}"


def class_names(names: Any, label: str) -> tuple[str, ...]:
    """Return the class names as a tuple of unique texts.

    ``label`` says whose names they are. Raises ``DataError``: a repeated name would merge two
    classes wherever answers are looked up by name.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{label}: class names must be a list of texts, not {shown(names)}")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(
            f"{label}: the class name {shown(twice)} is used for more than one class. Give each "
            "class its own name"
        )
    return tuple(names)


BETWEEN = ";"
"""Separator between the labels of an image."""
NO_LABEL = "(none)"
"""Shown for an image without any label."""


def joined_labels(labels: Iterable[str]) -> str:
    """The labels of one image as text."""
    return BETWEEN.join(labels) or NO_LABEL


class _Called(ABCMeta):
    """Checks the arguments of a checked class before Python would raise its own ``TypeError``."""

    def __call__(cls, *values: Any, **choices: Any) -> Any:
        """Return the value. Raises ``UserError`` for arguments that are unknown, repeated, missing,
        or positional where a name is required."""
        if not getattr(cls, "__abstractmethods__", None):
            cls._check_call(values, list(choices))
        return super().__call__(*values, **choices)

    def _check_call(cls, values: Sequence[Any], named: Sequence[str]) -> None:
        specs = [spec for spec in fields(cls) if spec.init]  # type: ignore[arg-type]
        names = [spec.name for spec in specs]
        example = getattr(cls, "example", "")
        such_as = f", such as {example}" if example else ""
        if strange := [name for name in named if name not in names]:
            hint = nearest(strange[0], names, what="it has") if names else "it has no options"
            raise UserError(f"{cls.__name__} has no option {strange[0]!r}; {hint}{such_as}")
        plain = [spec.name for spec in specs if not spec.kw_only]
        if len(values) > len(plain):
            other = next((name for name in names if name not in plain), "name")
            raise UserError(
                f"{cls.__name__} takes {' and '.join(plain) or 'nothing'} without a name, got "
                f"{len(values)} values. Name the others, such as "
                f"{example or f'{other}=..., or lists in [ ]'}"
            )
        given = plain[: len(values)]
        if twice := [name for name in given if name in named]:
            raise UserError(f"{cls.__name__} got {twice[0]} twice; give it once")
        needed = [s.name for s in specs if s.default is MISSING and s.default_factory is MISSING]
        if missing := [name for name in needed if name not in (*given, *named)]:
            such_as = such_as or f", such as {cls.__name__}({missing[0]}=...)"
            raise UserError(f"{cls.__name__} needs {' and '.join(missing)}{such_as}")


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of a class's fields, which take Python longer to find than the check itself."""
    return get_type_hints(cls)


class Checked(metaclass=_Called):
    """Base class that refuses invalid values when it is created."""

    example: ClassVar[str] = ""
    """Correct code to show in an error about a call with missing arguments."""

    def __post_init__(self) -> None:
        self._check(set())

    def _check(self, apart: Set[str]) -> None:
        """Check every field's type and rule, except those that a class checks itself."""
        hints = _hints(type(self))
        for spec in fields(self):  # type: ignore[arg-type]
            if spec.name in apart:
                continue
            value = getattr(self, spec.name)
            if "names" not in spec.metadata:
                value = typed(value, hints[spec.name], label=spec.name)
            _check(value, spec.metadata, label=spec.name)
            object.__setattr__(self, spec.name, value)
