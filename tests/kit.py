"""Shared by tests: the outcome of a command, and a small data set with a known answer."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firstlight.data.dataset import Dataset, TrainTest
from firstlight.layers import Layer, Whiten
from firstlight.layers.networks import tutorial, whitened
from firstlight.parts import plain_value
from firstlight.toml_text import toml_value


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def striped(count: int = 60, size: int = 8) -> TrainTest:
    """Return grey images with a bright row (class "row") or a bright column (class "column")."""
    rng = np.random.default_rng(0)
    parts = []
    for name in ("train", "test"):
        images_NHWC = rng.integers(0, 60, (count, size, size, 1), dtype=np.uint8)
        labels_N = np.arange(count, dtype=np.int64) % 2
        for image_HWC, label in zip(images_NHWC, labels_N, strict=True):
            place = rng.integers(1, size - 1)
            image_HWC[(place, slice(None)) if label == 0 else (slice(None), place)] = 250
        parts.append(
            Dataset(
                name=f"stripes/{name}",
                images_NHWC=images_NHWC,
                labels_N=labels_N,
                class_names=("row", "column"),
            )
        )
    return TrainTest(*parts)


def launched(
    words: Sequence[str | Path], count: int, threads: int = 1
) -> list[subprocess.Popen[str]]:
    """Start this Python with these words ``count`` times, as processes of one training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alike = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    alike |= {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(threads)}
    return [
        subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **alike, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], str, str]:
    """Wait for processes. Returns their exit codes, and what they said together."""
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda one: one.communicate(), processes))
    out, err = ("".join(parts) for parts in zip(*told, strict=True))
    return [one.returncode for one in processes], out, err


def tutorial_net(*widths: int, **choices: Any) -> str:
    """Return the setting that makes a recipe's network the tutorial's, with these widths."""
    return _layers(tutorial(widths, **choices))


def whitened_net(*widths: int, filters: int = 8, kernel: int = 2, **choices: Any) -> list[str]:
    """Return the settings that make a recipe's network a whitened one, with these widths."""
    stem = Whiten(
        filters, kernel=kernel, stride=choices.pop("stride", 1), bias=choices.pop("bias", False)
    )
    return [_layers(whitened(widths, stem=stem, **choices)), "network.pixels=standardize"]


def _layers(layers: tuple[Layer, ...]) -> str:
    return f"network.layers={toml_value(plain_value(layers))}"


@dataclass
class DiskCalls:
    """The system calls that determine the state after a power cut, in order.

    Files and folders are identified by their inode: a file is the same one before and after a
    rename.
    """

    made: list[tuple[str, int, Path]] = field(default_factory=list)
    """("sync" | "rename" | "remove", inode of the synced or moved file, its path afterwards)."""
    unsafe: list[str] = field(default_factory=list)
    """What a power cut would have lost; empty if every rename was safe."""
    _waiting: dict[int, Path] = field(default_factory=dict)
    """Folders with a rename that is not on disk yet."""

    def synced(self, inode: int) -> None:
        self._waiting.pop(inode, None)
        self.made.append(("sync", inode, Path()))

    def renamed(self, source: Path, target: Path) -> None:
        inode = source.stat().st_ino
        if not any(what == "sync" and of == inode for what, of, _ in self.made):
            self.unsafe.append(f"{target} was renamed before its content was on the disk")
        self._waiting[target.parent.stat().st_ino] = target
        self.made.append(("rename", inode, target))

    def removed(self, path: Path) -> None:
        for target in self._waiting.values():
            self.unsafe.append(f"{path} was removed before the rename of {target} was on the disk")
        self.made.append(("remove", 0, path))

    def finished(self) -> "DiskCalls":
        """Mark every rename that is not on disk by now as unsafe."""
        self.unsafe += [
            f"the rename of {target} was never synced" for target in self._waiting.values()
        ]
        return self

    def places(self, what: str) -> list[Path]:
        """Return the paths that were renamed to, or removed."""
        return [path for kind, _, path in self.made if kind == what]


def disk_calls(monkeypatch: pytest.MonkeyPatch) -> DiskCalls:
    """Record the calls from now on, and still make them."""
    calls, fsync = DiskCalls(), os.fsync

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        calls.synced(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", sync)
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, _told(getattr(os, name), calls.renamed))
    for name in ("unlink", "remove", "rmdir"):
        monkeypatch.setattr(os, name, _told(getattr(os, name), calls.removed))
    return calls


def _told(call: Callable[..., None], before: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``call`` so that its paths are passed to ``before`` first."""

    def both(*paths: str | Path, **more: object) -> None:
        before(*map(Path, paths))
        call(*paths, **more)

    return both
