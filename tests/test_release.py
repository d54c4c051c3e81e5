"""Releases: wheel and sdist, complete, with the same bytes wherever they are built."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import firstlight

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*")


def project_copy(folder: Path, *, touched: float) -> Path:
    """Copy the source of a release elsewhere, with every file last changed at ``touched``."""
    folder.mkdir()
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = stated["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in ["pyproject.toml", ".gitignore", *(name.lstrip("/") for name in names)]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, folder / name)
    for path in folder.rglob("*"):
        os.utime(path, (touched, touched))
    return folder


def built(folder: Path) -> tuple[Path, Path]:
    """Return the wheel and the sdist."""
    wheel = next(WheelBuilder(str(folder)).build(directory=str(folder / "dist")))
    sdist = next(SdistBuilder(str(folder)).build(directory=str(folder / "dist")))
    return Path(wheel), Path(sdist)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(project_copy(tmp_path_factory.mktemp("first") / "firstlight", touched=1.7e9))


def test_wheel_and_sdist_are_the_same_bytes_from_another_folder_at_another_time(
    release: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 40_000_000.0)
    elsewhere = project_copy(tmp_path / "another name", touched=1.8e9)
    for path in elsewhere.rglob("*.py"):  # as with another umask
        path.chmod(0o600)

    for ours, theirs in zip(release, built(elsewhere), strict=True):
        assert ours.name == theirs.name
        assert ours.read_bytes() == theirs.read_bytes(), ours.name


def test_the_sdist_builds_the_same_wheel(release: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = release
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")

    again, _ = built(tmp_path / sdist.name.removesuffix(".tar.gz"))

    assert again.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_every_file_of_the_package(release: tuple[Path, Path]) -> None:
    source = ROOT / "src"
    files = {
        path.relative_to(source).as_posix()
        for path in (source / "firstlight").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(release[0]) as archive:
        held = set(archive.namelist())

    assert {name for name in held if ".dist-info/" not in name} == files
    for name in ("py.typed", "recipes/mnist-quick.toml", "serve/static/index.html"):
        assert f"firstlight/{name}" in held
    assert any(name.endswith(".jinja") for name in held)


def test_the_wheel_says_what_it_is(release: tuple[Path, Path]) -> None:
    home = f"firstlight-{firstlight.__version__}.dist-info"
    with zipfile.ZipFile(release[0]) as archive:
        said = message_from_string(archive.read(f"{home}/METADATA").decode())
        entry_points = archive.read(f"{home}/entry_points.txt").decode()
        licence = archive.read(f"{home}/licenses/LICENSE").decode()

    assert said["Version"] == firstlight.__version__
    assert said["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    assert said["Requires-Python"] == ">=3.11"
    assert "firstlight = firstlight.cli.main:main" in entry_points
    assert not any(c.startswith("License ::") for c in said.get_all("Classifier", []))


def test_the_citation_is_of_the_latest_release_and_the_changes_begin_with_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+), (\S+)$", changes, re.MULTILINE)
    released = [one for one in headings if one[1] != "unreleased"]

    assert released[0] == (citation["version"], str(citation["date-released"]))
    assert citation["license"] == "Apache-2.0"
    base, _, development = firstlight.__version__.partition(".dev")
    assert headings[0][0] == base
    assert (headings[0][1] == "unreleased") == bool(development)


def test_the_files_of_the_wheel_alone_are_a_command_with_its_recipes(
    release: tuple[Path, Path], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(release[0]) as archive:
        archive.extractall(site)
    program = (
        "import firstlight, sys\n"
        "from firstlight.cli.main import main\n"
        "assert firstlight.__file__.startswith(sys.path[1]), firstlight.__file__\n"
        "firstlight.load_recipe('mnist-quick')\n"
        "main()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"firstlight {firstlight.__version__}\n"
