"""Shards at addresses, Parquet files, and shards that firstlight writes."""

import functools
import io
import sys
import tarfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from tests.data.shards.kit import picture, write_shards
from tests.kit import Command

import firstlight as fl
from firstlight.data.own import Form, load_own
from firstlight.data.shards import load, write
from firstlight.data.shards.files import expanded, is_address, word_of
from firstlight.data.shards.held import ROOM, room, shelf
from firstlight.errors import DataError, UnreachableError, UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Quiet(SimpleHTTPRequestHandler):
    """Serves files with an ETag, as servers do, and records the requests."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None: ...

    def send_head(self) -> Any:
        if self.command == "GET":
            self.asked.append(self.path)
        return super().send_head()

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        super().end_headers()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield an address, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    Quiet.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MOST_LOOKED_THROUGH", 0)


@pytest.mark.parametrize(
    ("word", "first", "last"),
    [
        ("{0..10}", "0", "10"),
        ("{00..10}", "00", "10"),
        ("{08..11}", "08", "11"),
        ("{8..11}", "8", "11"),
        ("{000..000}", "000", "000"),
        ("{0..0}", "0", "0"),
    ],
)
def test_braces_count_as_in_a_shell(word: str, first: str, last: str) -> None:
    names = expanded(f"a{word}.tar")
    assert (names[0], names[-1]) == (f"a{first}.tar", f"a{last}.tar")


def test_shards_at_an_address_are_those_of_the_folder(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = served
    write_shards(folder, 40, 10)
    streamed(monkeypatch)
    pattern = f"{address}/images-{{000000..000003}}.tar"
    far, near = load_own(pattern), fl.load(folder)
    assert far.train.fingerprint == near.train.fingerprint
    assert (far.test.images_NHWC[:] == near.test.images_NHWC[:]).all()
    fetched = len([path for path in Quiet.asked if path.endswith(".tar")])
    load_own(pattern).train.images_NHWC[:]
    assert len([path for path in Quiet.asked if path.endswith(".tar")]) == fetched == 4
    with pytest.raises(DataError, match=r"images-000004\.tar: no such shard"):
        load_own(f"{address}/images-{{000000..000004}}.tar")


def test_a_server_that_does_not_answer_is_told(served: tuple[str, Path]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as closed:
        port = closed.server_port
    with pytest.raises(UnreachableError, match=rf"127\.0\.0\.1:{port}/a\.tar: cannot be reached"):
        load_own(f"http://127.0.0.1:{port}/a.tar")


def test_any_store_of_fsspec_is_read_and_copies_stay_within_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    folder = write_shards(tmp_path / "set", 48, 8)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket", recursive=True)
    size = (folder / "images-000000.tar").stat().st_size
    monkeypatch.setenv(ROOM, f"{2 * size + 10}")
    streamed(monkeypatch)
    far, near = load_own("memory://bucket"), fl.load(folder)
    assert (far.train.images_NHWC[:] == near.train.images_NHWC[:]).all()
    copies = [one.stat().st_size for one in shelf().glob("*.bytes")]
    assert 0 < sum(copies) <= room()
    assert far.train.shards is not None
    with pytest.raises(DataError, match=f"6 shards that are read together .*Set {ROOM}="):
        far.train.shards.check_room(8)
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("size", ["much", "-1GB", "0", "1XB"])
def test_a_size_of_the_cache_that_is_none_is_refused(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOM, size)
    with pytest.raises(UserError, match=f"{ROOM}={size}: wanted a size"):
        room()


def test_addresses_are_told_from_paths() -> None:
    assert is_address("s3://bucket/x") and is_address(Path("https://host/x"))
    assert word_of(Path("https://host/a.tar")) == "https://host/a.tar"
    assert (
        not is_address("C:\\pictures") and not is_address("a:b/c") and not is_address("file:///x")
    )


def test_an_address_that_only_a_run_names_is_not_opened(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(write_shards(tmp_path / "set", 40, 20)), "/alone", recursive=True)
    told = command("train", "memory://alone", "--epochs", "1", "--out", "run", "--quiet")
    assert told.code == 0, told.err
    assert command("evaluate", "run").code == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another person's"))
    refused = command("evaluate", "run")
    assert refused.code == 3
    assert "does not connect" in refused.err and "memory://alone" in refused.err
    assert command("evaluate", "run", "memory://alone").code == 0
    memory.rm("/alone", recursive=True)


def table(count: int) -> Any:
    datasets = pytest.importorskip("datasets")
    rows = {
        "image": [Image.open(io.BytesIO(picture(n))) for n in range(count)],
        "label": [n % 2 for n in range(count)],
    }
    kinds = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["column", "row"])}
    )
    return datasets.Dataset.from_dict(rows, features=kinds)


@pytest.mark.filterwarnings("ignore")
def test_what_datasets_writes_and_reads_is_read_here(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from a server that only sends whole files."""
    address, folder = served
    whole = table(50)
    whole.select(range(30)).to_parquet(folder / "train-00000-of-00002.parquet", batch_size=7)
    whole.select(range(30, 40)).to_parquet(folder / "train-00001-of-00002.parquet")
    whole.select(range(40, 50)).to_parquet(folder / "test-00000-of-00001.parquet")
    small = fl.load(folder)
    assert (len(small.train), len(small.test)) == (40, 10)
    assert small.train.class_names == ("column", "row")
    streamed(monkeypatch)
    large = fl.load(folder)
    for part, rows in zip(large, (range(40), range(40, 50)), strict=True):
        for image_HWC, label, n in zip(part.images_NHWC[:], part.labels_N, rows, strict=True):
            assert (image_HWC == np.asarray(whole[n]["image"])).all()
            assert label == whole[n]["label"]
    for place in (f"file://{folder}", f"{address}/"):
        far = load_own(place)
        assert far.train.shards is not None
        assert far.test.fingerprint == large.test.fingerprint
        assert (far.train.images_NHWC[:] == large.train.images_NHWC[:]).all()


