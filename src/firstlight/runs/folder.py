"""Create, open and write run folders. Each file is written under a temporary name, then renamed."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from firstlight.errors import DataError, UserError
from firstlight.files import PART, clear_parts, make_folder, sync_folder, unwritable, write_whole
from firstlight.layers.own_code import COPY, OwnCode, pick
from firstlight.locks import held, is_held
from firstlight.plain import read_json, write_json
from firstlight.recipe import Recipe, parse_recipe
from firstlight.runs.box import boxed_folder, boxed_names
from firstlight.untrusted import json_safe, shell_word

CONTEST_FILE = "contest.json"
"""In a run that belongs to a contest: facts about the opponent."""
TRIAL_FILE = "trial.json"
"""In a run that belongs to a search: facts about the search, and the outcome of the trial."""


class RunFolder:
    """The folder of one run. ``path`` exists and belongs to a run, finished or not."""

    def __init__(self, path: Path, code: OwnCode | None = None) -> None:
        """``code`` is the code that was named for the run's network, if any."""
        self.path, self.code = path, code

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Name of the folder, such as ``mnist-quick-1``."""
        return self.path.resolve().name

    @property
    def finished(self) -> bool:
        """Whether training is finished; ``summary.json`` is written last."""
        return (self.path / "summary.json").is_file()

    def write(self, name: str, content: str | bytes) -> Path:
        """Replace one file as a whole. Raises ``DataError`` if the disk rejects it or the folder is
        damaged, and ``UserError`` if the folder is not writable."""
        path = self.path / name
        try:
            if path.parent != self.path and path.parent.is_symlink():
                raise OSError(errno.EINVAL, f"{path.parent.name} is a link to another place")
            make_folder(path.parent)
            for place in {self.path, path.parent}:
                clear_parts(place)
            write_whole(path, content)
        except OSError as error:
            kind = UserError if isinstance(error, PermissionError) else DataError
            raise kind(
                f"{path}: cannot be written: {error.strerror}. What was saved earlier is "
                f"kept{self._how_to_go_on()}"
            ) from error
        return path

    def write_json(self, name: str, values: Any) -> Path:
        """Write plain values as JSON; see ``write``."""
        return self.write(name, json_safe(write_json(values, indent=2)) + "\n")

    def read(self, name: str, errors: str = "strict") -> str:
        """Return the exact text of a file. Raises ``DataError`` if it is missing or unreadable.

        ``errors`` is passed to ``bytes.decode``; use ``surrogateescape`` for file names.
        """
        path = self.path / name
        try:
            if path.exists() and not path.is_file():  # reading a pipe would block
                raise OSError(errno.EINVAL, "it is not a regular file")
            return path.read_bytes().decode(errors=errors)
        except FileNotFoundError as error:
            raise DataError(f"{self.path} has no {name}: the run is damaged") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error

    def read_json(self, name: str) -> Any:
        """Return the values of a JSON file. Raises ``DataError`` if it is missing or damaged."""
        try:
            return read_json(self.read(name))
        except ValueError as error:
            raise DataError(f"{self.path / name}: damaged: not JSON: {error}") from error

    def recipe(self) -> Recipe:
        """The run's recipe with all settings. Raises ``DataError`` if the file is damaged."""
        try:
            text, source = self.read("recipe.toml"), str(self.path / "recipe.toml")
            return parse_recipe(text, source=source).with_code(self.code)
        except DataError:
            raise
        except UserError as error:
            raise DataError(str(error)) from error

    def require_finished(self) -> None:
        """Raise ``UserError`` with advice if training is not finished."""
        if not self.finished:
            why = "the run did not finish"
            if (self.path / TRIAL_FILE).is_file() and (trial := self.read_json(TRIAL_FILE)):
                with self.trusted():
                    if trial["state"] != "running":
                        why = f"as a trial of a search it was {trial['state']} ({trial['why']})"
            raise UserError(f"{self.path} has no summary.json: {why}{self._how_to_go_on()}")

    def _how_to_go_on(self) -> str:
        if self.finished or not (self.path / "recipe.toml").is_file():
            return ""
        return f". Resume it with: firstlight train --resume {shell_word(self.path)}"

    def discard(self) -> None:
        """Remove the folder of a run that never started. It contains only its own first files."""
        for name in ("environment.json", "data.json", COPY, CONTEST_FILE, TRIAL_FILE, ".lock"):
            with suppress(PermissionError):  # Windows keeps the lock file while it is open
                (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def in_use(self) -> bool:
        """Whether a process is training this run now, as far as the system can tell.

        Only reads, and never blocks another process.
        """
        return is_held(self.path / ".lock")

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Turn errors from unexpected values inside into ``DataError``."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise DataError(
                f"{self.path}: its files do not match each other, so something has changed them: "
                f"{error!r}"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for training. The system releases the lock when the process ends for any
        reason.

        Raises ``UserError`` if another process holds the lock or the folder is not writable, and
        ``DataError`` if the storage is full. On a file system without locks, the folder is not
        protected.
        """
        try:
            lock = ExitStack()
            free = lock.enter_context(held(self.path / ".lock"))
        except OSError as error:
            raise unwritable(self.path, error) from error
        with lock:
            if not free:
                raise UserError(f"{self.path}: another process is training this run now")
            for place in (
                self.path,
                *(at for at in self.path.iterdir() if at.is_dir() and not at.is_symlink()),
            ):
                clear_parts(place)
            yield


def create_run(stem: str, *, root: Path, out: Path | None) -> RunFolder:
    """Create a new, empty folder: ``out``, or ``root/stem-N`` with the next free N.

    Raises ``UserError`` if ``out`` is not empty or the folder cannot be created.
    """
    try:
        if out is not None:
            if out.is_dir() and not empty_or_a_dead_start(out):
                raise UserError(_occupied(out))
            make_folder(out)
            return RunFolder(out)
        make_folder(root)
        taken = [re.fullmatch(rf"{re.escape(stem)}-(\d+)", p.name) for p in root.iterdir()]
        number = max((int(m[1]) for m in taken if m), default=0)
        while True:
            number += 1
            try:
                (root / f"{stem}-{number}").mkdir()
            except FileExistsError:  # another process took the number first
                continue
            sync_folder(root)
            return RunFolder(root / f"{stem}-{number}")
    except OSError as error:
        where = out if out is not None else root
        raise unwritable(where, error) from error


def empty_or_a_dead_start(folder: Path) -> bool:
    """Whether a folder is empty, or holds only the lock and the first files of a run that was
    killed before it had a recipe."""
    names = {path.name for path in folder.iterdir()}
    first = {"environment.json", "data.json", COPY, CONTEST_FILE, TRIAL_FILE, "recipe.toml"}
    left = {n for n in names if not ((part := PART.fullmatch(n)) and part["name"] in first)}
    return not names or (".lock" in names and left <= (first | {".lock"}) - {"recipe.toml"})


def _occupied(out: Path) -> str:
    resume = f"firstlight train --resume {shell_word(out)}"
    if not (out / "recipe.toml").is_file():
        return f"{out} is not empty and is not a run. Choose another folder with --out"
    if RunFolder(out).finished:
        return f"{out} holds a finished run, which is never overwritten. Choose another --out"
    return f"{out} holds a run that did not finish. Resume it with: {resume}"


def open_run_folder(path: Path, network: OwnCode | None = None) -> RunFolder:
    """Open an existing run folder, or a model in the box by name. ``network`` is the user's own
    code of the network, if it has any.

    Raises ``UserError`` if ``path`` is neither, or if the run needs no code.
    """
    folder = _opened(path)
    if network is None:
        return folder
    folder.code = network
    if folder.recipe().network.code is None:
        raise UserError(
            f"{path}: its network is a list of layers, which needs no code. Leave out --network "
            f"{network.word} (network= in Python)"
        )
    return folder


def open_run_folders(paths: Sequence[Path], networks: Sequence[OwnCode]) -> list[RunFolder]:
    """Open several runs, each with its matching code if its network is the user's own code.

    Raises ``UserError`` as ``open_run_folder`` does, and for code that matches no run.
    """
    folders, used = [_opened(path) for path in paths], list[OwnCode]()
    for folder in folders:
        record = folder.recipe().network.code if networks else None
        if record is not None and (found := pick(record, networks)) is not None:
            folder.code = found
            used.append(found)
    for one in networks:
        if not any(one is other for other in used):
            raise UserError(
                f"--network {one.word} is not the code of any of these runs. Leave it out"
            )
    return folders


def _opened(path: Path) -> RunFolder:
    if not os.path.lexists(path) and str(path) in boxed_names():
        return RunFolder(boxed_folder(str(path)))
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise UserError(f"{path}: cannot be opened: {error.strerror}") from error
    if not path.is_dir():
        near = sorted(p.parent.name for p in path.parent.glob("*/recipe.toml"))
        have = f"; {path.parent} has {', '.join(near[-5:])}" if near else ""
        boxed = f"; models in the box: {' and '.join(boxed_names())}"
        what = "wanted a run folder, got a file" if path.is_file() else "no such run folder"
        raise UserError(f"{path}: {what}{have}{boxed}")
    if not (path / "recipe.toml").is_file():
        dead = (path / "environment.json").is_file()
        raise UserError(
            f"{path} is not a run folder: it has no recipe.toml; "
            + (
                "its training was stopped before the first step. Start it again with --out "
                f"{shell_word(path)}"
                if dead
                else "train one with: firstlight train mnist"
            )
        )
    return RunFolder(path)
