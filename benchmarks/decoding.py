"""Measure how fast, and in how much memory, folders of pictures are decoded, reopened and checked.

    python benchmarks/decoding.py --repeats 3

The first set is CIFAR-10 as 60,000 PNG files: the first start (list, decode, find copies, split),
the second start, and ``data check`` of its 50,000 training pictures. The second set is 210,000
photographs of 128 × 128 pixels, each made of sixteen CIFAR-10 images, as JPEG files, which decode
to 10 GB: first start, second start, and a short training. Each measurement is a separate process.
Its memory is the peak; its processor seconds are the total of all threads, which is meaningful on a
busy machine too.

The result file is rewritten after each run, and runs already in it are not repeated. ``--repeats``
is the number of measurements of the first set. All files take 14 GB in a temporary folder, or in
``--scratch``, where picture files are kept and reused. They are in the system's file cache as far
as it can hold them.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image

import firstlight as fl
from firstlight.runs.record import processor_name
from firstlight.threads import usable_threads

RESULT = Path(__file__).resolve().parent / "results" / "decoding.json"
LARGE, SIDE, QUALITY = 210_000, 128, 85


def write_cifar10(root: Path) -> None:
    """Write ``root/{train,test}/CLASS/*.png``, the published parts."""
    for part, data in zip(("train", "test"), fl.load("cifar10"), strict=True):
        for name in data.class_names:
            (root / part / name).mkdir(parents=True)
        labelled = zip(data.images_NHWC, data.labels_N, strict=True)
        for number, (image_HWC, label) in enumerate(labelled):
            file = root / part / data.class_names[label] / f"{number:05d}.png"
            Image.fromarray(image_HWC).save(file)


def write_mosaics(root: Path, numbers: range) -> None:
    """Write ``root/CLASS/*.jpg``: sixteen images of one class side by side, chosen by the
    number."""
    train = fl.load("cifar10").train
    of_class = [np.flatnonzero(train.labels_N == label) for label in range(10)]
    for name in train.class_names:
        (root / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        label = number % 10
        chosen = np.random.default_rng(number).choice(of_class[label], 16, replace=False)
        tiles = train.images_NHWC[chosen].reshape(4, 4, 32, 32, 3)
        image_HWC = tiles.transpose(0, 2, 1, 3, 4).reshape(SIDE, SIDE, 3)
        file = root / train.class_names[label] / f"{number:06d}.jpg"
        Image.fromarray(image_HWC).save(file, quality=QUALITY)


def start(root: Path) -> dict[str, Any]:
    """Measure from the call to data that is ready for training."""
    from firstlight.data.own import load_own

    told: list[tuple[float, int]] = []
    train, test = load_own(root, progress=lambda done, _: told.append((time.perf_counter(), done)))
    figures: dict[str, Any] = {
        "images": len(train) + len(test),
        "decoded_bytes": (len(train) + len(test)) * int(np.prod(train.image_shape)),
    }
    if told:  # the first call comes after the first chunk
        (first, before), (last, done) = told[0], told[-1]
        figures["decoded_per_second"] = (done - before) / (last - first)
    return figures


def check(root: Path) -> dict[str, Any]:
    """Measure ``data check`` without labels."""
    from firstlight.progress import CountingBar
    from firstlight.verbs.check import check_pictures

    checked = check_pictures(root, bars=partial(CountingBar, quiet=True))
    return {
        "images": checked.pictures,
        "findings": {finding.kind: len(finding.groups) for finding in checked.findings},
    }


def train(root: Path) -> dict[str, Any]:
    """Measure a start, and about a hundred steps of the pictures' recipe."""
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        run = fl.train(root, epochs=0.2, out=Path(folder) / "run", quiet=True)
        return {
            "train_seconds": run.summary["train_seconds"],
            "steps": run.summary["steps"],
            "batch": run.recipe.train.batch_size,
        }


MEASURES = {"first start": start, "second start": start, "check": check, "train": train}


def peak_memory_mb() -> float:
    """Return the peak memory of this process alone; ``ru_maxrss`` starts with the parent's
    value."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(whole: dict[str, Any], repeat: int, what: str, root: Path) -> None:
    """Take one measurement in a separate process, unless the result file has it."""
    key = {"set": root.name, "what": what, "repeat": repeat}
    if any(key.items() <= run.items() for run in whole["runs"]):
        return
    load_before = os.getloadavg()[0]
    command = [sys.executable, __file__, "--measure", what, str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    whole["runs"].append({**key, **figures, "load_before": load_before})
    RESULT.write_text(json.dumps(whole, indent=2) + "\n")
    print(json.dumps(whole["runs"][-1]), flush=True)


def measure_all(whole: dict[str, Any], scratch: Path, repeats: int) -> None:
    """Take all measurements of both sets."""
    cache = scratch / "cache"
    os.environ["XDG_CACHE_HOME"] = str(cache)
    small, large = scratch / "cifar10-png", scratch / "mosaics"
    if not small.exists():
        write_cifar10(small)
    for repeat in range(repeats):
        shutil.rmtree(cache, ignore_errors=True)
        for what in ("first start", "second start"):
            measure(whole, repeat, what, small)
        measure(whole, repeat, "check", small / "train")
    if not large.exists():
        each = -(-LARGE // usable_threads())
        with ProcessPoolExecutor(usable_threads()) as pool:
            parts = [range(at, min(at + each, LARGE)) for at in range(0, LARGE, each)]
            list(pool.map(write_mosaics, [large] * len(parts), parts))
    for what in ("first start", "second start", "train"):
        measure(whole, 0, what, large)


def main() -> None:
    parser = argparse.ArgumentParser(description="Decoding, second start, check, memory.")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of the small set")
    parser.add_argument("--scratch", type=Path, help="where the files go, 14 GB")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("root", nargs="?", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        began, before = time.perf_counter(), time.process_time()
        figures = MEASURES[options.measure](options.root)
        figures |= {
            "seconds": time.perf_counter() - began,
            "processor_seconds": time.process_time() - before,
            "peak_memory_mb": peak_memory_mb(),
        }
        print(json.dumps(figures))
        return
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    whole |= {
        "command": f"python benchmarks/decoding.py --repeats {options.repeats}",
        "processor": processor_name(),
        "threads": usable_threads(),
        "versions": {
            "firstlight": fl.__version__,
            "python": platform.python_version(),
            "pillow": PIL.__version__,
            "torch": torch.__version__,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        # Absolute, because a relative XDG_CACHE_HOME is ignored.
        scratch = (options.scratch or Path(folder)).resolve()
        measure_all(whole, scratch, options.repeats)


if __name__ == "__main__":
    main()
