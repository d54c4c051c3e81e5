"""Use the oldest versions that are allowed: python tools/try_lower_bounds.py [--first WHAT].

Every lower bound of pyproject.toml is installed into a bare environment, with the extras
``export``, ``runtime`` and ``heic``. Then a small training, evaluation, answer, export and service
run there. Exit code 1 with what the command said where one fails.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from try_wheel import DRAWING, done

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("export", "runtime", "heic")
NARROW = (
    '[{whiten=16,kernel=4,stride=2},{activation="relu"},{conv=16,padding="same",bias=false},'
    '{max-pool=2},{batch-norm=true},{activation="relu"},{flatten=true},{dense="classes"}]'
)
COMMANDS = (
    "train digits --epochs 1 --out run",
    f"train digits --recipe mnist-quick --set network.layers={NARROW} --epochs 1 --out quick",
    "evaluate run",
    "report run",
    "predict run my-digit.png",
    "explain run my-digit.png",
    "export run --out it.onnx --json",
    "export quick --int8 --accept-loss --out eight.onnx",
    "export run --format torch-export --out it.pt2",
    "export run --format keras --out it.keras",
    "import it.keras --data digits --out imported",
    "predict it.onnx my-digit.png",
    "evaluate it.onnx",
)


def lower_bounds() -> list[str]:
    """``name==version`` for each requirement of the project and of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    found = [re.match(r"([\w.-]+)[^>]*>=\s*([\w.]+)", one) for one in wanted]
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


def serve(command: Path, folder: Path, env: dict[str, str], picture: bytes) -> str:
    """What the service answers for a picture."""
    words: list[str | Path] = [command, "serve", "run", "it.onnx", "--port", "0"]
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    break
            else:
                sys.exit(f"serve ended: {said}")
            asked = urllib.request.Request(
                f"{address[0]}api/predict", picture, {"Content-Type": "image/png"}
            )
            with urllib.request.urlopen(asked, timeout=60) as answer:
                text: str = answer.read().decode()
            return text
        finally:
            process.terminate()


def try_bounds(python: str, first: Sequence[str], folder: Path) -> None:
    """In ``folder``: env, the environment; here, where it is used."""
    bounds = lower_bounds()
    given = {one.partition("==")[0] for one in first}
    bounds = [one for one in bounds if one.partition("==")[0] not in given]
    (folder / "bounds.txt").write_text("\n".join(bounds) + "\n")
    print("\n".join(bounds), flush=True)
    (folder / "here").mkdir()
    here, inside = folder / "here", folder / "env" / "bin" / "python"
    done([python, "-m", "venv", folder / "env"], here)
    pip: list[str | Path] = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    began = time.monotonic()
    what = f"{ROOT}[{','.join(EXTRAS)}]"
    done([*pip, "--no-compile", "-c", folder / "bounds.txt", *first, what], here)
    print(f"installed in {time.monotonic() - began:.0f} s", flush=True)
    env = {"PATH": str(inside.parent), "HOME": str(folder), "PYTHONWARNINGS": "ignore"}
    env |= {k: v for k, v in os.environ.items() if k in ("FIRSTLIGHT_DATA", "OMP_NUM_THREADS")}
    done([inside, "-c", DRAWING], here)
    command = inside.with_name("firstlight")
    failed = []
    for words in COMMANDS:
        ran = subprocess.run([command, *words.split()], cwd=here, env=env, capture_output=True)
        last = (ran.stdout + ran.stderr).decode(errors="replace").strip().splitlines()
        print(f"  firstlight {words}: {last[-1].strip() if last else 'done'}", flush=True)
        spoilt = "--json" in words and not ran.stdout.startswith(b"{")  # an old library prints
        if ran.returncode != 0 or spoilt:
            failed.append(words)
            print(ran.stderr.decode(errors="replace")[-3000:])
    print("  firstlight serve:", serve(command, here, env, (here / "my-digit.png").read_bytes()))
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Use the oldest versions that are allowed.")
    parser.add_argument("--python", default=sys.executable, help="default: this one")
    parser.add_argument(
        "--first",
        action="append",
        default=[],
        metavar="NAME==VERSION",
        help="in place of a lower bound, such as torch==2.13.0",
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try_bounds(given.python, given.first, Path(folder).resolve())


if __name__ == "__main__":
    main()