@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_with_a_parquet_file_is_told(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"

    def says(columns: dict[str, Any]) -> str:
        parquet.write_table(pyarrow.table(columns), path)
        with pytest.raises(DataError) as error:
            fl.load(path)
        return str(error.value)

    assert "wanted a column image" in says({"text": ["a"]})
    outside = [{"bytes": None, "path": "a.png"}]
    assert "row 0: holds no image data" in says({"image": outside, "label": [0]})
    inside = [{"bytes": picture(0), "path": None}]
    assert "1 of 1 image have no label" in says({"image": inside})
    assert "column label holds float" in says({"image": inside, "label": [0.5]})
    told = says({"image": inside, "labels": [[0, 1]]})
    assert "column labels holds lists. Pictures with several labels are read from a CSV" in told
    told = says({"image": inside * 3, "label": ["cat", "dog", "cat;dog"]})
    assert "such as 'cat;dog'" in told and "one class for each" in told
    table = pyarrow.table({"image": inside * 40, "label": [0] * 40})
    for codec in ("snappy", "zstd", "none"):
        parquet.write_table(table, path, compression=codec)
        whole = path.read_bytes()
        for at in range(4, 60, 5):
            path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
            with pytest.raises(DataError, match=r"a\.parquet"):
                fl.load(path)
    path.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"a\.parquet: not a complete Parquet file"):
        fl.load(path)


def files_of(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def test_what_is_packed_reads_back_the_same(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "SHARD_BYTES", 60_000)
    for n in range(40):
        path = tmp_path / "pictures" / ("one", "two")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n))
    told = command("data", "pack", "pictures", "--to", "shards")
    assert told.code == 0 and "40 images in 4 shards" in told.out
    assert command("data", "pack", "pictures", "--to", "again").code == 0
    assert files_of(tmp_path / "shards") == files_of(tmp_path / "again")
    assert all(len(one) <= 60_000 for one in files_of(tmp_path / "shards").values())
    for one, other in zip(load_own(tmp_path / "shards"), fl.load("pictures"), strict=True):
        assert one.class_names == other.class_names == ("one", "two")
        assert one.pictures == other.pictures
        assert (one.labels_N[one.content_order] == other.labels_N[other.content_order]).all()
    with tarfile.open(tmp_path / "shards" / "images-000000.tar") as tar:
        first = tar.getmembers()[0]
        assert (first.name, first.mtime, first.uid, first.uname) == ("00000000.png", 0, 0, "")
    refused = command("data", "pack", "pictures", "--to", "shards")
    assert refused.code == 2 and "already exists" in refused.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("names", [(" a", "a", "b"), (" lead", "trail ", "new\nline")])
def test_packed_class_names_are_those_of_the_folder(
    names: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    for n in range(30):
        path = tmp_path / "pictures" / names[n % 3] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n))
    assert command("data", "pack", "pictures", "--to", "shards").code == 0
    for one, other in zip(load_own(tmp_path / "shards"), fl.load("pictures"), strict=True):
        assert one.class_names == other.class_names == tuple(sorted(names))
        assert one.pictures == other.pictures
        assert (one.labels_N[one.content_order] == other.labels_N[other.content_order]).all()


@pytest.mark.parametrize("names", [("e\u0301", "\u00e9"), ("", "a")])
def test_packed_class_names_are_those_of_arrays(
    names: tuple[str, str], command: Command, tmp_path: Path
) -> None:
    images_NHW = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez("it.npz", images=images_NHW, labels=np.arange(40) % 2, class_names=names)
    assert command("data", "pack", "it.npz", "--to", "shards").code == 0
    train = load_own(tmp_path / "shards", Form(size=8)).train
    assert train.class_names == fl.load("it.npz").train.class_names


def test_arrays_and_named_sets_are_packed_with_their_parts(
    command: Command, tmp_path: Path
) -> None:
    assert command("data", "pack", "digits", "--to", "shards").code == 0
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {
        *("train-000000.tar", "test-000000.tar", "classes.txt"),
    }
    packed, digits = load_own(tmp_path / "shards", Form(size=8)), fl.load("digits")
    for one, other in zip(packed, digits, strict=True):
        assert one.pictures == other.pictures
        assert one.class_names == other.class_names
        assert (one.labels_N[one.content_order] == other.labels_N[other.content_order]).all()


def test_what_cannot_be_packed_leaves_nothing_behind(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "set", 20, 20)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write._Shard, "_member", full)
    told = command("data", "pack", "set", "--to", "shards")
    assert told.code == 3 and "No space left on device" in told.err
    assert {path.name for path in tmp_path.iterdir()} <= {"set", "cache"}
