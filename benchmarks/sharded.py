"""Measure a million images in tar shards: memory, and decoding speed compared with other loaders.

    python benchmarks/sharded.py --images 1000000

The images are CIFAR-10's training images enlarged to 64 × 64 pixels, each cropped, mirrored and
brightened by its number, as JPEG files in shards of 10,000: 4 GB in a temporary folder, or in
``--scratch``, where shards are kept and reused. First the index is made, and a small network is
trained for about a hundred steps. Then each loader yields batches of 256 from 100,000 of them,
alone and for a small network that trains on them: firstlight, a plain PyTorch ``DataLoader`` over
the offsets of the images in the tars, WebDataset's own loader, and the ``datasets`` library, each
with two workers or threads. Each measurement is a separate process. Processor seconds are the total
of all its threads and processes, which is meaningful on a busy machine too.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import firstlight as fl
from firstlight.runs.record import processor_name
from firstlight.threads import usable_threads

RESULT = Path(__file__).resolve().parent / "results" / "sharded.json"
SIDE, QUALITY, EACH, BATCH, WORKERS = 64, 85, 10_000, 256, 2
TIMED_SHARDS = 10
"""Number of shards for the loaders' speed: some loaders list all images first."""
BUFFER = 10_000
"""Size of the other libraries' shuffle buffer."""


