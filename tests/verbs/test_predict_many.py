"""Answers for many pictures, compared with those of ``Run.predict`` for each alone."""

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.shards.kit import Member, picture, samples, write_tar
from tests.kit import Command

import firstlight as fl
from firstlight.errors import DataError, RunInterruptedError, UserError
from firstlight.files import write_whole
from firstlight.progress import PaceBar
from firstlight.verbs import answering, predict_many
from firstlight.verbs.answer_files import AnswerTable, encoded
from firstlight.verbs.answering import Answering

pytestmark = pytest.mark.usefixtures("warm")

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Write two tars, of seven and of five labelled images."""
    write_tar(tmp_path / "shards" / "images-0.tar", samples(range(7)))
    write_tar(tmp_path / "shards" / "images-1.tar", samples(range(7, 12)))
    return tmp_path / "shards"


def rows_of(out: Path) -> list[dict[str, str]]:
    """Return all answers in CSV files, in the order of the files."""
    found: list[dict[str, str]] = []
    for path in sorted(out.glob("part-*.csv")):
        with path.open(newline="") as file:
            found += csv.DictReader(file)
    return found


def files_of(out: Path) -> dict[str, bytes]:
    """Return everything in the folder, including hidden files, except names of the run and the
    input."""
    return {one.name: one.read_bytes() for one in out.iterdir() if one.name != "answers.json"}


def expected(run: fl.Run, number: int) -> Any:
    (answer,) = run.predict([Image.open(io.BytesIO(picture(number)))])
    return answer


def test_each_image_of_a_shard_has_the_answer_that_it_has_alone(
    command: Command, digits_run: fl.Run, shards: Path, tmp_path: Path
) -> None:
    done = command("predict", digits_run.path, shards, "--out", "answers", "--chunk", "4")
    assert (done.code, done.out) == (0, "answers answers: 12 images in 4 files\n"), done.err

    rows = rows_of(tmp_path / "answers")
    assert [row["image"] for row in rows] == [f"images-{int(n > 6)}.tar/{n:05d}" for n in range(12)]
    assert [row["label"] for row in rows] == [str(n % 2) for n in range(12)]
    for number, row in enumerate(rows):
        alone = expected(digits_run, number)
        assert (row["best"], row["error"]) == (alone.best, "")
        assert row["unknown"] == str(alone.unknown).lower()
        assert float(row["confidence"]) == pytest.approx(alone.confidence, abs=2e-6)
        for name, share in alone.probabilities.items():
            assert float(row[f"p_{name}"]) == pytest.approx(share, abs=2e-6)
    about = json.loads((tmp_path / "answers" / "answers.json").read_text())
    assert (about["images"], about["finished"], about["unread"]) == (12, True, 0)
    assert sorted(one.name for one in (tmp_path / "answers").iterdir()) == [
        *(f".part-0000{number}.csv.sha256" for number in range(4)),
        "answers.json",
        *(f"part-0000{number}.csv" for number in range(4)),
    ]

    again = command("predict", digits_run.path, shards, "--out", "answers", "--chunk", "4")
    assert again.out == "answers answers: 12 images in 4 files, all of them earlier\n"


def test_shards_without_labels_and_with_damaged_pictures(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    members: list[Member] = [(f"{n:05d}.png", picture(n)) for n in range(5)]
    members[2] = ("00002.png", picture(2)[:200])
    members[3] = ("=3.png", b"no picture at all")
    write_tar(tmp_path / "s.tar", members)
    done = command("predict", digits_run.path, "s.tar", "--out", "a", "--json")
    assert done.code == 3
    assert "2 of 5 images could not be read; see the column error" in done.err
    assert json.loads(done.out)["unread"] == 2
    rows = rows_of(tmp_path / "a")
    assert "label" not in rows[0]
    assert rows[3]["image"] == "s.tar/=3"
    assert [bool(row["error"]) for row in rows] == [False, False, True, True, False]
    assert "damaged or truncated" in rows[2]["error"]
    assert {rows[2][name] for name in rows[2]} - {rows[2]["image"], rows[2]["error"]} == {""}
    assert rows[4]["best"] == expected(digits_run, 4).best
    assert command("predict", digits_run.path, "s.tar", "--out", "a").code == 3  # as before


def test_a_folder_of_pictures_at_any_depth(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    for number, name in enumerate(("b/z.png", "a.png", "b/c/d.png")):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (tmp_path / "pictures" / "b" / "notes.txt").write_text("no picture")
    assert command("predict", digits_run.path, "pictures", "--out", "a").code == 0
    rows = rows_of(tmp_path / "a")
    found = {row["image"].removeprefix("pictures/"): row["best"] for row in rows}
    assert [row["image"] for row in rows] == sorted(row["image"] for row in rows)
    assert found == {
        name: expected(digits_run, number).best
        for number, name in enumerate(("b/z.png", "a.png", "b/c/d.png"))
    }
    # A changed picture counts as a different one.
    (tmp_path / "pictures" / "a.png").write_bytes(picture(7))
    done = command("predict", digits_run.path, "pictures", "--out", "a")
    assert done.code == 2
    changed = (
        "a already holds answers for images of pictures that have changed since (3 images then, "
        "{} now)"
    )
    assert changed.format(3) in done.err
    (tmp_path / "pictures" / "b" / "y.png").write_bytes(picture(8))
    done = command("predict", digits_run.path, "pictures", "--out", "a")
    assert changed.format(4) in done.err


def test_images_that_are_given_by_other_words_are_told_by_both(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "one.png").write_bytes(picture(0))
    (tmp_path / "pics" / "two.png").write_bytes(picture(1))
    (tmp_path / "pics" / "three.png").write_bytes(picture(2))
    whole = str(tmp_path / "pics")
    assert command("predict", digits_run.path, "one.png", "pics", "--out", "a").code == 0
    for words, told in (
        (("one.png", whole), f"for images from pics, not from {whole}."),
        (("one.png",), "for images from pics, not from nothing more."),
        ((whole, "one.png"), f"for images from one.png and 1 more, not from {whole} and 1 more."),
    ):
        done = command("predict", digits_run.path, *words, "--out", "a")
        assert (done.code, f"a already holds answers {told} Choose another folder" in done.err) == (
            2,
            True,
        )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_same_bytes_for_any_number_of_workers_and_threads(
    form: str,
    digits_run: fl.Run,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = (1, "2") if form == "csv" else (2, "2")  # another process takes seconds to start
    for workers, threads in ((1, "1"), (1, "3"), other):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        done = digits_run.predict_to(
            tmp_path / f"a{workers}{threads}", shards, format=form, chunk=2, workers=workers
        )
        assert (done.images, done.files, done.unread, done.answered) == (12, 7, 0, 12)
    first = files_of(tmp_path / "a11")
    assert len(first) == 2 * 7  # with their checksums
    assert files_of(tmp_path / "a13") == files_of(tmp_path / f"a{other[0]}2") == first
    if form == "parquet":
        table = parquet.read_table(tmp_path / "a22" / "part-00000.parquet")
        assert table.column("image").to_pylist() == ["images-0.tar/00000", "images-0.tar/00001"]
        for number, best in enumerate(table.column("best").to_pylist()):
            assert best == expected(digits_run, number).best
        kinds = {field.name: str(field.type) for field in table.schema}
        assert (kinds["label"], kinds["p_3"], kinds["unknown"]) == ("string", "float", "bool")
        assert table.column("error").null_count == 2


def test_parquet_with_images_is_taken_as_tars_are(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"image": [{"bytes": picture(n), "path": None} for n in range(3)]})
    parquet.write_table(table, tmp_path / "test.parquet")
    done = command("predict", digits_run.path, "test.parquet", "--out", "a", "--format", "parquet")
    assert done.code == 0, done.err
    found = parquet.read_table(tmp_path / "a" / "part-00000.parquet")
    assert "label" not in found.column_names
    assert found.column("best").to_pylist() == [expected(digits_run, n).best for n in range(3)]


# Deaths


def in_the_middle(monkeypatch: pytest.MonkeyPatch, of: int, do: Callable[[], None]) -> None:
    """Run ``do`` during chunk ``of`` of this process, before its file is written."""
    write, seen = Answering._write, [0]

    def then(work: Answering, name: str, content: str | bytes) -> None:
        if name.startswith("part-"):
            seen[0] += 1
            if seen[0] == of:
                do()
        write(work, name, content)

    monkeypatch.setattr(Answering, "_write", then)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_process_that_is_killed_within_a_chunk_leaves_it_to_others(
    digits_run: fl.Run, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = digits_run.predict_to(tmp_path / "whole", shards, chunk=2, workers=1)
    child = os.fork()
    if child == 0:
        in_the_middle(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGKILL))
        try:
            digits_run.predict_to(tmp_path / "killed", shards, chunk=2, workers=1, quiet=True)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    names = {one.name for one in (tmp_path / "killed").glob("part*")}
    assert names == {"part-00000.csv", "part-00001.csv"}
    assert (tmp_path / "killed" / ".part-00002.lock").exists()
    assert (tmp_path / "killed" / ".part-00002.csv.sha256").exists()  # before its file

    done = digits_run.predict_to(tmp_path / "killed", shards, chunk=2, workers=1)
    assert (done.answered, done.images) == (whole.images - 4, whole.images)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_worker_that_dies_is_told_of_and_its_chunk_is_answered(
    digits_run: fl.Run,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    digits_run.predict_to(tmp_path / "whole", shards, chunk=2, workers=1, quiet=True)
    dies = "import os; from firstlight.verbs.answering import Answering; "
    dies += "Answering._write = lambda *more: os.kill(os.getpid(), 9)\nhelp_out(given)"
    child = predict_many._CHILD.replace("help_out(given)", dies)
    monkeypatch.setattr(predict_many, "_CHILD", child)
    # The other process has died in its own chunk before this one has finished its first. Other
    # tests may have left processes of theirs, so it is this one that is waited for.
    exited = os.WEXITED | os.WNOWAIT if sys.platform != "win32" else 0
    start, others = predict_many._Helpers.start, list[int]()

    def started(helpers: predict_many._Helpers, given: dict[str, Any]) -> None:
        start(helpers, given)
        others.append(helpers._running[-1].pid)

    monkeypatch.setattr(predict_many._Helpers, "start", started)
    in_the_middle(monkeypatch, 1, lambda: [os.waitid(os.P_PID, others[0], exited)].clear())
    done = digits_run.predict_to(tmp_path / "a", shards, chunk=2, workers=2, quiet=True)
    assert done.answered == 12
    assert files_of(tmp_path / "a") == files_of(tmp_path / "whole")
    said = capfd.readouterr().err
    assert (
        "was killed by signal 9, perhaps because it ran out of memory; the others take over" in said
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_chunk_that_another_process_has_is_left_to_it(
    digits_run: fl.Run, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits_run.predict_to(tmp_path / "whole", shards, chunk=2, workers=1, quiet=True)
    (saying, begun), (go_on, letting) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:

        def held_up() -> None:
            os.write(begun, b".")
            os.read(go_on, 1)

        in_the_middle(monkeypatch, 1, held_up)
        code = 1
        try:
            digits_run.predict_to(tmp_path / "a", shards, chunk=2, workers=1, quiet=True)
            code = 0
        finally:
            os._exit(code)
    os.read(saying, 1)  # it has the first chunk
    there: list[str] = []

    def wait(seconds: float) -> None:
        there.extend(sorted(one.name for one in (tmp_path / "a").glob("part*")))
        os.write(letting, b".")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    monkeypatch.setattr("firstlight.verbs.answering.time.sleep", wait)
    digits_run.predict_to(tmp_path / "a", shards, chunk=2, workers=1, quiet=True)
    assert there == [f"part-0000{number}.csv" for number in range(1, 7)]
    assert files_of(tmp_path / "a") == files_of(tmp_path / "whole")


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    idle = "import signal; Answering.__init__ = lambda *more: signal.pause()\nhelp_out(given)"
    child = predict_many._CHILD.replace(
        "help_out(given)", f"from firstlight.verbs.answering import Answering; {idle}"
    )
    wanted = answering.Wanted(model=Path("m"), words=("a",), out=Path("o"), form="csv")
    process = subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    given = {"wanted": wanted.to_json(), "path": sys.path, "threads": 1}
    process.communicate(json.dumps(given) + "\n")  # also closes what the first process holds
    assert process.returncode == 1


def test_ctrl_c_keeps_what_was_answered(
    command: Command,
    digits_run: fl.Run,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("predict", digits_run.path, shards, "--out", "a", "--chunk", "3", "--workers", "1")
    with monkeypatch.context() as patch:

        def stop() -> None:
            raise KeyboardInterrupt

        in_the_middle(patch, 2, stop)
        done = command(*words)
    assert done.code == RunInterruptedError.exit_code
    assert "stopped: 3 of 12 images are answered in a. Run the same command" in done.err
    assert command(*words).code == 0
    assert len(rows_of(tmp_path / "a")) == 12


def test_a_full_disk_keeps_what_was_answered(
    command: Command,
    digits_run: fl.Run,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("predict", digits_run.path, shards, "--out", "a", "--chunk", "3", "--workers", "1")
    seen = list[Path]()

    def full(path: Path, content: str | bytes) -> None:
        seen.append(path)
        if len(seen) == 5:  # after answers.json, a checksum, its file and another checksum
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr(answering, "write_whole", full)
    done = command(*words)
    assert done.code == 3
    assert "part-00001.csv: cannot be written: No space left on device" in done.err
    assert "Free some disk space and run the same command" in done.err
    assert command(*words).code == 0
    assert len(rows_of(tmp_path / "a")) == 12


def test_what_stops_another_worker_stops_all(
    digits_run: fl.Run, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = "from firstlight.errors import DataError\nimport os; os.write(1, b'\"a full disk\"')\n"
    stops += "os._exit(DataError.exit_code)"
    child = predict_many._CHILD.replace("help_out(given)", stops)
    monkeypatch.setattr(predict_many, "_CHILD", child)
    with pytest.raises(DataError, match="a full disk"):
        digits_run.predict_to(tmp_path / "a", shards, chunk=2, workers=2, quiet=True)


def test_a_shard_that_changed_is_an_error_and_never_another_answer(
    digits_run: fl.Run, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shards / "images-1.tar"
    content, status = bytearray(place.read_bytes()), place.stat()

    def damage() -> None:
        content[900] ^= 1
        with place.open("r+b") as file:
            file.write(content)
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))

    in_the_middle(monkeypatch, 1, damage)
    with pytest.raises(DataError, match=r"images-1\.tar: .*changed"):
        digits_run.predict_to(tmp_path / "a", shards, chunk=7, workers=1, quiet=True)
    assert [one.name for one in (tmp_path / "a").glob("part*")] == ["part-00000.csv"]


# Refused input


def test_other_work_in_the_same_folder_is_refused(
    command: Command, digits_run: fl.Run, shards: Path, tmp_path: Path
) -> None:
    words = ("predict", digits_run.path, shards, "--out", "a", "--workers", "1")
    assert command(*words).code == 0
    before = files_of(tmp_path / "a")
    for more, told in (
        (("--chunk", "3"), "in files of up to 500 images, not 3"),
        (("--format", "parquet"), "as csv, not parquet"),
    ):
        done = command(*words, *more)
        assert (done.code, told in done.err) == (2, True), done.err
    (shards / "images-1.tar").rename(shards / "images-2.tar")
    done = command(*words)
    assert done.code == 2
    assert f"for images of {shards} that have changed since (12 images then, 12 now)" in done.err
    (shards / "images-2.tar").rename(shards / "images-1.tar")
    done = command("predict", "mnist", shards, "--out", "a")
    assert f"by another model ({digits_run.path})" in done.err
    assert files_of(tmp_path / "a") == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "no table of values"),
        ('{"finished": true}', '"run" is missing or damaged'),
        ({"images": "12"}, '"images" is missing or damaged'),
        ({"input": None}, '"input" is missing or damaged'),
        ({"finished": 1}, '"finished" is missing or damaged'),
    ],
)
def test_a_damaged_answers_json_is_told(
    content: str | dict[str, Any], why: str, command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    words = ("predict", digits_run.path, "a.png", "--out", "a", "--workers", "1")
    assert command(*words).code == 0
    place = tmp_path / "a" / "answers.json"
    if isinstance(content, dict):
        content = json.dumps({**json.loads(place.read_text()), **content})
    place.write_text(content)
    done = command(*words)
    assert done.code == 3
    assert f"a/answers.json: not as predict wrote it ({why}" in done.err
    assert "Choose another folder, or remove a and all answers in it" in done.err
    assert place.read_text() == content


def damage(part: Path, how: str) -> None:
    """Damage a file of answers: truncate it, empty it, edit it, or lose its checksum."""
    content = part.read_bytes()
    if how == "cut":
        part.write_bytes(content[:300])
    elif how == "emptied":
        part.write_bytes(b"")
    elif how == "edited":  # one bit, so the length is the same
        part.write_bytes(bytes([*content[:-9], content[-9] ^ 1, *content[-8:]]))
    else:
        (part.parent / f".{part.name}.sha256").unlink()


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("how", ["cut", "emptied", "edited", "without its sum"])
def test_a_file_that_is_not_as_it_was_written_is_answered_again(
    how: str, form: str, command: Command, digits_run: fl.Run, shards: Path, tmp_path: Path
) -> None:
    words = (
        "predict",
        digits_run.path,
        shards,
        "--out",
        "a",
        "--chunk",
        "4",
        "--workers",
        "1",
        "--format",
        form,
    )
    assert command(*words).code == 0
    whole = files_of(tmp_path / "a")
    damage(tmp_path / "a" / f"part-00001.{form}", how)
    done = command(*words)
    assert (done.code, done.out) == (0, "answers a: 12 images in 4 files\n")
    told = f"a/part-00001.{form}: changed since it was written, so its images are answered again"
    assert done.err.splitlines()[0] == told
    assert files_of(tmp_path / "a") == whole
    assert "all of them earlier" in command(*words).out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sha256sum")
def test_the_sums_are_those_of_sha256sum(digits_run: fl.Run, shards: Path, tmp_path: Path) -> None:
    digits_run.predict_to(tmp_path / "a", shards, chunk=4, workers=1, quiet=True)
    sums = sorted(one.name for one in (tmp_path / "a").glob(".*.sha256"))
    assert len(sums) == 4
    subprocess.run(["sha256sum", "--check", "--strict", *sums], cwd=tmp_path / "a", check=True)


def test_several_changed_files_are_told_in_one_line(
    digits_run: fl.Run, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def again() -> predict_many.Answered:
        return digits_run.predict_to(tmp_path / "a", shards, chunk=4, workers=1, quiet=True)

    again()
    whole = files_of(tmp_path / "a")
    damage(tmp_path / "a" / "part-00001.csv", "cut")
    damage(tmp_path / "a" / "part-00003.csv", "emptied")
    assert again().answered == 3 + 1
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path / 'a'}: 2 files changed since they were written, the first is "
        "part-00001.csv; their images are answered again"
    ]
    assert files_of(tmp_path / "a") == whole


def test_a_file_that_changes_while_others_are_answered_is_told(
    command: Command,
    digits_run: fl.Run,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("predict", digits_run.path, shards, "--out", "a", "--chunk", "4", "--workers", "1")
    with monkeypatch.context() as patch:
        in_the_middle(patch, 3, lambda: damage(tmp_path / "a" / "part-00000.csv", "cut"))
        done = command(*words)
    assert done.code == 3
    assert "part-00000.csv: changed while other images were being answered" in done.err
    assert command(*words).code == 0
    assert len(rows_of(tmp_path / "a")) == 12


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("shards",), 2, "shards: answers for shards are written to files; add --out FOLDER"),
        (("a.png", "--workers", "2"), 2, "--workers sets how --out"),
        (("a.png", "--chunk", "2"), 2, "--chunk sets how --out"),
        (("a.png", "--format", "csv"), 2, "--format sets how --out"),
        (("a.png", "--out", "o", "--csv"), 2, "--csv, --columns and --save do not go with --out"),
        (("a.png", "--out", "o", "--format", "json"), 2, "wanted answers as csv or parquet"),
        (("a.png", "--out", "o", "--chunk", "0"), 2, "wanted at least 1 image per file"),
        (("a.png", "--out", "o", "--workers", "0"), 2, "wanted at least 1 worker"),
        (("a.png", "shards", "--out", "o"), 2, "wanted shards or pictures, got both"),
        (("-", "--out", "o"), 2, "got - for standard input"),
        (("none.png", "--out", "o"), 3, "none.png: no such file or folder"),
        (("empty", "--out", "o"), 3, "empty: no pictures in this folder"),
        (("shards/images-{0..2}.tar", "--out", "o"), 3, "images-2.tar: no such shard"),
        (("shards", "--out", "shards/o"), 2, "shards/o is inside shards"),
        (("a.png", "--out", "full"), 2, "full: wanted a new folder for the answers"),
        (("a.png", "--out", "a.png"), 2, "a.png"),
        (("cut.tar", "--out", "o"), 3, "cut.tar"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    words: tuple[str, ...],
    code: int,
    told: str,
    command: Command,
    digits_run: fl.Run,
    shards: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "cut.tar").write_bytes((shards / "images-0.tar").read_bytes()[:3000])
    done = command("predict", digits_run.path, *words)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert not (tmp_path / "o").exists()


# Columns


def test_of_many_classes_the_five_best_are_written() -> None:
    names = tuple(f"c{k}" for k in range(150))
    rng = np.random.default_rng(0)
    scores_NK = rng.random((4, 150))
    shares_NK = (scores_NK / scores_NK.sum(axis=1, keepdims=True)).astype(np.float32)
    table = AnswerTable(class_names=names, threshold=None, labelled=True)
    found = table.of(list("abcd"), ["c1", None, None, None], shares_NK, {2: "cut short"})
    assert list(found) == [
        *("image", "label", "best", "confidence"),
        *(f"{word}_{place}" for place in range(2, 6) for word in ("best", "confidence")),
        "error",
    ]
    for row in (0, 1, 3):
        order = sorted(range(150), key=lambda k: -shares_NK[row, k])
        assert [found["best" if n == 0 else f"best_{n + 1}"][row] for n in range(5)] == [
            names[k] for k in order[:5]
        ]
        assert found["confidence_5"][row] == shares_NK[row, order[4]]
    assert found["best"][2] is found["confidence_3"][2] is None
    assert found["error"] == [None, None, "cut short", None]


def test_odd_names_are_safe_in_a_spreadsheet_and_whole_in_parquet() -> None:
    table = AnswerTable(class_names=("=1+1", "b,c"), threshold=0.5, labelled=False)
    shares_NK = np.array([[0.7, 0.3], [0.25, 0.75]], np.float32)
    names = ["=cmd", 'a "b"\nc\udcff']
    found = table.of(names, [None, None], shares_NK, {})
    text = encoded(found, table.columns, "csv").decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["image", "best", "confidence", "unknown", "p_=1+1", "p_b,c", "error"]
    assert rows[1] == ["'=cmd", "'=1+1", "0.699999988", "false", "0.699999988", "0.300000012", ""]
    assert rows[2][:2] == ['a "b"\nc\\udcff', "b,c"]
    blob = encoded(found, table.columns, "parquet")
    back = parquet.read_table(io.BytesIO(blob)).to_pylist()
    assert back[0]["image"] == "=cmd"
    assert back[1]["image"] == 'a "b"\nc\\udcff'
    assert back[1]["p_=1+1"] == 0.25


def test_a_csv_gives_the_same_float32_back() -> None:
    rng = np.random.default_rng(0)
    shares_NK = rng.dirichlet([0.01, 0.1, 1.0], 2000).astype(np.float32)
    table = AnswerTable(class_names=("-1", "b", "c"), threshold=None, labelled=False)
    found = table.of(["a"] * 2000, [None] * 2000, shares_NK, {})
    rows = csv.DictReader(io.StringIO(encoded(found, table.columns, "csv").decode()))
    back_NK = [[np.float32(row[f"p_{name}"]) for name in table.class_names] for row in rows]
    assert np.array_equal(np.array(back_NK), shares_NK)
    assert shares_NK.min() < 1e-12  # six decimals would leave nothing of it


def test_without_a_terminal_progress_is_a_line_for_each_tenth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PaceBar("answering") as bar:
        for done in range(200, 401):
            bar(done, 400)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" images")[0] for line in lines] == [
        f"answering {done} of 400" for done in (240, 280, 320, 360, 400)
    ]
    assert lines[-1].endswith("0:00 left")
    with PaceBar("answering", quiet=True) as bar:
        bar(0, 10)
        bar(10, 10)
    assert capsys.readouterr().err == ""


def test_a_function_that_lies_in_no_file_is_answered_by_one_process(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another process cannot build it"):
        wanted = answering.Wanted(
            model=tmp_path,
            words=(),
            out=tmp_path,
            form="csv",
            code=fl.layers.own_code.OwnCode(file="a.py", function="f", sha256="0" * 64),
        )
        predict_many._workers(2, wanted, None, PaceBar("x"))  # type: ignore[arg-type]
