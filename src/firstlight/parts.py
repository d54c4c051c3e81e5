"""Parts of a recipe that have several kinds: layers, augmentations, optimizers, schedules.

A part is a frozen dataclass of settings that needs no PyTorch. In a recipe it is a table that
begins with its name. One table per kind maps each name to its class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar, TypeVar

from firstlight.checked import Checked, nearest
from firstlight.errors import UserError
from firstlight.plain import shown

_Part = TypeVar("_Part", bound="Part")


@dataclass(frozen=True, repr=False)
class Part(Checked):
    """A part of a recipe. Its ``repr`` is valid Python."""

    kind: ClassVar[str]
    """Its name in a recipe, such as ``max-pool``."""
    main: ClassVar[str] = ""
    """The field whose value follows the name; if empty, ``true`` follows."""

    def to_table(self) -> dict[str, Any]:
        """Return ``{name = main setting}`` with the other settings that differ from the default."""
        value = plain_value(getattr(self, self.main)) if self.main else True
        return {self.kind: value} | {name: plain_value(value) for name, value in self._changed()}

    def to_named_table(self) -> dict[str, Any]:
        """Return ``{name = kind}`` with every setting."""
        choices = {spec.name: plain_value(getattr(self, spec.name)) for spec in fields(self)}
        return {"name": self.kind, **choices}

    def __repr__(self) -> str:
        words = [repr(getattr(self, self.main))] if self.main else []
        words += [f"{name}={value!r}" for name, value in self._changed()]
        return f"{type(self).__name__}({', '.join(words)})"

    def _changed(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values of the settings, except the main one, that differ from the
        default."""
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name != self.main and not _is_default(spec, value):
                yield spec.name, value


def _is_default(spec: Field[Any], value: Any) -> bool:
    return spec.default is not MISSING and bool(value == spec.default)


def plain_value(value: Any) -> Any:
    """Convert values to those of TOML and JSON."""
    if isinstance(value, Part):
        return value.to_table()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_value(one) for one in value]
    return value


def part_of(table: Any, kinds: Mapping[str, type[_Part]], *, label: str) -> _Part:
    """Read a part from ``{name = main setting, other = setting}``. Raises ``UserError`` if it is
    not valid.

    ``label`` begins every message, such as ``layer 3``.
    """
    if not isinstance(table, Mapping):
        some = next(iter(kinds))
        raise UserError(f"{label} must be a table, such as {{ {some} = … }}, not {table!r}")
    words = [key for key in table if isinstance(key, str) and key in kinds]
    if len(words) > 1 and "activation" in words:  # a layer with its activation
        words.remove("activation")
    if len(words) > 1:
        raise UserError(f"{label} has both {' and '.join(words)}; write them as two")
    if not words:
        raise UserError(f"{label} {_unknown(list(table), kinds)}")
    word = words[0]
    kind = kinds[word]
    inner = f"{label}." if label[-1].isdigit() else f"{label} "
    choices = {k: _decoded(value, kinds, inner) for k, value in table.items() if k != word}
    value = table[word]
    if kind.main in choices:
        raise UserError(
            f"{label} ({word}): {kind.main} is the value of {word}, so it is given twice; leave "
            f"{kind.main} out"
        )
    if kind.main:
        choices[kind.main] = _decoded(value, kinds, inner)
    elif value is not True:
        raise UserError(f"{label}: {word} takes no value; write {word} = true")
    return _made(kind, choices, label=f"{label} ({word})")


def part_named(
    table: Mapping[str, Any],
    kinds: Mapping[str, type[_Part]],
    *,
    label: str,
    meant: Callable[[str], str],
) -> _Part:
    """Read a part from ``{name = kind, key = setting}``. Raises ``UserError`` if it is not valid.

    ``meant`` says where else an unknown key exists; empty if nowhere.
    """
    if not isinstance(table, Mapping):
        raise UserError(f"{label} must be a table, [{label}], not {table!r}")
    choices = dict(table)
    word = choices.pop("name", None)
    if word not in kinds:
        got = f"name = {word!r}" if "name" in table else "no name"
        hint = nearest(str(word), tuple(kinds))
        raise UserError(f"{label}: wanted a known name, got {got}; {hint}")
    strange = next((key for key in choices if meant(key) and not _has(kinds[word], key)), None)
    if strange is not None:
        raise UserError(f"{label}: {word} has no option {strange!r}; {meant(strange)}")
    return _made(kinds[word], choices, label=label, prefix=f"{label}.")


def _has(kind: type[Part], name: str) -> bool:
    return name in {spec.name for spec in fields(kind)}


