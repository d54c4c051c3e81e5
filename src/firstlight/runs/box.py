"""Models that come with firstlight: finished runs, opened by name where no folder has that name.

They lie in ``firstlight/box``. What a command writes about a run has no place in an installation,
so each is copied into the cache at its first use, and is a run folder like any other there.
"""

import hashlib
import os
import shutil
from pathlib import Path

from firstlight.files import cache_folder, make_folder, put_in_place, write_whole

BOX = Path(__file__).resolve().parent.parent / "box"
"""A folder of run folders."""
MEASURED = "measured.json"
"""In each, what ``evaluate`` gave when it was made; a copy's own goes to ``metrics.json``."""
SEEDS = "seeds.json"
"""In each, the test accuracies of several seeds of its recipe, for its card."""
_WRITTEN_ANEW = ("robustness.json",)
"""What a command about the run replaces in the copy."""


def boxed_names() -> list[str]:
    """The models in the box, the digits first, as a learner meets them."""
    return sorted((p.parent.name for p in BOX.glob("*/recipe.toml")), reverse=True)


def boxed_folder(name: str) -> Path:
    """The run folder of a model in the box: a copy in the cache, of these very files. One of them
    that is no longer as it was installed is copied again.

    Where the cache takes none, the installed folder itself: it answers all the same, and only what
    would be written there fails.
    """
    source = BOX / name
    contents = {p.name: p.read_bytes() for p in sorted(source.iterdir()) if p.is_file()}
    digest = hashlib.sha256()
    for file, blob in contents.items():
        digest.update(f"{file}\n".encode())
        digest.update(blob)
    target = cache_folder() / "models" / digest.hexdigest()[:16] / name
    try:
        if not target.is_dir():
            copy_files(contents, target)
        for file, blob in contents.items():
            copy = target / file
            if not copy.is_file() or (file not in _WRITTEN_ANEW and copy.read_bytes() != blob):
                write_whole(copy, blob)
    except OSError:
        return source
    return target


def copy_files(contents: dict[str, bytes], target: Path) -> None:
    """A new folder with these files, by their names; whole, or not at all. Raises ``OSError``."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        make_folder(target.parent)
        part.mkdir(exist_ok=True)
        for file, blob in contents.items():
            (part / file).write_bytes(blob)
        put_in_place(part, target)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        if not target.is_dir():  # another process may have been first
            raise
