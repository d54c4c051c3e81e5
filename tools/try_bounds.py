"""Test the version bounds: python tools/try_bounds.py lowest|newest [--torch VERSION] [--record].

An empty environment gets the lowest version of each requirement that pyproject.toml allows, or the
newest one that exists. Then a small training, evaluation, answer, export and service run there, and
the tests of code that calls these packages. The exit code is 1, with the output, if one fails.
``--record`` saves the result in benchmarks/results/versions.json, from which the table in the
README is made.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

from try_wheel import DRAWING, done

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "versions.json"
LOWEST, NEWEST = "lowest", "newest"
EXTRAS = ("export", "runtime", "heic", "dev")
NOT_USED = ("mypy", "ruff")
"""Tools that only read the source, and run none of it."""
TESTS = (
    *("explain", "models", "serve/test_connection.py", "serve/test_uvicorn.py"),
    *("test_estimator.py", "test_library.py"),
)
"""Tests of packages whose internals matter: PyTorch, uvicorn with httptools, captum and
scikit-learn. The commands call the others."""
NORMED = (
    '[{conv=16,bias=false},{max-pool=2},{batch-norm=true},{activation="relu"},{flatten=true},'
    '{dense="classes"}]'
)
COMMANDS = (
    "train digits --epochs 1 --out run",
    f"train digits --set network.layers={NORMED} --epochs 3 --out normed",
    "evaluate run",
    "report run",
    "predict run my-digit.png",
    "explain run my-digit.png",
    "export run --out it.onnx --json",
    "export normed --int8 --accept-loss --out eight.onnx",
    "export run --format torch-export --out it.pt2",
    "export run --format keras --out it.keras",
    "import it.keras --data digits --out imported",
    "predict it.onnx my-digit.png",
    "evaluate it.onnx",
)


def lower_bounds() -> list[str]:
    """Return ``name==version`` for each requirement of the project and of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    found = [re.match(r"([\w.-]+)[^>]*>=\s*([\w.]+)", one) for one in wanted]
    return sorted({f"{one[1]}=={one[2]}" for one in found if one and one[1] not in NOT_USED})


def serve(command: Path, folder: Path, env: dict[str, str], picture: bytes) -> str:
    """Return the service's answer for a picture."""
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


def install(which: str, torch: str | None, python: str, env: Path) -> None:
    """Create the environment ``env``."""
    wanted = lower_bounds() if which == LOWEST else []
    if torch:
        wanted = [one for one in wanted if not one.startswith("torch==")] + [f"torch=={torch}"]
    done([python, "-m", "venv", env], ROOT)
    bounds = env / "bounds.txt"
    bounds.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    pip: list[str | Path] = [
        env / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
    ]
    began = time.monotonic()
    done([*pip, "--no-compile", "-c", bounds, f"{ROOT}[{','.join(EXTRAS)}]"], ROOT)
    print(f"installed in {time.monotonic() - began:.0f} s", flush=True)


def try_commands(env: Path, folder: Path) -> None:
    """Run a small example of everything in ``folder``; exit if one fails."""
    inside = env / "bin" / "python"
    given = {"PATH": str(inside.parent), "HOME": str(folder), "PYTHONWARNINGS": "ignore"}
    given |= {k: v for k, v in os.environ.items() if k in ("FIRSTLIGHT_DATA", "OMP_NUM_THREADS")}
    done([inside, "-c", DRAWING], folder)
    command = inside.with_name("firstlight")
    failed = []
    for words in COMMANDS:
        ran = subprocess.run([command, *words.split()], cwd=folder, env=given, capture_output=True)
        last = (ran.stdout + ran.stderr).decode(errors="replace").strip().splitlines()
        print(f"  firstlight {words}: {last[-1].strip() if last else 'done'}", flush=True)
        spoilt = "--json" in words and not ran.stdout.startswith(b"{")  # an old library prints
        if ran.returncode != 0 or spoilt:
            failed.append(words)
            print(ran.stderr.decode(errors="replace")[-3000:])
    picture = (folder / "my-digit.png").read_bytes()
    print("  firstlight serve:", serve(command, folder, given, picture), flush=True)
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


def try_tests(env: Path, which: str, tests: list[str]) -> tuple[int, dict[str, int]]:
    """Return the exit code of the tests, and how many passed, failed and were skipped."""
    words = [str(env / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    choice = [f"tests/{one}" for one in tests]
    if which == LOWEST:  # an old package may call deprecated functions of a newer one
        choice += ["-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"]
    given = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    last = ""
    with subprocess.Popen(
        [*words, *choice], cwd=ROOT, env=given, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line if " in " in line else last
    kinds = ("passed", "failed", "error", "skipped")
    found = {kind: re.search(rf"(\d+) {kind}", last) for kind in kinds}
    return process.returncode, {kind: int(one[1]) if one else 0 for kind, one in found.items()}


def versions(env: Path) -> dict[str, str]:
    """Return the versions of Python and of each package in the environment."""
    program = (
        "import json, platform; from importlib.metadata import distributions as all\n"
        "print(json.dumps({'python': platform.python_version()} | "
        "{d.name.lower().replace('_', '-'): d.version for d in all()}))"
    )
    found: dict[str, str] = json.loads(done([env / "bin" / "python", "-c", program], ROOT))
    return dict(sorted(found.items()))


def record(which: str, held: dict[str, str], counts: dict[str, int]) -> None:
    """Save the result, replacing an earlier one of the same Python and PyTorch."""
    whole: list[dict[str, Any]] = []
    if RESULTS.exists():
        whole = json.loads(RESULTS.read_text(encoding="utf-8"))
    now: dict[str, Any] = {
        "which": which,
        "system": platform.system(),
        "machine": platform.machine(),
    }
    now |= {"tests": counts, "versions": held}

    def key(one: dict[str, Any]) -> tuple[str, ...]:
        of = one["versions"]
        return one["which"], one["system"], of["python"].rpartition(".")[0], of["torch"]

    whole = sorted([one for one in whole if key(one) != key(now)] + [now], key=key)
    RESULTS.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Try the lowest or the newest versions.")
    parser.add_argument("which", choices=(LOWEST, NEWEST))
    parser.add_argument("--torch", metavar="VERSION", help="take this one whatever was asked for")
    parser.add_argument("--python", default=sys.executable, help="default: this one")
    parser.add_argument("--env", type=Path, help="an environment to make, or that was made before")
    parser.add_argument("--tests", nargs="*", default=list(TESTS), help="in place of the usual")
    parser.add_argument("--record", action="store_true", help="write down what came of it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        env = given.env.resolve() if given.env else folder / "env"
        if not env.exists():
            install(given.which, given.torch, given.python, env)
        (folder / "here").mkdir()
        try_commands(env, folder / "here")
        code, counts = try_tests(env, given.which, given.tests)
        if given.record:
            record(given.which, versions(env), counts)
        sys.exit(code)


if __name__ == "__main__":
    main()
