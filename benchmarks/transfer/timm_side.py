"""timm's fine-tuning: python timm_side.py SET SEED SECONDS [EPOCHS]; prints one JSON line.

As its documentation fine-tunes with the script train.py: ``--pretrained --opt adamw --lr 1e-4
--weight-decay 0.01 --batch-size 32``, and the script's other settings: a cosine after a sixth of
warm-up (5 of its 30 epochs), label smoothing of 0.1, random resized crops with any interpolation,
mirror images, colour jitter of 0.4. Three things are in its favour. The rate changes after each
update (``--sched-on-updates``), as few epochs fit. Fewer images than 320 are taken in smaller
batches. And ``--head-init-scale 0.01``, which the script has for fine-tuning: this network's new
last layer begins with weights so large that few updates do not change its answers.

A tenth is held out, and the epoch with the most of it right is kept, the last of several. Before it
starts it measures on a network of its own how many updates fit into SECONDS of processor time; that
is not counted. With EPOCHS it trains that many and SECONDS does not matter.
"""

import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import timm
import torch
from lite0 import MEAN, NETWORK, SIDE, STD, batch_size, opened, pretrained
from PIL import Image
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

BATCH, RATE, DECAY, SMOOTHING, WARM, HEAD = 32, 1e-4, 0.01, 0.1, 5 / 30, 0.01
MOST = 300
"""The script's own number of epochs: no more, however fast they are."""


Batches = DataLoader[tuple[Tensor, Tensor]]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images and labels; timm's loader sets the transform."""

    transform: Callable[[Image.Image], Tensor]

    def __init__(self, images_NHWC: np.ndarray, labels_N: np.ndarray) -> None:
        self.images_NHWC, self.labels_N = images_NHWC, labels_N

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images_NHWC[at])), int(self.labels_N[at])


def loader(images_NHWC: np.ndarray, labels_N: np.ndarray, size: int, training: bool) -> Batches:
    """Return batches as timm makes them."""
    made: Batches = create_loader(
        Pictures(images_NHWC, labels_N),
        input_size=(3, SIDE, SIDE),
        batch_size=size,
        is_training=training,
        interpolation="random" if training else "bicubic",
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        num_workers=0,
        persistent_workers=False,
        use_prefetcher=False,
    )
    return made


class Training:
    """A network and its optimizer."""

    def __init__(self, classes: int, updates: int) -> None:
        self.model = timm.create_model(
            NETWORK, pretrained=True, num_classes=classes, **pretrained()
        )
        with torch.no_grad():
            for of_head in self.model.get_classifier().parameters():
                of_head.mul_(HEAD)
        self.optimizer = create_optimizer_v2(self.model, opt="adamw", lr=RATE, weight_decay=DECAY)
        self.schedule, _ = create_scheduler_v2(
            self.optimizer,
            sched="cosine",
            num_epochs=updates,
            warmup_epochs=int(WARM * updates),
            step_on_epochs=False,
            updates_per_epoch=1,
        )
        self.loss, self.done = LabelSmoothingCrossEntropy(SMOOTHING), 0

    def epoch(self, batches: Batches, updates: int) -> None:
        """Train one epoch, or fewer updates."""
        self.model.train()
        for _, (pixels_BCHW, labels_B) in zip(range(updates), batches, strict=False):
            self.optimizer.zero_grad()
            self.loss(self.model(pixels_BCHW), labels_B).backward()
            self.optimizer.step()
            self.done += 1
            self.schedule.step_update(self.done)


def right(model: nn.Module, batches: Batches) -> float:
    """Return the accuracy on the images."""
    model.eval()
    with torch.inference_mode():
        found = [model(pixels).argmax(1) == labels for pixels, labels in batches]
    return float(torch.cat(found).float().mean())


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    before = time.process_time()
    work()
    return time.process_time() - before


def main(data: str, seed: int, limit: float, asked: int = 0) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)
    (images_NHWC, labels_N), tested_part = opened(data)
    order_N = np.random.default_rng(seed).permutation(len(labels_N))
    held_N, kept_N = np.split(order_N, [len(labels_N) // 10])
    classes, size = int(labels_N.max()) + 1, batch_size(len(kept_N), BATCH)
    batches = loader(images_NHWC[kept_N], labels_N[kept_N], size, training=True)
    held = loader(images_NHWC[held_N], labels_N[held_N], size, training=False)
    each = len(batches)
    if asked:
        updates = asked * each
    else:
        trial = Training(classes, 3)
        trial.epoch(batches, 1)
        update = seconds_of(lambda: trial.epoch(batches, 2)) / 2
        epoch = each * update + seconds_of(lambda: right(trial.model, held))
        updates = min(max(1, round(limit / epoch * each)), MOST * each)
        torch.manual_seed(seed)
    started, before = time.perf_counter(), time.process_time()
    training = Training(classes, updates)
    best, best_weights = -1.0, training.model.state_dict()
    while training.done < updates:
        training.epoch(batches, updates - training.done)
        share = right(training.model, held)
        if share >= best:
            best = share
            best_weights = {k: v.clone() for k, v in training.model.state_dict().items()}
    training.model.load_state_dict(best_weights)
    seconds, used = time.perf_counter() - started, time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tested = loader(*tested_part, 32, training=False)
    print(
        json.dumps(
            {
                "fit_seconds": seconds,
                "processor_seconds": used,
                "peak_memory_mb": memory,
                "epochs": round(updates / each, 2),
                "batch_size": size,
                "held_out_accuracy": best,
                "test_accuracy": right(training.model, tested),
                "versions": {"timm": timm.__version__, "torch": torch.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:]))
