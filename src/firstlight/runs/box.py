"""Models that come with firstlight: finished runs, opened by name unless a folder has that name.

They are stored in ``firstlight/box``. Commands must not write into an installation, so each model
is copied into the cache at its first use. The copy is an ordinary run folder.
"""

import hashlib
import os
import shutil
from pathlib import Path

from firstlight.files import cache_folder, make_folder, put_in_place, write_whole

BOX = Path(__file__).resolve().parent.parent / "box"
"""The folder that contains the run folders."""
MEASURED = "measured.json"
"""In each folder: the result of ``evaluate`` when the model was made. A copy's own results go to
``metrics.json``."""
SEEDS = "seeds.json"
"""In each folder: the test accuracies of several seeds of its recipe, for its model card."""
_WRITTEN_ANEW = ("robustness.json",)
"""Files in the copy that commands may replace."""


def boxed_names() -> list[str]:
    """Return the names of the models in the box. The digits come first, as a learner meets them."""
    return sorted((p.parent.name for p in BOX.glob("*/recipe.toml")), reverse=True)


def boxed_folder(name: str) -> Path:
    """Return the run folder of a model in the box: a copy of the installed files in the cache. If a
    file of the copy has changed, the model is copied again.

    If the cache is not writable, return the installed folder itself. It can be read as usual; only
    writing to it fails.
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
    """Write these files, by name, into a new folder; all of them or none. Raises ``OSError``."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        make_folder(target.parent)
        part.mkdir(exist_ok=True)
        for file, blob in contents.items():
            (part / file).write_bytes(blob)
        put_in_place(part, target)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        if not target.is_dir():  # unless another process was first
            raise
