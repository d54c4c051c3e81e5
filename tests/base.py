"""What ``pip install firstlight`` brings, and a Python that has nothing else."""

import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

_ONLY = """
import sys
from importlib.machinery import PathFinder
class Base(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            return None
        return super().find_spec(name, path, target)
sys.meta_path = [Base if finder is PathFinder else finder for finder in sys.meta_path]
"""


def base_packages() -> set[str]:
    """The packages that the base needs, and those that these need."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    waiting = [Requirement(one) for one in tomllib.loads(text)["project"]["dependencies"]]
    seen = set[str]()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in seen or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        try:
            waiting += map(Requirement, requires(name) or ())
        except PackageNotFoundError:  # PyTorch's libraries for GPUs, where it has none
            continue
    return seen


def only_base(allow: Sequence[str] = ()) -> str:
    """Python that comes first in a program in which nothing but the base, and the packages of
    ``allow``, can be imported."""
    there = base_packages() | set(allow) | {"firstlight", "pip"}
    homes = packages_distributions()
    blocked = {
        module
        for module, names in homes.items()
        if not any(canonicalize_name(name) in there for name in names)
    }
    return _ONLY.format(blocked=sorted(blocked))
