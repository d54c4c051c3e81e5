"""Development installs only from constraints.txt, and the package itself accepts those versions."""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pin_versions import APART

ROOT = Path(__file__).resolve().parent.parent
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ALL_EXTRAS = STATED["project"]["optional-dependencies"]
EXTRAS = {name: of for name, of in ALL_EXTRAS.items() if name not in APART}


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    given = [line.partition("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, _, version in given}


def stated() -> list[Requirement]:
    """Return the requirements of the package, its build, and its extras that fit together."""
    texts = [*STATED["project"]["dependencies"], *STATED["build-system"]["requires"]]
    return [Requirement(text) for text in [*texts, *(one for of in EXTRAS.values() for one in of)]]


def test_every_stated_requirement_takes_the_version_that_is_pinned() -> None:
    held = pins()
    for one in stated():
        pinned = held[canonicalize_name(one.name)]
        assert one.specifier.contains(pinned), f"{one} does not take {pinned}"
        assert pinned.local is None, f"{one.name} {pinned} is of one index alone"


def test_litert_takes_the_versions_that_its_tests_use() -> None:
    text = (ROOT / "tests" / "export" / "litert.txt").read_text(encoding="utf-8")
    held = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))
    assert all(held[one.name] in one.specifier for one in map(Requirement, ALL_EXTRAS["litert"]))


def test_uvicorn_is_taken_up_to_the_version_that_was_looked_at_and_no_further() -> None:
    """tests/serve/test_uvicorn.py looks at it."""
    (wanted,) = (one for one in stated() if one.name == "uvicorn")
    major, minor = pins()["uvicorn"].release[:2]
    assert not wanted.specifier.contains(f"{major}.{minor + 1}.0")


@pytest.mark.skipif(sys.platform != "linux", reason="the versions were resolved on Linux")
def test_whatever_is_needed_here_is_pinned_too() -> None:
    """Followed through the metadata of the packages that are installed as pinned."""
    held, waiting, seen = pins(), stated(), set()
    while waiting:
        one = waiting.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key in seen or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        assert key[0] in held, f"{one.name} is not in constraints.txt: make pins"
        try:
            installed = Version(version(one.name))
        except PackageNotFoundError:  # belongs to an extra that is not installed here
            continue
        if installed.public != str(held[key[0]]):  # another version may need other packages
            continue
        for further in map(Requirement, requires(one.name) or ()):
            extras = {"", *one.extras}
            if further.marker is None or any(further.marker.evaluate({"extra": e}) for e in extras):
                further.marker = None
                waiting.append(further)
    assert len(seen) > 100


def test_make_installs_nothing_past_the_file_and_anew_where_it_changes() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert text.count("pip install") == 1
    assert "PIP_CONSTRAINT=constraints.txt" in text
    for stamp in re.findall(r"^\$\(VENV\)/\.(?:demo|dev|docs):(.*)", text, re.MULTILINE):
        assert "constraints.txt" in stamp.split()
