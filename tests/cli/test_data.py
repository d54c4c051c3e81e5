"""``firstlight data``: list, show, fetch."""

import json
from pathlib import Path

import pytest
from tests.kit import Command

from firstlight.data.catalog import CATALOG


def test_list_names_every_set_and_whether_it_is_here(
    command: Command, nothing_cached: Path
) -> None:
    rows = {row["name"]: row for row in json.loads(command("data", "list", "--json").out)}

    assert list(rows)[:4] == ["mnist", "fashion_mnist", "cifar10", "digits"]
    assert set(rows) == set(CATALOG)
    assert (rows["mnist"]["train"], rows["mnist"]["test"]) == (60_000, 10_000)
    assert rows["mnist"]["found"] is None
    assert command("data", "list", "--data-dir", "gone").code == 3
    assert "gone: no such folder" in command("data", "show", "mnist", "--data-dir", "gone").err
    table = [line.rstrip() for line in command("data", "list").out.splitlines()]
    assert len(table) == 1 + len(CATALOG)
    assert table[1].startswith("mnist") and table[1].endswith("no")
    assert table[4].endswith("embedded")


def test_show_tells_all_of_one_set(command: Command, nothing_cached: Path) -> None:
    shown = command("data", "show", "cifar10").out

    for part in ("airplane", "50,000", "32×32", "c32a1d4ab5d03f1284b67883e8d87530", "Krizhevsky"):
        assert part in shown
    assert "firstlight data fetch cifar10" in shown
    facts = json.loads(command("data", "show", "cifar10", "--json").out)
    assert len(facts["class_names"]) == 10
    assert len(facts["files"][0]["urls"]) >= 2


def test_fetch_without_a_network_names_addresses_folder_and_files_and_exits_with_3(
    command: Command, nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unplugged(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unplugged)

    done = command("data", "fetch", "cifar10", "--data-dir", "mine")

    assert done.code == 3
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz: Network is" in done.err
    assert "put these files into mine/cifar10" in done.err
    assert "cifar-10-binary.tar.gz  (md5 c32a1d4ab5d03f1284b67883e8d87530)" in done.err


def test_fetching_what_is_here_only_checks_it(command: Command, nothing_cached: Path) -> None:
    done = command("data", "fetch", "digits")

    assert (done.code, done.out) == (0, "digits: complete and verified, in firstlight\n")
