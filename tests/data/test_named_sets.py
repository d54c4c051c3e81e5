"""Data sets without published checksums of their content: identified by the MD5 of their files.

The files are made here in the published layout, with a few images each; their MD5 replaces the
published one.
"""

import bz2
import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from tests.kit import Command
from torch import Generator

from firstlight.augment import Flip
from firstlight.data import load
from firstlight.data.catalog import CATALOG
from firstlight.data.cifar_set import CifarFiles
from firstlight.data.dataset import Dataset
from firstlight.data.entry import RemoteFile
from firstlight.data.stl10_set import Stl10Files
from firstlight.errors import DataError
from firstlight.models.catalog import Architecture
from firstlight.recipe import load_recipe
from firstlight.verbs.choose import default_recipe
from firstlight.verbs.run_data import DataRequest

RNG = np.random.default_rng(7)
COUNTS = {"train": 6, "test": 3}
Put = Callable[[str, dict[str, bytes]], Path]


def md5(blob: bytes) -> str:
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, nothing_cached: Path, tmp_path: Path) -> Put:
    """Return a function that publishes a small version of a data set with these files, and puts
    them where its downloaded files are stored; it returns that folder."""

    def publish(name: str, files: dict[str, bytes]) -> Path:
        entry = replace(CATALOG[name], train_count=COUNTS["train"], test_count=COUNTS["test"])
        remote = tuple(
            RemoteFile(name=file, md5=md5(blob), size=len(blob), urls=("https://localhost/",))
            for file, blob in files.items()
        )
        monkeypatch.setitem(CATALOG, name, replace(entry, files=remote))
        folder = tmp_path / "data" / entry.shelf
        folder.mkdir(parents=True)
        for file, blob in files.items():
            (folder / file).write_bytes(blob)
        monkeypatch.setenv("FIRSTLIGHT_DATA", str(tmp_path / "data"))
        return folder

    return publish


def labels_of(name: str, part: str) -> np.ndarray:
    """Return labels that include the first and the last class."""
    last = len(CATALOG[name].class_names) - 1
    return np.array([last, 0, 3, 2, 1, last] if part == "train" else [2, last, 0])


def pictures_of(name: str) -> dict[str, np.ndarray]:
    shape = CATALOG[name].image_shape
    return {p: RNG.integers(0, 256, (n, *shape), dtype=np.uint8) for p, n in COUNTS.items()}


def is_read(part: Dataset, images_NHWC: np.ndarray, labels_N: np.ndarray) -> None:
    np.testing.assert_array_equal(part.images_NHWC, images_NHWC)
    np.testing.assert_array_equal(part.labels_N, labels_N)


# CIFAR-100: the superclass, the class, the planes of red, green and blue.


def cifar100_files(images: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {
        part: b"".join(
            bytes([19, label]) + image.transpose(2, 0, 1).tobytes()
            for image, label in zip(images[part], labels_of("cifar100", part), strict=True)
        )
        for part in COUNTS
    }


def tar_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def cifar100_archive(files: dict[str, bytes]) -> dict[str, bytes]:
    names = {"cifar-100-binary/fine_label_names.txt": b"apple\n"}
    members = names | {f"cifar-100-binary/{part}.bin": blob for part, blob in files.items()}
    return {"cifar-100-binary.tar.gz": tar_of(members)}


def test_cifar100_has_its_hundred_classes_not_the_twenty_superclasses(put: Put) -> None:
    images = pictures_of("cifar100")
    put("cifar100", cifar100_archive(cifar100_files(images)))

    data = load.load("cifar100", download=False)

    for part in (data.train, data.test):
        which = part.name.partition("/")[2]
        is_read(part, images[which], labels_of("cifar100", which))
        assert not part.warnings
    assert len(data.train.class_names) == 100
    assert data.train.class_names[:2] == ("apple", "aquarium_fish")
    assert load.load_test("cifar100") == data.test


def test_an_archive_that_is_not_the_published_one_is_refused_before_it_is_read(put: Put) -> None:
    folder = put("cifar100", cifar100_archive(cifar100_files(pictures_of("cifar100"))))
    archive = folder / "cifar-100-binary.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-9])

    with pytest.raises(DataError, match=r"tar\.gz: not the published cifar100: md5 of the file"):
        load.load("cifar100", download=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda files: files | {"train": files["train"][:-1]}, r"train\.bin in it is 18,443 bytes"),
        (lambda files: files | {"test": files["test"] + b"\0"}, r"test\.bin in it is 9,223 bytes"),
        (lambda files: {"train": files["train"]}, r"the archive lacks test\.bin"),
        (lambda files: files | {"test": b"\0\x64" + files["test"][2:]}, "labels must be 0 to 99"),
    ],
)
def test_a_wrong_cifar100_is_named(put: Put, change: Any, reason: str) -> None:
    put("cifar100", cifar100_archive(change(cifar100_files(pictures_of("cifar100")))))

    with pytest.raises(DataError, match=reason):
        load.load("cifar100", download=False)


