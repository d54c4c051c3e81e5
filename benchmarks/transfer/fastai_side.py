"""fastai's fine-tuning: python fastai_side.py SET SEED SECONDS [EPOCHS]; prints one JSON line.

As its tutorial "Computer vision intro" has it: ``vision_learner`` and ``fine_tune`` with their
defaults (a new head of two layers on two poolings; one epoch for it and the batch norms, then the
rest with smaller rates below), ``Resize(224)`` and ``aug_transforms()``. Its batches of 64 are made
smaller for fewer images than 640, down to 8. A tenth is held out, where the tutorial takes a fifth;
nothing is chosen by it. Before it starts it measures with a learner of its own how many epochs come
nearest to SECONDS of processor time; that is not counted. Where the frozen epoch and one more take
over a quarter longer, it trains as many frozen ones as fit, at least one. With EPOCHS it trains
that many after the frozen one and SECONDS does not matter.
"""

import json
import resource
import sys
import time

import fastai
import numpy as np
import torch
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    DataLoaders,
    ImageBlock,
    IndexSplitter,
    Learner,
    Resize,
    aug_transforms,
    error_rate,
    set_seed,
    vision_learner,
)
from lite0 import NETWORK, SIDE, batch_size, opened, pretrained

BATCH, OVER = 64, 1.25
MOST = 100
"""Most epochs, however fast they are."""
MEASURED = 2
"""Number of batches in the measured epochs."""


def loaders(
    images_NHWC: np.ndarray, labels_N: np.ndarray, held: list[int], size: int
) -> DataLoaders:
    """Return fastai's data loaders for images in memory, with those in ``held`` for validation."""
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(int(labels_N.max()) + 1)))),
        get_x=lambda at: images_NHWC[at],
        get_y=lambda at: int(labels_N[at]),
        splitter=IndexSplitter(held),
        item_tfms=Resize(SIDE),
        batch_tfms=aug_transforms(),
    )
    return block.dataloaders(range(len(labels_N)), bs=size, num_workers=0, device="cpu")


def learner(data: DataLoaders) -> Learner:
    """Return the learner of the tutorial."""
    return vision_learner(data, NETWORK, metrics=error_rate, **pretrained())


def planned(data: DataLoaders, few: DataLoaders, limit: float) -> tuple[int, int]:
    """Return the numbers of frozen and other epochs that take ``limit`` seconds, from trial
    epochs."""
    trial, share = learner(few), len(data.train) / len(few.train)
    times = []
    with trial.no_bar(), trial.no_logging():
        for change in (trial.freeze, trial.freeze, trial.unfreeze):  # the first is slower
            change()
            before = time.process_time()
            trial.fit_one_cycle(1)
            times.append(share * (time.process_time() - before))
    _, frozen, other = times
    if frozen + other > OVER * limit:
        return max(1, round(limit / frozen)), 0
    return 1, min(MOST, max(1, round((limit - frozen) / other)))


def right(learn: Learner, images_NHWC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the accuracy on the images."""
    batches = learn.dls.test_dl(images_NHWC, bs=32, num_workers=0)
    scores, _ = learn.get_preds(dl=batches)
    return float(np.mean(scores.argmax(dim=1).numpy() == labels_N))


def main(data: str, seed: int, limit: float, asked: int = 0) -> None:
    torch.set_num_threads(1)
    set_seed(seed, reproducible=True)
    (images_NHWC, labels_N), (tested_NHWC, answers_N) = opened(data)
    order_N = np.random.default_rng(seed).permutation(len(labels_N))
    held = len(labels_N) // 10
    images_NHWC, labels_N = images_NHWC[order_N], labels_N[order_N]
    size = batch_size(len(labels_N) - held, BATCH)
    whole = loaders(images_NHWC, labels_N, list(range(held)), size)
    frozen, epochs = 1, asked
    if not asked:
        some = MEASURED * size
        part = max(1, round(held * some / (len(labels_N) - held)))
        few = loaders(images_NHWC[: some + part], labels_N[: some + part], list(range(part)), size)
        frozen, epochs = planned(whole, few, limit)
        set_seed(seed, reproducible=True)
    started, before = time.perf_counter(), time.process_time()
    learn = learner(whole)
    with learn.no_bar(), learn.no_logging():
        if epochs:
            learn.fine_tune(epochs, freeze_epochs=frozen)
        else:
            learn.fit_one_cycle(frozen)
    seconds, used = time.perf_counter() - started, time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with learn.no_bar():
        accuracy = right(learn, tested_NHWC, answers_N)
    print(
        json.dumps(
            {
                "fit_seconds": seconds,
                "processor_seconds": used,
                "peak_memory_mb": memory,
                "frozen_epochs": frozen,
                "epochs": epochs,
                "batch_size": size,
                "test_accuracy": accuracy,
                "versions": {"fastai": fastai.__version__, "torch": torch.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:]))
