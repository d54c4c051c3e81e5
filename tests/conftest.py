"""What many tests need: the command called in this process, a small trained run, the real data."""

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from inspect import isfunction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.kit import Command, Outcome

import firstlight as fl
from firstlight.cli.main import main
from firstlight.data import load
from firstlight.data.catalog import CATALOG


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """``firstlight WORDS...`` run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["firstlight", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
            sys.exit(0)
        printed = capsys.readouterr()
        code = stop.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, printed.out, printed.err)

    return run


@pytest.fixture(autouse=True)
def _no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures train, and are checked, alike whatever this machine's cache holds."""
    monkeypatch.setattr("firstlight.verbs.contest.backbone_here", lambda: "")
    monkeypatch.setattr("firstlight.verbs.check.backbone_here", lambda: "")


@pytest.fixture(scope="session", autouse=True)
def _drawn_once() -> Iterator[None]:
    """The pictures of runs' pages are drawn once for the same numbers, as many tests make the same
    page, and a page takes more than a second. ``tests/report/test_pictures.py`` draws itself.
    """
    from firstlight.report import charts, images
    from firstlight.verbs import draw, report

    with pytest.MonkeyPatch.context() as patch:
        for verb in (draw, report):
            patch.setattr(verb, "charts", _each_once(charts))
            patch.setattr(verb, "images", _each_once(images))
        for name in ("robustness_curves", "corruption_samples"):
            patch.setattr(report, name, _once(getattr(report, name)))
        yield


def _each_once(module: ModuleType) -> SimpleNamespace:
    """The module's names, with functions that draw once for the same arguments."""
    return SimpleNamespace(
        **{
            name: _once(value)
            if isfunction(value) and value.__module__ == module.__name__
            else value
            for name, value in vars(module).items()
        }
    )


def _once(draw: Callable[..., Any]) -> Callable[..., Any]:
    drawn: dict[bytes, Any] = {}

    def again(*values: Any, **named: Any) -> Any:
        key = pickle.dumps((values, named))
        if key not in drawn:
            drawn[key] = draw(*values, **named)
            png = drawn[key].png()
            drawn[key].png = lambda: png
        return drawn[key]

    return again


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Six epochs of the embedded digits, evaluated, with its report. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "digits-1"
    run = fl.train("digits", epochs=6, out=out, quiet=True)
    run.evaluate()
    run.report()
    return run


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Real-data tests run where the sets that they name are found, and say so where not."""
    marker = item.get_closest_marker("real_data")
    if marker is None:
        return
    for name in marker.args or ("mnist", "cifar10"):
        if load.where_found(CATALOG[name]) is None:
            pytest.skip(f"{name} is not on this machine; set FIRSTLIGHT_DATA to a folder with it")


@pytest.fixture
def nothing_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any data set; returns the folder that is its home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.delenv("FIRSTLIGHT_DATA", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    assert Path(os.path.expanduser("~")) == home  # noqa: PTH111
    monkeypatch.setattr(load, "DEBIAN", home / "of-debian")
    monkeypatch.chdir(home)
    return home
