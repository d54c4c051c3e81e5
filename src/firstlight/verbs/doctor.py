"""Check this machine for firstlight: what is installed, its speed, and how to fix problems."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import numpy as np
import torch
from packaging.requirements import Requirement

from firstlight import __version__
from firstlight.backbones import BACKBONES
from firstlight.backbones.places import is_here
from firstlight.cache import ROOM, size_named
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.load import where_found
from firstlight.data.shards.held import ROOM as SHARDS_ROOM
from firstlight.devices import choose_device, computes_in_bfloat16, repeatable
from firstlight.errors import UserError
from firstlight.files import cache_folder, make_folder
from firstlight.locks import has_locks
from firstlight.runs.record import processor_name
from firstlight.threads import usable_threads
from firstlight.training.pace import measure_pace
from firstlight.verbs import cache
from firstlight.verbs.bench import matmul_gflops
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest

SPEED_RECIPE = "mnist-quick"
"""Recipe for timing training steps."""
_OF_DEVELOPMENT = ("dev", "docs")
_IMAGES, _SECONDS = 4096, 3.0


def examine(*, speed: bool = True) -> dict[str, Any]:
    """Return the facts as plain values; ``problems`` says what is wrong and how to fix it.

    ``speed`` takes about five seconds of computing.
    """
    problems = list[str]()
    device = choose_device("auto")
    found: dict[str, Any] = {
        "firstlight": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": computes_in_bfloat16(device),
        "device": device,
        "accelerator": torch.cuda.get_device_name() if device == "cuda" else None,
        "processors": os.cpu_count(),
        "threads": usable_threads(),
        "data": _data(problems),
        "backbones": [name for name in BACKBONES if is_here(name)],
        "cache": _cache(problems),
        "extras": _extras(problems),
    }
    if speed:
        found["speed"] = _speed(device)
    return {**found, "problems": problems}


def _data(problems: list[str]) -> dict[str, str | None]:
    """Return the location of each named set that needs files; None if it is not on this machine."""
    found: dict[str, str | None] = {}
    for name, entry in CATALOG.items():
        if not entry.files:
            continue
        try:
            where = where_found(entry)
        except UserError as error:  # the same for all sets
            problems.append(str(error))
            return {}
        found[name] = None if where is None else str(where)
    return found


def _cache(problems: list[str]) -> dict[str, Any]:
    folder = cache_folder()
    for variable in (ROOM, SHARDS_ROOM):
        try:
            size_named(variable, 1)
        except UserError as error:
            problems.append(f"{error}. Correct it or unset it")
    told: dict[str, Any] = {
        "folder": str(folder),
        "shelves": cache.listed(),
        "free": None,
        "locks": None,
    }
    try:
        make_folder(folder)
        told |= {"free": shutil.disk_usage(folder).free, "locks": has_locks(folder)}
    except OSError as error:
        problems.append(
            f"{folder} cannot be written ({error.strerror}), so downloads and decoded pictures "
            "cannot be kept. Set XDG_CACHE_HOME to a folder that can be written"
        )
    return told


def _extras(problems: list[str]) -> dict[str, list[str]]:
    """Return the missing packages of each extra."""
    try:
        wanted = [Requirement(line) for line in requires("firstlight") or []]
    except PackageNotFoundError:  # runs from a source checkout
        return {}
    found: dict[str, list[str]] = {}
    for one in wanted:
        extra = _extra_of(one)
        if extra in _OF_DEVELOPMENT:
            continue
        try:
            here: str | None = version(one.name)
        except PackageNotFoundError:
            here = None
        if here is not None and not one.specifier.contains(here, prereleases=True):
            problems.append(
                f"wanted {one.name}{one.specifier}, got {one.name} {here}: pip install "
                f"'{one.name}{one.specifier}'"
            )
        if extra:
            missing = found.setdefault(extra, [])
            if here is None:
                missing.append(one.name)
    return found


def _extra_of(one: Requirement) -> str:
    """Return the extra of a requirement; empty if it is always required."""
    if one.marker is None or one.marker.evaluate({"extra": ""}):
        return ""
    text = str(one.marker)
    return text.partition('extra == "')[2].partition('"')[0]


def _speed(device: str) -> dict[str, float]:
    """Measure matrix products, and images per second in training steps on random images."""
    gflops = matmul_gflops(device, torch.float32)
    rng = np.random.default_rng(0)
    noise = Dataset(
        name="noise",
        images_NHWC=rng.integers(0, 256, (_IMAGES, 28, 28, 1), dtype=np.uint8),
        labels_N=rng.integers(0, 10, _IMAGES),
        class_names=tuple("0123456789"),
    )
    request = DataRequest(name="noise", data=TrainTest(noise, noise), quiet=True)
    job = plan(request, Asked(recipe=SPEED_RECIPE, device=device))
    with repeatable(job.threads, job.device):
        pace = measure_pace(job.trainer(), _SECONDS / 0.02)
    return {"gflops": gflops, "images_per_second": job.recipe.train.batch_size / pace.whole}
