"""What can be in a network: each kind of layer with its settings, for people who choose."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from itertools import pairwise
from typing import Any, get_type_hints

from firstlight.layers import LAYERS
from firstlight.parts import Part, plain_value


@cache
def layer_kinds() -> list[dict[str, Any]]:
    """Return every kind of layer, in the order of the table."""
    return [_kind(layer) for layer in LAYERS.values()]


def _kind(part: type[Part]) -> dict[str, Any]:
    told, hints = _told(part), get_type_hints(part)
    return {
        "kind": part.kind,
        "title": getattr(part, "title", part.kind),
        "does": getattr(part, "does", ""),
        "main": part.main,
        "settings": [
            _setting(spec, hints[spec.name], told.get(spec.name, "")) for spec in fields(part)
        ],
    }


def _setting(spec: "Field[Any]", hint: Any, told: str) -> dict[str, Any]:
    meta: Mapping[str, Any] = spec.metadata
    names = [name for name in meta.get("names", ()) if isinstance(name, str)]
    types = {int: "whole", float: "number", bool: "yes", str: "text"}
    return {
        "name": spec.name,
        "type": "choice" if names else types.get(hint, "other"),
        "names": names,
        "least": meta.get("least"),
        "most": meta.get("most"),
        "default": None if spec.default is MISSING else plain_value(spec.default),
        "told": told,
    }


def _told(part: type) -> dict[str, str]:
    """Return the text below each field in the source of a class and its bases."""
    found = dict[str, str]()
    for kind in reversed(part.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, below in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(below.value.value).split())
    return found
