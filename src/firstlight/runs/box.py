"""Models that come with firstlight: finished runs, opened by name where no folder has that name.

They lie in ``firstlight/box``. What a command writes about a run has no place in an installation,
so each is copied into the cache at its first use, and is a run folder like any other there.
"""

import hashlib
import os
import shutil
from pathlib import Path

from firstlight.files import cache_folder

BOX = Path(__file__).resolve().parent.parent / "box"
"""A folder of run folders."""
MEASURED = "measured.json"
"""In each, what ``evaluate`` gave when it was made; a copy's own goes to ``metrics.json``."""


def boxed_names() -> list[str]:
    """The models in the box, the digits first, as a learner meets them."""
    return sorted((p.parent.name for p in BOX.glob("*/recipe.toml")), reverse=True)


def boxed_folder(name: str) -> Path:
    """The run folder of a model in the box: a copy in the cache, of these very files.

    Where the cache takes none, the installed folder itself: it answers all the same, and only what
    would be written there fails.
    """
    source = BOX / name
    contents = sorted(p for p in source.iterdir() if p.is_file())
    digest = hashlib.sha256()
    for path in contents:
        digest.update(f"{path.name}\n".encode())
        digest.update(path.read_bytes())
    target = cache_folder() / "models" / digest.hexdigest()[:16] / name
    if target.is_dir():
        return target
    part = target.with_name(f".{name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for path in contents:
            shutil.copyfile(path, part / path.name)
        part.rename(target)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        return target if target.is_dir() else source  # another process may have been first
    return target