def _made(kind: type[_Part], choices: dict[str, Any], *, label: str, prefix: str = "") -> _Part:
    known = [spec.name for spec in fields(kind)]
    for key in choices:
        if key not in known:
            hint = nearest(key, known, what="it has") if known else "it has no options"
            raise UserError(f"{label}: {kind.kind} has no option {key!r}; {hint}")
    missing = [s.name for s in fields(kind) if s.default is MISSING and s.name not in choices]
    if missing:
        raise UserError(f"{label}: {missing[0]} is missing")
    try:
        return kind(**choices)
    except UserError as error:
        raise UserError(f"{prefix or f'{label}: '}{error}") from None


def _unknown(words: list[Any], kinds: Mapping[str, type[Part]]) -> str:
    """Say what is wrong with a table that has none of the known names."""
    if not words:
        return f"is empty; the words are {', '.join(kinds)}"
    word = str(words[0])
    for kind in kinds.values():
        named = next((spec for spec in fields(kind) if spec.name == kind.main), None)
        if named is not None and word in named.metadata.get("names", ()):
            return f'has {word}, which is unknown; write {kind.kind} = "{word}"'
    plain = word.lower().replace("_", "-").removesuffix("2d")
    hint = nearest(plain, tuple(kinds), what="the words are")
    return f"has {', '.join(map(str, words))}, but no word that says what it is; {hint}"


def _decoded(value: Any, kinds: Mapping[str, type[_Part]], label: str) -> Any:
    """Convert lists of tables, at any depth, to lists of parts; ``label`` precedes their number."""
    if not isinstance(value, list) or not any(isinstance(v, Mapping | list) for v in value):
        return value
    return [
        _decoded(one, kinds, f"{label}{number}.")
        if isinstance(one, list)
        else part_of(one, kinds, label=f"{label}{number}")
        for number, one in enumerate(value, start=1)
    ]


def parts_of(tables: Any, kinds: Mapping[str, type[_Part]], *, label: str) -> tuple[_Part, ...]:
    """Return the parts of a list of tables; messages number them from 1."""
    if not isinstance(tables, list | tuple):
        raise UserError(
            f"{label}: wanted a list of tables, such as [{{ {next(iter(kinds))} = … }}], got "
            f"{shown(tables)}"
        )
    return tuple(
        one if isinstance(one, Part) else part_of(one, kinds, label=f"{label} {number}")  # type: ignore[misc]
        for number, one in enumerate(tables, start=1)
    )


def require_known(parts: Iterable[Part], table: Mapping[str, type[Part]], label: str) -> None:
    """Raise ``UserError`` for a part that is not in its table, because its recipe could not be
    read."""
    for part in parts:
        if table.get(part.kind) is not type(part):
            name = type(part).__name__
            raise UserError(
                f"{name} is not registered, so a run that uses it could not be opened again. "
                f'First write firstlight.{label}["{part.kind}"] = {name}'
            )


def values_of(
    value: Any, kind: type[_Part], *, label: str, word: str, example: str, table: str = ""
) -> tuple[_Part, ...]:
    """Check a Python list of parts of one kind. Raises ``UserError`` for anything else.

    ``word`` is the name of such a part, ``example`` shows one in Python, and ``table`` shows one in
    a recipe if recipes have such lists too.
    """
    such_as = f"such as [{example}]" + (f", in a recipe [{table}]" if table else "")
    if isinstance(value, kind):
        raise UserError(f"{label} must be a list of {word}s; write [{shown(value)}]")
    if not isinstance(value, list | tuple):
        what = _kind_of(value, word)
        raise UserError(f"{label} must be a list of {word}s, {such_as}, not {what}")
    for number, one in enumerate(value, start=1):
        if not isinstance(one, kind):
            raise UserError(
                f"{label} must be a list of {word}s, {such_as}; number {number} is "
                f"{_kind_of(one, word)}"
            )
    return tuple(value)


def value_of(
    value: Any, kinds: Mapping[str, type[_Part]], kind: type[_Part], *, label: str, example: str
) -> _Part:
    """Check a Python value as a part of a kind. Raises ``UserError`` for anything else."""
    if isinstance(value, kind):
        return value
    what = _kind_of(value, label)
    if isinstance(value, str) and (named := kinds.get(value.lower())) is not None:
        what = f"{value!r}: write {label}=fl.{named.__name__}()"
    raise UserError(f"{label} must be a value such as fl.{example}, not {what}")


def _kind_of(value: Any, word: str) -> str:
    """Say what came in place of a part, and what to do about it."""
    if isinstance(value, type):
        mine = issubclass(value, Part)
        return f"the class {value.__name__}" + (f"; write {value.__name__}(...)" if mine else "")
    if isinstance(value, Part):
        return f"{shown(value)}, which is of another kind"
    module = type(value).__module__.partition(".")[0]
    if module not in ("builtins", "firstlight"):
        return f"{type(value).__name__} of {module}, which is not from firstlight"
    if isinstance(value, list | tuple):
        return f"a list, {shown(value)}; write its items directly in the outer list"
    return shown(value)
