"""Parts of a recipe that come in kinds: layers, augmentations, optimizers, schedules.

A part is a frozen dataclass of choices that needs no PyTorch. In a recipe it is a table, led by its
word. All parts of a kind are found through one table, from word to class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar, TypeVar

from firstlight.checked import Checked, nearest
from firstlight.errors import UserError

_Part = TypeVar("_Part", bound="Part")


@dataclass(frozen=True, repr=False)
class Part(Checked):
    """One part. Its ``repr`` can be typed back in."""

    kind: ClassVar[str]
    """Its word in a recipe, such as ``max-pool``."""
    main: ClassVar[str] = ""
    """The field whose value stands behind the word; empty where ``true`` does."""

    def to_table(self) -> dict[str, Any]:
        """The part as ``{word = main choice}``, with the other choices that are not the default."""
        value = plain_value(getattr(self, self.main)) if self.main else True
        return {self.kind: value} | {name: plain_value(value) for name, value in self._changed()}

    def to_named_table(self) -> dict[str, Any]:
        """The part as ``{name = word}`` with every choice."""
        choices = {spec.name: plain_value(getattr(self, spec.name)) for spec in fields(self)}
        return {"name": self.kind, **choices}

    def __repr__(self) -> str:
        words = [repr(getattr(self, self.main))] if self.main else []
        words += [f"{name}={value!r}" for name, value in self._changed()]
        return f"{type(self).__name__}({', '.join(words)})"

    def _changed(self) -> Iterator[tuple[str, Any]]:
        """Names and values of the choices beside the main one that are not the default."""
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name != self.main and not _is_default(spec, value):
                yield spec.name, value


def _is_default(spec: Field[Any], value: Any) -> bool:
    return spec.default is not MISSING and bool(value == spec.default)


def plain_value(value: Any) -> Any:
    """Values as TOML and JSON have them."""
    if isinstance(value, Part):
        return value.to_table()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_value(one) for one in value]
    return value


def part_of(table: Any, kinds: Mapping[str, type[_Part]], *, label: str) -> _Part:
    """The part of ``{word = main choice, other = choice}``. Raises ``UserError`` for what is none.

    ``label`` opens every message, such as ``layer 3``.
    """
    if not isinstance(table, Mapping):
        some = next(iter(kinds))
        raise UserError(f"{label} must be a table, such as {{ {some} = … }}, not {table!r}")
    words = [key for key in table if key in kinds]
    if len(words) > 1 and "activation" in words:  # a layer, and what follows it
        words.remove("activation")
    if len(words) != 1:
        got = f"both {' and '.join(words)}" if words else ", ".join(map(str, table)) or "nothing"
        hint = nearest(str(next(iter(table), "")), tuple(kinds), what="the words are")
        raise UserError(f"{label} must have one of the words for what it is, and has {got}; {hint}")
    word = words[0]
    kind = kinds[word]
    choices = {key: _decoded(value, kinds) for key, value in table.items() if key != word}
    value = table[word]
    if kind.main:
        choices[kind.main] = _decoded(value, kinds)
    elif value is not True:
        raise UserError(f"{label}: {word} takes no value of its own; write {word} = true")
    return _made(kind, choices, label=f"{label} ({word})")


def part_named(
    table: Mapping[str, Any],
    kinds: Mapping[str, type[_Part]],
    *,
    label: str,
    meant: Callable[[str], str],
) -> _Part:
    """The part of ``{name = word, choice = value}``. Raises ``UserError`` for what is none.

    ``meant`` tells, of a choice that it has not, where else it may be; empty for nowhere.
    """
    if not isinstance(table, Mapping):
        raise UserError(f"{label} must be a table, [{label}], not {table!r}")
    choices = dict(table)
    word = choices.pop("name", None)
    if word not in kinds:
        got = f"name = {word!r}" if "name" in table else "no name"
        hint = nearest(str(word), tuple(kinds))
        raise UserError(f"{label} must have the name of one, and has {got}; {hint}")
    strange = next((key for key in choices if meant(key) and not _has(kinds[word], key)), None)
    if strange is not None:
        raise UserError(f"{label}: {word} has no choice {strange!r}; {meant(strange)}")
    return _made(kinds[word], choices, label=label, prefix=f"{label}.")


def _has(kind: type[Part], name: str) -> bool:
    return name in {spec.name for spec in fields(kind)}


def _made(kind: type[_Part], choices: dict[str, Any], *, label: str, prefix: str = "") -> _Part:
    known = [spec.name for spec in fields(kind)]
    for key in choices:
        if key not in known:
            hint = nearest(key, known, what="it knows") if known else "it has no choices"
            raise UserError(f"{label}: {kind.kind} has no choice {key!r}; {hint}")
    missing = [s.name for s in fields(kind) if s.default is MISSING and s.name not in choices]
    if missing:
        raise UserError(f"{label}: {missing[0]} is missing")
    try:
        return kind(**choices)
    except UserError as error:
        raise UserError(f"{prefix or f'{label}: '}{error}") from None


def _decoded(value: Any, kinds: Mapping[str, type[_Part]]) -> Any:
    """Lists of tables as lists of parts."""
    if not isinstance(value, list):
        return value
    if value and all(isinstance(one, Mapping) for one in value):
        return parts_of(value, kinds, label="layer")
    return [_decoded(one, kinds) for one in value]


def parts_of(tables: Any, kinds: Mapping[str, type[_Part]], *, label: str) -> tuple[_Part, ...]:
    """The parts of a list of tables; messages number them from 1 on."""
    if not isinstance(tables, list | tuple):
        raise UserError(f"{label}s must be a list of tables, not {tables!r}")
    return tuple(
        one if isinstance(one, Part) else part_of(one, kinds, label=f"{label} {number}")  # type: ignore[misc]
        for number, one in enumerate(tables, start=1)
    )
