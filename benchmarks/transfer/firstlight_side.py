"""firstlight, one run: python firstlight_side.py SET SEED WAY; prints one JSON line.

WAY is ``default`` (a backbone and a network from nothing, the better is kept), ``frozen`` (the
backbone's last layer alone) or ``nothing`` (no backbone).
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import firstlight as fl  # sets how threads wait, before PyTorch is loaded

# isort: split
import torch

from firstlight.backbones.weights import fetch_backbone

BACKBONE = "efficientnet_lite0"
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "frozen": {"start": BACKBONE, "epochs": 0},
    "nothing": {"start": "none"},
}


def main(data: str, seed: int, way: str) -> None:
    fetch_backbone(BACKBONE, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        started, before = time.perf_counter(), time.process_time()
        # A fitted last layer does not depend on the seed.
        settings = [] if way == "frozen" else [f"train.seed={seed}"]
        out = Path(folder) / "run"
        run = fl.train(data, settings=settings, out=out, quiet=True, **WAYS[way])
        seconds = time.perf_counter() - started
        processor_seconds = time.process_time() - before
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = {
            "fit_seconds": seconds,
            "processor_seconds": processor_seconds,
            "peak_memory_mb": memory,
            **figures(run),
            "versions": {"firstlight": fl.__version__, "torch": torch.__version__},
        }
        for other in Path(folder).glob("run-*"):
            found["beside"] = figures(fl.open_run(other))
        print(json.dumps(found))


def figures(run: fl.Run) -> dict[str, Any]:
    """Return facts about a run and its answers to the test images."""
    metrics, kept = run.evaluate(), run.summary["kept_epoch"]
    return {
        "started_from": run.recipe.train.start_from,
        "kept_epoch": kept["epoch"],
        "held_out_accuracy": kept["validation_accuracy"],
        "test_accuracy": metrics.accuracy,
        "log_loss": metrics.log_loss,
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
