"""Arrays in files: NumPy's and MATLAB's, as NumPy and SciPy write them; and hostile ones."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from tests.kit import Command

import firstlight as fl
import firstlight.data.own as own
import firstlight.data.packed as packed
from firstlight.data.own import load_own
from firstlight.errors import DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (40, 30, 32, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
LABELS = np.arange(40) % 2


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def of_both(data: fl.TrainTest) -> set[tuple[bytes, str]]:
    return {
        (image.tobytes(), part.class_names[label])
        for part in data
        for image, label in zip(part.images_NHWC, part.labels_N, strict=True)
    }


def wanted(images: np.ndarray, labels: np.ndarray) -> set[tuple[bytes, str]]:
    return {(i.tobytes(), str(n)) for i, n in zip(images, labels, strict=True)}


@pytest.mark.parametrize("compressed", [True, False])
def test_the_street_view_numbers_layout_is_taken(tmp_path: Path, compressed: bool) -> None:
    """X is H×W×C×N, and y a column of 1 to 10."""
    labels = np.arange(40) % 10 + 1
    file = tmp_path / "train_32x32.mat"
    images = {"X": COLOUR.transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)}
    savemat(file, images, do_compression=compressed)
    data = load_own(file)
    assert of_both(data) == wanted(COLOUR, labels)
    assert data.train.class_names == tuple(map(str, range(1, 11)))


def test_other_matlab_files_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "set.mat"
    savemat(file, {"images": GREY.transpose(1, 2, 0), "labels": LABELS[None]})
    assert of_both(load_own(file)) == wanted(GREY, LABELS)
    savemat(file, {"images": COLOUR, "labels": LABELS.astype(float), "info": "text"})
    data = load_own(file)
    assert of_both(data) == wanted(COLOUR, LABELS)
    assert "left out: info" in data.train.notes
    savemat(file, {"images": GREY.reshape(40, -1)[:, :900], "labels": LABELS}, format="4")
    with pytest.raises(DataError, match=r"save images\.reshape\(-1, 30, 30\)"):
        load_own(file)  # version 4 has only two axes
    savemat(file, {"images": GREY > 128, "labels": LABELS})
    assert of_both(load_own(file)) == wanted((GREY > 128) * np.uint8(255), LABELS)
    savemat(
        file,
        {
            "train_images": GREY,
            "train_labels": LABELS,
            "test_images": GREY[:8],
            "test_labels": LABELS[:8],
            "range": [0, 300],
        },
    )
    data = load_own(file)
    assert np.array_equal(data.test.images_NHWC[..., 0], np.rint(GREY[:8] * (255 / 300)))


def test_matlab_images_whose_axes_are_not_plain_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "set.mat"
    images = RNG.integers(0, 256, (28, 28, 28), dtype=np.uint8)
    savemat(file, {"images": images, "labels": np.arange(28) % 2})
    with pytest.raises(DataError, match="which could be either"):
        load_own(file)


def test_files_of_one_array_each_are_taken_together(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, array in (
        ("x_train", COLOUR),
        ("y_train", LABELS),
        ("x_test", COLOUR[:8]),
        ("y_test", LABELS[:8]),
        ("notes", np.arange(3)),
    ):
        np.save(folder / f"{name}.npy", array)
    for path in (folder / "x_train.npy", folder):
        data = load_own(path)
        assert np.array_equal(data.test.images_NHWC, COLOUR[:8])
        assert wanted(data.train.images_NHWC, data.train.labels_N) == wanted(COLOUR, LABELS)
    np.save(folder / "y_train.npy", 1 - LABELS)  # a different file from the named one
    data = load_own(folder / "x_train.npy")
    assert wanted(data.train.images_NHWC, data.train.labels_N) == wanted(COLOUR, 1 - LABELS)


def test_an_array_alone_is_told_what_is_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", GREY)
    with pytest.raises(
        DataError, match=r"counterpart\. Save each as a separate file .* labels\.npy"
    ):
        load_own(tmp_path / "images.npy")
    np.save(tmp_path / "faces.npy", GREY)
    (tmp_path / "images.npy").unlink()
    with pytest.raises(DataError, match=r"such as images\.npy and labels\.npy"):
        load_own(tmp_path / "faces.npy")


def test_an_npz_says_its_range(tmp_path: Path) -> None:
    levels = RNG.integers(0, 17, (40, 28, 28))
    np.savez(tmp_path / "set.npz", images=levels, labels=LABELS)
    with pytest.raises(DataError, match="an array called range"):
        load_own(tmp_path / "set.npz")
    np.savez(tmp_path / "set.npz", images=levels, labels=LABELS, range=[0, 16])
    expected = np.rint(levels * (255 / 16)).astype(np.uint8)
    assert of_both(load_own(tmp_path / "set.npz")) == wanted(expected, LABELS)


def test_parts_of_several_dtypes_keep_their_own_range(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "set.npz", x_train=GREY, y_train=LABELS, x_test=GREY[:9] / 255, y_test=LABELS[:9]
    )
    data = load_own(tmp_path / "set.npz")
    assert np.array_equal(data.test.images_NHWC[..., 0], GREY[:9])


@pytest.mark.parametrize("missing", [None, np.nan, "", "nan"])
def test_missing_labels_are_told_with_their_rows(tmp_path: Path, missing: Any) -> None:
    labels: Any = LABELS.astype(float) if missing is np.nan else LABELS.astype(str)
    if missing is None:
        missing = "None"
    labels[[3, 7]] = missing
    np.savez(tmp_path / "set.npz", images=GREY, labels=labels)
    with pytest.raises(DataError, match=r"set\.npz: labels: 2 of 40 labels .*: labels 3, 7\. Give"):
        load_own(tmp_path / "set.npz")


def header(text: str) -> bytes:
    """Return a header of NumPy's format as given, without data."""
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


