"""Use a wheel as a new user would: python tools/try_wheel.py WHEEL [--python PYTHON] [--first
WHAT].

The wheel is installed into an empty environment. Then the README's commands run in an empty folder,
with only the console script on the PATH. MNIST comes from where ``firstlight`` searches for it. The
exit code is 1, with the command's output, if one fails.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DRAWING = (
    "from PIL import Image, ImageDraw\n"
    "picture = Image.new('L', (90, 120), 255)\n"
    "ImageDraw.Draw(picture).line([(45, 15), (45, 105)], fill=0, width=9)\n"
    "picture.save('my-digit.png')\n"
)


def done(words: Sequence[str | Path], folder: Path, env: dict[str, str] | None = None) -> str:
    """Return what a command printed; exit if it fails."""
    said = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    if said.returncode != 0:
        shown = " ".join(map(str, words))
        sys.exit(f"{shown}: exit code {said.returncode}\n{said.stdout}{said.stderr}")
    return said.stdout


def readme_commands() -> list[list[str]]:
    """Return the words of each command in the README."""
    blocks = re.findall(
        r"^```console\n(.*?)^```",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    return [line[2:].split() for block in blocks for line in block.splitlines()]


def try_wheel(wheel: Path, python: str, first: str | None, folder: Path) -> None:
    """Try the wheel in ``folder``, with subfolders env (the environment), bin (all that is on the
    PATH), home, and here (the working folder)."""
    for name in ("bin", "home", "here"):
        (folder / name).mkdir()
    here, inside = folder / "here", folder / "env" / "bin" / "python"
    done([python, "-m", "venv", folder / "env"], here)
    pip: list[str | Path] = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if first:
        done([*pip, first], here)
    done([*pip, wheel.resolve()], here)
    (folder / "bin" / "firstlight").symlink_to(inside.with_name("firstlight"))
    env = {"PATH": str(folder / "bin"), "HOME": str(folder / "home"), "FIRSTLIGHT_EPOCHS": "1"}
    env |= {k: v for k, v in os.environ.items() if k in ("FIRSTLIGHT_DATA", "OMP_NUM_THREADS")}
    version = done(["firstlight", "--version"], here, env).strip()
    print(f"{done([inside, '--version'], here).strip()}: {version}", flush=True)
    done([inside, "-c", DRAWING], here)
    for words in readme_commands():
        said = done(words, here, env).strip().splitlines()
        print(f"  {' '.join(words)}: {said[-1].strip() if said else 'done'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Use a wheel as a new user does.")
    parser.add_argument("wheel", type=Path, metavar="WHEEL")
    parser.add_argument("--python", default=sys.executable, help="default: this one")
    parser.add_argument("--first", metavar="WHAT", help="installed before, such as torch==2.13.0")
    given = parser.parse_args()
    if not given.wheel.is_file():
        sys.exit(f"{given.wheel}: no such wheel; make dist builds it")
    with tempfile.TemporaryDirectory() as folder:
        try_wheel(given.wheel, given.python, given.first, Path(folder).resolve())


if __name__ == "__main__":
    main()
