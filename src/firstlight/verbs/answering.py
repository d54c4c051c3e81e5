"""Answers for any number of pictures, chunk by chunk, shared by any number of processes.

One thread of one process answers a chunk, in batches that depend only on the chunk, and its file is
written as a whole or not at all. So the result does not depend on which process answers it, nor on
interrupted attempts. Axes: N pictures, K classes.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from firstlight import __version__
from firstlight.data.levels import Range
from firstlight.data.listing import counted
from firstlight.data.many import Pictures, open_pictures
from firstlight.data.prepared import PreparedPictures
from firstlight.data.shards.set import Progress
from firstlight.errors import DataError, UserError
from firstlight.evaluate.task import thresholds_of
from firstlight.files import clear_parts, make_folder, unwritable, write_whole
from firstlight.layers.own_code import OwnCode, own_code
from firstlight.locks import is_held
from firstlight.model import Model, open_model
from firstlight.plain import read_json, write_json
from firstlight.untrusted import json_safe
from firstlight.verbs.answer_files import FORMATS, AnswerTable, check_form, encoded, unread_in
from firstlight.verbs.answer_sums import is_as_written, sha256, sum_file, sum_line
from firstlight.verbs.claims import alone, claimed

MANIFEST = "answers.json"
LEAST, SHARE, MOST = 500, 100, 10_000
"""Images per chunk: a hundredth of all, within these limits, unless a number is given."""
LOOK = 0.2
"""Seconds between two checks of other processes' progress."""
_KINDS = {
    **dict.fromkeys(("run", "model", "fingerprint", "format"), str),
    **dict.fromkeys(("images", "chunk"), int),
    **dict.fromkeys(("input", "columns"), list),
    "finished": bool,
}
"""Fields that are read from the manifest."""
_LOCK = re.compile(r"\..+\.lock")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A request: the pictures, the model, and the destination of the answers."""

    model: Path
    """A run folder or an exported file."""
    words: tuple[str, ...]
    """Picture files or shards."""
    out: Path
    form: str
    """One of ``FORMATS``."""
    chunk: int | None = None
    """Most images per file; None for a share of all."""
    device: str = "auto"
    code: OwnCode | None = None
    """The user's own code of the run's network, if any."""
    range: Range | None = None
    """Pixel range of a table."""

    def to_json(self) -> dict[str, Any]:
        """Return values for another process."""
        return {
            "model": str(self.model),
            "words": self.words,
            "out": str(self.out),
            "form": self.form,
            "chunk": self.chunk,
            "device": self.device,
            "code": None if self.code is None else self.code.again,
            "range": self.range,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Wanted":
        """Inverse of ``to_json``. Runs the file of a network's code again."""
        code, limits = values["code"], values["range"]
        return cls(
            **{
                **values,
                "model": Path(values["model"]),
                "words": tuple(values["words"]),
                "out": Path(values["out"]),
                "code": None if code is None else own_code(code),
                "range": None if limits is None else Range(*limits),
            }
        )


