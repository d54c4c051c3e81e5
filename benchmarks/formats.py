"""Size, accuracy and time of one run in every format that a program can run, on the same machine.

    PYTHONPATH=.venv/litert python benchmarks/formats.py

The bundled models are exported, which compares every test image with the run. Then every side
answers single images with one thread, in turn. LiteRT's packages come with ``make litert``.
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
import torch

import firstlight as fl
from firstlight.model import run_model
from firstlight.runs.folder import open_run_folder
from firstlight.runs.record import processor_name
from firstlight.runtime import open_onnx

RESULT = Path(__file__).resolve().parent / "results" / "formats-cpu.json"
SIDES = {
    "safetensors": ("safetensors", False),
    "torch-export": ("torch-export", False),
    "onnx": ("onnx", False),
    "onnx-int8": ("onnx", True),
    "litert": ("litert", False),
    "litert-int8": ("litert", True),
    "keras": ("keras", False),
}
"""Format, and whether in eight bits."""
ONE_BY_ONE = 30

Image = npt.NDArray[np.uint8]
Answer = Callable[[Image], Any]


def opened(side: str, path: Path, name: str) -> Answer | None:
    """What answers an image 1×H×W×C; None of a file that nothing here runs."""
    format_, _ = SIDES[side]
    if format_ == "onnx":
        return open_onnx(path, 1).probabilities
    if format_ == "litert":
        return of_litert(path)
    if format_ == "torch-export":
        module = torch.export.load(path).module()
        return lambda image: module(torch.from_numpy(image))
    if format_ == "safetensors":  # weights alone: the run's own code computes
        return run_model(open_run_folder(Path(name)), threads=1).probabilities
    return None


def of_litert(path: Path) -> Answer:
    """By its own interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(image: Image) -> Any:
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return answer


def measured(name: str, rounds: int) -> dict[str, Any]:
    """Of each side its size, its accuracy, how far it is from the run, and seconds an image."""
    run, images_NHWC = fl.open_run(name), fl.load(name).test.images_NHWC[:ONE_BY_ONE]
    with tempfile.TemporaryDirectory() as folder:
        found, answers = dict[str, Any](), dict[str, Answer]()
        for side, (format_, int8) in SIDES.items():
            suffix = {"torch-export": "pt2", "litert": "tflite"}.get(format_, format_)
            done = run.export(
                format_, Path(folder) / f"{side}.{suffix}", int8=int8, accept_loss=int8
            )
            found[side] = {
                "bytes": done.size,
                "accuracy": done.accuracy,
                "other_classes": done.parity.other_classes,
                "largest_difference": done.parity.largest_difference,
            }
            print(name, side, found[side], flush=True)
            if (answer := opened(side, done.path, name)) is not None:
                answers[side] = answer
        seconds, loads = {side: list[float]() for side in answers}, []
        torch.set_num_threads(1)
        for number in range(rounds):
            loads.append(os.getloadavg()[0])
            order = [*answers][number % len(answers) :] + [*answers][: number % len(answers)]
            for side in order:
                seconds[side].append(one_by_one(answers[side], images_NHWC))
    for side, times in seconds.items():
        found[side]["seconds"] = statistics.median(times)
        found[side]["rounds"] = times
    return {"images": len(fl.load(name).test), "sides": found, "load": loads}


def one_by_one(answer: Answer, images_NHWC: Image) -> float:
    """The median time of an image, in seconds."""
    times = []
    for at in range(len(images_NHWC)):
        image = np.ascontiguousarray(images_NHWC[at : at + 1])
        started = time.perf_counter()
        answer(image)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["mnist", "cifar10"])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"models": {}}
    for name in given.names:
        whole["models"][name] = measured(name, given.rounds)
    names = " ".join(given.names)
    packages = ("torch", "onnxruntime", "ai-edge-litert", "litert-torch")
    whole |= {
        "command": f"python benchmarks/formats.py {names} --rounds {given.rounds}",
        "processor": processor_name(),
        "python": platform.python_version(),
        "versions": {"firstlight": fl.__version__, **{name: version(name) for name in packages}},
    }
    RESULT.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