def write_shard(folder: Path, shard: int, count: int) -> None:
    """Write ``folder/images-NNNNNN.tar``; each image is made from its number."""
    train = fl.load("cifar10").train
    place = folder / f"images-{shard:06d}.tar"
    part = place.with_suffix(".part")
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(shard * EACH, shard * EACH + count):
            rng = np.random.default_rng(number)
            which = int(rng.integers(len(train)))
            left, top = rng.integers(0, 5, 2).tolist()
            image = Image.fromarray(train.images_NHWC[which]).crop((left, top, left + 28, top + 28))
            image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            image = ImageOps.mirror(image) if rng.random() < 0.5 else image
            image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.8, 1.2)))
            out = io.BytesIO()
            image.save(out, "JPEG", quality=QUALITY)
            for ending, content in (
                ("jpg", out.getvalue()),
                ("cls", str(train.labels_N[which]).encode()),
            ):
                member = tarfile.TarInfo(f"{number:08d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            tar.members.clear()  # type: ignore[attr-defined]
    part.rename(place)


# Loaders: endless or long sequences of uint8 B×H×W×C and labels B


def of_firstlight(folder: Path) -> Iterator[tuple[Tensor, Tensor]]:
    from firstlight.training.randomness import order_in_shards

    train = fl.load(folder).train
    assert train.shards is not None
    order_N = order_in_shards(torch.from_numpy(train.shards.shard_of.astype(np.int64)), 0, 0)
    batches = [one.numpy() for one in order_N.split(BATCH)]
    with train.shards.ahead(batches):
        for batch in batches:
            yield (
                torch.from_numpy(train.images_NHWC[batch]),
                torch.from_numpy(train.labels_N[batch]),
            )


class _Places(Dataset[tuple[Tensor, int]]):
    """The usual map-style dataset: a list of offsets, opened and decoded one by one."""

    def __init__(self, folder: Path) -> None:
        self.places: list[tuple[Path, int, int, int]] = []
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                members = tar.getmembers()
            with path.open("rb") as file:
                for image, label in zip(members[::2], members[1::2], strict=True):
                    file.seek(label.offset_data)
                    number = int(file.read(label.size))
                    self.places.append((path, image.offset_data, image.size, number))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        path, offset, size, label = self.places[at]
        with path.open("rb") as file:
            file.seek(offset)
            return _decoded(Image.open(io.BytesIO(file.read(size)))), label


def _decoded(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB")))


def of_pytorch(folder: Path) -> Iterator[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    yield from DataLoader(_Places(folder), BATCH, shuffle=True, num_workers=WORKERS, generator=rng)


def of_webdataset(folder: Path) -> Iterator[tuple[Tensor, Tensor]]:
    import webdataset as wds

    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    images = wds.WebDataset(shards, shardshuffle=len(shards), seed=0)
    images = images.shuffle(BUFFER).decode("pil").to_tuple("jpg", "cls")
    images = images.map_tuple(_decoded, int).batched(BATCH)
    yield from wds.WebLoader(images, batch_size=None, num_workers=WORKERS)


def of_datasets(folder: Path) -> Iterator[tuple[Tensor, Tensor]]:
    from datasets import load_dataset

    files = [str(path) for path in sorted(folder.glob("*.tar"))]
    images = load_dataset("webdataset", data_files=files, split="train", streaming=True)
    images = images.shuffle(seed=0, buffer_size=BUFFER).map(
        lambda row: {"x": _decoded(row["jpg"]), "y": row["cls"]}, remove_columns=["jpg", "cls"]
    )
    loader = DataLoader(
        images.select_columns(["x", "y"]), BATCH, num_workers=WORKERS, collate_fn=_collated
    )
    yield from loader


def _collated(rows: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    pixels = torch.stack([torch.as_tensor(np.asarray(row["x"], np.uint8)) for row in rows])
    return pixels, torch.tensor([row["y"] for row in rows])


LOADERS: dict[str, Callable[[Path], Iterator[tuple[Tensor, Tensor]]]] = {
    "firstlight": of_firstlight,
    "PyTorch DataLoader": of_pytorch,
    "WebDataset": of_webdataset,
    "datasets": of_datasets,
}


def processor_seconds() -> float:
    """Return the processor seconds of this process and of its finished children."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def of_children() -> float:
    """Return the processor seconds of running descendants."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def load(folder: Path, loader: str, batches: int, train: bool) -> dict[str, Any]:
    """Return images per second after the first ten batches, alone or with a small network."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    source = LOADERS[loader](folder)
    begun, before, seen = time.perf_counter(), 0.0, 0
    for number, (pixels_BHWC, labels_B) in enumerate(islice(source, batches + 10)):
        if train:
            optimizer.zero_grad()
            scores_BK = model(pixels_BHWC.permute(0, 3, 1, 2).float() / 255)
            nn.functional.cross_entropy(scores_BK, labels_B).backward()
            optimizer.step()
        if number == 9:
            begun, before = time.perf_counter(), processor_seconds() + of_children()
        elif number > 9:
            seen += len(pixels_BHWC)
    seconds, spent = time.perf_counter() - begun, processor_seconds() + of_children() - before
    return {
        "images": seen,
        "images_per_second": seen / seconds,
        "images_per_processor_second": seen / spent,
    }


def index(folder: Path) -> dict[str, Any]:
    """Measure the time until the data set is ready, without a cache."""
    train, test = fl.load(folder)
    return {"images": len(train) + len(test), "shards": len(list(folder.glob("*.tar")))}


def train(folder: Path) -> dict[str, Any]:
    """Measure a start, about a hundred steps, all held-out images, and all test images."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        run = fl.train(folder, epochs=0.05, start="none", out=Path(place) / "run", quiet=True)
        figures = {
            "steps": run.summary["steps"],
            "batch": run.recipe.train.batch_size,
            "train_seconds": run.summary["train_seconds"],
            "peak_memory_mb_trained": peak_memory_mb(),
        }
        metrics = run.evaluate()
        return {**figures, "test_images": metrics.count, "test_accuracy": metrics.accuracy}


def peak_memory_mb() -> float:
    """Return the peak memory of this process alone; ``ru_maxrss`` starts with the parent's
    value."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(whole: dict[str, Any], key: dict[str, Any], words: list[str]) -> None:
    """Take one measurement in a separate process, unless the result file has it."""
    if any(key.items() <= run.items() for run in whole["runs"]):
        return
    load_before = os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    whole["runs"].append({**key, **figures, "load_before": load_before})
    RESULT.write_text(json.dumps(whole, indent=2) + "\n")
    print(json.dumps(whole["runs"][-1]), flush=True)


def measure_all(whole: dict[str, Any], folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for shard, start in enumerate(range(0, options.images, EACH)):
        if not (folder / f"images-{shard:06d}.tar").exists():
            write_shard(folder, shard, min(EACH, options.images - start))
    os.environ["XDG_CACHE_HOME"] = str(folder.parent / "cache")
    for what in ("index", "train"):
        measure(whole, {"what": what, "of": options.images}, ["--measure", what, str(folder)])
    timed = folder.parent / "timed"
    timed.mkdir(exist_ok=True)
    for path in sorted(folder.glob("*.tar"))[:TIMED_SHARDS]:
        if not (timed / path.name).exists():
            os.link(path, timed / path.name)
    for repeat in range(options.repeats):
        for loader in LOADERS:
            for mode in ("load", "load and train"):
                key = {"what": mode, "loader": loader, "repeat": repeat}
                words = ["--measure", mode, "--loader", loader, str(timed)]
                measure(whole, key, [*words, "--batches", str(options.batches)])


def main() -> None:
    parser = argparse.ArgumentParser(description="A million images in shards.")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=200, help="of 256, for each loader")
    parser.add_argument("--repeats", type=int, default=3, help="of the loaders")
    parser.add_argument("--scratch", type=Path, help="where the shards go, 4 GB")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--loader", help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        began, before = time.perf_counter(), time.process_time()
        if options.measure in ("index", "train"):
            figures = {"index": index, "train": train}[options.measure](options.folder)
            figures["processor_seconds"] = time.process_time() - before
        else:
            trained = options.measure == "load and train"
            figures = load(options.folder, options.loader, options.batches, trained)
        figures |= {
            "seconds": time.perf_counter() - began,
            "peak_memory_mb": peak_memory_mb(),
        }
        print(json.dumps(figures), flush=True)
        os._exit(0)  # some loaders' workers are slow to end
    whole: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    whole |= {
        "command": f"python benchmarks/sharded.py --images {options.images}",
        "processor": processor_name(),
        "threads": usable_threads(),
        "versions": {
            name: version(name) for name in ("torch", "pillow", "webdataset", "datasets", "pyarrow")
        },
    }
    with tempfile.TemporaryDirectory() as place:
        scratch = (options.scratch or Path(place)).resolve()
        measure_all(whole, scratch / "million", options)


if __name__ == "__main__":
    main()
