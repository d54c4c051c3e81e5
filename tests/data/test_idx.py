"""IDX files, written here byte by byte as the format's description says."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from firstlight.data.idx import read_images, read_labels
from firstlight.errors import DataError

IMAGES_NHW = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
HEAD = b"\0\0\x08\x03" + struct.pack(">III", 3, 4, 5)


def written(folder: Path, content: bytes, *, packed: bool = False) -> Path:
    path = folder / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_images_come_back_as_they_were_written(tmp_path: Path, packed: bool) -> None:
    path = written(tmp_path, HEAD + IMAGES_NHW.tobytes(), packed=packed)

    images_NHWC = read_images(path, (4, 5), 3)

    assert images_NHWC.dtype == np.uint8
    np.testing.assert_array_equal(images_NHWC[..., 0], IMAGES_NHW)


def test_labels_come_back_as_int64(tmp_path: Path) -> None:
    path = written(tmp_path, b"\0\0\x08\x01" + struct.pack(">I", 4) + bytes([3, 0, 9, 1]))

    labels_N = read_labels(path, 10, 4)

    assert labels_N.dtype == np.int64
    assert labels_N.tolist() == [3, 0, 9, 1]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "wanted the bytes 00 00 08 03 first, got an empty file"),
        (b"\0\0\x0d\x03" + HEAD[4:] + IMAGES_NHW.tobytes(), "got 00 00 0d 03"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "got 89 50 4e 47"),
        (HEAD[:9], "its header is truncated"),
        (HEAD + IMAGES_NHW.tobytes()[:-1], "cut short: wanted 60 bytes of images, got 59"),
        (HEAD + IMAGES_NHW.tobytes() + b"\0", "longer than its header says"),
        (HEAD[:4] + struct.pack(">III", 2, 4, 5), "the header says 2×4×5 images, wanted 3×4×5"),
        (
            HEAD[:4] + struct.pack(">III", 2**32 - 1, 2**16, 2**16),
            "the header says 4294967295×65536×65536",
        ),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes, reason: str, packed: bool
) -> None:
    path = written(tmp_path, content, packed=packed)

    with pytest.raises(DataError) as error:
        read_images(path, (4, 5), 3)

    assert str(path) in str(error.value)
    assert reason in str(error.value)


def test_a_header_that_claims_too_much_costs_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD[:4] + struct.pack(">III", 2**32 - 1, 4, 5) + b"few bytes")

    with pytest.raises(DataError, match="cut short: wanted 85,899,345,900 bytes"):
        read_images(path, (4, 5))


def test_a_label_out_of_range_is_named_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, b"\0\0\x08\x01" + struct.pack(">I", 4) + bytes([3, 0, 10, 1]))

    with pytest.raises(DataError, match="label 10 at place 2; labels must be 0 to 9"):
        read_labels(path, 10, 4)


@pytest.mark.parametrize("damage", [slice(None, -9), slice(None, 30)])
def test_damaged_gzip_data_is_said(tmp_path: Path, damage: slice) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(HEAD + IMAGES_NHW.tobytes())[damage])

    with pytest.raises(DataError, match="damaged gzip data"):
        read_images(path, (4, 5), 3)


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_images(tmp_path / "gone", (4, 5))
    with pytest.raises(DataError, match="Is a directory"):
        read_images(tmp_path, (4, 5))
