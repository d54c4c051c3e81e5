"""Measure prediction speed: firstlight with PyTorch, ONNX and int8, and bare onnxruntime and
OpenVINO.

    python benchmarks/answers.py

All sides compute the same networks, in turn, on the same machine. Weights do not affect the speed,
so each network is trained only briefly. Every round measures each side in turn: some images one by
one, then batches. The ratios are of figures from the same round.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import openvino

import firstlight as fl
from firstlight.export.graph import network
from firstlight.export.int8 import quantized
from firstlight.model import run_model
from firstlight.runs.folder import open_run_folder
from firstlight.runs.record import processor_name
from firstlight.runtime import open_onnx
from firstlight.threads import usable_threads

RESULT = Path(__file__).resolve().parent / "results" / "answers-cpu.json"
RECIPES = ("mnist-tutorial", "mnist-quick", "cifar10-tutorial", "cifar10-quick")
ONE_BY_ONE = 30
BATCHES = (16, 64, 125)
AGAINST = {"onnx": "onnxruntime", "int8": "onnxruntime-int8"}
"""Maps a side of firstlight to the bare runtime with the same network."""

Images = npt.NDArray[np.uint8]
Side = Callable[[Images], Any]


def sides(recipe: str, folder: Path, threads: int) -> tuple[dict[str, Side], Images]:
    """Return each side by name, ready to predict, and the images."""
    data = fl.load(recipe.partition("-")[0])
    some = fl.TrainTest(*(part.take(np.arange(1000)) for part in data))
    run = fl.train(some, recipe, epochs=0.1, out=folder / recipe, quiet=True)
    fast = open_onnx(run.export(out=folder / f"{recipe}.onnx").path)
    small = open_onnx(run.export(out=folder / f"{recipe}-8.onnx", int8=True, accept_loss=True).path)
    saved = run_model(open_run_folder(run.path)).saved
    bare = network(saved)
    bare8 = quantized(bare, some.train.images_NHWC)
    found: dict[str, Side] = {
        "torch": run_model(open_run_folder(run.path)).probabilities,
        "onnx": fast.probabilities,
        "onnxruntime": plain(bare.SerializeToString(), threads),
        "int8": small.probabilities,
        "onnxruntime-int8": plain(bare8.SerializeToString(), threads),
        "openvino": in_openvino(bare.SerializeToString(), threads),
        "openvino-int8": in_openvino(bare8.SerializeToString(), threads),
    }
    return found, data.test.images_NHWC[:1000]


def plain(graph: bytes, threads: int) -> Side:
    """Return the network alone in onnxruntime, called directly."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"seen": images})[0]


def in_openvino(graph: bytes, threads: int) -> Side:
    """Return the network alone in OpenVINO."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda images: request.infer({"seen": images})[0]


def ask(side: Side, images: Images) -> dict[str, float]:
    """Return the median seconds for one image, and images per second at the best batch size."""
    seconds = []
    for i in range(ONE_BY_ONE):
        started = time.perf_counter()
        side(images[i : i + 1])
        seconds.append(time.perf_counter() - started)
    rates = []
    for size in BATCHES:
        started = time.perf_counter()
        side(images[:size])
        rates.append(size / (time.perf_counter() - started))
    return {"latency_seconds": statistics.median(seconds), "images_per_second": max(rates)}


def measure(recipe: str, rounds: int, threads: int) -> dict[str, Any]:
    """Run all rounds for one network, and return their medians."""
    with tempfile.TemporaryDirectory() as folder:
        found, images = sides(recipe, Path(folder), threads)
        names = list(found)
        for name in names:
            ask(found[name], images)
        runs, loads = [], []
        for turn in range(rounds):
            loads.append(os.getloadavg()[0])
            order = names[turn % len(names) :] + names[: turn % len(names)]
            runs.append({name: ask(found[name], images) for name in order})
    summary: dict[str, Any] = {
        name: {
            "latency_seconds": statistics.median(r[name]["latency_seconds"] for r in runs),
            "images_per_second": statistics.median(r[name]["images_per_second"] for r in runs),
        }
        for name in names
    }
    for ours, theirs in AGAINST.items():
        for figure in ("latency_seconds", "images_per_second"):
            ratios = [r[ours][figure] / r[theirs][figure] for r in runs]
            summary[ours][f"{figure}_to_bare"] = statistics.median(ratios)
    return {"summary": summary, "rounds": runs, "load": loads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    options = parser.parse_args()
    threads = usable_threads()
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"networks": {}}
    whole |= {
        "command": f"python benchmarks/answers.py --rounds {options.rounds}",
        "processor": processor_name(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {n: version(n) for n in ("firstlight", "torch", "onnxruntime", "openvino")},
    }
    for recipe in options.recipes:
        whole["networks"][recipe] = measure(recipe, options.rounds, threads)
        RESULT.write_text(json.dumps(whole, indent=1) + "\n")
        print(recipe, json.dumps(whole["networks"][recipe]["summary"], indent=1))


if __name__ == "__main__":
    main()
