"""CIFAR-10 files made here: the binary layout, its archive, and real pickles of the same shape."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from firstlight.data.cifar import (
    CIFAR10_LAYOUT,
    read_archive,
    read_binary,
    read_pickled,
)
from firstlight.errors import DataError

BATCHES, TEST_BATCH = tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch"
COUNTS = dict.fromkeys((*BATCHES, TEST_BATCH), 10_000)
RNG = np.random.default_rng(0)
LABELS_N = np.array([7, 0, 9])
IMAGES_NHWC = RNG.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def record(image_HWC: np.ndarray, label: int) -> bytes:
    """Encode as on the data set's page: the label, then each colour plane row by row."""
    planes = [
        bytes(int(image_HWC[y, x, c]) for y in range(32) for x in range(32)) for c in range(3)
    ]
    return bytes([label]) + b"".join(planes)


BATCH = b"".join(record(i, int(k)) for i, k in zip(IMAGES_NHWC, LABELS_N, strict=True))


def test_a_binary_batch_is_read_plane_by_plane(tmp_path: Path) -> None:
    path = tmp_path / "batch.bin"
    path.write_bytes(BATCH)

    images_NHWC, labels_N = read_binary(path, 3, CIFAR10_LAYOUT)

    np.testing.assert_array_equal(images_NHWC, IMAGES_NHWC)
    np.testing.assert_array_equal(labels_N, LABELS_N)
    assert labels_N.dtype == np.int64


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BATCH[:-1], "cut short: wanted 9,219 bytes (3 images), got 9,218"),
        (BATCH + b"\0", "too long"),
        (b"", "cut short"),
        (b"\x0a" + BATCH[1:], "label 10 at place 0; labels must be 0 to 9"),
    ],
)
def test_a_wrong_binary_batch_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "batch.bin"
    path.write_bytes(content)

    with pytest.raises(DataError) as error:
        read_binary(path, 3, CIFAR10_LAYOUT)

    assert str(path) in str(error.value)
    assert reason in str(error.value)


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_without_a_batch_or_with_a_short_one_is_said(tmp_path: Path) -> None:
    whole = bytes(10_000 * 3073)
    path = archive_of(tmp_path / "a.tar.gz", {f"cifar/{b}.bin": whole for b in BATCHES})
    with pytest.raises(DataError, match=r"the archive lacks test_batch\.bin"):
        read_archive(path, COUNTS, CIFAR10_LAYOUT)

    path = archive_of(tmp_path / "b.tar.gz", {"data_batch_1.bin": whole[:-5]})
    with pytest.raises(DataError, match=r"data_batch_1\.bin in it is 30,729,995 bytes long"):
        read_archive(path, COUNTS, CIFAR10_LAYOUT)


def test_all_batches_are_found_in_an_archive_and_nothing_else_is_looked_at(tmp_path: Path) -> None:
    rest = bytes((10_000 - 3) * 3073)
    members = {f"cifar-10-batches-bin/{b}.bin": BATCH + rest for b in (*BATCHES, TEST_BATCH)}
    path = archive_of(tmp_path / "a.tar.gz", {"../../evil.bin": b"x", **members})

    batches = read_archive(path, COUNTS, CIFAR10_LAYOUT)

    assert sorted(batches) == sorted((*BATCHES, TEST_BATCH))
    np.testing.assert_array_equal(batches[TEST_BATCH][0][:3], IMAGES_NHWC)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_damaged_archive_is_said(tmp_path: Path, keep: int) -> None:
    whole = RNG.integers(0, 256, 10_000 * 3073, dtype=np.uint8).tobytes()
    path = archive_of(tmp_path / "a.tar.gz", {f"{BATCHES[0]}.bin": whole})
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(DataError, match="damaged archive"):
        read_archive(path, COUNTS, CIFAR10_LAYOUT)


def pickled(protocol: int) -> bytes:
    planes = IMAGES_NHWC.transpose(0, 3, 1, 2).tobytes()
    return pickle.dumps(
        {
            b"batch_label": b"training batch 1 of 5",
            b"labels": LABELS_N.tolist(),
            b"data": planes,
            b"filenames": [b"a.png", b"b.png", b"c.png"],
        },
        protocol,
    )


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pixels_and_labels_are_taken_out_of_a_pickle(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickled(protocol))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()

    images_NHWC, labels_N = read_pickled(path, md5, 3, CIFAR10_LAYOUT)

    np.testing.assert_array_equal(images_NHWC, IMAGES_NHWC)
    np.testing.assert_array_equal(labels_N, LABELS_N)


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("known", [False, True])
def test_no_pickle_is_executed_not_even_one_whose_checksum_is_right(
    tmp_path: Path, known: bool
) -> None:
    trap, path = tmp_path / "trap", tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(Bomb(trap)))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() if known else "0" * 32

    with pytest.raises(
        DataError, match="does not contain the pixels" if known else "not the published"
    ):
        read_pickled(path, md5, 3, CIFAR10_LAYOUT)

    assert not trap.exists()
    pickle.loads(path.read_bytes()).close()
    assert trap.exists(), "the trap works"
