"""A network defined by the user's own code: which function in which file makes it.

A recipe and a run folder hold only the record, which is three texts. The function itself comes only
from the call or command that names it. Nothing here looks for the file named in a record.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from firstlight.errors import UserError
from firstlight.layers.layer import Layer
from firstlight.parts import Part
from firstlight.plain import shown
from firstlight.untrusted import one_line, shell_word

COPY = "network.py"
"""The copy of the source in a run folder. It never runs unless it is named."""
MOST_BYTES = 1 << 20
"""Most bytes in a source file."""
WANTED = (
    "a function of image shape (height, width, channels) and number of classes that returns a "
    "torch.nn.Module"
)


class OwnCodeError(UserError):
    """The code is missing, or differs from the code that the run was trained with."""


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """The record of a function that makes a network; also the function itself, if a call named
    it."""

    file: str
    """File name of the source, without folders."""
    function: str
    """Name of the function or class."""
    sha256: str
    """SHA-256 of the source file."""
    make: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    """The function; None if only the record is known."""
    source: bytes = field(default=b"", compare=False, repr=False)
    """The source file's content."""
    path: str = field(default="", compare=False, repr=False)
    """Path of the source file; empty for a notebook."""
    rebuilds: bool = field(default=True, compare=False, repr=False)
    """False for a module object passed directly: it can be used once and cannot be built again."""

    def __post_init__(self) -> None:
        for label, value in (("file", self.file), ("function", self.function)):
            if not isinstance(value, str) or not re.fullmatch(r"[^/\\]{1,300}", value):
                raise UserError(f"code.{label} must be a name, not {shown(value)}")
            if one_line(value) != value:
                raise UserError(f"code.{label} must be printable, not {shown(value)}")
        if not isinstance(self.sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise UserError(f"code.sha256 must be 64 hexadecimal digits, not {shown(self.sha256)}")

    def to_table(self) -> dict[str, str]:
        """Return the record as a table."""
        return {"file": self.file, "function": self.function, "sha256": self.sha256}

    @property
    def again(self) -> str:
        """The value for ``--network``."""
        return f"{self.path or self.file}:{self.function}"

    @property
    def word(self) -> str:
        """The value for ``--network``, quoted for a shell."""
        return shell_word(self.again)


def code_of_table(table: Any) -> OwnCode:
    """Read the record from a recipe. Raises ``UserError`` if it is not valid."""
    wanted = {"file", "function", "sha256"}
    if not isinstance(table, Mapping) or set(table) != wanted:
        raise UserError(
            "code must be a table of file, function and sha256, as a run writes it, not "
            f"{shown(table)}. To train with your own code, give --network FILE.py:FUNCTION"
        )
    return OwnCode(**table)


def own_code(value: Any) -> OwnCode:
    """Return the code that ``network=`` or ``--network`` names: a function, class or
    ``FILE.py:FUNCTION``.

    ``FILE.py:FUNCTION`` runs the file. Raises ``UserError`` for any other value.
    """
    if isinstance(value, OwnCode):
        return value
    if isinstance(value, str):
        return _from_file(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return _instance(value)
    if isinstance(value, partial):
        raise UserError(
            "network is a partial function, and a run cannot record its arguments. Write a "
            "function that contains them"
        )
    if isinstance(value, Layer):
        raise UserError(f"network must be a list of layers; write [{shown(value)}]")
    part = inspect.isclass(value) and issubclass(value, Part)
    if part or not (inspect.isfunction(value) or inspect.isclass(value)):
        raise UserError(
            f"network must be a list of fl.layers, or {WANTED}, or FILE.py:FUNCTION, not "
            f"{shown(value)}"
        )
    return _from_function(value)


def _from_file(word: str) -> OwnCode:
    path_text, colon, name = word.rpartition(":")
    if not colon or not path_text or not name.isidentifier():
        raise UserError(
            f"network must be FILE.py:FUNCTION, such as my_nets.py:my_function, not {shown(word)}"
        )
    path = Path(path_text)
    try:
        if not path.is_file():
            what = "no such file" if not path.exists() else "it is not a regular file"
            raise UserError(f"{path}: {what}; network takes FILE.py:FUNCTION")
        with path.open("rb") as file:
            source = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {why}") from error
    if len(source) > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES:,} bytes; is it Python?")
    digest = hashlib.sha256(source).hexdigest()
    module = ModuleType(f"firstlight_own_code_{digest}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look up a class's module in sys.modules
    with code_errors(path_text, "the file"):
        exec(compile(source, str(path), "exec"), vars(module))
    make = getattr(module, name, None)
    if not callable(make):
        made = [n for n, v in vars(module).items() if inspect.isfunction(v) or inspect.isclass(v)]
        here = [n for n in made if getattr(vars(module)[n], "__module__", "") == module.__name__]
        raise UserError(
            f"{path}: has no function {name}; it has {', '.join(here) or 'none'}. "
            f"network takes {WANTED}"
        )
    return OwnCode(
        file=_plain_name(path.name),
        function=name,
        sha256=digest,
        make=make,
        source=source,
        path=path_text,
    )


def _from_function(make: Any) -> OwnCode:
    module = sys.modules.get(getattr(make, "__module__", ""), None)
    if module is not None and module.__name__.startswith("firstlight_own_code_"):
        path = str(module.__file__)  # the module came from a named file
    else:
        path = _source_file(make)
    name = make.__name__
    try:
        if Path(path).is_file():
            source = Path(path).read_bytes()
        else:  # a notebook cell
            source, path = "".join(inspect.findsource(make)[0]).encode(), ""
    except (OSError, TypeError, ValueError) as error:
        raise UserError(
            f"network: the source of {name} was not found, so a run could not record what it was "
            "trained with. Write the function into a file"
        ) from error
    return OwnCode(
        file=_plain_name(Path(_source_file(make)).name) or "code",
        function=one_line(name),
        sha256=hashlib.sha256(source).hexdigest(),
        make=make,
        source=source,
        path=path,
    )


def _source_file(make: Any) -> str:
    """The file of a function, or of a class by one of its methods; empty if unknown."""
    for one in vars(make).values() if inspect.isclass(make) else (inspect.unwrap(make),):
        code = getattr(one, "__code__", None)
        if code is not None:
            return str(code.co_filename)
    try:
        return inspect.getsourcefile(make) or ""
    except TypeError:
        return ""


def _instance(module: Any) -> OwnCode:
    """Record a module object passed directly. Training converts it to a list of layers or refuses
    it."""
    name = type(module).__name__
    return OwnCode(
        file="instance",
        function=one_line(name),
        sha256="0" * 64,
        make=lambda image_shape, classes: deepcopy(module),
        rebuilds=False,
    )


def _plain_name(name: str) -> str:
    return one_line(name).replace("\\", "_")[:300]


@contextmanager
def code_errors(path: str, what: str) -> Iterator[None]:
    """Turn errors in the user's code into ``UserError``, with the line in their file.

    ``MemoryError`` is passed on.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise UserError(f"{path}{_line(path, error)}: {what} raised {_said(error)}") from error


def raised_in(path: str, error: BaseException) -> bool:
    """Whether an error passed through code in this file."""
    return any(frame.filename == path for frame in traceback.extract_tb(error.__traceback__))


def _line(path: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == path:
        return f", line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f", line {lines[-1]}" if lines else ""


def _said(error: BaseException) -> str:
    said = str(error.msg if isinstance(error, SyntaxError) else error)
    missing = isinstance(error, ModuleNotFoundError)
    more = "; the file is run on its own: put what it needs into it, or on PYTHONPATH"
    return f"{type(error).__name__}{f': {said}' if said else ''}{more if missing else ''}"


def matched(record: OwnCode, given: OwnCode | None, folder: Path) -> OwnCode:
    """Return the given code, checked against the code of the run in ``folder``.

    Raises ``OwnCodeError`` if no code was given or it is not the run's code.
    """
    copy = shell_word(f"{folder / COPY}:{record.function}")
    if not record.function.isidentifier():
        copy = ""
    kept = f" The run keeps a copy of the source; read it before you run it: --network {copy}"
    if given is None:
        raise OwnCodeError(
            f"{folder}: its network is code, {record.function} of {record.file}, which only runs "
            f"if you name it: give --network {record.word}, or network={record.function} in "
            f"Python.{kept if copy else ''}"
        )
    if given.function != record.function:
        raise OwnCodeError(
            f"{folder}: its network is {record.function} of {record.file}, but {given.function} "
            "was given. Name the first one"
        )
    if given.sha256 != record.sha256:
        raise OwnCodeError(
            f"{folder}: {given.path or given.file} is not the file that the run was trained with "
            f"(SHA-256 {record.sha256[:12]}… then, {given.sha256[:12]}… now), so its answers "
            f"could differ. Restore the file.{kept if copy else ''}"
        )
    return given


def pick(record: OwnCode, given: Sequence[OwnCode]) -> OwnCode | None:
    """Pick the given code that matches the record, or else the most similar."""

    def likeness(one: OwnCode) -> int:
        return 2 * (one.function == record.function) + (one.sha256 == record.sha256)

    return max(given, key=likeness, default=None)
