"""Names of the hub's repositories: ``hf:OWNER/NAME``, ``hf:OWNER/NAME@REVISION``; for a data set
also ``hf:OWNER/NAME/CONFIGURATION@REVISION``."""

import re
from dataclasses import dataclass
from pathlib import Path

from firstlight.errors import UserError

DATASET, MODEL = "dataset", "model"
WANTED = "wanted hf:OWNER/NAME, hf:OWNER/NAME/CONFIGURATION or hf:OWNER/NAME@REVISION"
_NAME = r"[A-Za-z0-9][\w.-]*"
_WORD = re.compile(rf"hf:({_NAME}/{_NAME})(?:/({_NAME}))?(?:@([\w./-]+))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class HubWord:
    """A data set or a model of the hub."""

    repository: str
    """``OWNER/NAME``"""
    configuration: str = ""
    """For a data set; empty for its default."""
    revision: str = ""
    """A branch, a tag or a commit; empty for the hub's default, ``main``."""
    kind: str = DATASET
    """``dataset`` or ``model``, the hub's own terms."""

    def __str__(self) -> str:
        configuration = f"/{self.configuration}" if self.configuration else ""
        return f"hf:{self.repository}{configuration}{f'@{self.revision}' if self.revision else ''}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, whose files never change."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def name(self) -> str:
        """The name without its owner."""
        return self.repository.rpartition("/")[2]

    @property
    def what(self) -> str:
        """What it is, for messages."""
        return "data set" if self.kind == DATASET else "model"

    @property
    def page(self) -> str:
        """Its web address."""
        return (
            f"https://huggingface.co/{'datasets/' if self.kind == DATASET else ''}{self.repository}"
        )


def is_hub(word: str | Path) -> bool:
    """Return whether a word names a repository of the hub, even if it is badly written."""
    return str(word).startswith("hf:") and not str(word).startswith(("hf://", "hf:\\\\"))


def hub_word(word: str | Path) -> HubWord:
    """Parse the name of a data set. Raises ``UserError`` if it is badly written."""
    text, found = _parsed(word)
    if found is None:
        raise UserError(f"{text}: {WANTED}")
    return HubWord(
        repository=found[1], configuration=found[2] or "", revision=(found[3] or "").strip("/")
    )


def model_word(word: str | Path) -> HubWord:
    """Parse the name of a model. Raises ``UserError`` if it is badly written."""
    text, found = _parsed(word)
    if found is None or found[2]:
        raise UserError(f"{text}: wanted hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    return HubWord(repository=found[1], revision=(found[3] or "").strip("/"), kind=MODEL)


def _parsed(word: str | Path) -> tuple[str, re.Match[str] | None]:
    text = str(word).replace("\\", "/")
    return text, None if ".." in text else _WORD.fullmatch(text)
