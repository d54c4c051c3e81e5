"""Readable TOML: a list of tables has one line per table."""

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w


def toml_text(table: Mapping[str, Any]) -> str:
    """Return the text of a table of plain values, tables, lists, and lists of tables."""
    sections = {k: v for k, v in table.items() if isinstance(v, Mapping) or _is_tables(v)}
    lines = [f"{key} = {toml_value(value)}" for key, value in table.items() if key not in sections]
    for name, section in sections.items():
        if isinstance(section, Mapping):
            lines += ["", f"[{name}]", *_lines(section)]
        else:
            for one in section:
                lines += ["", f"[[{name}]]", *_lines(one)]
    return "\n".join(lines) + "\n"


def _lines(section: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {toml_value(value)}" for key, value in section.items()]


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _holds_tables(value: Any) -> bool:
    """Whether it is a non-empty table, or a list of such tables at any depth."""
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list) and any(map(_holds_tables, value))


def toml_value(value: Any, indent: str = "") -> str:
    """Format a plain value as TOML, with lists of tables over several lines."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {toml_value(v, indent)}' for key, v in value.items())} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(map(_holds_tables, value)):
            deeper = f"{indent}  "
            items = "".join(f"{deeper}{toml_value(one, deeper)},\n" for one in value)
            return f"[\n{items}{indent}]"
        return f"[{', '.join(toml_value(one, indent) for one in value)}]"
    return tomli_w.dumps({"x": value}).partition("= ")[2].strip()
