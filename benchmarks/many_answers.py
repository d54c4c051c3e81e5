"""Measure answers for 200,000 images in tar shards: images per second and memory, by workers.

    python benchmarks/many_answers.py

The images are CIFAR-10's 50,000 training images as JPEG files, four times over, in shards of
10,000: 600 MB in a temporary folder, or in ``--scratch``, where shards are kept and reused. The
network is the tutorial's, trained for a fifth of an epoch, because its accuracy does not matter.
The index is made beforehand. Each measurement is a separate process that runs ``Run.predict_to``,
which starts the other workers. A quarter of the images is measured too, because memory should not
grow with their number. Every folder of answers must have the same bytes.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

import firstlight as fl
from firstlight.runs.record import processor_name
from firstlight.threads import usable_threads

RESULT = Path(__file__).resolve().parent / "results" / "many_answers.json"
EACH, SHARDS, QUALITY = 10_000, 20, 90
CASES = ((5, 1), (SHARDS, 1), (SHARDS, 2))
"""Shards and workers of each measurement."""


def write_shards(folder: Path) -> None:
    train = fl.load("cifar10").train
    for shard in range(SHARDS):
        place = folder / f"images-{shard:06d}.tar"
        if place.exists():
            continue
        part = place.with_suffix(".part")
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(shard * EACH, (shard + 1) * EACH):
                out = io.BytesIO()
                image_HWC = train.images_NHWC[number % len(train)]
                Image.fromarray(image_HWC).save(out, "JPEG", quality=QUALITY)
                member = tarfile.TarInfo(f"{number:08d}.jpg")
                member.size = len(out.getvalue())
                tar.addfile(member, io.BytesIO(out.getvalue()))
                tar.members.clear()  # type: ignore[attr-defined]
        part.rename(place)


def peaks_mb(pid: int) -> dict[int, float]:
    """Return the peak resident memory of a process and of each of its descendants."""
    found = {}
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    for one in (pid, *map(int, below)):
        try:
            status = Path(f"/proc/{one}/status").read_text(encoding="utf-8")
            found[one] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        except (OSError, IndexError):  # it has just ended
            continue
    return found


def measure(scratch: Path, shards: int, workers: int) -> dict[str, Any]:
    """Measure in this process, which must not have done anything else."""
    run = fl.open_run(scratch / "run")
    words = [scratch / "shards" / f"images-{shard:06d}.tar" for shard in range(shards)]
    peaks, over = dict[int, float](), threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            peaks.update(peaks_mb(os.getpid()))

    watching = threading.Thread(target=watch)
    watching.start()
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        began, before = time.perf_counter(), os.times()
        done = run.predict_to(Path(place) / "a", words, workers=workers, device="cpu")
        seconds, after = time.perf_counter() - began, os.times()
        digest = hashlib.sha256()
        for path in sorted((Path(place) / "a").glob("part-*")):
            digest.update(path.read_bytes())
    over.set()
    watching.join()
    return {
        "images": done.images,
        "files": done.files,
        "seconds": seconds,
        "processor_seconds": sum(after[:4]) - sum(before[:4]),
        "peak_memory_mb": sorted(peaks.values(), reverse=True)[:workers],
        "answers_sha256": digest.hexdigest(),
    }


def measure_all(scratch: Path, repeats: int) -> dict[str, Any]:
    os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
    (scratch / "shards").mkdir(parents=True, exist_ok=True)
    write_shards(scratch / "shards")
    if not (scratch / "run").exists():
        fl.train("cifar10", "cifar10-tutorial", epochs=0.2, out=scratch / "run", quiet=True)
    runs = []
    for repeat in range(-1, repeats):  # the first one makes the index, and does not count
        for shards, workers in CASES if repeat >= 0 else [(SHARDS, 2)]:
            words = ["--measure", str(shards), str(workers), "--scratch", str(scratch)]
            load_before = os.getloadavg()[0]
            child = subprocess.run(
                [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
            )
            figures = json.loads(child.stdout.splitlines()[-1])
            if repeat >= 0:
                runs.append(
                    {"repeat": repeat, "workers": workers, **figures, "load_before": load_before}
                )
                print(json.dumps(runs[-1]), flush=True)
    for images in {run["images"] for run in runs}:
        sums = {run["answers_sha256"] for run in runs if run["images"] == images}
        assert len(sums) == 1, "the files are the same for any number of workers"
    return {
        "command": "python benchmarks/many_answers.py",
        "processor": processor_name(),
        "cores": usable_threads(),
        "versions": {name: version(name) for name in ("torch", "pillow")},
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Answers for 200,000 images in shards.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="where the shards go, 600 MB")
    parser.add_argument("--measure", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.scratch, *options.measure)), flush=True)
        return
    with tempfile.TemporaryDirectory() as place:
        whole = measure_all((options.scratch or Path(place)).resolve(), options.repeats)
    RESULT.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
