"""Differences on Windows, tested on the model of it in ``tests/windows.py``."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the model is made for Linux")
ROOT = Path(__file__).resolve().parent.parent
MODEL = "from tests.windows import as_on_windows\nas_on_windows()\n"
LOCKS = """
import os, subprocess, sys
from pathlib import Path
from firstlight.locks import alone, has_locks, held, is_held

HOLDER = '''
import sys
from pathlib import Path
from firstlight.locks import held
with held(Path(sys.argv[1])) as free:
    print(free, flush=True)
    input()
'''
def holder(path):
    words = [sys.executable, "-c", os.environ["MODEL"] + HOLDER, str(path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process.stdout.readline().strip(), process

lock = Path("it.lock")
assert has_locks(Path()) and not list(Path().iterdir())
assert not is_held(lock)
free, process = holder(lock)
assert free == "True" and is_held(lock)
with held(lock) as ours:
    assert not ours
process.kill()
process.wait()
assert not is_held(lock)
with held(lock, passing=True) as ours:
    assert ours and is_held(lock)
    free, process = holder(lock)
    assert free == "False"
    process.communicate("\\n")
    with held(lock) as again:
        assert not again
assert not lock.exists()
with alone(lock):
    assert is_held(lock)
print(*Path().iterdir(), "all holds")
"""
FILES = """
import os, time
from pathlib import Path
from firstlight.files import clear_parts, write_whole

target = Path("report.html")
write_whole(target, "one")
write_whole(target, "two")
assert target.read_text() == "two"
for name, age in ((".report.html.aa.part", 7200), (".report.html.bb.part", 60)):
    Path(name).write_text("")
    os.utime(name, (time.time() - age,) * 2)
open_part = Path(".report.html.cc.part").open("w")
os.utime(open_part.name, (1, 1))
clear_parts(Path())
assert sorted(os.listdir()) == [".report.html.bb.part", ".report.html.cc.part", "report.html"]
with target.open() as reading:
    try:
        write_whole(target, "three")
    except PermissionError:
        pass
    else:
        raise AssertionError("it was open")
    assert reading.read() == "two"
print(target.read_text())
"""
COMMANDS = """
import sys
from firstlight.cli.main import main

for line in sys.argv[1].splitlines():
    code, _, words = line.partition(" ")
    sys.argv = ["firstlight", *words.split()]
    try:
        main()
        ended = 0
    except SystemExit as stop:
        ended = stop.code or 0
    assert ended == int(code), f"{words}: {ended}"
"""


def on_windows(program: str, folder: Path, *words: str) -> str:
    """Return a program's output there, decoded as Windows would."""
    kept = {key: value for key, value in os.environ.items() if key != "FIRSTLIGHT_DATA"}
    done = subprocess.run(
        [sys.executable, "-c", MODEL + program, *words],
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
            "MODEL": MODEL,
            "XDG_CACHE_HOME": str(folder.with_name("cache")),
        },
        capture_output=True,
        encoding="cp1252",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def pictures(folder: Path) -> None:
    """Create pictures of the classes "row" and "σ", a letter that cp1252 lacks."""
    rng = np.random.default_rng(0)
    for name in ("row", "σ"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            image_HW = rng.integers(0, 60, (32, 32), dtype=np.uint8)
            image_HW[(number + 5, slice(None)) if name == "row" else (slice(None), number + 5)] = (
                250
            )
            Image.fromarray(image_HW).save(folder / name / f"{number}.png")


def test_the_model_refuses_what_windows_refuses(here: Path) -> None:
    said = on_windows(
        "import os, tempfile\n"
        "from pathlib import Path\n"
        "def refused(do, *given):\n"
        "    try: do(*given)\n"
        "    except OSError: print(do.__name__)\n"
        "    else: raise AssertionError(given)\n"
        "for name in ('aux', 'con.txt', 'a:b', 'a.', 'a ', 250 * 'x'):\n"
        "    refused(Path(name).write_text, '')\n"
        "    refused(Path(name).mkdir)\n"
        "Path('a').write_text('1'); Path('b').write_text('2'); Path('c').mkdir()\n"
        "refused(os.rename, 'a', 'b')\n"
        "Path('c/d').write_text('3')\n"
        "with open('a'), open('c/d'):\n"
        "    refused(os.remove, 'a'); refused(os.rename, 'c', 'e')\n"
        "    refused(os.replace, 'a', 'b'); refused(os.replace, 'b', 'a')\n"
        "os.replace('a', 'b'); os.rename('c', 'e')\n"
        "with tempfile.NamedTemporaryFile() as file: refused(open, file.name)\n"
        "from firstlight import files, locks\n"
        "assert files.os.name == 'nt' and not hasattr(locks, 'fcntl') and os.name == 'posix'\n",
        here,
    )
    refused = said.replace("_rename", "rename").split()
    assert refused[:12] == ["write_text", "mkdir"] * 6
    assert refused[12:] == ["rename", "remove", "rename", "replace", "replace", "open"]


def test_locks_end_with_their_process_and_asking_takes_none(here: Path) -> None:
    assert on_windows(LOCKS, here) == "all holds\n"  # and no file is left


def test_files_are_whole_or_not_there_and_an_open_one_is_left_alone(here: Path) -> None:
    assert on_windows(FILES, here) == "two\n"  # the last one that was written


def test_from_training_to_an_exported_file(here: Path) -> None:
    pictures(here / "pictures")
    (here / "shards").mkdir()  # an empty folder counts as missing
    said = on_windows(
        COMMANDS,
        here,
        "0 train digits --epochs 1 --out run\n"
        "0 evaluate run\n"
        "0 report run\n"
        "0 export run --out it.onnx\n"
        "0 predict it.onnx pictures/row/0.png\n"
        "0 data pack pictures --to shards\n"
        "0 data check pictures\n"
        "0 train pictures --epochs 1 --from none --quiet\n"
        "0 train shards/images-000000.tar --epochs 1 --quiet\n"
        "0 tune digits --trials 1 --seeds 0 --set train.epochs=1 --storage it.db --quiet\n"
        "2 train digits --epochs 1 --out aux",
    )
    assert "\\u03c3" in said
    left = [p for p in here.with_name("cache").rglob("*") if p.suffix in (".part", ".lock")]
    assert left == []
