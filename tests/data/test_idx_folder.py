"""Folders of IDX files, such as MNIST/raw."""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import firstlight.data.own as own
from firstlight.data import load
from firstlight.data.catalog import CATALOG
from firstlight.data.own import load_own
from firstlight.errors import DataError

RNG = np.random.default_rng(4)
IMAGES = {name: RNG.integers(0, 256, (30, 9, 10), dtype=np.uint8) for name in ("train", "t10k")}
LABELS = np.arange(30, dtype=np.uint8) % 3


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def raw(folder: Path, prefix: str = "", *, packed: bool = False) -> Path:
    folder.mkdir(parents=True)
    for name, images in IMAGES.items():
        for what, array in (("images-idx3", images), ("labels-idx1", LABELS)):
            path = folder / f"{prefix}{name}-{what}-ubyte"
            if packed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inner", ["", "raw"])
def test_both_parts_are_read_to_the_bit(tmp_path: Path, packed: bool, inner: str) -> None:
    raw(tmp_path / "set" / inner, packed=packed)
    data = load_own(tmp_path / "set")
    for part, name in zip(data, ("train", "t10k"), strict=True):
        seen = {
            image.tobytes(): int(part.class_names[label])
            for image, label in zip(part.images_NHWC, part.labels_N, strict=True)
        }
        wanted = zip(IMAGES[name], LABELS.tolist(), strict=True)
        assert seen == {image.tobytes(): label for image, label in wanted}


def test_emnists_images_are_set_upright(tmp_path: Path) -> None:
    raw(tmp_path / "set", "emnist-letters-")
    for path in (tmp_path / "set").glob("*t10k*"):  # EMNIST names its test part differently
        path.rename(path.with_name(path.name.replace("t10k", "test")))
    data = load_own(tmp_path / "set")
    wanted = {image.T.tobytes() for image in IMAGES["t10k"]}
    assert {image.tobytes() for image in data.test.images_NHWC} == wanted
    assert any("turned upright" in note for note in data.train.warnings)


def test_missing_counterparts_several_sets_and_lies_are_told(tmp_path: Path) -> None:
    folder = raw(tmp_path / "set")
    (folder / "train-labels-idx1-ubyte").rename(folder / "aside")
    with pytest.raises(DataError, match="train-images-idx3-ubyte: wanted its labels next to it"):
        load_own(folder)
    (folder / "aside").rename(folder / "train-labels-idx1-ubyte")
    for what in ("images-idx3", "labels-idx1"):
        (folder / f"b-train-{what}-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="wanted the IDX files of one data set"):
        load_own(folder)
    other = raw(tmp_path / "other")
    huge = bytes([0, 0, 8, 3]) + b"\x7f\xff\xff\xff" * 3
    (other / "train-images-idx3-ubyte").write_bytes(huge)
    with pytest.raises(DataError, match=r"the header promises .* bytes of images; at most"):
        load_own(other)


@pytest.mark.real_data("mnist")
def test_the_published_files_are_taken_and_their_recipe_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from firstlight.data.idx_folder import read_idx_folder

    where = load.where_found(CATALOG["mnist"])
    assert where is not None
    if not any(where.glob("*idx3*")):
        pytest.skip("this copy of MNIST is no folder of IDX files")
    data, part_of = read_idx_folder(where)
    assert (part_of.count("train"), part_of.count("test")) == (60_000, 10_000)
    assert "these are the images of mnist. firstlight train mnist uses a recipe" in data.notes[-1]
