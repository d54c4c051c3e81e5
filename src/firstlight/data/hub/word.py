"""What names a data set of the hub: ``hf:OWNER/NAME``, ``hf:OWNER/NAME/CONFIGURATION@REVISION``."""

import re
from dataclasses import dataclass
from pathlib import Path

from firstlight.errors import UserError

WANTED = "wanted hf:OWNER/NAME, hf:OWNER/NAME/CONFIGURATION or hf:OWNER/NAME@REVISION"
_NAME = r"[A-Za-z0-9][\w.-]*"
_WORD = re.compile(rf"hf:({_NAME}/{_NAME})(?:/({_NAME}))?(?:@([\w./-]+))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class HubWord:
    """A data set of the hub."""

    repository: str
    """``OWNER/NAME``"""
    configuration: str = ""
    revision: str = ""
    """A branch, a tag or a commit; empty for the hub's own choice, ``main``."""

    def __str__(self) -> str:
        configuration = f"/{self.configuration}" if self.configuration else ""
        return f"hf:{self.repository}{configuration}{f'@{self.revision}' if self.revision else ''}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, whose files never change."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def name(self) -> str:
        """Without its owner."""
        return self.repository.rpartition("/")[2]


def is_hub(word: str | Path) -> bool:
    """Whether a word names a data set of the hub, rightly written or not."""
    return str(word).startswith("hf:") and not str(word).startswith(("hf://", "hf:\\\\"))


def hub_word(word: str | Path) -> HubWord:
    """What it names. Raises ``UserError`` where it is not well written."""
    text = str(word).replace("\\", "/")
    found = _WORD.fullmatch(text)
    if found is None or ".." in text:
        raise UserError(f"{text}: {WANTED}")
    return HubWord(
        repository=found[1], configuration=found[2] or "", revision=(found[3] or "").strip("/")
    )