def test_unpacked_files_are_taken_and_the_missing_comparison_is_said(put: Put) -> None:
    images = pictures_of("cifar100")
    files = cifar100_files(images)
    folder = put("cifar100", cifar100_archive(files))
    (folder / "cifar-100-binary").mkdir()
    for part, blob in files.items():
        (folder / "cifar-100-binary" / f"{part}.bin").write_bytes(blob)
    assert not load.load("cifar100", download=False).train.warnings, "the archive comes first"
    (folder / "cifar-100-binary.tar.gz").unlink()

    data = load.load("cifar100", download=False)

    is_read(data.train, images["train"], labels_of("cifar100", "train"))
    assert "the content could not be checked" in data.train.warnings[0]
    assert data.train.warnings == data.test.warnings == data.train.notes
    assert not load.is_complete(CATALOG["cifar100"], None), "fetching gets a copy to compare"
    (folder / "cifar-100-binary" / "train.bin").write_bytes(files["train"][1:])
    with pytest.raises(DataError, match=r"cut short: wanted 18,444 bytes \(6 images\), got 18,443"):
        load.load("cifar100", download=False)


def test_the_python_version_of_cifar100_is_known_by_the_md5_of_its_files(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures_of("cifar100")
    folder = put("cifar100", cifar100_archive({})) / "cifar-100-python"
    (folder.parent / "cifar-100-binary.tar.gz").unlink()
    folder.mkdir()
    sums = {}
    for part, count in COUNTS.items():
        labels = labels_of("cifar100", part).tolist()
        blob = pickle.dumps(
            {
                b"filenames": [b"a.png"] * count,
                b"coarse_labels": [19] * count,
                b"fine_labels": labels,
                b"data": images[part].transpose(0, 3, 1, 2).tobytes(),
            },
            2,
        )
        (folder / part).write_bytes(blob)
        sums[part] = md5(blob)
    entry = CATALOG["cifar100"]
    assert isinstance(entry.reader, CifarFiles)
    known = replace(entry, reader=replace(entry.reader, pickled=sums))
    monkeypatch.setitem(CATALOG, "cifar100", known)

    data = load.load("cifar100", download=False)

    is_read(data.train, images["train"], labels_of("cifar100", "train"))
    is_read(data.test, images["test"], labels_of("cifar100", "test"))
    assert not data.train.warnings


def test_what_is_fetched_of_a_set_without_known_content_stays_as_published(
    put: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (name, blob), *_ = cifar100_archive(cifar100_files(pictures_of("cifar100"))).items()
    put("cifar100", {name: blob})
    monkeypatch.setattr(load, "fetch", lambda file, to, _: (to / file.name).write_bytes(blob))

    folder = load.fetch_files(CATALOG["cifar100"], tmp_path / "other")

    assert [path.name for path in folder.iterdir()] == [name]
    assert load.is_complete(CATALOG["cifar100"], tmp_path / "other")


# KMNIST: as MNIST. QMNIST: eight 32-bit integers per label, the class first.


def idx_of(array: np.ndarray, kind: int = 8) -> bytes:
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype("u1" if kind == 8 else ">i4").tobytes()


def plain_files(name: str, images: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Return the four files, unpacked, by their published names."""
    plain = []
    for part in COUNTS:
        labels_N = labels_of(name, part)
        numbers = np.full((len(labels_N), 8), 4_000)
        numbers[:, 0] = labels_N
        plain += [
            idx_of(images[part][..., 0]),
            idx_of(numbers, 12) if name == "qmnist" else idx_of(labels_N),
        ]
    return {file.name: blob for file, blob in zip(CATALOG[name].files, plain, strict=True)}


def packed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: gzip.compress(blob) for name, blob in files.items()}


@pytest.mark.parametrize("name", ["kmnist", "qmnist"])
def test_idx_files_are_known_by_their_md5(put: Put, name: str) -> None:
    images = pictures_of(name)
    folder = put(name, packed(plain_files(name, images)))

    data = load.load(name, download=False)

    is_read(data.train, images["train"], labels_of(name, "train"))
    is_read(data.test, images["test"], labels_of(name, "test"))
    assert not data.train.warnings
    for file in CATALOG[name].files[:2]:
        (folder / file.name).write_bytes(b"of the training part")
    assert load.load_test(name) == data.test
    with pytest.raises(DataError, match=f"not the published {name}: md5 of the file should be"):
        load.load(name, download=False)


@pytest.mark.parametrize("name", ["kmnist", "qmnist"])
def test_unpacked_idx_files_are_checked_as_far_as_that_goes(put: Put, name: str) -> None:
    images = pictures_of(name)
    plain = plain_files(name, images)
    folder = put(name, packed(plain))
    for file, blob in plain.items():
        (folder / file).unlink()
        (folder / file.removesuffix(".gz")).write_bytes(blob)
    data = load.load(name, download=False)
    is_read(data.train, images["train"], labels_of(name, "train"))
    assert "the content could not be checked" in data.train.warnings[0]

    pixels, labels = (folder / file.removesuffix(".gz") for file in list(plain)[:2])
    whole, right = pixels.read_bytes(), labels.read_bytes()
    classes_only = idx_of(labels_of(name, "train"), 8 if name == "qmnist" else 12)
    beyond = b"\0\0\0\x0a" + bytes(28) if name == "qmnist" else b"\x0a"
    for path, blob, reason in (
        (pixels, whole[:-1], "cut short: wanted 4,704 bytes of images, got 4,703"),
        (pixels, whole + b"\0", "longer than its header says"),
        (pixels, idx_of(images["train"][:5, ..., 0]), "the header says 5×28×28 images"),
        (labels, right[: -len(beyond)] + beyond, "label 10 at place 5; labels must be 0 to 9"),
        (labels, classes_only, "not an IDX file of labels"),
    ):
        pixels.write_bytes(whole)
        labels.write_bytes(right)
        path.write_bytes(blob)
        with pytest.raises(DataError, match=reason):
            load.load(name, download=False)


# EMNIST: a ZIP of packed IDX files, each image column by column.


def emnist_files(split: str, images: dict[str, np.ndarray]) -> dict[str, bytes]:
    files = {}
    for part in COUNTS:
        columns = np.zeros((len(images[part]), 28, 28), dtype=np.uint8)
        for row in range(28):
            columns[:, :, row] = images[part][:, row, :, 0]
        labels_N = labels_of(f"emnist_{split}", part) + (split == "letters")
        files[f"emnist-{split}-{part}-images-idx3-ubyte.gz"] = idx_of(columns)
        files[f"emnist-{split}-{part}-labels-idx1-ubyte.gz"] = idx_of(labels_N)
    return files


def zip_of(files: dict[str, bytes]) -> dict[str, bytes]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, blob in packed(files).items():
            archive.writestr(f"gzip/{name}", blob)
    return {"gzip.zip": out.getvalue()}


@pytest.mark.parametrize("split", ["balanced", "letters", "byclass"])
def test_emnist_is_upright_and_counted_from_zero(put: Put, split: str) -> None:
    name = f"emnist_{split}"
    images = pictures_of(name)
    files = emnist_files(split, images)
    folder = put(name, zip_of(files))

    data = load.load(name, download=False)

    is_read(data.train, images["train"], labels_of(name, "train"))
    is_read(data.test, images["test"], labels_of(name, "test"))
    assert not data.train.warnings
    last = {"balanced": "t", "letters": "Z", "byclass": "z"}[split]
    assert data.train.class_names[data.train.labels_N[0]] == last

    (folder / "gzip.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=rf"gzip\.zip: not the published {name}: md5 of the file"):
        load.load(name, download=False)
    (folder / "gzip.zip").unlink()
    for file, blob in files.items():
        (folder / file.removesuffix(".gz")).write_bytes(blob)
    unpacked = load.load(name, download=False)
    assert unpacked.train == data.train
    assert "the content could not be checked" in unpacked.train.warnings[0]


def test_the_archive_of_one_emnist_is_that_of_all(put: Put) -> None:
    every = {s: emnist_files(s, pictures_of(f"emnist_{s}")) for s in ("letters", "balanced")}
    put("emnist_letters", zip_of(every["letters"] | every["balanced"]))
    assert load.where_found(CATALOG["emnist_balanced"]) == load.where_found(
        CATALOG["emnist_letters"]
    )


LETTERS = "emnist-letters-train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (None, f"{LETTERS} is missing from the archive"),
        (idx_of(np.array([1, 2, 3, 0, 5, 6])), "label 0 at place 3; labels must be 1 to 26"),
        (idx_of(np.array([1, 2, 3, 27, 5, 6])), "label 27 at place 3; labels must be 1 to 26"),
        (idx_of(np.array([1, 2, 3])), "the header says 3 labels, wanted 6"),
        (idx_of(np.arange(1, 7))[:-1], "cut short: wanted 6 bytes of labels, got 5"),
    ],
)
def test_a_wrong_emnist_is_named(put: Put, blob: bytes | None, reason: str) -> None:
    files = emnist_files("letters", pictures_of("emnist_letters"))
    del files[LETTERS]
    put("emnist_letters", zip_of(files if blob is None else files | {LETTERS: blob}))

    with pytest.raises(DataError, match=reason) as error:
        load.load("emnist_letters", download=False)
    assert "gzip.zip" in str(error.value)


def test_a_damaged_archive_is_said_also_where_its_md5_is_right(put: Put) -> None:
    ((name, blob),) = zip_of(emnist_files("letters", pictures_of("emnist_letters"))).items()
    for damaged in (blob[:-30], blob[:60] + b"\0\0\0\0" + blob[64:]):
        folder = put("emnist_letters", {name: damaged})
        with pytest.raises(DataError, match="damaged"):
            load.load("emnist_letters", download=False)
        (folder / name).unlink()
        folder.rmdir()


# SVHN: MATLAB arrays, indexed by the last axis; 10 is the digit 0.


def mat_of(**arrays: Any) -> bytes:
    out = io.BytesIO()
    savemat(out, arrays, do_compression=True)
    return out.getvalue()


def svhn_arrays(images: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    labels_N = labels_of("svhn", part)
    return {
        "X": np.stack(list(images[part]), axis=-1),
        "y": np.where(labels_N == 0, 10, labels_N).astype(np.uint8)[:, None],
    }


def svhn_files(images: dict[str, np.ndarray], **train: Any) -> dict[str, bytes]:
    arrays = {part: svhn_arrays(images, part) for part in COUNTS}
    arrays["train"] |= train
    return {f"{part}_32x32.mat": mat_of(**found) for part, found in arrays.items()}


def test_svhn_is_numbered_by_its_first_axis_and_ten_is_the_digit_zero(put: Put) -> None:
    images = pictures_of("svhn")
    folder = put("svhn", svhn_files(images))

    data = load.load("svhn", download=False)

    is_read(data.train, images["train"], labels_of("svhn", "train"))
    is_read(data.test, images["test"], labels_of("svhn", "test"))
    assert not data.train.warnings
    (folder / "train_32x32.mat").unlink()
    assert load.load_test("svhn") == data.test
    (folder / "test_32x32.mat").write_bytes(mat_of(X=1))
    with pytest.raises(DataError, match=r"test_32x32\.mat: not the published svhn: md5"):
        load.load_test("svhn")


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ({"X": np.zeros((32, 32, 3, 5), np.uint8)}, "wanted X of uint8 32×32×3×6, got uint8 of"),
        ({"X": np.zeros((6, 32, 32, 3), np.uint8)}, "wanted X of uint8 32×32×3×6, got uint8 of"),
        ({"X": np.zeros((2, 2, 3, 6))}, "wanted X of uint8 32×32×3×6, got float64 of shape"),
        ({"X": np.zeros((32, 32, 3, 90), np.uint8)}, "holds 276,486 bytes, more than 18,480"),
        ({"X": np.array([{"a": 1}], dtype=object)}, "wanted X, y, got"),
        ({"y": np.ones((5, 1), np.uint8)}, "wanted y with 6 labels, got 5"),
        ({"y": np.array([1, 2, 0, 4, 5, 6])}, "label 0 at place 2; labels must be 1 to 10"),
        ({"y": np.array([1, 2, 11, 4, 5, 6])}, "label 11 at place 2; labels must be 1 to 10"),
        ({"y": np.array([1, 2, 2.5, 4, 5, 6])}, "label 2.5 at place 2; labels must be 1 to 10"),
    ],
)
def test_a_wrong_svhn_is_named(put: Put, train: dict[str, Any], reason: str) -> None:
    put("svhn", svhn_files(pictures_of("svhn"), **train))
    with pytest.raises(DataError, match=reason) as error:
        load.load("svhn", download=False)
    assert "train_32x32.mat" in str(error.value)


@pytest.mark.parametrize("keep", [0, 100, 2_000])
def test_a_damaged_matlab_file_is_said_also_where_its_md5_is_right(put: Put, keep: int) -> None:
    files = svhn_files(pictures_of("svhn"))
    put("svhn", files | {"train_32x32.mat": files["train_32x32.mat"][:keep]})
    with pytest.raises(DataError, match=r"train_32x32\.mat: "):
        load.load("svhn", download=False)


def test_digits_are_not_mirrored() -> None:
    recipe, like = default_recipe(DataRequest(name="svhn"), "cpu"), load_recipe("cifar10-standard")
    assert [type(step) for step in like.augment if step not in recipe.augment] == [Flip]
    assert (like.network.views, recipe.network.views) == ("mirror-and-shift", "shift")
    assert recipe.network.layers == like.network.layers


# STL-10: planes column by column, labels from 1; each file has a published MD5.


def stl10_files(images: dict[str, np.ndarray]) -> dict[str, bytes]:
    files = {"class_names.txt": b"airplane\n", "unlabeled_X.bin": b"most of it"}
    for part in COUNTS:
        files[f"{part}_X.bin"] = b"".join(
            image[:, column, channel].tobytes()
            for image in images[part]
            for channel in range(3)
            for column in range(96)
        )
        files[f"{part}_y.bin"] = bytes((labels_of("stl10", part) + 1).tolist())
    return files


def put_stl10(put: Put, files: dict[str, bytes]) -> Path:
    """Pack the files, each with its MD5 as the published one."""
    members = {f"stl10_binary/{name}": blob for name, blob in files.items()}
    folder = put("stl10", {"stl10_binary.tar.gz": tar_of(members)})
    names = [f"{part}_{what}.bin" for part in COUNTS for what in "Xy"]
    reader = Stl10Files(md5s={name: md5(files.get(name, b"")) for name in names})
    CATALOG["stl10"] = replace(CATALOG["stl10"], reader=reader)  # put restores it
    return folder


def unpack_stl10(folder: Path) -> Path:
    """Unpack as ``data fetch`` does."""
    reader = CATALOG["stl10"].reader
    assert isinstance(reader, Stl10Files)
    reader.unpack(CATALOG["stl10"], folder)
    return folder / "stl10_binary"


def test_stl10_is_read_row_by_row_from_its_columns(put: Put) -> None:
    images = pictures_of("stl10")
    packed_in = put_stl10(put, stl10_files(images))
    packed_up = load.load("stl10", download=False)
    folder = unpack_stl10(packed_in)

    data = load.load("stl10", download=False)

    is_read(data.train, images["train"], labels_of("stl10", "train"))
    assert packed_up == data and not packed_up.test.warnings
    is_read(data.test, images["test"], labels_of("stl10", "test"))
    assert not data.train.warnings
    kept = [f"{part}_{what}.bin" for part in ("test", "train") for what in "Xy"]
    assert sorted(path.name for path in folder.iterdir()) == kept
    assert [path.name for path in folder.parent.iterdir()] == ["stl10_binary"]
    assert load.is_complete(CATALOG["stl10"], None)
    (folder / "train_y.bin").write_bytes(b"")
    assert load.load_test("stl10") == data.test
    with pytest.raises(DataError, match=r"train_y\.bin: not the published stl10: md5 of the file"):
        load.load("stl10", download=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train_X.bin": b""}, "train_X.bin in it is 0 bytes long, wanted 165,888"),
        ({"test_y.bin": b"\1\2\3\4"}, "test_y.bin in it is 4 bytes long, wanted 3"),
        ({"test_y.bin": None}, "the archive lacks test_y.bin"),
        ({"test_y.bin": b"\1\0\3"}, "label 0 at place 1; labels must be 1 to 10"),
        ({"test_y.bin": b"\1\2\x0b"}, "label 11 at place 2; labels must be 1 to 10"),
    ],
)
def test_a_wrong_stl10_is_named(put: Put, change: dict[str, Any], reason: str) -> None:
    files = stl10_files(pictures_of("stl10")) | change
    folder = put_stl10(put, {name: blob for name, blob in files.items() if blob is not None})

    with pytest.raises(DataError, match=reason):
        load.load("stl10", download=False)

    def fetched() -> None:
        unpack_stl10(folder)
        load.load("stl10", download=False)

    with pytest.raises(DataError, match=reason):
        fetched()


# USPS: LIBSVM's text, packed by bzip2.


def usps_text(images_NHWC: np.ndarray, labels_N: np.ndarray) -> str:
    rows = (images_NHWC.reshape(len(labels_N), -1) / 255 * 2 - 1).tolist()
    lines = [
        " ".join([str(label + 1), *(f"{place}:{value:.4f}" for place, value in enumerate(row, 1))])
        for label, row in zip(labels_N.tolist(), rows, strict=True)
    ]
    return "\n".join(lines) + "\n"


def usps_files(images: dict[str, np.ndarray], train: str | None = None) -> dict[str, bytes]:
    texts = {part: usps_text(images[part], labels_of("usps", part)) for part in COUNTS}
    texts["train"] = texts["train"] if train is None else train
    return {
        name: bz2.compress(texts[part].encode())
        for name, part in (("usps.bz2", "train"), ("usps.t.bz2", "test"))
    }


def test_usps_is_read_row_by_row_and_its_labels_count_from_one(put: Put) -> None:
    images = pictures_of("usps")
    folder = put("usps", usps_files(images))

    data = load.load("usps", download=False)

    is_read(data.train, images["train"], labels_of("usps", "train"))
    is_read(data.test, images["test"], labels_of("usps", "test"))
    whole = (folder / "usps.bz2").read_bytes()
    (folder / "usps.bz2").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"usps\.bz2: not the published usps: md5"):
        load.load("usps", download=False)


def test_a_pixel_that_a_sparse_line_leaves_out_is_zero(put: Put) -> None:
    put("usps", usps_files(pictures_of("usps"), "7 1:-1 256:1\n" * 6))

    image_HW = load.load("usps", download=False).train.images_NHWC[0, ..., 0]

    assert (image_HW[0, 0], image_HW[0, 1], image_HW[15, 15]) == (0, 128, 255)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7 1:0\n7", "wanted 6 images, one per line, got 7"),
        ("7 2:0 1:0", "line 1: wanted a label and INDEX:VALUE"),
        ("7 0:0", "line 1: wanted a label and INDEX:VALUE"),
        ("7 257:0", "line 1: wanted a label and INDEX:VALUE"),
        ("7 1:1.5", "line 1: wanted a label and INDEX:VALUE"),
        ("7 1:nan", "line 1: wanted a label and INDEX:VALUE"),
        ("7 1", "line 1: wanted a label and INDEX:VALUE"),
        ("seven 1:0", "line 1: wanted a label and INDEX:VALUE"),
        ("", "line 1: wanted a label and INDEX:VALUE"),
        ("11 1:0", "label 11 at place 0; labels must be 1 to 10"),
    ],
)
def test_a_wrong_usps_is_named(put: Put, line: str, reason: str) -> None:
    put("usps", usps_files(pictures_of("usps"), f"{line}\n" + "7 1:0\n" * 5))
    with pytest.raises(DataError, match=reason) as error:
        load.load("usps", download=False)
    assert "usps.bz2" in str(error.value)


@pytest.mark.parametrize("keep", [0, 10, 60])
def test_a_damaged_bzip2_file_is_said_also_where_its_md5_is_right(put: Put, keep: int) -> None:
    files = usps_files(pictures_of("usps"))
    put("usps", files | {"usps.bz2": files["usps.bz2"][:keep]})
    with pytest.raises(DataError, match=r"usps\.bz2: "):
        load.load("usps", download=False)


# What a person sees.


def test_show_says_how_a_set_is_checked(command: Command, nothing_cached: Path) -> None:
    assert "checked by the published md5 of these files" in command("data", "show", "kmnist").out
    assert "and of the files in them" in command("data", "show", "stl10").out
    assert "checked by the sha256 of the decoded bytes" in command("data", "show", "mnist").out


def test_fetch_and_train_say_what_could_not_be_compared(put: Put, command: Command) -> None:
    plain = plain_files("kmnist", pictures_of("kmnist"))
    folder = put("kmnist", packed(plain))
    done = command("data", "fetch", "kmnist")
    assert done.out == f"kmnist: complete and verified, in {folder}\n"
    for file, blob in plain.items():
        (folder / file).unlink()
        (folder / file.removesuffix(".gz")).write_bytes(blob)
    done = command("train", "kmnist", "--set", "train.validation=none", "--epochs", "1")
    assert "the content could not be checked" in done.out
    done = command("lr-find", "kmnist", "--set", "train.validation=none")
    assert "the content could not be checked" in done.err
    (run,) = Path("runs").iterdir()
    assert run.name == "kmnist-standard-1"
    assert json.loads((run / "data.json").read_text())["name"] == "kmnist"


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("cifar100", "cifar10"),
        ("kmnist", "mnist"),
        ("qmnist", "mnist"),
        ("usps", "mnist"),
        ("emnist_byclass", "mnist"),
    ],
)
def test_a_set_without_recipes_is_trained_with_the_standard_one_of_a_set_like_it(
    name: str, like: str
) -> None:
    recipe, entry = default_recipe(DataRequest(name=name), "cpu"), CATALOG[name]
    assert recipe.name == f"{name}-standard"
    standard = load_recipe(f"{like}-standard")
    assert replace(recipe, name=standard.name, description=standard.description) == standard
    height, width, channels = entry.image_shape
    network = Architecture(
        network=recipe.network, image_shape=entry.image_shape, classes=len(entry.class_names)
    ).build(Generator())
    answers = network(torch.zeros(2, channels, height, width))
    assert answers.shape == (2, len(entry.class_names))
