"""``firstlight cache``, and the size limit of the cache."""

import json
import os
import time
from pathlib import Path

import pytest
from tests.kit import Command

from firstlight import cache
from firstlight.data.own import load_own
from firstlight.errors import UserError
from firstlight.files import cache_folder

DAY = 86400.0


def put(shelf: str, name: str, size: int, days: float = 0.0) -> Path:
    """Create an entry of ``size`` bytes, last used ``days`` days ago."""
    folder = cache_folder() / shelf / name
    folder.mkdir(parents=True)
    (folder / "content").write_bytes(bytes(size))
    os.utime(folder, (time.time() - days * DAY,) * 2)
    return folder


def test_the_list_has_names_sizes_and_days(command: Command, nothing_cached: Path) -> None:
    empty = command("cache", "list")
    assert empty.code == 0 and "0 bytes" in empty.out
    put("pictures", "one", 1000, days=3)
    put("pictures", "two", 500, days=1)
    put("mnist", "files", 2_000_000)
    found = json.loads(command("cache", "list", "--json").out)
    sizes = {shelf["name"]: shelf["bytes"] for shelf in found["shelves"]}
    assert sizes == {"pictures": 1500, "mnist": 2_000_000}
    shown = command("cache", "list").out
    assert "1.5 kB" in shown and "2.0 MB" in shown and str(cache_folder()) in shown
    assert time.strftime("%Y-%m-%d", time.localtime(time.time() - DAY)) in shown


def test_what_was_fetched_or_written_by_a_person_is_cleared_by_name_only(
    command: Command, nothing_cached: Path
) -> None:
    made = [put(shelf, "one", 10) for shelf in ("pictures", "features", "archives", "shards")]
    fetched = [put(shelf, "one", 10) for shelf in ("mnist", "backbones", "models")]
    refused = command("cache", "clear", "pictures", "mnits")
    assert refused.code == 2
    assert "did you mean mnist" in refused.err
    assert all(path.exists() for path in [*made, *fetched])
    cleared = command("cache", "clear")
    assert cleared.code == 0 and "40 bytes freed" in cleared.out
    assert not any(path.exists() for path in made)
    assert all(path.exists() for path in fetched)
    assert command("cache", "clear", "mnist").code == 0
    assert [path.exists() for path in fetched] == [False, True, True]


def test_the_longest_unused_goes_first_and_what_is_in_use_stays(
    nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = put("features", "oldest", 400, days=9)
    older = put("pictures", "older", 400, days=8)
    lock = older.parent / ".lock"
    lock.touch()
    os.utime(lock, (0, 0))
    recent = put("archives", "recent", 400, days=1)
    elsewhere = put("backbones", "kept", 4000, days=90)
    monkeypatch.setenv(cache.ROOM, "1kB")
    cache.make_room()
    assert [path.exists() for path in (oldest, older, recent)] == [False, True, True]
    monkeypatch.setenv(cache.ROOM, "1B")
    cache.make_room()
    assert [path.exists() for path in (older, recent, elsewhere)] == [False, True, True]
    assert lock.exists()  # another process may hold it
    monkeypatch.setenv(cache.ROOM, "much")
    with pytest.raises(UserError, match=f"{cache.ROOM}=much: wanted a size such as 40GB"):
        cache.make_room()


def test_a_set_that_is_loaded_again_counts_as_used(nothing_cached: Path) -> None:
    from PIL import Image

    for label in ("a", "b"):
        for number in range(4):
            path = nothing_cached / "set" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * number + 7 * (label == "b")).save(path)
    load_own(nothing_cached / "set")
    (kept,) = (path for path in (cache_folder() / "pictures").iterdir() if path.is_dir())
    os.utime(kept, (time.time() - 9 * DAY,) * 2)
    load_own(nothing_cached / "set")
    assert time.time() - kept.stat().st_mtime < DAY


def test_a_bound_that_is_no_size_is_refused_each_time(
    nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    for label in ("a", "b"):
        (nothing_cached / "set" / label).mkdir(parents=True)
        for number in range(4):
            path = nothing_cached / "set" / label / f"{number}.png"
            Image.new("L", (8, 8), 20 * number + 7 * (label == "b")).save(path)
    monkeypatch.setenv(cache.ROOM, "much")
    for _ in range(2):
        with pytest.raises(UserError, match="wanted a size such as 40GB"):
            load_own(nothing_cached / "set")
    assert not list(cache_folder().glob("pictures/seen-*"))
