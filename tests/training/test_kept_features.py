"""Features come from the cache unchanged, or are computed again."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from firstlight.pixels import Preprocess
from firstlight.training import kept_features as module
from firstlight.training.kept_features import Source, kept_features

SOURCE = Source(
    pixels="a" * 64,
    network="b" * 64,
    preprocess=Preprocess(height=8, width=8, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3),
    views=("plain", "mirror"),
    engine="1 PyTorch",
)
FEATURES = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    yield tmp_path / "features"


def never() -> npt.NDArray[np.float32]:
    raise AssertionError("they are in the cache")


def test_what_was_made_is_found_again() -> None:
    first = kept_features(SOURCE, 7, lambda: FEATURES)
    second = kept_features(SOURCE, 7, never)
    assert (first.found, second.found) == (False, True)
    assert not first.warnings
    assert not second.warnings
    assert second.features_VNF.dtype == np.float32
    assert np.array_equal(second.features_VNF, FEATURES)


@pytest.mark.parametrize(
    "other",
    [
        replace(SOURCE, pixels="c" * 64),
        replace(SOURCE, network="c" * 64),
        replace(SOURCE, preprocess=replace(SOURCE.preprocess, std=(0.4,) * 3)),
        replace(SOURCE, preprocess=replace(SOURCE.preprocess, height=9)),
        replace(SOURCE, views=("mirror", "plain")),
        replace(SOURCE, engine="2 PyTorch"),
    ],
)
def test_whatever_features_depend_on_gives_others(other: Source) -> None:
    kept_features(SOURCE, 7, lambda: FEATURES)
    made = kept_features(other, 7, lambda: FEATURES + 1)
    assert not made.found
    assert np.array_equal(kept_features(SOURCE, 7, never).features_VNF, FEATURES)


def test_the_first_of_more_views_do_where_those_are_kept() -> None:
    plain = replace(SOURCE, views=("plain",))
    assert not kept_features(plain, 7, lambda: FEATURES[:1] + 1, SOURCE.views).found
    kept_features(SOURCE, 7, lambda: FEATURES)
    own = kept_features(plain, 7, never, SOURCE.views)
    assert np.array_equal(own.features_VNF, FEATURES[:1] + 1), "its own come first"
    other = replace(plain, pixels="c" * 64)
    kept_features(replace(other, views=SOURCE.views), 7, lambda: FEATURES)
    found = kept_features(other, 7, never, SOURCE.views)
    assert np.array_equal(found.features_VNF, FEATURES[:1])


@pytest.mark.parametrize("damage", ["changed", "cut", "longer", "empty", "head", "huge", "sum"])
def test_what_is_damaged_is_made_again_and_told(shelf: Path, damage: str) -> None:
    kept_features(SOURCE, 7, lambda: FEATURES)
    (file,) = shelf.iterdir()
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[-3] ^= 1
    file.write_bytes(
        {
            "changed": bytes(changed),
            "cut": whole[:-4],
            "longer": whole + b"\0",
            "empty": b"",
            "head": b"[" * 5000,
            "huge": whole.replace(b"[2, 7, 5]", b"[2, 7, 99999999999]"),
            "sum": whole.replace(b'"sha256"', b'"sha255"'),
        }[damage]
    )
    again = kept_features(SOURCE, 7, lambda: FEATURES)
    assert not again.found
    assert "damaged" in again.warnings[0]
    assert "Expecting" not in again.warnings[0], "the words of the JSON reader"
    assert np.array_equal(again.features_VNF, FEATURES)
    assert kept_features(SOURCE, 7, never).found


def test_a_file_of_other_images_is_not_taken() -> None:
    kept_features(SOURCE, 7, lambda: FEATURES)
    assert not kept_features(SOURCE, 8, lambda: np.zeros((2, 8, 5), np.float32)).found


def test_where_nothing_can_be_kept_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    made = kept_features(SOURCE, 7, lambda: FEATURES)
    assert np.array_equal(made.features_VNF, FEATURES)
    assert "No space left on device" in made.warnings[0]
    assert "XDG_CACHE_HOME" in made.warnings[0]


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("not a folder")
    made = kept_features(SOURCE, 7, lambda: FEATURES)
    assert np.array_equal(made.features_VNF, FEATURES)
    assert "cannot be stored" in made.warnings[0]


def test_an_error_while_making_leaves_nothing_behind(shelf: Path) -> None:
    def fails() -> npt.NDArray[np.float32]:
        raise OSError("a picture is gone")

    with pytest.raises(OSError, match="a picture is gone"):
        kept_features(SOURCE, 7, fails)
    assert not shelf.exists()
