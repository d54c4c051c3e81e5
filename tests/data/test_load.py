"""Where a data set is searched, what is accepted there, and what is refused.

The data sets are small ones made here; their checksums replace the published ones.
"""

import gzip
import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firstlight.data import catalog, cifar_set, load
from firstlight.data.duplicates import groups, near_copies
from firstlight.data.entry import Content, RemoteFile
from firstlight.errors import DataError, UnreachableError, UserError

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.array([0, 1, 2, 9, 4, 5])
TEST = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8), np.array([3, 7, 8])


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype(np.uint8).tobytes()).hexdigest()


CONTENT = Content(
    train_images=sha256(TRAIN[0]),
    train_labels=sha256(TRAIN[1]),
    test_images=sha256(TEST[0]),
    test_labels=sha256(TEST[1]),
)


def idx(array: np.ndarray) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


NAMES = [
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
]


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch, nothing_cached: Path) -> Path:
    """Put an MNIST of nine images in the catalogue, and none of it on this machine."""
    entry = replace(catalog.MNIST, content=CONTENT, train_count=6, test_count=3)
    monkeypatch.setitem(catalog.CATALOG, "mnist", entry)
    return nothing_cached


def put(folder: Path, *, packed: bool = True, dots: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, (*TRAIN, *TEST), strict=True):
        stem = name.replace("-idx", ".idx") if dots else name
        if packed:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / stem).write_bytes(idx(array))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dots", [True, False])
@pytest.mark.parametrize("sub", ["", "mnist", "MNIST/raw"])
def test_idx_files_are_found_in_the_usual_folders_under_the_usual_names(
    small_mnist: Path, tmp_path: Path, packed: bool, dots: bool, sub: str
) -> None:
    put(tmp_path / "data" / sub, packed=packed, dots=dots)

    data = load.load("mnist", tmp_path / "data", download=False)

    np.testing.assert_array_equal(data.train.images_NHWC[..., 0], TRAIN[0])
    np.testing.assert_array_equal(data.test.labels_N, TEST[1])
    assert (data.train.name, data.test.name) == ("mnist/train", "mnist/test")


