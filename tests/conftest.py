"""Fixtures for many tests: the command called in this process, a small trained run, the real
data."""

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tests.kit import Command, Outcome
from tests.marks import marked
from tests.once import each_once, of_fit, of_network, of_pictures, once, with_png
from tests.skips import unexpected
from tests.warm import Forks

import firstlight as fl
from firstlight.cli.main import main
from firstlight.data import load
from firstlight.data.catalog import CATALOG


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Run ``firstlight WORDS...`` in an empty folder."""
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
    """Make the training and checking of pictures independent of this machine's cache."""
    monkeypatch.setattr("firstlight.verbs.contest.backbone_here", lambda: "")
    monkeypatch.setattr("firstlight.verbs.check.backbone_here", lambda: "")


@pytest.fixture(scope="session", autouse=True)
def _drawn_once() -> Iterator[None]:
    """Draw figures of the same numbers only once for the pages of all runs, because a page takes
    more than a second and many tests make the same one. ``tests/report/test_pictures.py`` draws
    without this."""
    from firstlight.report import charts, images
    from firstlight.verbs import draw, report

    with pytest.MonkeyPatch.context() as patch:
        for verb in (draw, report):
            patch.setattr(verb, "charts", each_once(charts))
            patch.setattr(verb, "images", each_once(images))
        for name in ("robustness_curves", "corruption_samples"):
            patch.setattr(report, name, once(getattr(report, name), with_png))
        yield


@pytest.fixture(scope="session", autouse=True)
def _compared_once() -> Iterator[None]:
    """Look for altered copies among the same pictures only once, because many tests train on the
    same ones, each in a cache of its own. ``tests/data/test_altered.py`` looks without this."""
    from firstlight.data import altered, check_copies, split

    found = once(altered.altered_copies, list, of_pictures)
    with pytest.MonkeyPatch.context() as patch:
        for user in (split, check_copies):
            patch.setattr(user, "altered_copies", found)
        yield


@pytest.fixture(scope="session", autouse=True)
def _traced_once() -> Iterator[None]:
    """Trace the same layers with the same weights for ONNX only once, because it takes seconds, as
    does what brings images to a model's shape."""
    from firstlight.export import graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "network", once(graph.network, deepcopy, of_network))
        patch.setattr(graph, "fit", once(graph.fit, deepcopy, of_fit))
        yield


@pytest.fixture(scope="session")
def _forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.end()


@pytest.fixture
def warm(_forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of this Python that are started, which saves seconds for each. Not for
    tests of how Python or the package begins."""
    if sys.platform == "linux":
        monkeypatch.setattr(subprocess, "Popen", _forks.popen())


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Return a run of six epochs on the embedded digits, evaluated, with its report. Do not change
    it: parallel test processes share it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out, done = base / "runs" / "digits-1", base / "digits-1.done"
    with FileLock(base / "digits-1.lock"):
        if not done.exists():
            run = fl.train("digits", epochs=6, out=out, quiet=True)
            run.evaluate()
            run.report()
            done.touch()
    return fl.open_run(out)


@pytest.fixture(scope="session")
def marks_run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Return a run that gives pictures several labels, evaluated. Do not change it."""
    return marked(tmp_path_factory.mktemp("marks"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run tests with real data only if their data sets are found; otherwise say so."""
    marker = item.get_closest_marker("real_data")
    if marker is None:
        return
    for name in marker.args or ("mnist", "cifar10"):
        if load.where_found(CATALOG[name]) is None:
            pytest.skip(f"{name} is not on this machine; set FIRSTLIGHT_DATA to a folder with it")


def _unexpected_skips(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    found = [f"{one.nodeid}: {one.longrepr[2]}" for one in skipped]
    return unexpected(found)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the session if a test was skipped that should have run."""
    if exitstatus == 0 and _unexpected_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the tests that should have run. Pytest itself lists all skipped tests with reasons."""
    if names := _unexpected_skips(config):
        terminalreporter.section("these should not have been skipped", red=True)
        for name in names:
            terminalreporter.line(name)


@pytest.fixture
def nothing_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Simulate a machine without any data set; returns its home folder."""
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
