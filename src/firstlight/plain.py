"""Plain values as text: JSON and TOML, read within limits, and JSON written without NaN.

The text may come from anywhere. A short text can demand much work: lists nested a hundred thousand
deep, numbers with ten thousand digits, keys with twenty thousand parts.
"""

import json
import math
import re
import tomllib
from typing import Any

MOST_DEPTH = 64
"""Deepest nesting of lists and tables."""
MOST_DIGITS = 20
"""Most digits of an integer: more than 64 bits hold."""
MOST_TOML = 1 << 20
"""Most characters of a TOML text."""
MOST_PARTS = 8
"""Most parts of a dotted key: TOML's parser takes quadratic time and memory in their number."""
# No backtracking, so the search takes linear time.
_PART = r"""(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_PARTS}}}")


def read_json(text: str | bytes) -> Any:
    """Parse a JSON text. Raises ``ValueError`` if it is invalid or exceeds the limits."""
    try:
        values = json.loads(
            text, parse_int=_whole, parse_float=_decimal, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    _check_depth(values)
    return values


def write_json(values: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return JSON text. NaN and infinity become null, because JSON cannot express them."""
    given: dict[str, Any] = {"indent": indent, "ensure_ascii": ascii_only, "default": str}
    try:
        return json.dumps(values, allow_nan=False, **given)
    except ValueError:
        return json.dumps(_finite(values), **given)


def read_toml(text: str) -> dict[str, Any]:
    """Parse a TOML text. Raises ``ValueError`` if it is invalid or exceeds the limits."""
    if len(text) > MOST_TOML:
        raise ValueError(f"longer than {MOST_TOML:,} characters")
    if _LONG_KEY.search(text):
        raise ValueError(f"a key of more than {MOST_PARTS} parts")
    try:
        values = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    _check_depth(values)
    return values


def shown(value: Any) -> str:
    """Format a value for an error message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


_TOO_DEEP = f"nested more than {MOST_DEPTH} deep"


def _check_depth(values: Any) -> None:
    level = [values] if isinstance(values, dict | list) else []
    for _ in range(MOST_DEPTH):
        inside = (v.values() if isinstance(v, dict) else v for v in level)
        level = [one for v in inside for one in v if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