def test_the_option_comes_before_the_variable_and_that_before_the_caches(
    small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option, variable = tmp_path / "option", tmp_path / "variable"
    cache = small_mnist / ".cache" / "firstlight"
    for folder in (option, variable, cache / "mnist"):
        put(folder)
    monkeypatch.setenv("FIRSTLIGHT_DATA", str(variable))

    assert load.where_found(catalog.CATALOG["mnist"], option) == option
    assert load.where_found(catalog.CATALOG["mnist"]) == variable
    monkeypatch.delenv("FIRSTLIGHT_DATA")
    assert load.where_found(catalog.CATALOG["mnist"]) == cache / "mnist"


@pytest.mark.parametrize("kind", ["idx", "idx alone", "npz"])
def test_of_the_test_part_alone_nothing_else_is_read(
    small_mnist: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setenv("FIRSTLIGHT_DATA", str(tmp_path))
    if kind.startswith("idx"):
        put(tmp_path)
        train = tmp_path / f"{NAMES[0]}.gz"
        train.unlink() if kind == "idx alone" else train.write_bytes(b"not MNIST")
    else:
        arrays: dict[str, Any] = {"x_train": TRAIN[0].astype(np.float32), "y_train": TRAIN[1]}
        arrays |= {"x_test": TEST[0], "y_test": TEST[1].astype(np.uint8)}
        np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(UserError):
        load.load("mnist", download=False)
    test = load.load_test("mnist")
    assert np.array_equal(test.images_NHWC[..., 0], TEST[0])
    assert test.labels_N.tolist() == TEST[1].tolist()
    assert test.name == "mnist/test"


def test_a_test_part_alone_that_is_not_the_published_one_is_refused(small_mnist: Path) -> None:
    put(small_mnist / "data")
    labels = small_mnist / "data" / f"{NAMES[3]}.gz"
    labels.write_bytes(gzip.compress(idx(np.array([3, 7, 9]))))
    with pytest.raises(DataError, match="not the published mnist: sha256 of the test labels"):
        load.load_test("mnist")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_test_part_alone_is_that_of_the_whole(name: str) -> None:
    assert load.load_test(name) == load.load(name).test


def test_keras_file_is_accepted(small_mnist: Path) -> None:
    folder = small_mnist / ".keras" / "datasets"
    folder.mkdir(parents=True)
    arrays: dict[str, Any] = {"x_train": TRAIN[0], "y_train": TRAIN[1].astype(np.uint8)}
    arrays |= {"x_test": TEST[0], "y_test": TEST[1].astype(np.uint8)}
    np.savez(folder / "mnist.npz", **arrays)

    data = load.load("mnist", download=False)

    np.testing.assert_array_equal(data.train.images_NHWC[..., 0], TRAIN[0])
    assert data.train.labels_N.dtype == np.int64


@pytest.mark.parametrize("how", ["objects", "missing", "floats", "reshaped", "no zip"])
def test_another_npz_is_refused_by_name(small_mnist: Path, how: str) -> None:
    folder = small_mnist / ".keras" / "datasets"
    folder.mkdir(parents=True)
    arrays: dict[str, Any] = {"x_train": TRAIN[0], "y_train": TRAIN[1].astype(np.uint8)}
    arrays |= {"x_test": TEST[0], "y_test": TEST[1].astype(np.uint8)}
    match how:
        case "objects":
            arrays["x_train"] = np.array([{"a": 1}], dtype=object)
        case "missing":
            del arrays["y_test"]
        case "floats":
            arrays["x_train"] = arrays["x_train"] / 255
        case "reshaped":
            arrays["x_train"] = arrays["x_train"].reshape(6, 56, 14)
    np.savez(folder / "mnist.npz", **arrays)
    if how == "no zip":
        (folder / "mnist.npz").write_bytes(b"no zip at all")

    with pytest.raises(DataError, match=r"mnist\.npz: "):
        load.load("mnist", download=False)


def test_other_pixels_or_labels_than_the_published_are_refused(
    small_mnist: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    put(folder, packed=False)
    swapped = TRAIN[1][::-1]
    (folder / NAMES[1]).write_bytes(idx(swapped))

    with pytest.raises(DataError, match="not the published mnist: sha256 of the train labels"):
        load.load("mnist", folder, download=False)


def test_a_set_that_is_nowhere_names_every_folder_and_the_way_to_get_it(small_mnist: Path) -> None:
    with pytest.raises(UnreachableError) as error:
        load.load("mnist", download=False)

    message = str(error.value)
    assert str(small_mnist / ".cache" / "firstlight") in message
    assert str(small_mnist / ".keras" / "datasets") in message
    assert "firstlight data fetch mnist" in message


def test_without_a_network_one_error_names_addresses_folder_and_files(
    small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unplugged(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unplugged)

    with pytest.raises(UnreachableError) as error:
        load.load("mnist")

    message = str(error.value)
    for address in catalog.MNIST.files[0].urls:
        assert f"{address}: Network is unreachable" in message
    assert str(small_mnist / ".cache" / "firstlight" / "mnist") in message
    for file in catalog.MNIST.files:
        assert f"{file.name}  (md5 {file.md5})" in message
    assert "FIRSTLIGHT_DATA" in message


def test_chosen_folders_that_do_not_exist_are_errors(
    small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder. Correct --data-dir"):
        load.load("mnist", small_mnist / "nowhere")
    monkeypatch.setenv("FIRSTLIGHT_DATA", "/nowhere")
    with pytest.raises(DataError, match=r"FIRSTLIGHT_DATA=/nowhere: no such folder"):
        load.load("mnist")


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match="'mnst'; choose from mnist, fashion_mnist, cifar10, digits"
    ):
        load.load("mnst")


def test_the_digits_are_those_of_scikit_learn_scaled_to_bytes(nothing_cached: Path) -> None:
    from sklearn.datasets import load_digits

    data = load.load("digits", download=False)

    published = load_digits()
    images_NHW = np.concatenate([data.train.images_NHWC, data.test.images_NHWC])[..., 0]
    labels_N = np.concatenate([data.train.labels_N, data.test.labels_N])
    assert images_NHW.shape == (1797, 8, 8)
    ours = sorted((int(k), *i.ravel().tolist()) for i, k in zip(images_NHW, labels_N, strict=True))
    theirs = sorted(
        (int(k), *np.rint(i * 255 / 16).astype(int).ravel().tolist())
        for i, k in zip(published.images, published.target, strict=True)
    )
    assert ours == theirs


def test_the_catalogue_is_complete() -> None:
    for entry in catalog.CATALOG.values():
        assert len(set(entry.class_names)) == len(entry.class_names) >= 10
        assert entry.licence and entry.citation
        for file in entry.files:
            assert len(file.md5) == 32 and int(file.md5, 16) >= 0
            assert len(file.urls) >= (1 if entry.name in ("kmnist", "usps") else 2), (
                "as many as there are"
            )
            assert all(url.startswith("https://") and url.endswith(file.name) for url in file.urls)
            assert len({url.split("/")[2] for url in file.urls}) == len(file.urls), "two hosts"


FASHION = pytest.mark.real_data("fashion_mnist")


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        # Number of images in each class, as published; MNIST's as everyone counts them.
        pytest.param(
            *("mnist", (28, 28, 1), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
            marks=pytest.mark.real_data,
        ),
        pytest.param("fashion_mnist", (28, 28, 1), [6000] * 10, marks=FASHION),
        pytest.param("cifar10", (32, 32, 3), [5000] * 10, marks=pytest.mark.real_data),
    ],
)
def test_the_real_sets_have_the_published_shapes_and_class_counts(
    name: str, shape: tuple[int, int, int], counts: list[int]
) -> None:
    data = load.load(name, download=False)

    assert data.train.image_shape == data.test.image_shape == shape
    assert np.bincount(data.train.labels_N).tolist() == counts
    assert len(data.test) == 10_000
    assert data.train.class_names == catalog.CATALOG[name].class_names


def test_fetching_into_a_folder_fetches_also_what_is_elsewhere(
    small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "variable")
    monkeypatch.setenv("FIRSTLIGHT_DATA", str(tmp_path / "variable"))
    entry = catalog.CATALOG["mnist"]

    assert load.is_complete(entry, None)
    assert not load.is_complete(entry, tmp_path / "mine")
    put(tmp_path / "mine" / "mnist")
    assert load.is_complete(entry, tmp_path / "mine")


def test_two_at_once_unpack_cifar10_once_and_none_is_disturbed(
    nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process waits, finds the batches unpacked, and neither downloads nor deletes."""
    fetched: list[str] = []

    def fetch_one(file: RemoteFile, folder: Path, report: object) -> Path:
        fetched.append(file.name)
        (folder / file.name).write_bytes(b"archive")
        return folder / file.name

    def unpack(archive: Path, folder: Path, *_: object) -> None:
        folder.mkdir()
        for batch in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            (folder / f"{batch}.bin").write_bytes(archive.read_bytes())

    monkeypatch.setattr(load, "fetch", fetch_one)
    monkeypatch.setattr(cifar_set, "unpack", unpack)
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(load.fetch_files, catalog.CIFAR10, nothing_cached) for _ in range(2)]
    assert [d.result() for d in done] == [nothing_cached / "cifar10"] * 2
    assert fetched == ["cifar-10-binary.tar.gz"]
    assert [p.name for p in (nothing_cached / "cifar10").iterdir()] == ["cifar-10-batches-bin"]


@FASHION
@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_known_by_its_pixels_and_not_by_its_archives(
    tmp_path: Path, packed: bool
) -> None:
    """Debian packs the files without their names, and torchvision unpacks them, so checksums
    differ."""
    data = load.load("fashion_mnist", download=False)
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    arrays = [a for part in data for a in (np.asarray(part.images_NHWC)[..., 0], part.labels_N)]
    for name, array in zip(NAMES, arrays, strict=True):
        plain = idx(array)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(
            gzip.compress(plain, 1) if packed else plain
        )

    assert load.where_found(catalog.FASHION_MNIST, tmp_path) == folder
    assert len(load.load("fashion_mnist", tmp_path, download=False).test) == 10_000


def test_what_debian_packs_is_found_where_it_puts_it(nothing_cached: Path) -> None:
    assert load.where_found(catalog.FASHION_MNIST) is None
    put(load.DEBIAN / "fashion-mnist")

    assert load.where_found(catalog.FASHION_MNIST) == load.DEBIAN / "fashion-mnist"


def test_a_home_folder_may_be_written_with_a_tilde(small_mnist: Path) -> None:
    put(small_mnist / "sets")

    assert len(load.load("mnist", "~/sets", download=False).train) == 6


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fashion_mnist", marks=FASHION),
        pytest.param("cifar10", marks=pytest.mark.real_data),
    ],
)
def test_the_near_copies_that_are_known_are_those_that_are_found(name: str) -> None:
    train = load.load(name, download=False).train
    known = train.groups_N
    assert known is not None
    assert np.array_equal(known, groups(len(train), near_copies(train.images_NHWC)))