class Answering:
    """The work in one folder, as seen by one of its processes."""

    def __init__(self, wanted: Wanted, progress: Progress | None = None) -> None:
        """``progress`` is called with the number of indexed shards.

        Raises ``UserError`` and ``DataError``; then nothing is written.
        """
        if wanted.form not in FORMATS:
            raise UserError(f"wanted answers as {' or '.join(FORMATS)}, got {wanted.form}")
        if wanted.chunk is not None and wanted.chunk < 1:
            raise UserError(f"wanted at least 1 image per file, got {wanted.chunk}")
        check_form(wanted.form, f"answers as {wanted.form}")
        self.out, self.form, self._wanted = wanted.out, wanted.form, wanted
        _refuse_inside(wanted.out, wanted.words)
        # The bits of an answer may depend on the number of threads.
        self.model: Model = open_model(wanted.model, wanted.device, wanted.code, threads=1)
        self.pictures: Pictures = open_pictures(wanted.words, wanted.range, progress)
        count = len(self.pictures)
        self.size = wanted.chunk or min(MOST, max(LEAST, count // SHARE))
        self.chunks = [
            range(int(rows[0]), int(rows[-1]) + 1) for rows in self.pictures.chunks(self.size)
        ]
        calibrated, several = self.model.calibration is not None, self.model.task.several
        self.table = AnswerTable(
            class_names=self.model.class_names,
            threshold=self.model.threshold if calibrated and not several else None,
            labelled=self.pictures.is_labelled,
            thresholds_K=thresholds_of(self.model.calibration, len(self.model.class_names))
            if several
            else None,
        )

    def __len__(self) -> int:
        return len(self.pictures)

    # The folder

    def begin(self) -> None:
        """Create the folder, or join the same work already begun there. Raises ``UserError`` if the
        folder holds anything else."""
        _refuse_other_files(self.out)
        try:
            make_folder(self.out)
        except OSError as error:
            raise unwritable(self.out, error) from error
        if not self._is_begun():
            with self._alone():
                if not self._is_begun():
                    self._write(MANIFEST, self._manifest_text(finished=False))
        clear_parts(self.out)

    def _is_begun(self) -> bool:
        found = self._read_manifest()
        if found is not None:
            self._compare(found)
        return found is not None

    def place(self, number: int) -> Path:
        """Return the path of a chunk's file."""
        return self.out / f"part-{number:05d}.{self.form}"

    def remove_changed(self) -> list[str]:
        """Remove each file that has changed, so that it is answered again, and return their names.
        Raises ``DataError`` for one that cannot be read or removed."""
        removed = []
        absent = set(self.missing())
        for number in (one for one in range(len(self.chunks)) if one not in absent):
            place = self.place(number)
            if is_as_written(place):
                continue
            with self._claimed(number) as ours:
                # Another process may have answered it again meanwhile.
                if not ours or not place.exists() or is_as_written(place):
                    continue
                try:
                    place.unlink()
                except OSError as error:
                    raise DataError(f"{place}: cannot be removed: {error.strerror}") from error
            removed.append(place.name)
        return removed

    def missing(self) -> list[int]:
        """Return the chunks without answers, judging by file names."""
        try:
            there = {one.name for one in self.out.iterdir()}
        except OSError as error:
            raise DataError(f"{self.out}: can no longer be read: {error.strerror}") from error
        return [at for at in range(len(self.chunks)) if self.place(at).name not in there]

    def unread(self) -> int | None:
        """Number of pictures that could not be read; None if not counted yet."""
        found = self._read_manifest() or {}
        unread = found.get("unread") if found.get("finished") else None
        return unread if isinstance(unread, int) else None

    def finish(self) -> int:
        """Check all files, record that the work is done, and return how many pictures could not be
        read. Raises ``DataError`` for a file that has changed."""
        unread = 0
        for place in map(self.place, range(len(self.chunks))):
            if not is_as_written(place):
                raise DataError(
                    f"{place}: changed while other images were being answered. Run the same "
                    "command to answer it again"
                )
            unread += unread_in(place, self.form)
        with self._alone():
            self._write(MANIFEST, self._manifest_text(finished=True, unread=unread))
        clear_parts(self.out)
        for lock in list(self.out.iterdir()):
            if _LOCK.fullmatch(lock.name) and not is_held(lock):
                with suppress(OSError):
                    lock.unlink()
        return unread

    def _claimed(self, number: int) -> AbstractContextManager[bool]:
        return claimed(self.out / f".part-{number:05d}.lock", self.out)

    def _alone(self) -> AbstractContextManager[None]:
        return alone(self.out / f".{MANIFEST}.lock", self.out)

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        return {
            "firstlight": __version__,
            "run": str(self._wanted.model),
            "model": sha256(self.model.file),
            "input": list(self._wanted.words),
            "fingerprint": self.pictures.fingerprint,
            "images": len(self),
            "chunk": self.size,
            "format": self.form,
            "files": len(self.chunks),
            "columns": list(self.table.columns),
        }

    def _manifest_text(self, *, finished: bool, unread: int | None = None) -> str:
        whole = {**self._manifest, "finished": finished, "unread": unread}
        return json_safe(write_json(whole, indent=2)) + "\n"

    def _read_manifest(self) -> dict[str, Any] | None:
        place = self.out / MANIFEST
        try:
            found = read_json(place.read_bytes())
            if not isinstance(found, dict):
                raise ValueError("no table of values")
            for key, kind in _KINDS.items():
                if type(found.get(key)) is not kind:
                    raise ValueError(f'"{key}" is missing or damaged')
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise DataError(
                f"{place}: not as predict wrote it ({why}). Choose another folder, or remove "
                f"{self.out} and all answers in it"
            ) from error
        return found

    def _compare(self, found: dict[str, Any]) -> None:
        """Raise ``UserError`` if the folder's answers belong to other work."""
        ours = self._manifest
        other = [
            text
            for key, text in (
                ("model", f"by another model ({found['run']})"),
                ("fingerprint", self._other_images(found)),
                ("chunk", f"in files of up to {found['chunk']} images, not {self.size}"),
                ("format", f"as {found['format']}, not {self.form}"),
                ("columns", "with other columns"),
            )
            if found[key] != ours[key]
        ]
        if other:
            raise UserError(
                f"{self.out} already holds answers {', '.join(other[:4])}. Choose another "
                "folder, or remove that one"
            )

    def _other_images(self, found: dict[str, Any]) -> str:
        then, now = list(found["input"]), list(self._wanted.words)
        if then == now:
            counts = f"{counted(found['images'], 'image')} then, {len(self):,} now"
            return f"for images of {_words(now)} that have changed since ({counts})"
        while then[:1] == now[:1]:
            del then[0], now[0]
        return f"for images from {_words(then)}, not from {_words(now)}"

    def _write(self, name: str, content: str | bytes) -> None:
        try:
            write_whole(self.out / name, content)
        except OSError as error:
            kind = type(unwritable(self.out, error))
            raise kind(
                f"{self.out / name}: cannot be written: {error.strerror}. The answers so far are "
                "kept. Free some disk space and run the same command to continue"
            ) from error

    # The work

    def work(self, threads: int, told: Callable[[int], None] = lambda done: None) -> None:
        """Answer chunks that no other process holds, until all are answered. One thread computes;
        ``threads`` threads decode. ``told`` is called repeatedly with the number of images answered
        in this process's current chunk."""
        with _decoders(threads) as pool:
            self._work(pool, told)

    def _work(self, pool: ThreadPoolExecutor | None, told: Callable[[int], None]) -> None:
        while missing := self.missing():
            begun = False
            for number in missing:
                if self.place(number).exists():
                    continue
                with self._claimed(number) as ours:
                    if not ours or self.place(number).exists():
                        continue
                    begun = True
                    self._answer(number, pool, told)
                told(0)
            if not begun:
                told(0)
                time.sleep(LOOK)  # other processes answer the rest, and one may die

    def _answer(
        self, number: int, pool: ThreadPoolExecutor | None, told: Callable[[int], None]
    ) -> None:
        rows = np.arange(self.chunks[number].start, self.chunks[number].stop)
        sources = self.pictures.sources(rows)
        prepared = PreparedPictures(sources, self.model.preprocess, pool, told)
        try:
            probabilities_NK = self.model.probabilities(prepared)
        finally:
            prepared.close()
        names = [one.name for one in sources]
        labels = self.pictures.labels(rows)
        table = self.table.of(names, labels, probabilities_NK, prepared.problems)
        name, content = self.place(number).name, encoded(table, self.table.columns, self.form)
        self._write(sum_file(name), sum_line(name, content))
        self._write(name, content)


@contextmanager
def _decoders(threads: int) -> Iterator[ThreadPoolExecutor | None]:
    """Yield a pool of decoding threads; None for a single thread, which decodes between batches."""
    if threads < 2:
        yield None
        return
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _refuse_inside(out: Path, words: Sequence[str]) -> None:
    for word in words:
        with suppress(OSError, ValueError):
            folder = Path(word)
            if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
                raise UserError(
                    f"{out} is inside {word}, which holds the pictures to answer. Choose a "
                    "folder outside it for the answers"
                )


def _refuse_other_files(out: Path) -> None:
    """Raise ``UserError`` for a folder with files but no manifest."""
    try:
        if not out.exists() or (out / MANIFEST).exists():
            return
        seen = sorted(one.name for one in out.iterdir() if not one.name.startswith("."))
    except OSError as error:
        raise unwritable(out, error) from error
    if seen:
        raise UserError(
            f"{out}: wanted a new folder for the answers, or one that predict started; this one "
            f"holds {seen[0]} and no {MANIFEST}"
        )


def _words(words: Sequence[object]) -> str:
    if not words:
        return "nothing more"
    return str(words[0]) + (f" and {len(words) - 1:,} more" if len(words) > 1 else "")