HOSTILE = {
    "10^12 images": header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**12, 28, 28)}"),
    "a billion images": header(
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**12}, 28, 28)}}"
    ),
    "a gigabyte that is not there": header(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 28, 28)}"
    ),
    "fewer than none": header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 28, 28)}"),
    "parentheses": header("(" * 9000),
    "brackets": header("[" * 9000 + "]" * 9000),
    "minus signs": header("-" * 9000 + "1"),
    "no keys": header("{}"),
    "no dtype": header("{'descr': 'zz9', 'fortran_order': False, 'shape': (1,)}"),
    "nested dtype": header(
        f"{{'descr': {'[' * 90}('a', '|u1'){']' * 90}, 'fortran_order': False, 'shape': (1,)}}"
    ),
    "a huge number": header(
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({'9' * 5000},)}}"
    ),
    "a name": header("{'descr': __import__, 'fortran_order': False, 'shape': (1,)}"),
    "objects": header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"cos\nsystem",
    "format 9": b"\x93NUMPY\x09\x00",
    "no magic": b"GIF89a",
    "nothing": b"",
}


@pytest.mark.parametrize("member", HOSTILE)
def test_a_hostile_header_is_an_error_and_takes_no_memory(
    tmp_path: Path, member: str, command: Command
) -> None:
    labels = io.BytesIO()
    np.save(labels, LABELS)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", HOSTILE[member])
        archive.writestr("labels.npy", labels.getvalue())
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "images.npy").write_bytes(HOSTILE[member])
    np.save(tmp_path / "alone" / "labels.npy", LABELS)
    tracemalloc.start()
    for path in (tmp_path / "set.npz", tmp_path / "alone" / "images.npy"):
        with pytest.raises(DataError) as caught:
            load_own(path)
        assert len(str(caught.value)) < 600
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("member", HOSTILE)
def test_a_hostile_copy_of_a_named_set_is_an_error(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", HOSTILE[member])
    with pytest.raises(DataError, match=r"not the mnist\.npz of Keras\. Remove it"):
        fl.load("mnist", tmp_path)


def test_the_command_tells_of_a_hostile_file_in_a_line(tmp_path: Path, command: Command) -> None:
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", HOSTILE["parentheses"])
    done = command("train", tmp_path / "set.npz")
    assert done.code == 3
    assert "Traceback" not in done.err and "set.npz: damaged" in done.err


def bomb(file: Path, megabytes: int) -> None:
    count = megabytes * 1_000_000 // 784
    labels = io.BytesIO()
    np.save(labels, np.arange(count) % 2)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w") as out:
            shape = f"({count}, 28, 28)"
            out.write(header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"))
            for _ in range(count):
                out.write(bytes(784))
        archive.writestr("labels.npy", labels.getvalue())


def test_what_unpacks_to_more_than_the_bound_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "UNPACKED", 20_000_000)
    bomb(tmp_path / "set.npz", 30)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"MB that unpack to 0\.0 GB are not read; at most"):
        load_own(tmp_path / "set.npz")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    images = np.zeros((40_000, 28, 28), np.uint8)
    images[:, 3] = 255
    labels = np.arange(40_000) % 2
    savemat(tmp_path / "set.mat", {"images": images, "labels": labels}, do_compression=True)
    with pytest.raises(DataError, match=r"unpacks? to more than|that unpack to"):
        load_own(tmp_path / "set.mat")


def test_honest_files_of_any_size_pass_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "UNPACKED", 1000)
    np.savez(tmp_path / "set.npz", images=GREY, labels=LABELS)
    assert len(load_own(tmp_path / "set.npz").train) > 0
    savemat(tmp_path / "set.mat", {"images": GREY, "labels": LABELS}, do_compression=True)
    assert len(load_own(tmp_path / "set.mat").train) > 0


def damaged(content: bytes) -> list[bytes]:
    return [content[:200], content[: len(content) // 2], content[:-40], b"", b"no such file"]


def test_damaged_matlab_files_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "set.mat"
    for compressed in (True, False):
        savemat(file, {"images": GREY, "labels": LABELS}, do_compression=compressed)
        whole = file.read_bytes()
        lying = bytearray(whole)
        lying[150:400] = RNG.bytes(250)
        for content in (*damaged(whole), bytes(lying)):
            file.write_bytes(content)
            with pytest.raises(DataError, match=r"set\.mat"):
                load_own(file)


def test_matlab_arrays_that_lie_about_their_bytes_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "UNPACKED", 1_000_000)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    inside = zlib.compress(struct.pack("<II", 14, 50_000_000) + bytes(50_000_000))
    (tmp_path / "set.mat").write_bytes(head + struct.pack("<II", 15, len(inside)) + inside)
    with pytest.raises(DataError, match="unpacks to more than"):
        load_own(tmp_path / "set.mat")


def test_matlab_7_3_is_told_what_to_do(tmp_path: Path) -> None:
    head = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM"
    (tmp_path / "set.mat").write_bytes(head + bytes(400) + b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(DataError, match=r"version 7\.3 .* Save it with '-v7'"):
        load_own(tmp_path / "set.mat")
