"""Compare other ways to the same accuracy with firstlight, in alternating runs on the same machine.

    python benchmarks/peers.py --seeds 1

For each data set: the tutorial as a plain PyTorch data-loader loop, and the tutorial in firstlight.
For CIFAR-10 also the recipe of the speed record, written from its published numbers, and
``cifar10-standard`` and ``cifar10-best``. The result file is rewritten after each run, and runs
already in it are not repeated. ``benchmarks/tables.py`` makes the table in the documents from it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from firstlight.runs.record import processor_name
from tutorial_vs_keras import EPOCHS, save_arrays, timed

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "peers.json"
AIRBENCH_EPOCHS = 8


def sides(name: str, arrays: str, seed: str) -> dict[str, list[str]]:
    """Return each side's script and arguments, in the order of the runs."""
    loop = ["pytorch_tutorial.py", arrays, name, seed, str(EPOCHS[name])]
    pairs = {
        "pytorch-loop": loop,
        "firstlight-tutorial": ["firstlight_recipe.py", name, seed, f"{name}-tutorial"],
    }
    if name == "cifar10":
        pairs["airbench"] = ["airbench.py", arrays, seed, str(AIRBENCH_EPOCHS)]
        for level in ("standard", "best"):
            pairs[f"firstlight-{level}"] = ["firstlight_recipe.py", name, seed, f"cifar10-{level}"]
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description="Peers and firstlight in turn.")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each side and set")
    parser.add_argument("--sets", nargs="+", default=list(EPOCHS), choices=list(EPOCHS))
    options = parser.parse_args()
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    if whole.get("processor", processor_name()) != processor_name():
        raise SystemExit(f"{RESULT} is of another processor; move it away first")
    whole |= {
        "command": f"python benchmarks/peers.py --seeds {options.seeds}",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            arrays = str(save_arrays(name, Path(folder)))
            for seed in range(options.seeds):
                for side, (script, *words) in sides(name, arrays, str(seed)).items():
                    key = {"data": name, "side": side, "seed": seed}
                    if any(key.items() <= run.items() for run in whole["runs"]):
                        continue
                    figures = timed([sys.executable, str(HERE / script), *words])
                    whole["runs"].append({**key, **figures})
                    RESULT.write_text(json.dumps(whole, indent=2) + "\n")
                    accuracy = figures["test_accuracy_by_epoch"][-1]
                    print(f"{name} seed {seed} {side}: {figures['fit_seconds']:.1f} s, {accuracy}")


if __name__ == "__main__":
    main()
